//! `upload`: a model, or an adapter, to the Hugging Face hub.

mod card;
mod course;
mod folder;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::card::Card;
use self::folder::{Folder, What};
use super::hub::upload::{Item, Wishes, upload};
use super::hub::{RepoId, Settings};
use super::output;
use super::progress::bytes;

/// Send a model or an adapter to the Hugging Face hub
///
/// DIR is the folder of a model, or of an adapter as `train` writes it: its weights, settings, tokenizer and chat
/// template are checked and sent, with a model card. A README.md in DIR is the card; without one a card is made from
/// the model's settings, and from the training run that DIR belongs to. --plan shows both and sends nothing.
///
/// The repository is made if there is none. Everything appears there at once, in one commit, when all of it was sent.
/// Files that the hub has are not sent again: an upload that broke off goes on where it stopped, with the same command.
///
/// HF_TOKEN (or the file that `hf auth login` writes) must allow writing. HF_ENDPOINT names another hub.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UploadArgs {
    /// Folder of the model or adapter
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name that it shall have on the hub: owner/name
    #[arg(long, value_name = "OWNER/NAME")]
    repo: RepoId,
    /// Let nobody else see the repository, if it is made now
    #[arg(long)]
    private: bool,
    /// Licence that the card names, as the hub calls it: mit, apache-2.0, cc-by-4.0, other ...
    #[arg(long, value_name = "ID", alias = "license", value_parser = licence)]
    licence: Option<String>,
    /// Hub name of the model that this one, or this adapter, was made from
    #[arg(long, value_name = "OWNER/NAME")]
    base: Option<RepoId>,
    /// A Markdown file that the card ends with, as the report of a training run
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What the commit is called
    #[arg(long, value_name = "TEXT", default_value = "Upload with bit-axon")]
    message: String,
    /// Print the card and what would be sent, and send nothing
    #[arg(long)]
    plan: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon upload models/mine --repo owner/mine --plan
  bit-axon upload models/mine --repo owner/mine --private --licence apache-2.0
  bit-axon upload runs/second/adapter --repo owner/adapter --base owner/mine --licence mit
  HF_ENDPOINT=https://hub.example.org bit-axon upload models/mine --repo owner/mine";

fn licence(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("licences have names such as mit, apache-2.0 or other".into()),
    }
}

/// Checks, and sends.
pub fn run(args: UploadArgs) -> Result<()> {
    let folder = Folder::look(&args.folder)?;
    let mut items = folder.items(args.base.as_ref())?;
    let made = !items.iter().any(|item| item.name == CARD);
    if made {
        let report = args.report.as_deref().map(|path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read the report {}", path.display()))
        });
        let card = Card {
            repo: &args.repo,
            licence: args.licence.as_deref(),
            base: args.base.as_ref(),
            folder: &folder,
            course: course::of(&args.folder),
            report: report.transpose()?,
        };
        items.push(Item::made(CARD, card.markdown().into_bytes()));
    } else {
        let given = args.licence.is_some() || args.report.is_some();
        ensure!(
            !given,
            "{} is the card and is sent as it is, so that --licence and --report have no place: write them there, or \
             move it away and have a card made",
            args.folder.join(CARD).display()
        );
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    if args.plan {
        return plan(&args.repo, &items, made);
    }
    if made && args.licence.is_none() {
        output::note("the card names no licence, so that nobody may use what is sent: --licence names one");
    }
    let settings = Settings::from_env()?;
    let wishes = Wishes { private: args.private, message: args.message };
    let done = upload(&settings, &args.repo, &items, &wishes)
        .with_context(|| format!("cannot upload {}", args.folder.display()))?;
    let what = match &folder.what {
        What::Model(_) => "model",
        What::Adapter(_) => "adapter",
    };
    output::note(match done.sent {
        (0, _) => format!("{}: everything was there already", args.repo),
        (count, size) if done.there == 0 => format!("{}: {what} sent, {count} files, {}", args.repo, bytes(size)),
        (count, size) => {
            format!("{}: {what} sent, {count} files, {}; {} were there already", args.repo, bytes(size), done.there)
        }
    });
    Ok(output::line(output::safe(&done.url))?)
}

/// Name of the card.
const CARD: &str = "README.md";

fn plan(repo: &RepoId, items: &[Item], made: bool) -> Result<()> {
    let total: u64 = items.iter().map(|item| item.size).sum();
    let mut text = format!("{repo}: {} files, {}\n", items.len(), bytes(total));
    for item in items {
        let note = if made && item.name == CARD { "  (made now, below)" } else { "" };
        text.push_str(&format!("  {:<32} {:>10}{note}\n", item.name, bytes(item.size)));
    }
    if made && let Some(card) = items.iter().find(|item| item.name == CARD) {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&card.read(u64::MAX)?));
    }
    Ok(output::line(output::safe(text.trim_end()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_names() {
        for good in ["mit", "apache-2.0", "cc-by-4.0", "other"] {
            assert_eq!(licence(good).as_deref(), Ok(good));
        }
        for bad in ["", "MIT", "a: b", "mit\nx", "-x", "\u{1b}[2J"] {
            assert!(licence(bad).is_err(), "{bad:?}");
        }
    }
}
