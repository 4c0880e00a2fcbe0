//! `pico`: what the built-in model is made from.

mod examine;
mod make;

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output;

use crate::app::action::{ACTIONS, Context as Place};
use crate::config::SETTINGS;
use crate::model::checkpoint::StagedFolder;
use crate::model::tokenizer::{Tokenizer, byte_level};
use crate::pico::{ActionRow, CommandRow, Example, SettingRow, Tables, corpus};

/// Make what the built-in model is taught, and examine what it knows
#[derive(Debug, Args)]
#[command(after_help = PICO_EXAMPLES)]
pub struct PicoArgs {
    #[command(subcommand)]
    part: Part,
}

const PICO_EXAMPLES: &str = "\
Examples:
  bit-axon pico corpus --out corpus
  bit-axon pico tokenizer --data corpus/text.jsonl --out vocabulary
  bit-axon pico examine --model models/pico
  bit-axon pico make --out runs/pico";

#[derive(Debug, Subcommand)]
enum Part {
    Corpus(CorpusArgs),
    Tokenizer(TokenizerArgs),
    Examine(examine::ExamineArgs),
    Make(make::MakeArgs),
}

/// Learn a vocabulary from the texts of a corpus
///
/// Writes tokenizer.json and tokenizer_config.json: the 256 bytes, ChatML's control tokens, and the pieces that shorten
/// the texts most. `init --tokenizer DIR/tokenizer.json` makes a model for it.
#[derive(Debug, Args)]
#[command(after_help = TOKENIZER_EXAMPLES)]
pub struct TokenizerArgs {
    /// JSONL file whose `text` is learned from
    #[arg(long, value_name = "FILE.jsonl")]
    data: PathBuf,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The most tokens that it may have
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(260..=65536))]
    size: u32,
    /// Replace a vocabulary that is already in the folder
    #[arg(long)]
    force: bool,
}

const TOKENIZER_EXAMPLES: &str = "\
Examples:
  bit-axon pico tokenizer --data corpus/text.jsonl --out vocabulary
  bit-axon init --preset pico --tokenizer vocabulary/tokenizer.json --out models/pico";

/// Write the corpus: text, conversations, preferences, and the examination
///
/// All of it is made from this program's own tables of keys, commands and settings and from facts kept in one
/// file, so what the model is taught is what --help says. The same seed gives the same files. The
/// examination asks in wordings that are nowhere in the rest.
///
/// Files: text.jsonl {"text"}, chats.jsonl and validation.jsonl {"messages"}, pairs.jsonl
/// {"prompt", "chosen", "rejected"}, examination.jsonl {"topic", "question", "answer", "must"}.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CorpusArgs {
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Another seed draws other examples of the same facts
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace a corpus that is already in the folder
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon pico corpus --out corpus
  bit-axon pico corpus --out corpus --seed 7 --force && wc -l corpus/*";

/// Runs the command.
pub fn run(args: PicoArgs) -> Result<()> {
    match args.part {
        Part::Corpus(args) => write(&args),
        Part::Tokenizer(args) => learn(&args),
        Part::Examine(args) => examine::run(&args),
        Part::Make(args) => make::run(&args),
    }
}

fn learn(args: &TokenizerArgs) -> Result<()> {
    let data = args.data.display();
    let text = std::fs::read_to_string(&args.data).with_context(|| format!("cannot read {data}"))?;
    let rows = text.lines().enumerate().map(|(at, line)| {
        let row: Value = serde_json::from_str(line).with_context(|| format!("{data}, line {}: not JSON", at + 1))?;
        let text = row["text"].as_str().map(str::to_owned);
        text.with_context(|| format!("{data}, line {}: there is no `text`", at + 1))
    });
    let rows: Vec<String> = rows.collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "{data} is empty: there is nothing to learn a vocabulary from");
    let json = byte_level::learned_json(rows.into_iter(), args.size as usize)?;
    let staged = StagedFolder::begin(&args.out, args.force)?;
    staged.put("tokenizer.json", json.as_bytes())?;
    staged.put("tokenizer_config.json", byte_level::config_json().as_bytes())?;
    staged.finish()?;
    let tokenizer = Tokenizer::open(&args.out)?;
    output::line(format!("{}: {} tokens", args.out.display(), tokenizer.size()))?;
    Ok(())
}

fn write(args: &CorpusArgs) -> Result<()> {
    let made = corpus(&tables(), args.seed)?;
    let staged = StagedFolder::begin(&args.out, args.force)?;
    let files: [(&str, Vec<Value>); 5] = [
        ("text.jsonl", made.text.iter().map(|text| json!({ "text": text })).collect()),
        ("chats.jsonl", made.chats.iter().map(messages).collect()),
        ("validation.jsonl", made.validation.iter().map(messages).collect()),
        (
            "pairs.jsonl",
            made.pairs
                .iter()
                .map(|p| json!({ "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected }))
                .collect(),
        ),
        ("examination.jsonl", made.examination.iter().map(question).collect()),
    ];
    for (name, rows) in &files {
        let mut file = BufWriter::new(staged.create(name)?);
        let written = rows.iter().try_for_each(|row| writeln!(file, "{row}")).and_then(|()| file.flush());
        written.with_context(|| format!("cannot write {name} into {}", args.out.display()))?;
    }
    staged.finish()?;
    let rows: Vec<String> = files.iter().map(|(name, rows)| format!("{} in {name}", rows.len())).collect();
    output::line(format!("{}: {}", args.out.display(), rows.join(", ")))?;
    Ok(())
}

fn messages(example: &Example) -> Value {
    let turn = |(question, answer): &(String, String)| {
        [json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]
    };
    json!({ "messages": example.turns.iter().flat_map(turn).collect::<Vec<_>>() })
}

fn question(example: &Example) -> Value {
    let (question, answer) = &example.turns[0];
    json!({ "topic": example.topic, "question": question, "answer": answer, "must": example.must })
}

/// The command that a build without the hub lacks, and what it says of itself.
const DOWNLOAD: (&str, &str) = ("download", "Download a model from the Hugging Face hub");

/// What this program says about itself.
fn tables() -> Tables {
    let place = |place: Place| match place {
        Place::Everywhere => "",
        Place::Prompt => "prompt",
        Place::Chat => "chat",
        Place::Routing => "routing pane",
        Place::Tokens => "token view",
        Place::Sessions => "sessions view",
        Place::Training => "training view",
        _ => "list",
    };
    let action = |info: &crate::app::action::ActionInfo| ActionRow {
        name: info.name.into(),
        keys: info.keys.iter().map(|key| (*key).into()).collect(),
        place: place(info.context).into(),
        about: info.about.into(),
        slash: info.context == Place::Everywhere,
    };
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let command = super::command();
    let mut commands: Vec<CommandRow> =
        command.get_subcommands().map(|sub| CommandRow { name: sub.get_name().into(), about: about(sub) }).collect();
    // A build without the hub makes and examines the same model.
    if !commands.iter().any(|row| row.name == DOWNLOAD.0) {
        commands.push(CommandRow { name: DOWNLOAD.0.into(), about: DOWNLOAD.1.into() });
    }
    Tables {
        actions: ACTIONS.iter().map(action).collect(),
        commands,
        settings: SETTINGS
            .iter()
            .map(|s| SettingRow {
                key: s.key.into(),
                default: s.default.into(),
                about: s.about.into(),
                variable: s.env_name(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_finds_its_row() {
        let made = corpus(&tables(), 0).unwrap();
        assert!(made.chats.len() > 5000 && made.examination.len() > 300);
        let about = tables().commands.into_iter().find(|row| row.name == DOWNLOAD.0).map(|row| row.about);
        assert_eq!(about.as_deref(), Some(DOWNLOAD.1));
    }
}
