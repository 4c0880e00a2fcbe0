use super::super::msg::Msg;
use super::super::state::{App, View};
use super::super::update;
use super::*;
use crate::metrics::Row;

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
