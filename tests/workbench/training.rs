//! The view of training runs, with runs in it.

use std::sync::{Arc, Mutex};

use bit_axon::app::msg::Msg;
use bit_axon::app::training::{Runs, Shared};
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
