//! What `run --session FILE` keeps: the conversation, token by token, as it happens.

use std::path::Path;

use anyhow::{Result, bail};

use crate::chat::{Change, Chat, End, NodeId, What};
use crate::cli::output;
use crate::protocol::{EngineSnapshot, Event, Message, ModelInfo, Prompt, Request, Role};
use crate::session::{self, Access, Writer};

/// Alternatives that are kept beside each token.
pub(super) const ALTERNATIVES: usize = 5;

/// Writes what is asked and answered into a session.
pub(super) struct Recorder {
    writer: Writer,
    chat: Chat,
    /// The answer that is being written.
    answer: NodeId,
    /// It could not be saved, and this was said.
    said: bool,
}

impl Recorder {
    /// Begins a session, or goes on with the one that is there.
    pub(super) fn open(path: &Path, model: &ModelInfo) -> Result<Self> {
        let opened = session::open_or_create(path)?;
        opened.loaded.notes.iter().filter(|_| !opened.loaded.chat.nodes().is_empty()).for_each(output::note);
        let writer = match opened.access {
            Access::Write(writer) => *writer,
            Access::ReadOnly(why) => bail!("{} cannot be written: {why}", path.display()),
        };
        let known = opened.loaded.model == model.name;
        let mut recorder = Self { writer, chat: opened.loaded.chat, answer: 0, said: false };
        if !known {
            recorder.keep(&What::Model { info: Box::new(model.clone()), label: String::new() });
        }
        Ok(recorder)
    }

    /// What was said so far in the session.
    pub(super) fn turns(&self) -> Vec<Message> {
        self.chat.messages(self.chat.path().last().copied())
    }

    /// An answer is asked for.
    pub(super) fn ask(&mut self, request: &Request) {
        let Prompt::Chat(turns) = &request.prompt else { return };
        let parent = self.follow(turns);
        self.answer = self.chat.nodes().len();
        let (text, sampling) = (String::new(), Some(request.sampling.clone()));
        let (tokens, alterations) = (Vec::new(), None);
        let role = Role::Assistant;
        self.change(Change::Add { id: self.answer, parent, role, text, tokens, sampling, alterations });
    }

    /// Finds the branch that these turns are, and adds those that are new.
    fn follow(&mut self, turns: &[Message]) -> Option<NodeId> {
        let system = turns.iter().find(|turn| turn.role == Role::System);
        let system = system.map(|turn| turn.content.clone()).unwrap_or_default();
        if system != self.chat.system {
            self.change(Change::System { text: system });
        }
        let mut at = None;
        for turn in turns.iter().filter(|turn| turn.role != Role::System) {
            let says_so = |id: &&NodeId| {
                self.chat.node(**id).is_some_and(|node| node.role == turn.role && node.text == turn.content)
            };
            at = match self.chat.after(at).iter().rev().find(says_so) {
                Some(id) => Some(*id),
                None => {
                    let (id, text) = (self.chat.nodes().len(), turn.content.clone());
                    let (tokens, sampling, alterations) = (Vec::new(), None, None);
                    let role = turn.role;
                    self.change(Change::Add { id, parent: at, role, text, tokens, sampling, alterations });
                    Some(id)
                }
            };
        }
        at
    }

    /// The engine said something about the answer.
    pub(super) fn event(&mut self, event: &Event) {
        let id = self.answer;
        match event {
            Event::Started { .. } | Event::Prefill { .. } => self.keep(&What::Engine(event.clone())),
            Event::Token(token) => self.change(Change::Token { id, token: token.clone().into() }),
            Event::Finished { reason, text, stats, .. } => {
                let end = End::Done(*reason);
                self.change(Change::Finish { id, text: text.clone(), end, stats: Some(*stats) });
            }
            Event::Failed { message, .. } => self.failed(message),
            Event::Altered { .. } | Event::AlterFailed { .. } => {}
        }
    }

    /// The answer ends because of this, unless it has ended.
    pub(super) fn failed(&mut self, why: &str) {
        if self.chat.node(self.answer).is_some_and(|node| node.role == Role::Assistant && node.end.is_none()) {
            let end = End::Failed(why.to_owned());
            self.change(Change::Finish { id: self.answer, text: String::new(), end, stats: None });
        }
    }

    /// An answer has ended: figures for who plays it, and the disk is waited for.
    pub(super) fn ended(&mut self, state: EngineSnapshot) {
        self.keep(&What::State(Box::new(state)));
        let synced = self.writer.sync();
        self.tell(synced);
    }

    fn change(&mut self, change: Change) {
        match self.chat.apply(&change) {
            Ok(()) => self.keep(&What::Change(change)),
            Err(why) => self.tell(Err(anyhow::anyhow!("the session does not fit itself: {why}"))),
        }
    }

    fn keep(&mut self, what: &What) {
        let kept = self.writer.append(what);
        self.tell(kept);
    }

    /// An answer goes on though it cannot be saved; that is said once.
    fn tell(&mut self, result: Result<()>) {
        match result {
            Err(error) if !self.said => {
                output::error(&error);
                self.said = true;
            }
            Err(_) => {}
            Ok(()) if self.said => {
                output::note("It is saved again.");
                self.said = false;
            }
            Ok(()) => {}
        }
    }
}
