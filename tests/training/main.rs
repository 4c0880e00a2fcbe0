//! `train` and `prepare` as a user runs them: the real program, a small model, real gradients.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "the long ones print what they measured")]

mod after;
mod backends;
mod bad_input;
mod heat;
#[cfg(target_os = "linux")]
mod large;
mod pipeline;
mod port;
mod preferences;
#[path = "../common/small.rs"]
mod small;
mod stopped;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bit_axon::protocol::{Happening, TrainEvent, TrainLine, TrainStep};
use serde_json::{Value, json};
use small::{model, model_of};

/// A folder with a model, data, and runs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        model(&place.path("model"), 1, 24);
        let row = |i: usize| json!({"instruction": format!("say {}", i % 7), "output": format!("{} it is", i % 7)});
        place.write("data.jsonl", &(0..40).map(|i| format!("{}\n", row(i))).collect::<String>());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(program());
        command.args(args.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn output(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must work.
    fn works(&self, args: &str) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must fail with this code.
    fn fails(&self, code: i32, args: &str) -> String {
        let output = self.output(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args}: {said}");
        said
    }

    fn spawn(&self, args: &str) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Whole lines of a run's metrics.
    fn lines(&self, run: &str) -> Vec<TrainLine> {
        let text = fs::read_to_string(self.path(run).join("metrics.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        text[..whole].lines().map(parse).collect()
    }

    fn steps(&self, run: &str) -> Vec<TrainStep> {
        let step = |line| if let TrainLine::Step(step) = line { Some(step) } else { None };
        self.lines(run).into_iter().filter_map(step).collect()
    }

    fn events(&self, run: &str) -> Vec<TrainEvent> {
        let event = |line| if let TrainLine::Event(event) = line { Some(event) } else { None };
        self.lines(run).into_iter().filter_map(event).collect()
    }

    /// What does not depend on the time.
    fn course(&self, run: &str) -> Vec<(u64, f64, f64, f64, u64)> {
        self.steps(run).into_iter().map(|s| (s.step, s.loss, s.grad_norm, s.lr, s.tokens)).collect()
    }

    /// Waits for something that a run does.
    fn until(&self, child: &mut Child, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !done(self) {
            assert!(Instant::now() < deadline, "it never came: {what}");
            if let Some(status) = child.try_wait().unwrap() {
                assert!(done(self), "it ended with {status} before: {what}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn checkpoints(&self, run: &str) -> Vec<String> {
        let entries = self.path(run).join("checkpoints").read_dir().unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The program that is tested; BIT_AXON_PROGRAM may name another build of it, to measure that.
fn program() -> PathBuf {
    std::env::var_os("BIT_AXON_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_bit-axon").into()).into()
}

/// Few steps on few tokens.
const SHORT: &str =
    "--max-seq-len 48 --batch-size 2 --grad-accum-steps 1 --learning-rate 1e-2 --sensor none --threads 1";

/// What the newest weights were asked, and after which step.
fn asked(place: &Place, run: &str) -> Vec<(u64, String)> {
    let sample = |event: TrainEvent| match event.what {
        Happening::Sample { prompt, .. } => Some((event.step, prompt)),
        _ => None,
    };
    place.events(run).into_iter().filter_map(sample).collect()
}

#[test]
fn what_is_asked_each_time_is_the_datas_or_ones_own() {
    let place = Place::new();
    let text = json!({"text": "one two three four five six seven eight nine ten eleven"});
    place.write("text.jsonl", &format!("no row\n{text}\n{text}\n"));
    let run = |args: &str, to: &str| {
        let always = format!("--model model --max-steps 3 --eval-every 2 --output-dir {to} {SHORT}");
        place.works(&format!("train {args} {always}"));
        asked(&place, to)
    };
    let want = |question: &str| vec![(2, question.to_owned()), (3, question.to_owned())];
    assert_eq!(run("data.jsonl", "a"), want("say 0"));
    assert_eq!(run("text.jsonl --method pretrain", "b"), want("one two three four five six seven eight"));
    assert_eq!(run("data.jsonl --sample-prompt mine", "c"), want("mine"));
    assert_eq!(run("data.jsonl --sample-prompt=", "d"), []);
    // Texts learned as answers are asked of nobody.
    assert_eq!(run("text.jsonl", "e"), []);
}

#[test]
fn a_run_leaves_all_that_was_promised() {
    let place = Place::new();
    let args = format!("train data.jsonl --model model --max-steps 30 --val-split 0.1 --save-every 10 {SHORT}");
    let output = place.output(&format!("{args} --output-dir runs/a"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("starts: sft, dora on model") && said.contains("step 30/30 100%"), "{said}");
    assert!(said.contains("done: 30 steps; written to") && !said.contains('\x1b'), "{said}");
    // Nobody asked: it is what the first row asks.
    assert!(said.contains("asked: say 0\nanswered: "), "{said}");
    let steps = place.steps("runs/a");
    let mean = |steps: &[TrainStep]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    assert!(steps.len() == 30 && mean(&steps[25..]) < 0.9 * mean(&steps[..5]), "{}", mean(&steps[25..]));
    assert!(steps[0].experts.iter().all(|shares| (shares.iter().sum::<f32>() - 1.0).abs() < 1e-2));
    assert_eq!(place.checkpoints("runs/a").len(), 3);
    for file in ["settings.toml", "train.log", "adapter/adapters.safetensors", "adapter/adapter_config.json"] {
        assert!(place.path("runs/a").join(file).is_file(), "{file}");
    }
    let settings = fs::read_to_string(place.path("runs/a/settings.toml")).unwrap();
    assert!(settings.contains("adapter = \"dora\"") && settings.contains("max_steps = 30"), "{settings}");
    // The same again, from the settings alone.
    place.works("train --config runs/a/settings.toml --output-dir runs/b");
    assert_eq!(place.course("runs/a"), place.course("runs/b"));
}

#[test]
fn every_method_and_adapter_trains() {
    let place = Place::new();
    let pair = |i: usize| json!({"prompt": format!("q{i}"), "chosen": "yes", "rejected": "no"});
    place.write("pairs.jsonl", &(0..8).map(|i| format!("{}\n", pair(i))).collect::<String>());
    let train = |rest: &str| place.works(&format!("train --model model --max-steps 3 {SHORT} {rest}"));
    train("data.jsonl --adapter lora --lora-dropout 0.1 --output-dir runs/lora");
    train("pairs.jsonl --output-dir runs/orpo");
    assert!(place.steps("runs/orpo").iter().all(|step| step.pairs.is_some()));
    // Every parameter is trained on the CPU alone.
    train("data.jsonl --method pretrain --isolate --backend cpu --output-dir runs/full");
    assert!(place.steps("runs/full")[0].router_loss.unwrap() > 0.0);
    // What came of it is a model.
    place.write("text.jsonl", "{\"text\": \"say 1\"}\n");
    let said = place.works("eval --model runs/full/model --data text.jsonl");
    assert!(serde_json::from_str::<Value>(&said).unwrap()["loss"].as_f64().unwrap() < 10.0, "{said}");
}

#[test]
fn a_plan_does_nothing() {
    let place = Place::new();
    let said = place.works(&format!("train data.jsonl --model model --plan --max-steps 100 --warmup-steps 5 {SHORT}"));
    for part in ["sft, dora", "40 examples", "100 of 2 sequences", "5 steps of warm-up", "ssm.in_proj", "memory"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn prepared_data_trains_as_it_says() {
    let place = Place::new();
    let said = place.works("prepare data.jsonl --model model --out data.safetensors --max-seq-len 48");
    for part in ["sft, sequences of 48 tokens", "examples    40", "duplicates  33 (kept", "lengths"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    let report = place.works("prepare data.jsonl --model model --out d.safetensors --json --drop-duplicates");
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap()["examples"], 7);
    let rest = "--batch-size 2 --grad-accum-steps 1 --sensor none --max-steps 3";
    place.works(&format!("train data.safetensors --model model {rest} --output-dir runs/p"));
    assert!(fs::read_to_string(place.path("runs/p/settings.toml")).unwrap().contains("max_seq_len = 48"));
    let said = place.fails(1, &format!("train data.safetensors --model model {rest} --max-seq-len 64"));
    assert!(said.contains("--max-seq-len 48, not 64"), "{said}");
    assert!(place.events("runs/p").iter().any(|event| matches!(event.what, Happening::Stop { .. })));
}
