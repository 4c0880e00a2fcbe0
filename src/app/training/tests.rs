use super::super::msg::{Effect, Msg, TrainOp, TrainSaid};
use super::super::overlay::Overlay;
use super::super::state::{App, View};
use super::super::update;
use super::*;
use crate::metrics::Row;
use crate::protocol::TrainControl;

fn run(name: &str, lr: &str, end: f64) -> Shared {
    let mut run = Run::new(name, "jsonl");
    run.set("lr", lr);
    let (loss, acc) = (run.series_id("train_loss").unwrap(), run.series_id("accuracy").unwrap());
    for step in 0..=100 {
        let share = f64::from(step) / 100.0;
        run.add(
            Row { step: Some(f64::from(step)), ..Row::default() },
            &[(loss, 4.0 + (end - 4.0) * share), (acc, share)],
        );
    }
    Arc::new(Mutex::new(run))
}

fn app() -> App {
    let mut app = App::new("none");
    app.view = View::Training;
    let runs = vec![run("b", "1e-3", 1.0), run("a", "1e-4", 2.0), run("c", "1e-5", 0.5)];
    update(&mut app, Msg::Runs(Runs { runs, loading: None }));
    app
}

fn keys(app: &mut App, names: &str) {
    for name in names.split(' ') {
        update(app, Msg::Key(name.parse().unwrap()));
    }
}

fn table(app: &App) -> String {
    app.training.table.iter().map(|at| app.training.entries[*at].line.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn metrics_of_all_runs_are_laid_over_each_other() {
    let app = app();
    let charts: Vec<_> = app.training.charts.iter().map(|c| (c.name.as_str(), c.curves.len())).collect();
    assert_eq!(charts, [("loss", 3), ("accuracy", 3)]);
    assert_eq!(app.training.view(), (0.0, 100.0));
    assert_eq!(app.training.entries[0].line.best, Some(1.0));
}

#[test]
fn the_table_is_sorted_and_the_cursor_stays_on_its_run() {
    let mut app = app();
    keys(&mut app, "down");
    assert_eq!((table(&app).as_str(), app.training.chosen()), ("b a c", Some(1)));
    keys(&mut app, "o");
    assert_eq!((table(&app).as_str(), app.training.chosen()), ("a b c", Some(1)));
    keys(&mut app, "o o O");
    assert_eq!((table(&app).as_str(), app.training.chosen()), ("a b c", Some(1)));
    keys(&mut app, "O down p");
    assert_eq!(table(&app), "a c b");
}

#[test]
fn runs_are_hidden_shown_alone_and_filtered() {
    let mut app = app();
    let drawn = |app: &App| app.training.charts[0].curves.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    keys(&mut app, "space");
    assert_eq!(drawn(&app), [1, 2]);
    keys(&mut app, "space down i");
    assert_eq!(drawn(&app), [1]);
    keys(&mut app, "i");
    assert_eq!(drawn(&app), [0, 1, 2]);
    keys(&mut app, "/ l r > = 1 e - 4 enter");
    assert_eq!((app.training.run_filter.as_str(), table(&app).as_str()), ("lr>=1e-4", "b a"));
    keys(&mut app, "m a c c enter");
    assert_eq!(app.training.charts.len(), 1);
    // Letters are keys again.
    keys(&mut app, "y");
    assert!(app.training.log);
    keys(&mut app, "/ backspace backspace backspace backspace enter");
    assert!(app.notice.as_ref().is_some_and(|notice| notice.text.contains("number")), "{:?}", app.notice);
    keys(&mut app, "/ ctrl-u q x esc");
    assert_eq!(table(&app), "");
    assert_eq!((app.training.chosen(), app.view), (None, View::Training));
}

#[test]
fn zoom_pan_and_crosshair_stay_within_what_there_is() {
    let mut app = app();
    keys(&mut app, "+");
    assert_eq!(app.training.view(), (50.0, 100.0));
    keys(&mut app, "[ [ [ [ [");
    assert_eq!(app.training.view(), (0.0, 50.0));
    keys(&mut app, "]");
    assert_eq!(app.training.view(), (12.5, 62.5));
    keys(&mut app, "left");
    assert_eq!(app.training.cross, Some(62.5));
    keys(&mut app, "shift-right");
    assert_eq!((app.training.cross, app.training.view()), (Some(67.5), (17.5, 67.5)));
    keys(&mut app, "+");
    assert_eq!(app.training.view(), (42.5, 67.5));
    for _ in 0..20 {
        keys(&mut app, "shift-right");
    }
    assert_eq!(app.training.cross, Some(100.0));
    for _ in 0..60 {
        keys(&mut app, "+");
    }
    let (from, to) = app.training.view();
    assert!(from < to && to <= 100.0, "{from} {to}");
    for _ in 0..60 {
        keys(&mut app, "-");
    }
    assert_eq!(app.training.window, None);
    keys(&mut app, "0");
    assert_eq!(app.training.cross, None);
}

#[test]
fn the_table_has_a_column_for_each_setting_and_is_sorted_by_any() {
    let mut app = app();
    {
        let run = |at: usize| app.training.entries[at].run.clone();
        lock(&run(0)).set("model", "7B");
        lock(&run(1)).set("model", "13B");
        (0..3).for_each(|at| lock(&run(at)).set("seed", "1"));
        let runs = (0..3).map(run).collect();
        update(&mut app, Msg::Runs(Runs { runs, loading: None }));
    }
    // Not `seed`, which is the same in all.
    assert_eq!(app.training.setting_columns(), ["lr", "model"]);
    keys(&mut app, "T o o o o o o");
    assert_eq!((app.training.columns, app.training.sort.0.name()), (true, "lr"));
    // As numbers, not as words: 1e-5, 1e-4, 1e-3.
    assert_eq!(table(&app), "c a b");
    keys(&mut app, "O");
    assert_eq!(table(&app), "b a c");
    // Who has no model comes last, either way.
    keys(&mut app, "o");
    assert_eq!(table(&app), "b a c");
    keys(&mut app, "O");
    assert_eq!(table(&app), "a b c");
    keys(&mut app, "o");
    assert_eq!(app.training.sort.0, Sort::Found);
}

#[test]
fn charts_are_kept_in_front_and_drawn_into_each_other() {
    let mut app = app();
    let names = |app: &App| app.training.charts.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(" ");
    keys(&mut app, "n F");
    assert_eq!((names(&app).as_str(), app.training.chart), ("accuracy loss", 0));
    keys(&mut app, "F");
    assert_eq!((names(&app).as_str(), app.training.chart), ("loss accuracy", 1));
    keys(&mut app, "v N v");
    let more = |app: &App| app.training.charts[0].more.iter().map(|(n, c)| (n.clone(), c.len())).collect::<Vec<_>>();
    assert_eq!(more(&app), [("accuracy".to_owned(), 3)]);
    // It holds for what is read later, and can be taken back.
    let runs = app.training.entries.iter().map(|entry| entry.run.clone()).chain([run("d", "1", 3.0)]).collect();
    update(&mut app, Msg::Runs(Runs { runs, loading: None }));
    assert_eq!(more(&app), [("accuracy".to_owned(), 4)]);
    keys(&mut app, "v");
    assert_eq!(more(&app), []);
}

#[test]
fn the_chosen_chart_stays_chosen_when_others_come() {
    let mut app = app();
    keys(&mut app, "n");
    let other = Arc::new(Mutex::new(Run::new("d", "jsonl")));
    {
        let mut run = lock(&other);
        let id = run.series_id("val_loss").unwrap();
        run.add(Row { step: Some(1.0), ..Row::default() }, &[(id, 1.0)]);
    }
    let runs = app.training.entries.iter().map(|entry| entry.run.clone()).chain([other]).collect();
    update(&mut app, Msg::Runs(Runs { runs, loading: None }));
    assert_eq!(app.training.charts[app.training.chart].name, "accuracy");
    // Several words: metrics that hold one of them.
    keys(&mut app, "m v a l space a c c enter");
    assert_eq!(app.training.charts.len(), 2);
}

#[test]
fn the_rest_is_switched_by_keys_and_nothing_panics_without_runs() {
    for mut app in [app(), App::new("none")] {
        app.view = View::Training;
        for name in [
            "up",
            "down",
            "n",
            "N",
            "enter",
            "left",
            "right",
            "shift-left",
            "+",
            "-",
            "[",
            "]",
            "x",
            "x",
            "y",
            "s",
            "S",
            "space",
            "i",
            "p",
            "c",
            "o",
            "O",
            "g",
            "T",
            "F",
            "v",
            "v",
            "t",
            "a",
            "e",
            "E",
            "0",
        ] {
            keys(&mut app, name);
        }
        assert_eq!(app.training.axis, Axis::Time);
        assert_eq!(app.training.side, Side::Experts);
    }
}

/// An event: its name, step, and settings of it.
type Happened<'a> = (&'a str, f64, &'a [(&'a str, &'a str)]);

/// A run of ours, as its log was read so far.
fn ours(folder: &str, events: &[Happened<'_>]) -> Shared {
    let mut run = Run::new(folder, "bit-axon");
    run.source = format!("{folder}/metrics.jsonl");
    run.goal = Some(100.0);
    run.set("batch_size", "8");
    let ids: Vec<_> = ["loss", "batch", "accum"].iter().map(|name| run.series_id(name).unwrap()).collect();
    for step in 1..=20 {
        let x = f64::from(step);
        let row = Row { step: Some(x), time: Some(1000.0 + 2.0 * x), tokens: Some(64.0 * x) };
        run.add(row, &[(ids[0], 4.0 - x / 10.0), (ids[1], 8.0), (ids[2], 1.0)]);
    }
    for (kind, time, fields) in events {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        run.happen_with(Some(20.0), Some(*time), kind, String::new(), fields);
    }
    Arc::new(Mutex::new(run))
}

fn watching(events: &[Happened<'_>], alive: bool) -> App {
    let mut app = App::new("none");
    app.view = View::Training;
    app.training.steering.allowed = true;
    update(&mut app, Msg::Runs(Runs { runs: vec![ours("runs/a", events)], loading: None }));
    let folders = if alive { vec!["runs/a".to_owned()] } else { Vec::new() };
    update(&mut app, Msg::Train(TrainSaid::Alive(folders)));
    app
}

/// What the last of these keys makes the app ask for.
fn asks(app: &mut App, names: &str) -> Vec<TrainOp> {
    let mut effects = Vec::new();
    for name in names.split(' ') {
        effects = update(app, Msg::Key(name.parse().unwrap()));
    }
    let op = |effect| if let Effect::Train(op) = effect { Some(op) } else { None };
    effects.into_iter().filter_map(op).collect()
}

fn control(control: TrainControl) -> Vec<TrainOp> {
    vec![TrainOp::Control("runs/a".into(), control)]
}

fn notice(app: &App) -> &str {
    app.notice.as_ref().map_or("", |notice| notice.text.as_str())
}

#[test]
fn what_a_run_does_follows_from_its_log() {
    let pause: (&str, f64, &[(&str, &str)]) = ("pause", 1050.0, &[("reason", "asked")]);
    let heat: (&str, f64, &[(&str, &str)]) = ("pause", 1050.0, &[("reason", "heat")]);
    let resume: (&str, f64, &[(&str, &str)]) = ("resume", 1060.0, &[("seconds", "10")]);
    let stop: (&str, f64, &[(&str, &str)]) = ("stop", 1070.0, &[("reason", "heat"), ("message", "too hot")]);
    let busy = |with: &'static [(&'static str, &'static str)]| ("busy", 1055.0, with);
    let start: (&str, f64, &[(&str, &str)]) = ("start", 1000.0, &[("resumed", "false")]);
    for (events, alive, want) in [
        (vec![start], true, Doing::Training),
        (vec![start, pause], true, Doing::Paused),
        (vec![start, heat], true, Doing::Hot),
        (vec![start, pause, busy(&[("with", "answering")])], true, Doing::Answering),
        (
            vec![start, pause, busy(&[("with", "answering")]), ("sample", 1056.0, &[("prompt", "q")])],
            true,
            Doing::Paused,
        ),
        (vec![start, pause, resume], true, Doing::Training),
        (vec![start, busy(&[("with", "saving")])], true, Doing::Saving),
        (vec![start, busy(&[("with", "evaluating")])], true, Doing::Evaluating),
        (vec![start, pause, stop], true, Doing::Ended("stopped by heat".into())),
        (vec![start, stop], false, Doing::Ended("stopped by heat".into())),
        (vec![start, busy(&[("with", "saving")])], false, Doing::Gone),
    ] {
        let app = watching(&events, alive);
        assert_eq!(app.training.live().unwrap().doing, want, "{events:?}");
    }
    let app = watching(&[start, pause, resume], true);
    let live = app.training.live().unwrap();
    assert_eq!(live.pauses, [Pause { step: 20.0, from: 1050.0, to: Some(1060.0), heat: false }]);
    // Where it waited lies on every axis.
    let run = lock(&app.training.entries[0].run);
    let at = |axis| place(&run, axis, &live.pauses[0]).unwrap();
    assert_eq!((at(Axis::Step), at(Axis::Time)), ((20.0, 20.0), (1050.0, 1060.0)));
    assert_eq!((at(Axis::Relative), at(Axis::Tokens)), ((48.0, 58.0), (1280.0, 1280.0)));
}

#[test]
fn the_time_left_is_that_of_the_newest_steps() {
    let app = watching(&[("start", 1000.0, &[])], true);
    // Two seconds a step, and eighty are left.
    assert_eq!(app.training.live().unwrap().left, Some(160.0));
    // Of steps before a pause nothing follows.
    let app = watching(&[("start", 1000.0, &[]), ("resume", 1060.0, &[])], true);
    assert_eq!(app.training.live().unwrap().left, None);
}

#[test]
fn keys_steer_the_chosen_run() {
    let mut app = watching(&[("start", 1000.0, &[])], true);
    assert_eq!(app.training.side, Side::Run);
    assert_eq!(asks(&mut app, "P"), control(TrainControl::Pause));
    // It was not seen to wait yet; the key means the other way all the same.
    assert_eq!(asks(&mut app, "P"), control(TrainControl::Resume));
    assert_eq!(asks(&mut app, "C"), control(TrainControl::Checkpoint));
    for (key, batch) in [("<", Some(4)), ("<", Some(2)), ("<", Some(1)), ("<", Some(1)), (">", Some(2)), (">", Some(4))]
    {
        assert_eq!(asks(&mut app, key), control(TrainControl::BatchCeiling { batch }));
    }
    assert_eq!(asks(&mut app, ">"), control(TrainControl::BatchCeiling { batch: None }));
    assert!(notice(&app).contains("8"), "{}", notice(&app));
    let asked = asks(&mut app, "A h i space q enter");
    let sample = TrainControl::Sample { prompt: "hi q".into(), max_tokens: 96 };
    assert_eq!(asked, control(sample));
    assert_eq!(asks(&mut app, "A esc"), []);
    assert_eq!(asks(&mut app, "Q"), []);
    assert!(notice(&app).starts_with("Q once more"), "{}", notice(&app));
    assert_eq!(asks(&mut app, "Q"), control(TrainControl::Stop));
    // Too late is not twice.
    assert_eq!(asks(&mut app, "Q"), []);
    update(&mut app, Msg::Tick(60.0));
    assert_eq!(asks(&mut app, "Q"), []);
}

#[test]
fn what_cannot_be_steered_says_why() {
    let mut app = watching(&[("start", 1000.0, &[])], false);
    assert_eq!(asks(&mut app, "P"), []);
    assert!(notice(&app).contains("No trainer is at work"), "{}", notice(&app));
    let mut app = watching(&[("start", 1000.0, &[])], true);
    app.training.steering.allowed = false;
    assert_eq!(asks(&mut app, "Q"), []);
    assert!(notice(&app).contains("only watches"), "{}", notice(&app));
    let mut app = self::app();
    app.training.steering.allowed = true;
    assert_eq!(asks(&mut app, "A"), []);
    assert!(notice(&app).contains("only be watched"), "{}", notice(&app));
}

#[test]
fn ctrl_c_in_the_window_of_a_trainer_saves_and_ends() {
    let mut app = watching(&[("start", 1000.0, &[])], true);
    app.training.steering.own = Some("runs/a".into());
    assert_eq!(asks(&mut app, "ctrl-c"), [TrainOp::Interrupt]);
    assert_eq!(update(&mut app, Msg::Key("ctrl-c".parse().unwrap())), [Effect::Quit]);
}

fn form() -> App {
    let field = |name, kind, value: &str| Field { name, about: String::new(), kind, value: value.into(), error: None };
    let mut app = App::new("none");
    let methods = ["auto", "sft", "orpo"].map(str::to_owned).to_vec();
    app.training.form.fields = vec![
        field("data", FieldKind::Needed, ""),
        field("model", FieldKind::Needed, "m"),
        field("method", FieldKind::Choice(methods), "auto"),
        field("max-steps", FieldKind::Count, "100"),
        field("learning-rate", FieldKind::Number, "1e-4"),
    ];
    app
}

fn errors(app: &App) -> Vec<(&str, &str)> {
    let fields = app.training.form.fields.iter();
    fields.filter_map(|field| Some((field.name, field.error.as_deref()?))).collect()
}

#[test]
fn a_form_is_filled_in_checked_and_started() {
    let mut app = form();
    for key in "/ t r a i n enter".split(' ') {
        update(&mut app, Msg::Key(key.parse().unwrap()));
    }
    assert_eq!(app.overlay, Some(Overlay::Form));
    // What is missing is said beside the field, which is then the chosen one.
    assert_eq!(asks(&mut app, "up enter"), []);
    assert_eq!((errors(&app), app.training.form.at), (vec![("data", "this must be filled in")], 0));
    keys(&mut app, "d . j tab");
    update(&mut app, Msg::Paste("odel\n".into()));
    assert!(errors(&app).is_empty());
    keys(&mut app, "tab o tab ctrl-u x down ctrl-u enter");
    assert_eq!(asks(&mut app, "enter"), []);
    let wrong = vec![
        ("max-steps", "this must be a whole number from 1 on"),
        ("learning-rate", "this must be a number, as 1e-4 or 0.05"),
    ];
    assert_eq!(errors(&app), wrong);
    let values = |op: &TrainOp| match op {
        TrainOp::Check(values) | TrainOp::Start(values) => {
            values.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    keys(&mut app, "ctrl-u 5 tab 1 e - 3 enter");
    let check = asks(&mut app, "enter");
    let want = "data=d.j model=model method=orpo max-steps=5 learning-rate=1e-3";
    assert!(matches!(check[..], [TrainOp::Check(_)]) && values(&check[0]) == want, "{check:?}");
    // While it is checked a second enter asks nothing.
    assert_eq!(asks(&mut app, "enter"), []);
    let said = |app: &mut App, said| drop(update(app, Msg::Train(said)));
    said(&mut app, TrainSaid::Plan(Err("--max-steps 5 is too few".into())));
    assert_eq!((errors(&app), app.training.form.at), (vec![("max-steps", "--max-steps 5 is too few")], 3));
    // What is typed first takes the place of a number.
    asks(&mut app, "6 down down enter");
    said(&mut app, TrainSaid::Plan(Err("cannot read d.j: no such file".into())));
    assert_eq!(errors(&app), [("data", "cannot read d.j: no such file")]);
    asks(&mut app, "up enter");
    said(&mut app, TrainSaid::Plan(Err("it is too hot".into())));
    assert_eq!(app.training.form.error.as_deref(), Some("it is too hot"));
    asks(&mut app, "enter");
    said(&mut app, TrainSaid::Plan(Ok("model  m\nfolder   runs/a\n".into())));
    assert!(matches!(app.training.form.state, FormState::Planned(_)));
    let start = asks(&mut app, "enter");
    let want = "data=d.j model=model method=orpo max-steps=6 learning-rate=1e-3 output-dir=runs/a";
    assert!(matches!(start[..], [TrainOp::Start(_)]) && values(&start[0]) == want, "{start:?}");
    let effects = update(&mut app, Msg::Train(TrainSaid::Started(Ok("runs/a".into()))));
    assert_eq!((effects, app.overlay.clone(), app.view), (vec![Effect::Train(TrainOp::Look)], None, View::Training));
    // It is chosen as soon as it is there.
    let runs = vec![ours("runs/0", &[]), ours("runs/a", &[])];
    update(&mut app, Msg::Runs(Runs { runs, loading: None }));
    assert_eq!(app.training.live().unwrap().folder, "runs/a");
}

#[test]
fn a_change_after_the_plan_makes_it_void_and_an_old_answer_is_none() {
    let mut app = form();
    app.training.form.fields[0].value = "d".into();
    app.view = View::Training;
    app.training.steering.allowed = true;
    asks(&mut app, "R up enter");
    update(&mut app, Msg::Train(TrainSaid::Plan(Ok("p".into()))));
    keys(&mut app, "down x");
    assert_eq!(
        (app.training.form.state.clone(), app.training.form.fields[0].value.as_str()),
        (FormState::Filling, "dx")
    );
    update(&mut app, Msg::Train(TrainSaid::Plan(Ok("late".into()))));
    assert_eq!(app.training.form.state, FormState::Filling);
    // It is kept as it was left.
    keys(&mut app, "esc R");
    assert_eq!(app.training.form.fields[0].value, "dx");
}

#[test]
fn where_no_run_can_be_started_that_is_said() {
    let mut app = App::new("none");
    app.view = View::Training;
    assert_eq!(asks(&mut app, "R"), []);
    assert!(app.overlay.is_none() && notice(&app).contains("bit-axon train"), "{}", notice(&app));
}
