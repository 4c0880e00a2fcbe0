//! `pico`: what the built-in model is made from.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output;
use crate::app::action::{ACTIONS, Context as Place};
use crate::config::SETTINGS;
use crate::model::checkpoint::StagedFolder;
use crate::pico::{ActionRow, CommandRow, Example, SettingRow, Tables, corpus};

/// Make what the built-in model is taught and examined on
#[derive(Debug, Args)]
pub struct PicoArgs {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    Corpus(CorpusArgs),
}

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
    }
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

/// What this program says about itself.
fn tables() -> Tables {
    let place = |place: Place| match place {
        Place::Everywhere => "",
        Place::Prompt => "prompt",
        Place::Chat => "chat",
        Place::Routing => "routing pane",
        Place::Tokens => "token view",
        Place::Sessions => "sessions view",
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
    Tables {
        actions: ACTIONS.iter().map(action).collect(),
        commands: command
            .get_subcommands()
            .map(|sub| CommandRow { name: sub.get_name().into(), about: about(sub) })
            .collect(),
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
    }
}
