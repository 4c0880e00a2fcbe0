//! Where conversations are kept.

use anyhow::{Context, Result};

use crate::app::chat::{Change, Chat};
use crate::app::overlay::{Hit, search_chat};
use crate::app::state::SessionEntry;

/// Keeps sessions. Every call is quick: it is made between frames.
pub trait Store {
    /// What follows belongs to a new session, which need not be kept before its first change.
    fn begin(&mut self);
    /// The session changed.
    fn record(&mut self, change: &Change) -> Result<()>;
    /// The sessions, newest first.
    fn list(&mut self) -> Result<Vec<SessionEntry>>;
    /// All changes of a session; what follows belongs to it.
    fn open(&mut self, id: &str) -> Result<Vec<Change>>;
    /// Names a session.
    fn rename(&mut self, id: &str, title: &str) -> Result<()>;
    /// Deletes a session.
    fn delete(&mut self, id: &str) -> Result<()>;
    /// Where a text stands, in sessions other than the open one.
    fn search(&mut self, query: &str) -> Result<Vec<Hit>>;
    /// Keeps a prompt for later.
    fn remember(&mut self, prompt: &str) -> Result<()>;
    /// Writes out what is not yet.
    fn flush(&mut self) -> Result<()>;
}

/// Keeps sessions as long as the program runs, and nothing on disk.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: Vec<(String, Vec<Change>)>,
    open: Option<usize>,
    count: usize,
}

impl MemoryStore {
    fn find(&self, id: &str) -> Result<usize> {
        self.sessions.iter().position(|(own, _)| own == id).with_context(|| format!("there is no session {id}"))
    }

    fn chat(&self, at: usize) -> Chat {
        let mut chat = Chat::default();
        for change in &self.sessions[at].1 {
            let _ = chat.apply(change);
        }
        chat
    }
}

impl Store for MemoryStore {
    fn begin(&mut self) {
        self.open = None;
    }

    fn record(&mut self, change: &Change) -> Result<()> {
        let at = match self.open {
            Some(at) => at,
            None => {
                self.count += 1;
                self.sessions.push((format!("chat {}", self.count), Vec::new()));
                self.sessions.len() - 1
            }
        };
        self.open = Some(at);
        self.sessions[at].1.push(change.clone());
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<SessionEntry>> {
        let entry = |at: usize| {
            let chat = self.chat(at);
            SessionEntry {
                id: self.sessions[at].0.clone(),
                title: chat.name(),
                messages: chat.nodes().len(),
                when: "not kept on disk".into(),
            }
        };
        Ok((0..self.sessions.len()).rev().map(entry).collect())
    }

    fn open(&mut self, id: &str) -> Result<Vec<Change>> {
        let at = self.find(id)?;
        self.open = Some(at);
        Ok(self.sessions[at].1.clone())
    }

    fn rename(&mut self, id: &str, title: &str) -> Result<()> {
        let at = self.find(id)?;
        self.sessions[at].1.push(Change::Title { title: title.to_owned() });
        Ok(())
    }

    fn delete(&mut self, id: &str) -> Result<()> {
        let at = self.find(id)?;
        self.sessions.remove(at);
        self.open = self.open.filter(|open| *open != at).map(|open| open - usize::from(open > at));
        Ok(())
    }

    fn search(&mut self, query: &str) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        for at in (0..self.sessions.len()).filter(|at| Some(*at) != self.open) {
            let chat = self.chat(at);
            let (id, title) = (&self.sessions[at].0, chat.name());
            let found = search_chat(&chat, query).into_iter();
            hits.extend(found.map(|hit| Hit { session: Some(id.clone()), title: title.clone(), ..hit }));
        }
        Ok(hits)
    }

    fn remember(&mut self, _prompt: &str) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;

    fn add(text: &str) -> Change {
        let text = text.to_owned();
        Change::Add { id: 0, parent: None, role: Role::User, text, tokens: vec![], sampling: None, alterations: None }
    }

    #[test]
    fn sessions_are_kept_apart() {
        let mut store = MemoryStore::default();
        store.record(&add("one needle")).unwrap();
        store.begin();
        store.record(&add("two")).unwrap();
        let list = store.list().unwrap();
        assert_eq!(list.iter().map(|e| e.title.as_str()).collect::<Vec<_>>(), ["two", "one needle"]);
        assert_eq!(store.search("NEEDLE").unwrap()[0].session.as_deref(), Some("chat 1"));
        store.rename("chat 1", "first").unwrap();
        store.delete("chat 1").unwrap();
        assert!(store.open("chat 1").is_err());
        store.record(&Change::System { text: "x".into() }).unwrap();
        assert_eq!(store.open("chat 2").unwrap().len(), 2);
    }
}
