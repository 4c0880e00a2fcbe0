//! `pipeline`: all stages in one go, and going on after a kill.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::Place;

/// A place with answers, preferences, and a file of settings for few steps.
fn place() -> Place {
    let place = Place::new();
    // Wide enough for groups of 4-bit weights.
    super::model(&place.path("wide"), 1, 64);
    let pair = |i: usize| json!({"prompt": format!("say {}", i % 7), "chosen": format!("{} it is", i % 7), "rejected": "no idea"});
    let lines = |from: usize, to: usize| (from..to).map(|i| format!("{}\n", pair(i))).collect::<String>();
    place.write("pairs.jsonl", &lines(0, 28));
    place.write("held-pairs.jsonl", &lines(28, 42));
    let short = "max_seq_len = 48\nbatch_size = 2\ngrad_accum_steps = 1\nlearning_rate = 1e-2\nsensor = \"none\"\nthreads = 1\n";
    place.write(
        "pipeline.toml",
        &format!(
            "model = \"wide\"\neval = [\"data.jsonl\", \"held-pairs.jsonl\"]\n\
             [sft]\ndata = \"data.jsonl\"\nmax_steps = 20\nsave_every = 5\nlora_rank = 4\n{short}\
             [orpo]\ndata = \"pairs.jsonl\"\nmax_steps = 16\nsave_every = 4\n{short}"
        ),
    );
    place
}

fn evaluated(place: &Place, folder: &str) -> Vec<Value> {
    let text = fs::read(place.path(folder).join("5-evaluation/results.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn adapter(place: &Place, folder: &str) -> Vec<u8> {
    fs::read(place.path(folder).join("2-orpo/adapter/adapters.safetensors")).unwrap()
}

#[test]
fn all_stages_are_done_and_told_in_one_report() {
    let place = place();
    let plan = place.works("pipeline --config pipeline.toml --out p --plan");
    for part in
        ["1 of 5  SFT: p/1-sft", "2 of 5  ORPO", "steps       20 of 2 sequences", "5 of 5  evaluate", "report.md"]
    {
        assert!(plan.contains(part), "{plan} lacks {part}");
    }
    assert!(!place.path("p").exists());

    let output = place.output("pipeline --config pipeline.toml --out p");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "p/4-quantised\np/report.md\n");
    let found = evaluated(&place, "p");
    let names: Vec<&str> = found.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "after SFT", "after ORPO", "merged", "quantised"]);
    let loss = |model: usize, file: usize| found[model]["reports"][file]["loss"].as_f64().unwrap();
    let preferred = |model: usize| found[model]["reports"][1]["preferred"].as_f64().unwrap();
    assert!(loss(1, 0) < loss(0, 0) - 0.3, "{found:?}");
    assert!(
        (loss(2, 0) - loss(3, 0)).abs() < 1e-4 && (loss(4, 0) - loss(3, 0)).abs() < 0.5 * (loss(0, 0) - loss(3, 0)),
        "{found:?}"
    );
    assert!(preferred(2) > 0.99 && preferred(3) > 0.99, "{found:?}");
    // The second training went on where the first ended.
    let (sft, orpo) = (place.steps("p/1-sft"), place.steps("p/2-orpo"));
    assert_eq!((sft.len(), orpo.len()), (20, 16));
    let nll = orpo[0].pairs.unwrap().nll;
    assert!(nll < 0.8 * sft[0].loss, "{nll} {}", sft[0].loss);

    let report = fs::read_to_string(place.path("p/report.md")).unwrap();
    for part in [
        "# p\n",
        "| SFT | 20 steps on `data.jsonl` |",
        "| ORPO | 16 steps on `pairs.jsonl` |",
        "## Training",
        "## Evaluation",
        "| model | size | loss | perplexity | chosen preferred |",
        "| quantised |",
        "--model p/4-quantised",
    ] {
        assert!(report.contains(part), "{report} lacks {part}");
    }
    assert!(place.works("run hello --model p/4-quantised --max-tokens 2 --temperature 0").len() < 100);
    // Once more does nothing more; other settings and other folders are told apart.
    let again = place.output("pipeline --resume --out p");
    assert_eq!(String::from_utf8_lossy(&again.stderr).matches("done before").count(), 5);
    assert!(place.fails(1, "pipeline --config pipeline.toml --out p").contains("--resume"));
    let said = place.fails(1, "pipeline --resume --out p --set sft.max_steps=21");
    assert!(said.contains("other settings"), "{said}");
}

#[test]
fn what_cannot_be_measured_at_the_end_is_not_begun() {
    let place = place();
    let said = place.fails(1, "pipeline --config pipeline.toml --format nf4 --backend mlx --out p");
    assert!(said.contains("NF4") && said.contains("affine4"), "{said}");
    assert!(!place.path("p").exists());
}

#[test]
fn a_stopped_pipeline_says_how_it_goes_on() {
    let place = place();
    let args = "pipeline --config pipeline.toml --set sft.max_steps=1000000 --out p";
    let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    place.until(&mut child, "some steps", |place| place.steps("p/1-sft").len() > 3);
    // SAFETY: sends a signal to a process that this test began and has not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("and saved; go on with: bit-axon pipeline --resume --out p"), "{said}");
    assert!(!said.contains("bit-axon train"), "not how its stage alone would: {said}");
}

#[test]
fn a_pipeline_that_was_killed_goes_on_as_if_it_had_not_been() {
    let place = place();
    let args = "pipeline --config pipeline.toml --format none";
    place.works(&format!("{args} --out whole"));
    for stage in ["1-sft", "2-orpo"] {
        let out = format!("killed-{stage}");
        let mut child = place.spawn(&format!("{args} --out {out}"));
        let run = format!("{out}/{stage}");
        place.until(&mut child, "some steps", |place| place.steps(&run).len() > 6);
        child.kill().unwrap();
        child.wait().unwrap();
        let output = place.output(&format!("pipeline --resume --out {out}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("SFT: done before"), stage == "2-orpo", "{said}");
        for run in ["1-sft", "2-orpo"] {
            assert_eq!(place.course(&format!("{out}/{run}")), place.course(&format!("whole/{run}")), "{stage}");
        }
        assert!(adapter(&place, &out) == adapter(&place, "whole"), "{stage}: other weights");
        assert!(!place.path(&out).join("4-quantised").exists());
    }
    // A stage that was broken off is done anew.
    fs::remove_file(place.path("whole/3-merged/model.safetensors")).unwrap();
    let text = fs::read_to_string(place.path("whole/stages.json")).unwrap();
    let mut stages: Value = serde_json::from_str(&text).unwrap();
    stages["stages"].as_array_mut().unwrap().truncate(2);
    place.write("whole/stages.json", &stages.to_string());
    place.works("pipeline --resume --out whole");
    assert_eq!(evaluated(&place, "whole").len(), 4);
}

#[test]
fn whole_models_are_trained_one_after_the_other() {
    let place = place();
    let slow = "--backend cpu --set sft.learning_rate=1e-3 --set orpo.learning_rate=1e-3";
    place.works(&format!("pipeline --config pipeline.toml --format none --set sft.adapter=full {slow} --out p"));
    let names: Vec<String> =
        evaluated(&place, "p").iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["base", "after SFT", "after ORPO"]);
    assert!(place.path("p/2-orpo/model/model.safetensors").exists() && !place.path("p/3-merged").exists());
    assert!(fs::read_to_string(place.path("p/report.md")).unwrap().contains("p/2-orpo/model"));
}

#[test]
fn mistakes_are_found_before_anything_is_computed() {
    let place = place();
    let narrow = "pipeline --model model --sft data.jsonl --out p";
    for (code, args, want) in [
        (2, "pipeline --out p", "--model is missing"),
        (2, "pipeline --model wide --out p", "nothing to train on"),
        (1, narrow, "--format none"),
        (1, "pipeline --config pipeline.toml --out p --eval nowhere.jsonl", "nowhere.jsonl"),
        (1, "pipeline --config pipeline.toml --out p --set orpo.data=data.jsonl", "no preferences"),
        (1, "pipeline --config pipeline.toml --out p --set sft.max_seq_len=4096", "--max-seq-len 4096"),
        (1, "pipeline --config pipeline.toml --out p --set sft.max_step=1", "max_step"),
        (1, "pipeline --config pipeline.toml --out p --set merge.format=nf4", "already store 4 bits"),
        // Whichever way this was built: MLX is not there, or trains no whole models.
        (1, "pipeline --config pipeline.toml --out p --format none --set sft.adapter=full --backend mlx", "MLX"),
        (1, "pipeline --config nowhere.toml --out p", "cannot read nowhere.toml"),
    ] {
        let said = place.fails(code, args);
        assert!(said.contains(want), "{args}: {said} lacks {want}");
        assert!(!place.path("p/1-sft").exists(), "{args}");
    }
}
