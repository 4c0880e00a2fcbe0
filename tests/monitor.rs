//! Logs that were written by the libraries themselves (`tests/fixtures/monitor/make.py`), and the command that
//! reads them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/monitor").join(name)
}

fn monitor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bit-axon")).arg("monitor").args(args).stdin(Stdio::null()).output().unwrap()
}

fn json(path: &Path) -> Vec<Value> {
    let out = monitor(&[path.to_str().unwrap(), "--once", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut all: Value = serde_json::from_slice(&out.stdout).unwrap();
    match all["runs"].take() {
        Value::Array(runs) => runs,
        other => panic!("{other}"),
    }
}

fn points(run: &Value, metric: &str) -> Vec<(f64, f64)> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let all = run["metrics"][metric].as_array().unwrap_or_else(|| panic!("no {metric} in {run}"));
    all.iter().map(|pair| (number(&pair[0]), number(&pair[1]))).collect()
}

/// The loss that `make.py` logs.
fn assert_losses(run: &Value, metric: &str) {
    let found = points(run, metric);
    assert_eq!(found.len(), 50, "{metric}");
    for (i, (step, loss)) in found.iter().enumerate() {
        let want = 4.0 / (1.0 + (i + 1) as f64 / 10.0);
        assert_eq!(*step, (i + 1) as f64);
        assert!((loss - want).abs() < want * 1e-6, "{metric} {step}: {loss} {want}");
    }
}

#[test]
fn event_files_of_tensorboardx_and_of_torch() {
    let runs = json(&fixture("tensorboardx"));
    assert_eq!((runs.len(), &runs[0]["format"], &runs[0]["name"]), (1, &"tensorboard".into(), &"tensorboardx".into()));
    assert_losses(&runs[0], "train/loss");
    assert_eq!(points(&runs[0], "train/lr").len(), 50);
    let runs = json(&fixture("torch_board"));
    assert_losses(&runs[0], "loss");
    assert_losses(&runs[0], "new_style");
    // The settings that were logged with it can be asked for.
    let path = fixture("torch_board");
    for (filter, lines) in [("lr<=1e-3 model:tiny", 2), ("lr>1", 0)] {
        let out = monitor(&[path.to_str().unwrap(), "--once", "--metric", "loss", "--filter", filter]);
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("loss")).count(), lines, "{text}");
    }
}

#[test]
fn an_offline_run_of_wandb() {
    let runs = json(&fixture("wandb"));
    assert_eq!((&runs[0]["format"], &runs[0]["name"]), (&"wandb".into(), &"brave-dawn-3".into()));
    assert_losses(&runs[0], "train/loss");
    assert_eq!(points(&runs[0], "nested.a")[4], (5.0, 10.0));
    let bad = points(&runs[0], "bad");
    assert_eq!(bad.iter().filter(|(_, y)| y.is_nan()).map(|(x, _)| *x).collect::<Vec<_>>(), [7.0]);
}

#[test]
fn what_hugging_faces_trainer_prints_and_keeps() {
    let state = json(&fixture("hf/out"));
    assert_eq!((state.len(), &state[0]["format"]), (1, &"trainer-state".into()));
    let kept = points(&state[0], "loss");
    assert_eq!(kept.iter().map(|(step, _)| *step as u32).collect::<Vec<_>>(), [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
    let bars = json(&fixture("hf/bars.log"));
    assert_eq!(&bars[0]["format"], "hf-trainer");
    let printed = points(&bars[0], "loss");
    assert_eq!(printed.len(), kept.len());
    for ((step, loss), (kept_step, kept_loss)) in printed.iter().zip(&kept) {
        assert_eq!(step, kept_step, "{printed:?}");
        assert!((loss - kept_loss).abs() < kept_loss.abs() * 1e-2 + 1e-3, "{loss} {kept_loss}");
    }
    assert_eq!(points(&bars[0], "eval_loss").iter().map(|(step, _)| *step).collect::<Vec<_>>(), [20.0, 40.0, 50.0]);
    // Without a bar nothing says the step: they are counted.
    let plain = json(&fixture("hf/plain.log"));
    assert_eq!(points(&plain[0], "loss").iter().map(|(step, _)| *step).collect::<Vec<_>>()[..3], [1.0, 2.0, 3.0]);
}

#[test]
fn the_table_of_mlx_lm() {
    let runs = json(&fixture("mlx/train.log"));
    assert_eq!(&runs[0]["format"], "mlx-lm");
    let loss = points(&runs[0], "train_loss");
    assert_eq!(loss.iter().map(|(step, _)| *step as u32).collect::<Vec<_>>(), [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
    assert!(loss.iter().all(|(_, loss)| *loss > 0.0));
    let held_out = points(&runs[0], "val_loss");
    assert_eq!(held_out.iter().map(|(step, _)| *step as u32).collect::<Vec<_>>(), [1, 20, 40, 50]);
    assert!(points(&runs[0], "tok/s").iter().any(|(_, rate)| *rate > 10_000.0));
}

#[test]
fn the_table_of_lightning() {
    let runs = json(&fixture("lightning/metrics.csv"));
    assert_eq!(&runs[0]["format"], "csv");
    let loss = points(&runs[0], "train_loss");
    assert_eq!((loss.len(), loss[0].0, loss[29].0), (30, 0.0, 29.0));
    assert_eq!(points(&runs[0], "val_loss").len(), 3);
}

#[test]
fn a_folder_of_all_of_them() {
    let runs = json(&fixture(""));
    let formats: Vec<&str> = runs.iter().map(|run| run["format"].as_str().unwrap()).collect();
    for format in ["csv", "hf-trainer", "mlx-lm", "tensorboard", "trainer-state", "wandb"] {
        assert!(formats.contains(&format), "{format} in {formats:?}");
    }
}

#[test]
fn a_summary_has_a_line_a_metric() {
    let out = monitor(&[fixture("wandb").to_str().unwrap(), "--once"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with("brave-dawn-3  wandb: step 50"), "{text}");
    let loss = text.lines().find(|line| line.contains("train/loss")).unwrap();
    assert!(loss.contains("0.6667") && loss.contains('█') && loss.contains('▁'), "{loss}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_pipe_is_read_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_bit-axon"))
        .args(["monitor", "-", "--once", "--json", "--tee", copy.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "iter 0: loss 4.5\r\niter 1: loss 4.25\nthe end";
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(all["runs"][0]["metrics"]["loss"], serde_json::json!([[0, 4.5], [1, 4.25]]));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
}

#[test]
fn charts_and_tables_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture("tensorboardx");
    for (name, begin, hold) in [("x.csv", "run,metric,step", "train/loss,50,,1700000050,"), ("x.svg", "<svg", "</svg>")]
    {
        let file = dir.path().join(name);
        let out = monitor(&[path.to_str().unwrap(), "--export", file.to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(begin) && text.contains(hold), "{text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn what_cannot_be_read_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "nothing that counts\n").unwrap();
    let garbage = dir.path().join("garbage.bin");
    std::fs::write(&garbage, (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect::<Vec<_>>())
        .unwrap();
    for (args, code, wanted) in [
        (vec!["/nothing/here", "--once"], 1, "/nothing/here"),
        (vec![notes.to_str().unwrap(), "--once"], 1, "no metric was found"),
        (vec![garbage.to_str().unwrap(), "--once"], 1, "no metric was found"),
        (vec![dir.path().to_str().unwrap(), "--once"], 1, "--format"),
        (vec![notes.to_str().unwrap(), "--once", "--format", "xml"], 2, "trainer-state"),
        (vec![notes.to_str().unwrap(), "--once", "--filter", ">3"], 2, "lacks a name"),
        (vec![notes.to_str().unwrap(), "--export", "x.png"], 2, ".csv or .svg"),
        (vec![notes.to_str().unwrap(), "--once", "--tee", "x"], 2, "--tee"),
    ] {
        let out = monitor(&args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
}
