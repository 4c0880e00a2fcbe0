//! The worker's ends of the channels.
//!
//! Commands are taken whenever the worker looks: between two passes of the model, while it waits for
//! room in the event channel, and while it has nothing to do. What they ask for is kept here in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

use crate::protocol::{Alterations, Command, Event, FinishReason, Request, Stats};

/// Requests that may wait.
const MAX_WAITING: usize = 256;
/// How long the last events wait for a client that does not read them, when the engine ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Something to do, when its turn comes.
#[derive(Debug)]
pub(super) enum Task {
    Generate(Box<Request>),
    Alter(Alterations),
}

pub(super) struct Lanes {
    runtime: Runtime,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    waiting: VecDeque<Task>,
    /// Events that have not found room yet.
    unsent: VecDeque<Event>,
    running: Option<u64>,
    /// The running request was cancelled.
    cancelled: bool,
    /// `Shutdown` was seen.
    ending: bool,
    /// No command can come any more.
    no_commands: bool,
}

enum Woke {
    Room,
    Nobody,
    Command(Option<Command>),
    TooLate,
}

impl Lanes {
    pub(super) fn new(commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build().context("cannot start the engine's clock")?;
        Ok(Self {
            runtime,
            commands,
            events,
            waiting: VecDeque::new(),
            unsent: VecDeque::new(),
            running: None,
            cancelled: false,
            ending: false,
            no_commands: false,
        })
    }

    /// The next thing to do; none when the engine shall end.
    pub(super) fn next(&mut self) -> Option<Task> {
        loop {
            self.poll();
            if self.ending || self.events.is_closed() {
                return None;
            }
            if let Some(task) = self.waiting.pop_front() {
                self.cancelled = false;
                self.running = match &task {
                    Task::Generate(request) => Some(request.id),
                    Task::Alter(_) => None,
                };
                return Some(task);
            }
            if self.no_commands {
                return None;
            }
            let (commands, events) = (&mut self.commands, &self.events);
            let command = self.runtime.block_on(async {
                tokio::select! {
                    command = commands.recv() => command,
                    () = events.closed() => None,
                }
            });
            match command {
                Some(command) => self.take(command),
                None => self.no_commands = true,
            }
        }
    }

    /// What ran is over.
    pub(super) fn done(&mut self) {
        self.running = None;
    }

    /// True if the running request shall stop now.
    pub(super) fn should_stop(&mut self) -> bool {
        self.poll();
        self.cancelled || self.ending || self.events.is_closed()
    }

    pub(super) fn running(&self) -> Option<u64> {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().filter(|task| matches!(task, Task::Generate(_))).count()
    }

    /// Sends an event; waits for room, and takes commands meanwhile.
    pub(super) fn send(&mut self, event: Event) {
        self.unsent.push_back(event);
        self.flush();
    }

    /// Does nothing until then, or until the running request shall stop.
    pub(super) fn rest_until(&mut self, until: Instant) {
        while Instant::now() < until && !self.should_stop() {
            let (commands, events, listen) = (&mut self.commands, &self.events, !self.no_commands);
            let command = self.runtime.block_on(async {
                tokio::select! {
                    command = commands.recv(), if listen => Some(command),
                    () = events.closed() => None,
                    () = tokio::time::sleep_until(until.into()) => None,
                }
            });
            match command {
                Some(Some(command)) => self.take(command),
                Some(None) => self.no_commands = true,
                None => {}
            }
        }
    }

    /// Takes what has come.
    fn poll(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.no_commands = true;
                    break;
                }
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(event) = self.unsent.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => continue,
                Err(TrySendError::Closed(_)) => return self.unsent.clear(),
                Err(TrySendError::Full(event)) => self.unsent.push_front(event),
            }
            let (commands, events) = (&mut self.commands, &self.events);
            let (listen, ending) = (!self.no_commands && !self.ending, self.ending);
            // Dropping the permit leaves the room to the next try: nobody else sends here.
            let woke = self.runtime.block_on(async {
                tokio::select! {
                    room = events.reserve() => if room.is_ok() { Woke::Room } else { Woke::Nobody },
                    command = commands.recv(), if listen => Woke::Command(command),
                    () = tokio::time::sleep(LAST_WORDS), if ending => Woke::TooLate,
                }
            });
            match woke {
                Woke::Room => {}
                Woke::Nobody | Woke::TooLate => return self.unsent.clear(),
                Woke::Command(Some(command)) => self.take(command),
                Woke::Command(None) => self.no_commands = true,
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Generate(request) if self.waiting() >= MAX_WAITING => {
                let message = format!("{MAX_WAITING} requests wait already; ask again when some are done");
                self.unsent.push_back(Event::Failed { id: request.id, message });
            }
            Command::Generate(request) => self.waiting.push_back(Task::Generate(Box::new(request))),
            Command::Alter(alterations) => self.waiting.push_back(Task::Alter(alterations)),
            Command::Cancel(id) if self.running == Some(id) => self.cancelled = true,
            Command::Cancel(id) => {
                let place = self.waiting.iter().position(|task| matches!(task, Task::Generate(r) if r.id == id));
                if let Some(place) = place {
                    self.waiting.remove(place);
                    self.never_started(id);
                }
            }
            Command::Shutdown => {
                self.ending = true;
                for task in std::mem::take(&mut self.waiting) {
                    if let Task::Generate(request) = task {
                        self.never_started(request.id);
                    }
                }
            }
        }
    }

    fn never_started(&mut self, id: u64) {
        let (reason, text, stats) = (FinishReason::Cancelled, String::new(), Stats::default());
        self.unsent.push_back(Event::Finished { id, reason, text, stats });
    }
}
