//! `pico make`: the built-in model from nothing, by the commands that anybody could type.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cli::{execute, interrupt, output, resources};
use crate::whole;

/// Make the built-in model from nothing
///
/// Writes the corpus, learns the vocabulary, trains (on text, on conversations, on preferences, and at last once more
/// on conversations with the matrices as 4 bits will store them), quantises, and examines what came out. Each part is
/// a command of this program; --plan prints them. A part that is whole is not done again, and training goes on from its newest
/// checkpoint, so the same command resumes after a crash.
///
/// recipe.jsonl in the folder tells each part with its time, and the SHA-256 of every file of the model.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct MakeArgs {
    /// Folder for everything
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Another seed draws other examples, first weights and orders
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print the commands, and do nothing
    #[arg(long)]
    plan: bool,
    /// Then copy the model, its metrics and recipe.jsonl to this folder, as they are embedded in the program
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon pico make --out runs/pico --plan
  bit-axon pico make --out runs/pico
  bit-axon pico make --out runs/pico --install assets/pico && cargo build --release";

/// The files of the model.
const FILES: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
/// Of the metrics of long runs, one step in so many is kept.
const KEPT: u64 = 10;

/// One command, and what is there when it is done.
struct Part {
    name: &'static str,
    made: &'static str,
    /// The command line, in which names of this folder begin with `@`.
    command: String,
    trains: bool,
}

/// What all stages of training have in common. Experts are kept evenly used with a weak hand: they shall differ by topic.
const TRAINED: &str = "--adapter full --max-seq-len 256 --grad-accum-steps 1 --router-balance 0.002 --recompute off \
                       --sensor auto --plain";
/// Of text and conversations, which are packed.
const PACKED: &str = "--batch-size 8 --isolate --val-data @corpus/validation.jsonl --val-sequences 32";

fn parts(seed: u64) -> Vec<Part> {
    let part = |name, made, command: String| Part { name, made, command, trains: false };
    let train = |name, made, what: &str| Part {
        name,
        made,
        command: format!("train {what} {TRAINED} --seed {seed} --output-dir @{name}"),
        trains: true,
    };
    vec![
        part("corpus", "corpus", format!("pico corpus --out @corpus --seed {seed}")),
        part("vocabulary", "vocabulary", "pico tokenizer --data @corpus/text.jsonl --out @vocabulary".into()),
        part(
            "start",
            "start",
            format!("init --preset pico --tokenizer @vocabulary/tokenizer.json --seed {seed} --out @start"),
        ),
        train(
            "pretrain",
            "pretrain/model",
            &format!(
                "@corpus/text.jsonl --model @start --method pretrain {PACKED} --max-steps 250 --learning-rate 2e-3 \
                 --warmup-steps 30 --save-every 125 --eval-every 125"
            ),
        ),
        train(
            "sft",
            "sft/model",
            &format!(
                "@corpus/chats.jsonl --model @pretrain/model --method sft {PACKED} --max-steps 2300 \
                 --learning-rate 2e-3 --warmup-steps 30 --save-every 300 --eval-every 300"
            ),
        ),
        train(
            "orpo",
            "orpo/model",
            "@corpus/pairs.jsonl --model @sft/model --method orpo --batch-size 16 --val-split 0.02 --max-steps 100 \
             --learning-rate 5e-5 --warmup-steps 10 --beta 0.1 --save-every 50 --eval-every 50",
        ),
        // The last: back on everything, with the matrices as 4 bits will store them.
        train(
            "settle",
            "settle/model",
            &format!(
                "@corpus/chats.jsonl --model @orpo/model --method sft --fake-quant affine4 {PACKED} --max-steps 300 \
                 --learning-rate 4e-4 --warmup-steps 10 --save-every 150 --eval-every 150"
            ),
        ),
        part("model", "model", "quantize @settle/model --format affine4 --out @model".into()),
        part(
            "examination",
            "examination.json",
            "pico examine --model @model --against @settle/model --answers @answers.jsonl --report @examination.json"
                .into(),
        ),
    ]
}

/// Runs the command.
pub(super) fn run(args: &MakeArgs) -> Result<()> {
    let folder = args.out.to_str().context("the folder's name must be UTF-8")?;
    let parts = parts(args.seed);
    if args.plan {
        for part in &parts {
            output::line(format!("bit-axon {}", part.command.replace('@', &format!("{folder}/"))))?;
        }
        return Ok(());
    }
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {folder}"))?;
    let log = args.out.join("recipe.jsonl");
    let count = parts.len();
    for (at, part) in parts.iter().enumerate() {
        interrupt::check()?;
        if args.out.join(part.made).exists() {
            output::note(format!("{} of {count}, {}: is there", at + 1, part.name));
            continue;
        }
        // The examination is of what is shipped: hashes stand before its figures.
        if part.name == "examination" {
            note(&log, &json!({ "files": hashes(&args.out.join("model"))? }))?;
        }
        output::note(format!("{} of {count}, {}: bit-axon {}", at + 1, part.name, part.command));
        make(part, args, folder, &log)?;
    }
    if let Some(to) = &args.install {
        install(&args.out, to)?;
        output::line(format!("{}: the model, its recipe and its metrics", to.display()))?;
    }
    output::line(format!("{}: made; bit-axon chat {}", folder, args.out.join("model").display()))?;
    Ok(())
}

fn make(part: &Part, args: &MakeArgs, folder: &str, log: &Path) -> Result<()> {
    let mut words: Vec<String> = part.command.split(' ').map(|word| word.replace('@', &format!("{folder}/"))).collect();
    // Also a run that was broken off before its first checkpoint.
    if part.trains && args.out.join(part.name).exists() {
        words.push("--resume".into());
    }
    let (began, used) = (Instant::now(), resources::processor_seconds());
    execute(&words)?;
    let made = args.out.join(part.made);
    ensure!(made.exists(), "{} was not made", made.display());
    let processor = resources::processor_seconds().zip(used).map(|(now, then)| (now - then).round());
    let seconds = began.elapsed().as_secs_f64().round();
    let line =
        json!({ "part": part.name, "command": part.command, "seconds": seconds, "processor_seconds": processor });
    note(log, &line)
}

/// Adds a line to the recipe's log.
fn note(log: &Path, line: &Value) -> Result<()> {
    let append = || {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(log)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()
    };
    append().with_context(|| format!("cannot write {}", log.display()))
}

/// The SHA-256 of each file of the model.
fn hashes(model: &Path) -> Result<Value> {
    let hash = |name: &str| -> Result<(String, Value)> {
        let path = model.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name.to_owned(), Value::String(sha256(&bytes))))
    };
    Ok(Value::Object(FILES.iter().map(|name| hash(name)).collect::<Result<_>>()?))
}

/// As hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies what is kept in the repository; a file is whole or not there.
fn install(made: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let put = |name: &str, bytes: &[u8]| whole::write(&to.join(name), bytes);
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    for name in FILES {
        put(name, &read(made.join("model").join(name))?)?;
    }
    for name in ["recipe.jsonl", "examination.json"] {
        put(name, &read(made.join(name))?)?;
    }
    for part in parts(0).iter().filter(|part| part.trains) {
        let metrics = String::from_utf8(read(made.join(part.name).join("metrics.jsonl"))?)?;
        put(&format!("metrics-{}.jsonl", part.name), thinned(&metrics)?.as_bytes())?;
    }
    Ok(())
}

/// All events, and some of the steps.
fn thinned(metrics: &str) -> Result<String> {
    let mut kept = String::new();
    for line in metrics.lines() {
        let value: Value = serde_json::from_str(line)?;
        let is_event = value.get("event").is_some();
        if is_event || value["step"].as_u64().is_some_and(|step| step == 1 || step.is_multiple_of(KEPT)) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_part_is_a_command_of_the_program() {
        for part in parts(3) {
            let mut words = vec!["bit-axon".to_owned()];
            words.extend(part.command.split(' ').map(str::to_owned));
            crate::cli::Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{}: {error}", part.command));
            assert!(part.command.contains('@'), "{}", part.command);
        }
    }

    #[test]
    fn metrics_are_thinned_and_events_stay() {
        let line = |step: u64| format!("{{\"step\":{step},\"loss\":1.5}}\n");
        let metrics: String = (1..=25).map(line).collect::<String>() + "{\"event\":\"stop\",\"step\":25}\n";
        let kept = thinned(&metrics).unwrap();
        let steps: Vec<&str> = kept.lines().collect();
        assert_eq!(steps.len(), 4);
        assert!(steps[1].contains(":10,") && steps[3].contains("stop"));
    }

    #[test]
    fn the_folder_of_assets_is_whole_or_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let said = format!("{:#}", install(dir.path(), &dir.path().join("assets")).unwrap_err());
        assert!(said.contains("config.json"), "{said}");
        assert_eq!(fs::read_dir(dir.path().join("assets")).unwrap().count(), 0);
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
