//! `sessions`: the saved conversations, without a screen.

mod routing;

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

use super::{Usage, output};
use crate::chat::Chat;
use crate::session::export::{self, speaker, unusual_end};
use crate::session::{self, Store, Summary, date_and_time, search};
use crate::whole;

/// List, search, show and export saved conversations
///
/// An ID is a name that the list shows, any part of it that no other session has, or `latest`; where a
/// session is only read, it may also be the path of a file. They are kept in
/// $XDG_STATE_HOME/bit-axon/sessions (~/.local/state/bit-axon/sessions), or in $BIT_AXON_HOME/sessions
/// if that is set, or where the setting paths.sessions says. Times are universal time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SessionsArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Use the sessions of this folder
    #[arg(long, global = true, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon sessions                                   List them, the newest first
  bit-axon sessions search \"sliding window\"
  bit-axon sessions show latest | less
  bit-axon sessions export sky --format md --out sky.md
  bit-axon sessions export sky --routing svg --out sky.svg
  bit-axon sessions rename 20260726 \"Why the sky is blue\"
  bit-axon sessions delete sky --yes
  bit-axon sessions list --json | jq -r 'select(.messages > 10) | .id'";

#[derive(Debug, Subcommand)]
enum Action {
    /// List all sessions, the one written last first; what is done if nothing else is said
    List {
        /// Print one JSON object a session
        #[arg(long)]
        json: bool,
    },
    /// Find a text in all sessions, whatever its case
    Search {
        /// What to look for
        text: String,
        /// Print one JSON object for each place
        #[arg(long)]
        json: bool,
        /// Stop after so many places
        #[arg(long, short = 'n', value_name = "N", default_value_t = 200)]
        most: usize,
    },
    /// Print the branch of a session that was walked last
    Show {
        /// Which session
        id: String,
    },
    /// Write a session as Markdown or JSON, or its routing as CSV, JSON lines or a picture
    Export {
        /// Which session; for --routing also a trace file
        id: String,
        /// md has the branch that was walked last, json all of them
        #[arg(long, value_name = "FORMAT", required_unless_present = "routing", conflicts_with = "routing")]
        format: Option<Format>,
        #[command(flatten)]
        routing: routing::Routing,
        /// With json: every token too, with its probability, alternatives and routing
        #[arg(long)]
        tokens: bool,
        /// The file to write; standard output if not given
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Give a session another title; its ID stays
    Rename {
        /// Which session
        id: String,
        /// The title
        title: String,
    },
    /// Delete a session for good
    Delete {
        /// Which session
        id: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Markdown
    Md,
    /// JSON
    Json,
}

/// Does what is asked.
pub fn run(args: SessionsArgs) -> Result<()> {
    let store = args.folder.map_or_else(super::session_args::store, |folder| Ok(Store::new(folder)))?;
    match args.action.unwrap_or(Action::List { json: false }) {
        Action::List { json } => list(&store, json),
        Action::Search { text, json, most } => find(&store, &text, json, most),
        Action::Show { id } => show(&store, &id),
        Action::Export { tokens: true, format: Some(Format::Md), .. } => {
            Err(Usage("--tokens needs --format json: Markdown has no place for them".into()).into())
        }
        Action::Export { id, format: Some(format), tokens, out, .. } => {
            write_out(&store, &id, format, tokens, out.as_deref())
        }
        Action::Export { id, routing, out, .. } => routing.export(Ok(store), &id, out.as_deref()),
        Action::Rename { id, title } => store.rename(&store.find(&id)?, &title),
        Action::Delete { id, yes } => delete(&store, &store.find(&id)?, yes),
    }
}

fn list(store: &Store, json: bool) -> Result<()> {
    let sessions = store.list()?;
    if json {
        return sessions.iter().try_for_each(output::json_line);
    }
    if sessions.is_empty() {
        output::note(format!("There are no sessions in {} yet.", store.folder().display()));
        return Ok(());
    }
    let mut out = BufWriter::new(output::stdout());
    for Summary { id, title, model, messages, written, problem, .. } in &sessions {
        let date = date_and_time(*written);
        let line = match problem {
            Some(problem) => format!("{id}  cannot be opened: {problem}"),
            None => {
                let title = if title.is_empty() { "(nothing said yet)" } else { title };
                format!("{date}  {messages:>4} messages  {title}  [{id}]  {model}")
            }
        };
        writeln!(out, "{}", shown(&line))?;
    }
    Ok(out.flush()?)
}

/// One line, whatever a file says: nothing that moves the cursor.
fn shown(text: &str) -> String {
    output::safe(&text.replace(['\n', '\r', '\t'], " ")).into_owned()
}

fn find(store: &Store, text: &str, json: bool, most: usize) -> Result<()> {
    let (mut count, mut failure) = (0, None);
    let problems = search::search(store, text, |hit| {
        let line = if json {
            output::json_line(&hit)
        } else {
            let who = hit.role.map_or("Title", speaker);
            let place = hit.message.map_or(String::new(), |m| format!(" {m}"));
            let line = format!("{}  {who}{place}: {}{}{}", hit.id, hit.before, hit.found, hit.after);
            output::line(shown(&line)).map_err(Into::into)
        };
        count += 1;
        failure = line.err();
        if failure.is_some() || count >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    for problem in problems {
        output::note(format!("Passed over {problem}"));
    }
    if count == 0 {
        output::note("Nothing was found.");
    }
    failure.map_or(Ok(()), Err)
}

/// The file of a session: of the store, or anywhere if a path is given.
fn file_of(store: &Store, id: &str) -> Result<PathBuf> {
    let path = Path::new(id);
    if path.is_file() && is_path(id) {
        return Ok(path.to_owned());
    }
    store.path(&store.find(id)?)
}

fn is_path(id: &str) -> bool {
    id.contains(std::path::MAIN_SEPARATOR) || id.ends_with(".jsonl")
}

/// The same where files come first: what is there, or looks like a path, is one.
pub(super) fn file_or_session(store: Result<Store>, id: &str) -> Result<PathBuf> {
    let path = Path::new(id);
    if path.exists() || is_path(id) {
        return Ok(path.to_owned());
    }
    let store = store?;
    let none = || format!("there is no file {id}, and no session of that name");
    store.path(&store.find(id).with_context(none)?)
}

fn show(store: &Store, id: &str) -> Result<()> {
    let loaded = session::load(&file_of(store, id)?)?;
    let chat: &Chat = &loaded.chat;
    let mut about = vec![chat.name(), format!("{} UTC", date_and_time(loaded.header.created))];
    about.extend(Some(loaded.model.clone()).filter(|model| !model.is_empty()));
    let mut text = format!("{}\n", shown(&about.join("  ")));
    if !chat.system.is_empty() {
        text.push_str(&format!("\nSystem: {}\n", chat.system.trim_end()));
    }
    for node in chat.path().iter().filter_map(|id| chat.node(*id)) {
        text.push_str(&format!("\n{}: {}\n", speaker(node.role), node.text.trim_end()));
        if let Some(why) = unusual_end(node) {
            text.push_str(&format!("({why})\n"));
        }
    }
    output::foreign(&text)?;
    loaded.notes.iter().for_each(output::note);
    Ok(())
}

fn write_out(store: &Store, id: &str, format: Format, tokens: bool, out: Option<&Path>) -> Result<()> {
    let loaded = session::load(&file_of(store, id)?)?;
    let text = export::text(&loaded, matches!(format, Format::Json), tokens)?;
    loaded.notes.iter().for_each(output::note);
    match out {
        None => Ok(output::foreign(&String::from_utf8_lossy(&text))?),
        Some(path) => whole::write(path, &text),
    }
}

fn delete(store: &Store, id: &str, yes: bool) -> Result<()> {
    if !yes {
        return Err(Usage(format!("{id} would be deleted for good: say --yes to do it")).into());
    }
    store.delete(id)?;
    output::note(format!("Deleted {id}."));
    Ok(())
}
