//! Which session the workbench begins with, and where sessions are.

use std::path::{MAIN_SEPARATOR, Path};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::{Usage, output};
use crate::app::msg::Msg;
use crate::app::sessions::Saving;
use crate::config::{Places, Settings};
use crate::run::disk_store::DiskStore;
use crate::run::store::{Left, MemoryStore, Store};
use crate::session::{self, History};

/// Options of the workbench that are about saved conversations.
#[derive(Debug, Clone, Args)]
pub(super) struct SessionArgs {
    /// Go on with this session: its name or a part of it, its title, or a file, which is made if it is not there
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["resume", "no_save"])]
    session: Option<String>,
    /// Go on with the newest session
    #[arg(long, visible_alias = "continue", conflicts_with = "no_save")]
    resume: bool,
    /// Keep nothing on disk: neither what is said nor the prompts
    #[arg(long)]
    no_save: bool,
}

/// What the workbench begins with.
pub(super) struct Begin {
    /// Where sessions are kept.
    pub(super) store: Box<dyn Store>,
    /// What it is told first.
    pub(super) first: Vec<Msg>,
    /// A session is gone on with.
    pub(super) resumes: bool,
}

impl SessionArgs {
    /// Finds the session before the screen is taken over, so that a wrong name is told at once.
    pub(super) fn begin(&self, settings: &Settings) -> Result<Begin> {
        if self.no_save {
            let store = Box::new(MemoryStore::new(Saving::Private));
            return Ok(Begin { store, first: Vec::new(), resumes: false });
        }
        let env = |name: &str| std::env::var_os(name);
        let Some(folder) = settings.paths.sessions.clone() else {
            if self.session.is_some() || self.resume {
                return Err(nowhere());
            }
            // A conversation is possible without a home, and it should be known that it is lost.
            let store = MemoryStore::new(Saving::Failing(nowhere().to_string()));
            return Ok(Begin { store: Box::new(store), first: Vec::new(), resumes: false });
        };
        let store = session::Store::new(folder);
        let id = self.wanted(&store, settings)?;
        // Prompts are beside the usual place of sessions, wherever these are.
        let history = Places::new(&env).sessions.map(|usual| History::new(usual.with_file_name("history.jsonl")));
        let (first, resumes) = (id.clone().map(Msg::Resume).into_iter().collect(), id.is_some());
        Ok(Begin { store: Box::new(DiskStore::new(store, history)), first, resumes })
    }

    fn wanted(&self, store: &session::Store, settings: &Settings) -> Result<Option<String>> {
        match &self.session {
            Some(file) if file.contains(MAIN_SEPARATOR) || file.ends_with(".jsonl") => {
                let path = std::path::absolute(file).with_context(|| format!("{file} is no path"))?;
                // One that is there has to be a session; another is made in a folder that is there.
                if path.exists() {
                    session::check(&path)?;
                } else if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
                    return Err(Usage(format!("there is no folder {} to make {file} in", folder.display())).into());
                }
                Ok(Some(path.to_string_lossy().into_owned()))
            }
            Some(name) => Ok(Some(store.find(name)?)),
            None if self.resume => Ok(Some(store.find("latest")?)),
            // By a setting: then nothing to go on with is no reason to fail.
            None if settings.ui.resume => Ok(store.find("latest").ok()),
            None => Ok(None),
        }
    }
}

fn nowhere() -> anyhow::Error {
    anyhow::anyhow!("there is no place for sessions: set HOME, XDG_STATE_HOME, BIT_AXON_HOME or paths.sessions")
}

/// The sessions of the user, where the settings say.
pub(super) fn store() -> Result<session::Store> {
    super::settings::load()?.settings.paths.sessions.map(session::Store::new).ok_or_else(nowhere)
}

/// A terminal that takes nothing any more (a dead connection, Ctrl-S) is not waited for.
fn note_unless_stuck(text: String) {
    let (done, waited) = mpsc::channel();
    let note = move || {
        output::note(text);
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("note".into()).spawn(note).is_ok() {
        let _ = waited.recv_timeout(Duration::from_millis(500));
    }
}

/// Says where the conversation is, and how to go on with it; an error if its end is lost.
pub(super) fn say_where(left: &Left, model: Option<&str>) -> Result<()> {
    if let Some(path) = &left.path {
        let quoted = |text: &str| shlex::try_quote(text).map_or_else(|_| text.to_owned(), Into::into);
        let model = model.map_or(String::new(), |model| format!(" {}", quoted(model)));
        let id = if Path::new(&left.id).is_absolute() { path.to_string_lossy() } else { left.id.as_str().into() };
        let again = format!("bit-axon chat{model} --session {}", quoted(&id));
        note_unless_stuck(format!("Saved in {}; go on with: {again}", path.display()));
    }
    match &left.problem {
        Some(problem) => Err(anyhow::anyhow!("{problem}").context("the end of this conversation is not saved")),
        None => Ok(()),
    }
}
