//! What cannot be done is said by the real program before it is begun, with the numbers, and leaves
//! nothing behind. Damaged files have a test of their own: bad_checkpoints.rs.

mod backends;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bit_axon::model::config::Config;
use bit_axon::model::tensors::tensors;
use serde_json::{Map, Value, json};

fn bit_axon(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    bit_axon(args).output().unwrap()
}

/// Standard error of a command that must fail with code 1, and print nothing else.
fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
    assert!(output.stdout.is_empty(), "{command:?}");
    said
}

fn works(args: &[&str]) -> String {
    let output = output(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A small model with a tokenizer, with `settings` changed.
fn model(dir: &Path, format: &str, settings: &[(&str, Value)]) -> String {
    let model = dir.join("model").display().to_string();
    works(&["init", "--preset", "small", "--format", format, "--out", &model]);
    let path = dir.join("model/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in settings {
        config[key] = value.clone();
    }
    fs::write(path, config.to_string()).unwrap();
    model
}

/// A folder whose weights claim terabytes: the file is nothing but a header and a hole.
fn enormous(dir: &Path) -> PathBuf {
    let config = Config { hidden_dim: 16384, moe_intermediate_dim: 32768, ..Config::preset("3b").unwrap() };
    let (mut header, mut end) = (Map::new(), 0u64);
    for t in tensors(&config.spec()).iter().filter(|t| t.required) {
        let next = end + 4 * t.len() as u64;
        header.insert(t.name.clone(), json!({ "dtype": "F32", "shape": t.shape, "data_offsets": [end, next] }));
        end = next;
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
    fs::write(dir.join("config.json"), serde_json::to_string(&config).unwrap()).unwrap();
    dir.to_owned()
}

// Files with holes are not sparse on every system: there this would really take a terabyte.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_will_not_fit_is_said_before_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let model = enormous(dir.path()).display().to_string();
    for args in [&["run", "Hi"][..], &["trace", "--ids", "1"], &["bench"]] {
        let said = failure(bit_axon(args).args(["--model", &model]));
        let first = said.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(first.contains("GB of memory, but only") && first.contains("quantize"), "{said}");
    }
    // Looking at it takes no memory.
    assert!(works(&["inspect", &model]).contains("1.0 TB"));
}

#[test]
fn a_prompt_beyond_the_context_is_refused_with_the_numbers_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), "affine4", &[("max_seq_len", 32.into())]);
    let long = "x".repeat(100);
    let run = ["run", &long, "--raw", "--model", &model, "--max-tokens", "4"];
    let said = failure(&mut bit_axon(&run));
    assert!(said.contains("100 tokens") && said.contains("holds 32") && said.contains("--truncate"), "{said}");
    let output = bit_axon(&run).arg("--truncate").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("oldest 72 tokens"), "{said}");
    let said = failure(&mut bit_axon(&["trace", "--prompt", &long, "--model", &model]));
    assert!(said.contains("100 tokens") && said.contains("at most 32"), "{said}");
}

#[test]
fn weights_that_are_not_numbers_are_refused_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), "f16", &[]);
    let weights = dir.path().join("model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[header..].chunks_exact_mut(2) {
        value.copy_from_slice(&half::f16::NAN.to_le_bytes());
    }
    fs::write(&weights, bytes).unwrap();
    let data = dir.path().join("data.jsonl");
    fs::write(&data, "{\"text\": \"abc\"}\n").unwrap();
    let out = dir.path().join("out").display().to_string();
    for args in [
        &["run", "Hi", "--model", &model][..],
        &["trace", "--ids", "1", "--model", &model],
        &["eval", "--data", data.to_str().unwrap(), "--model", &model],
        &["bench", "--model", &model],
        &["quantize", &model, "--format", "nf4", "--out", &out],
    ] {
        let said = failure(&mut bit_axon(args));
        assert!(said.contains("embed_tokens.weight") && said.contains("not a number"), "{said}");
    }
    assert!(!Path::new(&out).exists());
}

/// The shell limits how large a file may grow, as a full disk does.
#[cfg(unix)]
#[test]
fn logits_that_find_no_room_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), "affine4", &[]);
    let long = "x".repeat(2000);
    let script =
        "trap '' XFSZ; ulimit -f 2000; exec \"$0\" trace --model \"$1\" --prompt \"$2\" --logits here.safetensors";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bit-axon"), &model, &long]).current_dir(dir.path());
    let output = command.stdout(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("here.safetensors"), "{said}");
    let names: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["model"]);
}

#[test]
fn an_unknown_instruction_set_is_named_beside_those_there_are() {
    for (level, ok) in [("scalar", true), ("mmx", false), ("", true)] {
        let mut command = bit_axon(&["run", "Hi", "--max-tokens", "2", "--backend", "cpu"]);
        let output = command.env("BIT_AXON_SIMD", level).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), ok, "{said}");
        assert!(said.contains(level) && (said.contains("scalar") || level.is_empty()), "{said}");
    }
}

#[test]
fn every_format_that_init_writes_can_be_run() {
    for format in ["f32", "f16", "affine4", "nf4"] {
        let dir = tempfile::tempdir().unwrap();
        let model = model(dir.path(), format, &[]);
        if backends::on_mlx() && format == "nf4" {
            let said = failure(&mut bit_axon(&["run", "Hi", "--model", &model]));
            assert!(said.contains("NF4") && said.contains("--backend cpu"), "{said}");
            continue;
        }
        for args in [&["--seed", "1", "--json"][..], &["--seed", "1", "--json", "--exact", "--threads", "1"]] {
            let lines = works(&[&["run", "Hi", "--model", &model, "--max-tokens", "3"], args].concat());
            let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
            assert_eq!(last["type"], "summary", "{format}");
            // The byte tokenizer has 259 of the model's 1024 tokens: the others are never chosen.
            for line in lines.lines().filter(|line| line.contains("\"token\"")) {
                let token: Value = serde_json::from_str(line).unwrap();
                assert!(token["id"].as_u64().unwrap() < 259, "{format}: {line}");
            }
        }
    }
}
