//! Where sessions are kept: on disk ([`super::disk_store`]), or here, for as long as the program runs.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::export;
use crate::app::chat::{Change, Chat};
use crate::app::msg::{Msg, SessionOp};
use crate::app::overlay::{Hit, search_chat};
use crate::app::sessions::{ExportFrom, Found, Preview, Resumed, Saving};
use crate::app::state::SessionEntry;
use crate::chat::What;
use crate::session::{Loaded, now_ms};

/// Says something to the workbench, from any thread.
pub type Tell = Arc<dyn Fn(Msg) + Send + Sync>;

/// Keeps sessions. It lives on a thread of its own ([`super::keeper`]), so that the screen never waits
/// for a disk; what happens meanwhile waits to be kept, so that its calls should not take long either.
pub trait Store: Send {
    /// Says what is known at the start.
    fn start(&mut self, tell: &Tell);
    /// Something happened, so many milliseconds after 1970. The first message begins a session.
    fn keep(&mut self, at: u64, what: What, tell: &Tell);
    /// Something is asked about sessions.
    fn ask(&mut self, op: SessionOp, tell: &Tell) -> Result<()>;
    /// Keeps a prompt for later.
    fn remember(&mut self, prompt: String, tell: &Tell);
    /// What happened until now should not be lost to a power cut.
    fn sync(&mut self, tell: &Tell);
    /// Writes what is not written yet, and waits for the disk. Gives where the session is, if anything
    /// was said.
    fn close(&mut self, tell: &Tell) -> Option<Left>;
}

/// The session that is left when the program ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its name on disk, or its path if it is elsewhere than others.
    pub id: String,
    /// Its file; none if there is none.
    pub path: Option<PathBuf>,
    /// Why the end of it is not in the file.
    pub problem: Option<String>,
}

/// Keeps sessions as long as the program runs, and nothing on disk.
#[derive(Debug, Default)]
pub struct MemoryStore {
    why: Saving,
    sessions: Vec<(String, Vec<Change>)>,
    open: Option<usize>,
    count: usize,
}

impl MemoryStore {
    /// Nothing is kept on disk: why.
    pub fn new(why: Saving) -> Self {
        Self { why, ..Self::default() }
    }

    fn find(&self, id: &str) -> Result<usize> {
        self.sessions.iter().position(|(own, _)| own == id).with_context(|| format!("there is no session {id}"))
    }

    fn chat(&self, at: usize) -> Chat {
        Resumed::from_changes("", &self.sessions[at].1).chat
    }

    fn list(&self) -> Vec<SessionEntry> {
        let entry = |at: usize| {
            let chat = self.chat(at);
            SessionEntry {
                id: self.sessions[at].0.clone(),
                title: chat.name(),
                messages: chat.nodes().len(),
                when: "not saved".into(),
                ..SessionEntry::default()
            }
        };
        let said = (0..self.sessions.len()).rev().map(entry);
        said.filter(|entry| entry.messages > 0).collect()
    }

    fn search(&self, query: &str) -> Vec<Hit> {
        let mut hits = Vec::new();
        for at in (0..self.sessions.len()).filter(|at| Some(*at) != self.open) {
            let chat = self.chat(at);
            let (id, title) = (&self.sessions[at].0, chat.name());
            let found = search_chat(&chat, query).into_iter();
            hits.extend(found.map(|hit| Hit { session: Some(id.clone()), title: title.clone(), ..hit }));
        }
        hits
    }
}

impl Store for MemoryStore {
    fn start(&mut self, tell: &Tell) {
        tell(Msg::Saving(self.why.clone()));
    }

    fn keep(&mut self, _at: u64, what: What, tell: &Tell) {
        let What::Change(change) = what else { return };
        let at = match self.open {
            Some(at) => at,
            // What is set before anything was said is no session yet, but its beginning.
            None => {
                self.count += 1;
                let id = format!("chat {}", self.count);
                tell(Msg::SessionNamed(id.clone()));
                self.sessions.push((id, Vec::new()));
                self.sessions.len() - 1
            }
        };
        self.open = Some(at);
        self.sessions[at].1.push(change);
    }

    fn ask(&mut self, op: SessionOp, tell: &Tell) -> Result<()> {
        match op {
            SessionOp::New => self.open = None,
            SessionOp::List => tell(Msg::Sessions(self.list())),
            SessionOp::Open(id) => {
                let at = self.find(&id)?;
                self.open = Some(at);
                tell(Msg::SessionOpened(Box::new(Resumed::from_changes(id, &self.sessions[at].1))));
            }
            SessionOp::Rename(id, title) => {
                let at = self.find(&id)?;
                self.sessions[at].1.push(Change::Title { title });
            }
            SessionOp::Delete(id) => {
                let at = self.find(&id)?;
                self.sessions.remove(at);
                self.open = self.open.filter(|open| *open != at).map(|open| open - usize::from(open > at));
            }
            SessionOp::Copy(id) => {
                let at = self.find(&id)?;
                self.count += 1;
                self.sessions.push((format!("chat {}", self.count), self.sessions[at].1.clone()));
            }
            SessionOp::Preview(id) => {
                let chat = self.chat(self.find(&id)?);
                let said = chat.path().iter().filter_map(|id| chat.node(*id));
                let messages = said.map(|node| (node.role, node.text.clone())).collect();
                tell(Msg::Preview(Preview { id, messages }));
            }
            SessionOp::Export(wanted) => {
                let chat = match &wanted.from {
                    ExportFrom::Saved(id) => self.chat(self.find(id)?),
                    ExportFrom::Here(chat) => (**chat).clone(),
                };
                let loaded = Loaded::of(chat, None, now_ms(), now_ms());
                let path = export::write(&loaded, &wanted, None)?;
                tell(Msg::Notice(format!("Written to {}", path.display())));
            }
            SessionOp::Search(query) => {
                let hits = self.search(&query);
                tell(Msg::Found(Found { query, hits, done: true }));
            }
        }
        Ok(())
    }

    fn remember(&mut self, _prompt: String, _tell: &Tell) {}

    fn sync(&mut self, _tell: &Tell) {}

    fn close(&mut self, _tell: &Tell) -> Option<Left> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::protocol::Role;

    fn add(text: &str) -> What {
        let text = text.to_owned();
        let (id, parent, tokens) = (0, None, vec![]);
        What::Change(Change::Add { id, parent, role: Role::User, text, tokens, sampling: None, alterations: None })
    }

    #[test]
    fn sessions_are_kept_apart() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let tell: Tell = Arc::new(move |msg| heard.lock().unwrap().push(msg));
        let mut store = MemoryStore::default();
        store.keep(0, add("one needle"), &tell);
        store.ask(SessionOp::New, &tell).unwrap();
        store.keep(0, add("two"), &tell);
        let titles = |store: &MemoryStore| store.list().into_iter().map(|e| e.title).collect::<Vec<_>>();
        assert_eq!(titles(&store), ["two", "one needle"]);
        assert_eq!(store.search("NEEDLE")[0].session.as_deref(), Some("chat 1"));
        store.ask(SessionOp::Rename("chat 1".into(), "first".into()), &tell).unwrap();
        store.ask(SessionOp::Copy("chat 1".into()), &tell).unwrap();
        assert_eq!(titles(&store), ["first", "two", "first"]);
        store.ask(SessionOp::Delete("chat 1".into()), &tell).unwrap();
        assert!(store.ask(SessionOp::Open("chat 1".into()), &tell).is_err());
        store.keep(0, What::Change(Change::System { text: "x".into() }), &tell);
        store.ask(SessionOp::Open("chat 2".into()), &tell).unwrap();
        let Some(Msg::SessionOpened(resumed)) = told.lock().unwrap().pop() else { panic!() };
        assert_eq!((resumed.id.as_str(), resumed.chat.system.as_str()), ("chat 2", "x"));
        assert_eq!(store.close(&tell), None);
    }
}
