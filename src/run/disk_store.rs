//! Sessions on disk: what happens is written as it happens, into a file that begins with the first
//! message.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::library::{Library, Task, path_of};
use super::store::{Left, Store, Tell};
use crate::app::msg::{Msg, SessionOp};
use crate::app::sessions::{Resumed, Saving};
use crate::app::tally::Tally;
use crate::chat::{Change, What};
use crate::protocol::{Event, Role};
use crate::session::{self, Access, History, Loaded, Writer};

/// Entries that wait in memory while no file can be made: with their routing, some 50 MB.
const MOST_WAITING: usize = 1 << 14;

/// Where the session that is open goes.
enum Place {
    /// Nowhere yet: nothing was said.
    New,
    /// Into a copy of this file, of which so many bytes were read: it cannot be written itself.
    CopyOf(PathBuf, u64),
    /// Into this file.
    File(Box<Writer>),
    /// Nowhere any more: too much waited.
    Lost,
}

/// Keeps sessions in a folder.
pub struct DiskStore {
    store: session::Store,
    history: Option<History>,
    library: Option<Library>,
    place: Place,
    /// The file is new, and its folder is not on the disk yet.
    new_file: bool,
    /// What happened before there was a file, with its times.
    waiting: Vec<(u64, What)>,
    /// The model that answers, to be written before the next change.
    model: Option<What>,
    model_is_written: bool,
    /// It cannot be saved, and this was told.
    failing: Option<String>,
}

impl DiskStore {
    /// Sessions in this folder; prompts in this file.
    pub fn new(store: session::Store, history: Option<History>) -> Self {
        Self {
            store,
            history,
            library: None,
            place: Place::New,
            new_file: false,
            waiting: Vec::new(),
            model: None,
            model_is_written: false,
            failing: None,
        }
    }

    fn library(&self, task: Task) {
        if let Some(library) = &self.library {
            library.ask(task);
        }
    }

    /// The name of the session that is open, as the list has it.
    fn open_id(&self) -> Option<String> {
        match &self.place {
            Place::File(writer) => Some(self.id_of(writer.path())),
            _ => None,
        }
    }

    fn id_of(&self, path: &Path) -> String {
        let own = path.file_stem().and_then(|stem| stem.to_str());
        let own = own.filter(|id| self.store.path(id).is_ok_and(|own| own == path));
        own.map_or_else(|| path.to_string_lossy().into_owned(), str::to_owned)
    }

    /// Says once that it cannot be saved, and once that it is again.
    fn outcome(&mut self, result: Result<()>, tell: &Tell) {
        match (result, &self.failing) {
            (Err(error), None) => {
                // The line is short, and paths are long: what is wrong comes first.
                let (cause, what) = (error.root_cause().to_string(), error.to_string());
                let why = if what == cause { what } else { format!("{cause}: {what}") };
                tell(Msg::Saving(Saving::Failing(why.clone())));
                self.failing = Some(why);
            }
            (Ok(()), Some(_)) => {
                tell(Msg::Saving(Saving::Saved));
                self.failing = None;
            }
            _ => {}
        }
    }

    /// Leaves the session; the disk is waited for elsewhere.
    fn let_go(&mut self, tell: &Tell) {
        self.sync(tell);
        (self.place, self.new_file, self.model_is_written) = (Place::New, false, false);
        self.waiting.clear();
        if self.failing.take().is_some() {
            tell(Msg::Saving(Saving::Saved));
        }
    }

    fn append(&mut self, at: u64, what: &What) -> Result<()> {
        let Place::File(writer) = &mut self.place else { return Ok(()) };
        if !self.model_is_written
            && let Some(model) = &self.model
        {
            self.model_is_written = true;
            writer.append_at(at, model)?;
        }
        writer.append_at(at, what)
    }

    /// What happens before there is a file waits; the first message makes one.
    fn wait(&mut self, at: u64, what: What, tell: &Tell) {
        if matches!(self.place, Place::Lost) {
            return;
        }
        let said = |what: &What| matches!(what, What::Change(Change::Add { .. } | Change::Title { .. }));
        let begun = self.waiting.iter().any(|(_, what)| said(what));
        let matters = matches!(what, What::Change(_) | What::Engine(Event::Altered { .. }));
        if !begun && !matters {
            return;
        }
        // A disk that had no room is asked again when a message begins or ends, not at every token.
        let ask = matches!(what, What::Change(Change::Add { .. } | Change::Finish { .. } | Change::Title { .. }));
        self.waiting.push((at, what));
        if self.waiting.len() > MOST_WAITING {
            (self.place, self.waiting) = (Place::Lost, Vec::new());
            self.outcome(Err(anyhow::anyhow!("too much waits to be written")), tell);
        } else if ask {
            let made = self.make_file(tell);
            self.outcome(made, tell);
        }
    }

    fn make_file(&mut self, tell: &Tell) -> Result<()> {
        let first = |(_, what): &(u64, What)| match what {
            What::Change(Change::Add { text, .. }) => Some(text.clone()),
            _ => None,
        };
        let writer = match (&self.place, self.waiting.iter().find_map(first)) {
            (Place::CopyOf(file, bytes), _) => self.store.fork_file(file, Some(*bytes))?.1,
            (Place::New, Some(text)) => self.store.create(&text)?,
            // A name alone is no session.
            _ => return Ok(()),
        };
        tell(Msg::SessionNamed(writer.id().to_owned()));
        (self.place, self.new_file) = (Place::File(Box::new(writer)), true);
        let mut written = Ok(());
        for (at, what) in std::mem::take(&mut self.waiting) {
            // What cannot be written waits in the writer.
            written = self.append(at, &what);
        }
        written
    }

    fn open(&mut self, id: &str, tell: &Tell) -> Result<Resumed> {
        let path = path_of(&self.store, id)?;
        // Only what was asked for by its path may be made.
        let elsewhere = path != self.store.path(id).unwrap_or_default();
        let opened = if elsewhere { session::open_or_create(&path)? } else { session::open(&path)? };
        self.let_go(tell);
        let mut resumed = resumed(self.id_of(&path), opened.loaded);
        match opened.access {
            Access::Write(writer) => self.place = Place::File(writer),
            Access::ReadOnly(why) => {
                resumed.0.notes.insert(0, format!("{why}. What you say goes into a copy"));
                self.place = Place::CopyOf(path, resumed.1);
            }
        }
        Ok(resumed.0)
    }
}

/// What the workbench needs of a session, and how many bytes of its file that is.
fn resumed(id: String, loaded: Loaded) -> (Resumed, u64) {
    let bytes = loaded.bytes();
    let Loaded { chat, info: model, sampling, alterations, notes, .. } = loaded;
    let notes = if chat.nodes().is_empty() { Vec::new() } else { notes };
    // Counted here, where it may take its time.
    let counted = model.as_ref().map(|model| Box::new(Tally::of_chat(&model.experts, &chat)));
    (Resumed { id, chat, model, sampling, alterations, counted, notes }, bytes)
}

impl Store for DiskStore {
    fn start(&mut self, tell: &Tell) {
        match Library::start(self.store.clone(), self.history.clone(), tell.clone()) {
            Ok(library) => self.library = Some(library),
            Err(error) => tell(Msg::Notice(format!("{error:#}"))),
        }
    }

    fn keep(&mut self, at: u64, what: What, tell: &Tell) {
        if let What::Model { .. } = &what {
            (self.model, self.model_is_written) = (Some(what), false);
            return;
        }
        // The end of a message should not be lost to a power cut.
        let is_end = match &what {
            What::Change(Change::Add { role, .. }) => *role == Role::User,
            What::Change(Change::Finish { .. } | Change::Title { .. }) => true,
            _ => false,
        };
        if matches!(self.place, Place::File(_)) {
            let appended = self.append(at, &what);
            self.outcome(appended, tell);
        } else {
            self.wait(at, what, tell);
        }
        if is_end {
            self.sync(tell);
        }
    }

    fn ask(&mut self, op: SessionOp, tell: &Tell) -> Result<()> {
        // By way of here, so that everything that was said before is written.
        self.library(match op {
            SessionOp::New => {
                self.let_go(tell);
                return Ok(());
            }
            SessionOp::Open(id) => {
                let resumed = self.open(&id, tell).with_context(|| format!("{id} cannot be opened"))?;
                tell(Msg::SessionOpened(Box::new(resumed)));
                return Ok(());
            }
            SessionOp::List => Task::List,
            SessionOp::Rename(id, title) => Task::Rename(id, title),
            SessionOp::Delete(id) => Task::Delete(id),
            SessionOp::Copy(id) => Task::Copy(id),
            SessionOp::Preview(id) => Task::Preview(id),
            SessionOp::Search(query) => Task::Search(query, self.open_id()),
            SessionOp::Export(export) => {
                let model = match &self.model {
                    Some(What::Model { info, .. }) => Some((**info).clone()),
                    _ => None,
                };
                Task::Export(export, model)
            }
        });
        Ok(())
    }

    fn remember(&mut self, prompt: String, _tell: &Tell) {
        self.library(Task::Remember(prompt));
    }

    fn sync(&mut self, tell: &Tell) {
        let Place::File(writer) = &mut self.place else { return };
        let folder = self.new_file.then(|| writer.path().parent().map(Path::to_owned)).flatten();
        let flushed = writer.flush();
        match writer.file() {
            Ok(file) => self.library(Task::Sync(file, folder)),
            Err(error) => tell(Msg::Notice(format!("{error:#}"))),
        }
        self.new_file = false;
        self.outcome(flushed, tell);
    }

    fn close(&mut self, tell: &Tell) -> Option<Left> {
        if !self.waiting.is_empty() {
            let made = self.make_file(tell);
            self.outcome(made, tell);
        }
        let id = self.open_id();
        let left = match &mut self.place {
            Place::File(writer) => {
                let problem = writer.sync().err().map(|error| format!("{error:#}"));
                Some(Left { id: id.unwrap_or_default(), path: Some(writer.path().to_owned()), problem })
            }
            _ => self.failing.take().map(|why| Left { id: String::new(), path: None, problem: Some(why) }),
        };
        self.place = Place::New;
        if let Some(mut library) = self.library.take() {
            library.finish();
        }
        left
    }
}
