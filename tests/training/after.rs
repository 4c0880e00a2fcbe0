//! What comes after training: adapters at run time, merging, and evaluation.

use std::fs;

use bit_axon::model::checkpoint::Checkpoint;
use serde_json::Value;

use super::{Place, SHORT};

/// A place with a run that is done, on all adapters' targets.
fn trained(adapter: &str) -> Place {
    let place = Place::new();
    place.works(&format!(
        "train data.jsonl --model model --adapter {adapter} --lora-experts --max-steps 12 --output-dir runs/a {SHORT}"
    ));
    place
}

fn report(place: &Place, args: &str) -> Value {
    serde_json::from_str(&place.works(args)).unwrap()
}

fn loss(place: &Place, args: &str) -> f64 {
    report(place, &format!("eval --data data.jsonl {args}"))["loss"].as_f64().unwrap()
}

/// Logits of a prompt, as the real program writes them.
fn logits(place: &Place, args: &str) -> Vec<f32> {
    let file = place.path("logits.safetensors");
    place.works(&format!("trace --ids 1,20,7,200,3,90,41,5 --logits logits.safetensors {args}"));
    let bytes = Checkpoint::open(&file).unwrap().tensor("logits").unwrap().bytes.to_vec();
    fs::remove_file(file).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// Differences over the size of the numbers.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, |most: f32, v| most.max(v.abs()));
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut a.iter().copied())
}

#[test]
fn a_merged_model_and_an_adapted_one_give_the_same_logits() {
    for adapter in ["dora", "lora"] {
        let place = trained(adapter);
        place.works("merge runs/a --out merged");
        let base = logits(&place, "--model model");
        let adapted = logits(&place, "--adapter runs/a");
        let merged = logits(&place, "--model merged");
        assert!(apart(&base, &adapted) > 0.05, "{adapter}: training changed nothing");
        assert!(apart(&adapted, &merged) < 1e-4, "{adapter}: {}", apart(&adapted, &merged));
        // The folder goes where it likes, once it is told where the base is.
        fs::rename(place.path("model"), place.path("moved")).unwrap();
        let said = place.fails(1, "trace --ids 1 --adapter runs/a");
        assert!(said.contains("model"), "{said}");
        assert_eq!(logits(&place, "--adapter runs/a/adapter/adapters.safetensors --model moved"), adapted);
    }
}

#[test]
fn every_command_that_runs_a_model_takes_an_adapter() {
    let place = trained("dora");
    let (base, adapted) = (loss(&place, "--model model"), loss(&place, "--adapter runs/a"));
    assert!(adapted < base - 0.2, "{base} {adapted}");
    let ask = |args: &str| place.works(&format!("run --raw sa --temperature 0 --max-tokens 8 {args}"));
    assert_ne!(ask("--model model"), ask("--adapter runs/a"));
    // A checkpoint, and a run that is not done.
    let checkpoint = place.path("runs/a/checkpoints").join(&place.checkpoints("runs/a")[0]);
    assert_eq!(ask(&format!("--adapter {}", checkpoint.display())), ask("--adapter runs/a"));
    fs::remove_dir_all(place.path("runs/a/adapter")).unwrap();
    let output = place.output("eval --data data.jsonl --adapter runs/a");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("is not done: using its checkpoint of step 12"), "{said}");
    let help = place.works("chat --help");
    assert!(help.contains("--adapter"), "{help}");
}

#[test]
fn merging_tells_the_losses_and_can_store_in_any_format() {
    let place = trained("dora");
    let summary = report(&place, "merge runs/a --out merged --data data.jsonl --json");
    let at = |key: &str| summary["loss"][key]["loss"].as_f64().unwrap();
    assert!((at("base") - loss(&place, "--model model")).abs() < 1e-9);
    assert!((at("adapted") - loss(&place, "--adapter runs/a")).abs() < 1e-9);
    assert!((at("merged") - at("adapted")).abs() < 1e-4 && at("adapted") < at("base") - 0.2, "{summary}");
    assert!(summary["merged"].as_u64().unwrap() > 10 && summary["copied"].as_u64().unwrap() > 10, "{summary}");

    let said = place.works("merge runs/a --out merged16 --format f16 --data data.jsonl");
    for part in ["adapter", "dora, rank 8, scale 20", "loss", "adapted", "merged16: "] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert!((loss(&place, "--model merged16") - at("adapted")).abs() < 0.01);
    // Nothing is overwritten unasked.
    assert!(place.fails(1, "merge runs/a --out merged").contains("--force"));
    place.works("merge runs/a --out merged --force");
}

#[test]
fn a_base_in_four_bits_is_merged_in_its_own_format_or_another() {
    let place = Place::new();
    // Wide enough for groups.
    place.works("init --preset small --out wide --seed 3");
    // MLX has no NF4.
    let on_mlx = std::env::var("BIT_AXON_BACKEND").is_ok_and(|backend| backend == "mlx");
    for format in ["affine4", "nf4"].into_iter().filter(|format| !on_mlx || *format != "nf4") {
        let (base, run) = (format!("wide-{format}"), format!("runs/{format}"));
        place.works(&format!("quantize wide --format {format} --out {base}"));
        place.works(&format!("train data.jsonl --model {base} --max-steps 6 --output-dir {run} {SHORT}"));
        let adapted = logits(&place, &format!("--adapter {run}"));
        place.works(&format!("merge {run} --format f32 --out whole-{format}"));
        let whole = logits(&place, &format!("--model whole-{format}"));
        assert!(apart(&adapted, &whole) < 1e-4, "{format}: {}", apart(&adapted, &whole));

        place.works(&format!("merge {run} --out again-{format}"));
        let (before, after) = (place.path(&base), place.path(&format!("again-{format}")));
        let (before, after) = (Checkpoint::open(&before).unwrap(), Checkpoint::open(&after).unwrap());
        let shapes = |all: &Checkpoint| {
            let mut all: Vec<_> = all.tensors().map(|t| (t.name.to_owned(), t.dtype, t.shape.to_vec())).collect();
            all.sort();
            all
        };
        assert_eq!(shapes(&before), shapes(&after));
        // What has no adapter is the same to the bit, codes and scales; what has one changed.
        for name in ["layer_1.moe.switch_mlp.up_proj.weight", "lm_head.weight", "embed_tokens.weight"] {
            assert!(before.info(name).unwrap().data == after.info(name).unwrap().data, "{format} {name}");
        }
        assert!(before.info("input_proj.weight").unwrap().data != after.info("input_proj.weight").unwrap().data);
        let (whole, again) =
            (loss(&place, &format!("--model whole-{format}")), loss(&place, &format!("--model again-{format}")));
        let base = loss(&place, &format!("--model {base}"));
        assert!((again - whole).abs() < 0.3 * (base - whole), "{format}: {base} {whole} {again}");
    }
}

#[test]
fn adapters_that_do_not_fit_and_what_is_none_are_refused_with_advice() {
    let place = trained("dora");
    super::model(&place.path("other"), 5, 32);
    for command in ["trace --ids 1", "eval --data data.jsonl", "run hello", "merge runs/a --out x"] {
        let adapter = if command.starts_with("merge") { "" } else { "--adapter runs/a" };
        let said = place.fails(1, &format!("{command} {adapter} --model other"));
        for part in ["does not fit this model", "it was trained on", "--model"] {
            assert!(said.contains(part), "{command}: {said} lacks {part}");
        }
    }
    assert!(!place.path("x").exists());
    let whole = "--adapter full --backend cpu --max-steps 2 --output-dir runs/full";
    place.works(&format!("train data.jsonl --model model {whole} {SHORT}"));
    let cases = [
        ("runs/full", "is a whole model, not an adapter"),
        ("model", "is a whole model, not an adapter"),
        ("data.jsonl", "is no adapter"),
        ("runs", "holds no adapter"),
        ("nowhere", "cannot open the adapter nowhere"),
        ("model/model.safetensors", "adapter_config.json"),
    ];
    for (adapter, want) in cases {
        let said = place.fails(1, &format!("trace --ids 1 --model model --adapter {adapter}"));
        assert!(said.contains(want), "{adapter}: {said} lacks {want}");
    }
    // A file that was cut short.
    let file = place.path("runs/a/adapter/adapters.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let said = place.fails(1, "merge runs/a --out x");
    assert!(said.contains("adapters.safetensors cannot be used"), "{said}");
    assert!(place.fails(2, "eval --data data.jsonl").contains("--model"));
}

#[test]
fn preferences_are_evaluated_by_how_often_the_chosen_wins() {
    let place = Place::new();
    let pair = |i: usize| format!("{{\"prompt\":\"q{i}\",\"chosen\":\"yes\",\"rejected\":\"no\"}}\n");
    place.write("pairs.jsonl", &(0..6).map(pair).collect::<String>());
    let found = report(&place, "eval --model model --data pairs.jsonl");
    assert_eq!((found["pairs"].as_u64(), found["tokens"].as_u64()), (Some(6), Some(24)), "{found}");
    let share = found["preferred"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&share));
    // Exchanged, the others win.
    let text = fs::read_to_string(place.path("pairs.jsonl")).unwrap();
    place.write("swapped.jsonl", &text.replace("yes", "x").replace("no", "yes").replace(":\"x\"", ":\"no\""));
    let swapped = report(&place, "eval --model model --data swapped.jsonl")["preferred"].as_f64().unwrap();
    assert!((share + swapped - 1.0).abs() < 1e-9, "{share} {swapped}");
}
