//! `eval` of the real program on a model that it makes itself, against the logits that `trace` writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn bit_axon(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bit-axon")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// A model with random weights, a tokenizer and a chat template.
fn model(dir: &Path) -> PathBuf {
    let model = dir.join("model");
    stdout(&bit_axon(&["init", "--preset", "small", "--out", model.to_str().unwrap(), "--seed", "7"]));
    model
}

fn eval(model: &Path, data: &str, args: &[&str]) -> Output {
    let file = model.with_file_name("data.jsonl");
    std::fs::write(&file, data).unwrap();
    let start = ["eval", "--model", model.to_str().unwrap(), "--data", file.to_str().unwrap()];
    bit_axon(&[&start, args].concat())
}

/// Mean loss of a text, from the logits that `trace` writes.
fn loss_by_trace(model: &Path, text: &str) -> f64 {
    let path = model.with_file_name("logits.safetensors");
    let (folder, file) = (model.to_str().unwrap(), path.to_str().unwrap());
    let traced = bit_axon(&["trace", "--model", folder, "--prompt", text, "--logits", file]);
    let token = |line: &str| serde_json::from_str::<Value>(line).unwrap()["token"].as_u64().unwrap() as usize;
    let ids: Vec<usize> = stdout(&traced).lines().map(token).collect();
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("logits").unwrap();
    let values: Vec<f64> = logits.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect();
    let rows = values.chunks(logits.shape()[1]).zip(&ids[1..]);
    let losses = rows.map(|(row, label)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[*label]);
    losses.sum::<f64>() / (ids.len() - 1) as f64
}

#[test]
fn losses_follow_from_the_logits_and_only_the_assistant_counts_in_chats() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let text = "The sea, the sea: Grüße!";
    let report: Value = serde_json::from_str(stdout(&eval(&model, &format!("{{\"text\": \"{text}\"}}"), &[]))).unwrap();
    let (loss, want) = (report["loss"].as_f64().unwrap(), loss_by_trace(&model, text));
    assert!((loss - want).abs() < 1e-5, "{loss} {want}");
    assert!((report["perplexity"].as_f64().unwrap() / loss.exp() - 1.0).abs() < 1e-9);
    assert_eq!(report["tokens"], text.len() - 1);

    let chat = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}"#;
    let data = format!("{chat}\nnot json\n{{\"text\": \"ab\"}}\n");
    let output = eval(&model, &data, &["--fast"]);
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    // Six bytes and the end token; then one byte after the first.
    assert_eq!((&report["tokens"], &report["examples"], &report["skipped"]), (&8.into(), &2.into(), &1.into()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("data.jsonl:2: skipped: it is not valid JSON"), "{told}");
}

#[test]
fn data_that_is_of_no_use_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    for (data, args, want) in [
        ("", &[][..], "no example"),
        ("a\nb\nc\n", &["--max-bad-lines", "2"], "more than 2 lines"),
        ("{\"text\": \"abc\"}\n\u{1b}[2J\n", &["--max-bad-lines", "0"], "more than 0 lines"),
    ] {
        let output = eval(&model, data, args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(want), "{said}");
        assert!(output.stdout.is_empty() && !said.contains('\u{1b}'));
    }
    let missing = bit_axon(&["eval", "--model", model.to_str().unwrap(), "--data", "no-such.jsonl"]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("no-such.jsonl"));
    assert_eq!(bit_axon(&["eval", "--data", "x"]).status.code(), Some(2));
}
