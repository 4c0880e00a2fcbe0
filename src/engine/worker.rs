//! The thread that owns the model: takes one thing after another, and survives what goes wrong.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::sync::watch;

use super::Loaded;
use super::handle::panic_text;
use super::lanes::{Lanes, Task};
use crate::protocol::{Alterations, EngineSnapshot, Event, TokenId};

/// How often a snapshot is worth its cost.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(50);
/// The speed shown is that of about this time.
const SPEED_OVER: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    pub(super) model: Loaded,
    pub(super) lanes: Lanes,
    /// (V) true for ids that the tokenizer lacks; empty if there is no tokenizer.
    pub(super) banned: Vec<bool>,
    board: watch::Sender<EngineSnapshot>,
    alterations: Alterations,
    /// The state was made with other alterations: it must not be built upon.
    stale: bool,
    /// Why no request can run any more.
    broken: Option<String>,
    /// Times and tokens so far, for the speed.
    speed: VecDeque<(Instant, usize)>,
    last_snapshot: Option<Instant>,
}

impl Worker {
    pub(super) fn new(model: Loaded, lanes: Lanes, board: watch::Sender<EngineSnapshot>) -> Result<Self> {
        let spec = model.backend.spec();
        ensure!(spec.max_seq_len > 0, "the model's max_seq_len is 0: it can read nothing");
        let banned = match &model.tokenizer {
            None => Vec::new(),
            Some(tokenizer) => {
                tokenizer.check_fits(spec.vocab)?;
                (0..spec.vocab).map(|id| !tokenizer.has(id as TokenId)).collect()
            }
        };
        let mut worker = Self {
            model,
            lanes,
            banned,
            board,
            alterations: Alterations::default(),
            stale: false,
            broken: None,
            speed: VecDeque::new(),
            last_snapshot: None,
        };
        worker.publish();
        Ok(worker)
    }

    /// Until the engine shall end.
    pub(super) fn work(&mut self) {
        while let Some(task) = self.lanes.next() {
            match task {
                Task::Alter(alterations) => self.alter(alterations),
                Task::Generate(request) => {
                    let id = request.id;
                    self.speed.clear();
                    if let Err(error) = self.survive(|worker| worker.generate(&request)) {
                        self.lanes.send(Event::Failed { id, message: format!("{error:#}") });
                    }
                    self.speed.clear();
                }
            }
            self.lanes.done();
            self.publish();
        }
    }

    fn alter(&mut self, alterations: Alterations) {
        if alterations == self.alterations {
            return self.lanes.send(Event::Altered { alterations });
        }
        let done = self.survive(|worker| {
            crate::model::alterations::check(worker.model.backend.spec(), &alterations)?;
            worker.model.backend.alter(&alterations)
        });
        match done {
            Ok(()) => {
                self.stale = true;
                self.alterations = alterations.clone();
                self.lanes.send(Event::Altered { alterations });
            }
            Err(error) => self.lanes.send(Event::AlterFailed { message: format!("{error:#}") }),
        }
    }

    /// Makes a panic an error. The state may be anything after one, so it is emptied; if even that
    /// fails, later requests are told so.
    fn survive(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(reason) = &self.broken {
            return Err(anyhow!("the engine is out of order since it failed with `{reason}`; open the model again"));
        }
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(done) => done,
            Err(panic) => {
                let reason = panic_text(&*panic);
                let emptied = catch_unwind(AssertUnwindSafe(|| self.model.backend.rewind(0)));
                if !matches!(emptied, Ok(Ok(_))) {
                    self.broken = Some(reason.clone());
                }
                Err(anyhow!("this is a fault of the program, please report it: {reason}"))
            }
        }
    }

    /// Brings the state to the longest beginning that it shares with `prompt`, at least one token
    /// short of it, since logits come from reading. Gives the state's length: reading goes on from
    /// there.
    ///
    /// A state that was made with other alterations shares nothing: what follows must be what the
    /// altered model gives from its first token on.
    pub(super) fn reuse(&mut self, prompt: &[TokenId]) -> Result<usize> {
        let held = self.model.backend.tokens();
        let shared = held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let keep = if self.stale { 0 } else { shared.min(prompt.len() - 1) };
        let reached = if keep < held.len() { self.model.backend.rewind(keep)? } else { keep };
        ensure!(reached <= keep, "the backend went back to token {reached} when asked for {keep}");
        self.stale = false;
        Ok(reached)
    }

    /// Notes a generated token, and tells how things stand if that is due.
    pub(super) fn tick(&mut self, generated: usize) {
        let now = Instant::now();
        if self.last_snapshot.is_some_and(|last| now - last < SNAPSHOT_EVERY) {
            return;
        }
        if generated > 0 {
            self.speed.push_back((now, generated));
        }
        while self.speed.len() > 2 && now - self.speed[1].0 >= SPEED_OVER {
            self.speed.pop_front();
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.last_snapshot = Some(Instant::now());
        let rate = match (self.speed.front(), self.speed.back()) {
            (Some((from, first)), Some((to, last))) if last > first => {
                Some((last - first) as f64 / (*to - *from).as_secs_f64())
            }
            _ => None,
        };
        let backend = &self.model.backend;
        self.board.send_replace(EngineSnapshot {
            context_tokens: backend.tokens().len(),
            context_limit: backend.spec().max_seq_len,
            running: self.lanes.running(),
            waiting: self.lanes.waiting(),
            tokens_per_second: rate,
            memory: backend.memory(),
            alterations: self.alterations.clone(),
        });
    }
}
