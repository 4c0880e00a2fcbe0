//! The view of training runs, with runs in it.

use std::sync::{Arc, Mutex};

use bit_axon::app::msg::{Msg, TrainSaid};
use bit_axon::app::training::{Field, FieldKind, Form, Runs, Shared, Side};
use bit_axon::metrics::alerts::{Alert, AlertKind};
use bit_axon::metrics::{Row, Run, State};

use super::driver::Driver;

const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 36), (200, 60)];

fn run(name: &str, seed: u32, steps: u32) -> Shared {
    let mut run = Run::new(name, "bit-axon");
    run.set("lr", format!("{seed}e-4"));
    run.set("method", "sft");
    run.goal = Some(1000.0);
    let mut id = |name: &str| run.series_id(name).unwrap();
    let (loss, held_out, lr, norm, rate) = (id("loss"), id("val_loss"), id("lr"), id("grad_norm"), id("tok_s"));
    let experts: Vec<_> = (0..8).map(|e| run.series_id(&format!("experts.0.{e}")).unwrap()).collect();
    let mut state = seed;
    for step in 0..steps {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
        let x = f64::from(step) / 1000.0;
        let value = 1.0 + f64::from(seed) * 0.2 + 3.0 / (1.0 + 8.0 * x) + 0.3 * noise;
        let mut points =
            vec![(loss, value), (lr, 1e-4 * (1.0 - x)), (norm, 1.0 + noise), (rate, 1500.0 + 100.0 * noise)];
        if step % 100 == 0 {
            points.push((held_out, value + 0.2));
        }
        points.extend(experts.iter().enumerate().map(|(e, id)| (*id, (e + 1) as f64 / 36.0 + 0.02 * noise)));
        let row = Row { step: Some(f64::from(step)), time: Some(1.7e9 + f64::from(step)), tokens: None };
        run.add(row, &points);
    }
    run.say(&format!("step {steps}: loss 1.23 \u{1b}[2J"));
    Arc::new(Mutex::new(run))
}

fn watched(columns: u16, rows: u16) -> Driver {
    let mut driver = Driver::opened(columns, rows);
    let runs = vec![run("sky", 1, 900), run("runs/deep/sea-of-trees", 3, 600), run("漢字", 5, 300)];
    runs[1].lock().unwrap().alerts.push(Alert {
        kind: AlertKind::Divergence,
        text: "loss rose to 4.2 from 1.6".into(),
        step: 590.0,
        active: true,
    });
    runs[2].lock().unwrap().state = State::Failed("CUDA out of memory".into());
    driver.send(Msg::Runs(Runs { runs, loading: None }));
    driver.keys("<f5>");
    driver
}

fn snapshot(name: &str, keys: &str) {
    for (columns, rows) in SIZES {
        let mut driver = watched(columns, rows);
        driver.keys(keys);
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}-{columns}x{rows}"), driver.text());
        });
    }
}

#[test]
fn charts_and_the_table() {
    snapshot("runs", "");
}

#[test]
fn a_crosshair_smoothing_and_a_part_of_the_axis() {
    snapshot("runs-zoomed", "<down>ss+<left><shift-left>y");
}

#[test]
fn a_chart_for_each_run() {
    snapshot("runs-grid", "g<down>");
}

#[test]
fn the_table_with_a_column_for_each_setting() {
    snapshot("runs-columns", "Too");
}

#[test]
fn a_metric_drawn_into_the_chart_of_another_and_kept_in_front() {
    snapshot("runs-joined", "nvNvF<enter>");
}

#[test]
fn a_large_chart_and_alerts() {
    snapshot("runs-alerts", "<enter>a");
}

#[test]
fn experts_and_console() {
    snapshot("runs-experts", "e");
    snapshot("runs-console", "t");
}

#[test]
fn filters_and_reading() {
    let mut driver = watched(80, 24);
    driver.keys("/sky");
    driver.send(Msg::Runs(Runs { runs: vec![run("sky", 1, 900)], loading: Some((30, 120)) }));
    let text = driver.text();
    assert!(text.contains("runs: sky") && text.contains("reading 25%"), "{text}");
    driver.keys("q<enter>");
    let text = driver.text();
    assert!(text.contains("No run fulfils the filter") || text.contains("No curve is left"), "{text}");
}

/// An event: its name, step, time, and settings of it.
type Happened = (&'static str, f64, f64, Vec<(&'static str, &'static str)>);

/// A run of ours that waited twice, saved, and was asked something.
fn own_run() -> Shared {
    let mut run = Run::new("sky-dora", "bit-axon");
    run.source = "runs/sky-dora/metrics.jsonl".into();
    run.goal = Some(400.0);
    run.set("batch_size", "8");
    run.set("max_steps", "400");
    let mut id = |name: &str| run.series_id(name).unwrap();
    let names = ["loss", "lr", "grad_norm", "tok_s", "batch", "accum", "temp_c", "epoch", "memory"];
    let ids = names.map(&mut id);
    let held_out = id("val_loss");
    let experts: Vec<_> = (0..12).map(|e| id(&format!("experts.{}.{}", e / 4, e % 4))).collect();
    let mut events: Vec<Happened> = vec![
        ("start", 0.0, 0.0, vec![("method", "sft"), ("adapter", "dora"), ("model", "small"), ("resumed", "false")]),
        ("pause", 90.0, 0.0, vec![("reason", "heat")]),
        ("resume", 90.0, 40.0, vec![("reason", "heat"), ("seconds", "40")]),
        ("batch", 90.0, 41.0, vec![("batch", "4"), ("accum", "4"), ("reason", "heat")]),
        ("evaluation", 120.0, 0.0, vec![("loss", "1.9321")]),
        ("checkpoint", 120.0, 1.0, vec![("path", "checkpoints/step-00000120"), ("best", "true")]),
        ("sample", 130.0, 0.0, vec![("prompt", "Why is the sky \u{1b}[31mblue?"), ("text", "Because of the light.")]),
        (
            "sample",
            150.0,
            0.0,
            vec![
                ("prompt", "And at night?"),
                (
                    "text",
                    "Then there is none, and 漢字 are as wide as ever: the sun is on the other side of the earth.",
                ),
            ],
        ),
        ("pause", 160.0, 0.0, vec![("reason", "asked")]),
    ];
    let mut time = 1.7e9;
    let mut state = 7u32;
    for step in 0..=160u32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 8) / f64::from(1 << 24) - 0.5;
        let x = f64::from(step);
        time += 1.0;
        let hot = (60..90).contains(&step);
        let values = [
            1.5 + 3.0 / (1.0 + x / 30.0) + 0.3 * noise,
            1e-4 * (x / 40.0).min(1.0),
            1.0 + noise,
            1500.0 + 100.0 * noise,
            if step < 90 { 8.0 } else { 4.0 },
            if step < 90 { 2.0 } else { 4.0 },
            if hot { 70.0 + (x - 60.0) / 2.0 } else { 68.0 + noise },
            0.0,
            1.2e9 + 1e6 * x,
        ];
        let mut points: Vec<_> = ids.into_iter().zip(values).collect();
        points.extend(experts.iter().enumerate().map(|(e, id)| (*id, (e % 4 + 1) as f64 / 10.0 + 0.02 * noise)));
        if step == 120 {
            points.push((held_out, 1.9321));
        }
        run.add(Row { step: Some(x), time: Some(time), tokens: Some(512.0 * x) }, &points);
        while let Some((kind, at, after, fields)) = events.first().filter(|(_, at, ..)| *at <= x) {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            run.happen_with(Some(*at), Some(time + after), kind, String::new(), fields);
            if *kind == "resume" {
                time += after;
            }
            events.remove(0);
        }
    }
    Arc::new(Mutex::new(run))
}

/// The window of a trainer.
fn own(columns: u16, rows: u16) -> Driver {
    let mut driver = Driver::opened(columns, rows);
    let t = &mut driver.app.training;
    (t.steering.allowed, t.steering.own) = (true, Some("runs/sky-dora".into()));
    (t.axis, t.smoothing, t.side) = (bit_axon::metrics::Axis::Relative, 4, Side::Run);
    driver.send(Msg::Runs(Runs { runs: vec![own_run()], loading: None }));
    driver.send(Msg::Train(TrainSaid::Alive(vec!["runs/sky-dora".into()])));
    driver.keys("<f5>");
    driver
}

fn snapshots(name: &str, draw: impl Fn(u16, u16) -> Driver) {
    for (columns, rows) in SIZES {
        let text = draw(columns, rows).text();
        assert!(!text.contains('\x1b'), "{text}");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{name}-{columns}x{rows}"), text);
        });
    }
}

#[test]
fn a_run_in_its_own_window() {
    snapshots("own-run", own);
}

#[test]
fn a_question_lies_over_the_run() {
    let mut driver = own(120, 36);
    driver.keys("AWhy?");
    let text = driver.text();
    assert!(text.contains("ask the newest weights") && text.contains("Why?"), "{text}");
}

/// The form, as the program fills it in.
fn form(columns: u16, rows: u16) -> Driver {
    let mut driver = Driver::opened(columns, rows);
    let field = |name, kind, value: &str| {
        let about = format!("what {name} is, in a line that is rather long so that it may have to be cut");
        Field { name, about, kind, value: value.into(), error: None }
    };
    let choices = |names: &[&str]| FieldKind::Choice(names.iter().map(|name| (*name).to_owned()).collect());
    driver.app.training.form = Form::new(vec![
        field("data", FieldKind::Needed, ""),
        field("model", FieldKind::Needed, "models/mine"),
        field("method", choices(&["auto", "sft", "orpo", "pretrain"]), "auto"),
        field("adapter", choices(&["auto", "dora", "lora", "full"]), "auto"),
        field("max-steps", FieldKind::Count, "10000"),
        field("batch-size", FieldKind::Count, "1"),
        field("learning-rate", FieldKind::Number, "1e-4"),
        field("output-dir", FieldKind::Text, ""),
    ]);
    driver.keys("/train<enter>");
    driver
}

#[test]
fn the_form_and_what_is_wrong_in_it() {
    snapshots("form", |columns, rows| {
        let mut driver = form(columns, rows);
        driver.keys("<down><down><down><down>x<up><up><up><up><up><enter>");
        driver
    });
}

#[test]
fn the_form_and_what_would_be_done() {
    snapshots("form-planned", |columns, rows| {
        let mut driver = form(columns, rows);
        driver.keys("deep/in/a/folder/with/a/rather/long/name/that/is/cut/somewhere/chats.jsonl<up><enter>");
        let plan = "model       mine\nmethod      sft, dora\nfolder      runs/chats-dora\ndata        chats.jsonl (400 \
                    rows)\nsteps       10000 of 4 sequences (1 x 4)\n            a part 1 x 2\nmemory      about 36 MB\n";
        driver.send(Msg::Train(TrainSaid::Plan(Ok(plan.into()))));
        driver
    });
}
