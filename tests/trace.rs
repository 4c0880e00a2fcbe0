//! `trace` of the real program against logits and routing that were computed in float64.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn trace(model: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
    command.arg("trace").arg("--model").arg(fixture(model)).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A tensor as numbers, whatever integers or floats it holds.
fn numbers(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let data = tensor.data();
    match tensor.dtype() {
        safetensors::Dtype::F32 => data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        safetensors::Dtype::F64 => data.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        safetensors::Dtype::I32 => data.chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        safetensors::Dtype::I64 => data.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        other => panic!("{name} holds {other:?}"),
    }
}

#[test]
fn routing_and_logits_are_those_of_the_formulas() {
    for model in ["tiny", "tiny_q", "odd", "untied"] {
        let bytes = std::fs::read(fixture(model).join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let ids: Vec<String> = numbers(&expected, "input_ids").iter().map(f64::to_string).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits.safetensors");
        let lines = text(&trace(model, &["--ids", &ids.join(","), "--logits", path.to_str().unwrap()]));
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), ids.len());
        for (pos, line) in lines.iter().enumerate() {
            assert_eq!((line["pos"].as_u64(), &line["text"]), (Some(pos as u64), &Value::Null));
            assert!(!line["layers"].as_array().unwrap().is_empty());
            for layer in line["layers"].as_array().unwrap() {
                let experts: Vec<f64> =
                    layer["experts"].as_array().unwrap().iter().map(|e| e.as_f64().unwrap()).collect();
                let want = numbers(&expected, &format!("routing.{}.experts", layer["layer"]));
                let k = experts.len();
                assert_eq!(experts, want[pos * k..(pos + 1) * k], "{model} {pos} {layer}");
                let weights = numbers(&expected, &format!("routing.{}.scores", layer["layer"]));
                for (weight, want) in layer["weights"].as_array().unwrap().iter().zip(&weights[pos * k..]) {
                    assert!((weight.as_f64().unwrap() - want).abs() < 1e-4, "{model} {pos} {layer}");
                }
            }
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = numbers(&SafeTensors::deserialize(&bytes).unwrap(), "logits");
        let want = numbers(&expected, "logits");
        let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let worst = found.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(found.len() == want.len() && worst <= 1e-4 * largest, "{model}: {worst} of {largest}");
    }
}

#[test]
fn csv_is_one_row_an_activation() {
    let rows = text(&trace("tiny", &["--ids", "1,2,3", "--csv"]));
    let mut rows = rows.lines();
    assert_eq!(rows.next(), Some("pos,layer,expert,weight"));
    // Four of six layers route, to two experts each.
    assert_eq!(rows.count(), 3 * 4 * 2);
}

#[test]
fn wrong_calls_and_impossible_inputs_are_told_apart() {
    for args in [&["--ids", "1,x"][..], &[], &["--ids", "1", "--prompt", "a"], &["--ids", "-1"], &["--prompt", ""]] {
        assert_eq!(trace("tiny", args).status.code(), Some(2), "{args:?}");
    }
    for (args, want) in [
        (&["--ids", "4000000000"][..], "4000000000"),
        (&["--prompt", "text"], "tokenizer.json"),
        (&["--ids", "1", "--logits", "no/such/folder/x.safetensors"], "no/such/folder"),
        (&["--file", "no-such-file.txt"], "no-such-file.txt"),
    ] {
        let output = trace("tiny", args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(want), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let nowhere = trace("no-such-model", &["--ids", "1"]);
    assert_eq!(nowhere.status.code(), Some(1));
}
