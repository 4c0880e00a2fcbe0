//! The thread that keeps sessions: a disk may take its time, and the screen does not wait for it.

use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::store::{Left, Store, Tell};
use crate::app::msg::{Msg, SessionOp};
use crate::app::sessions::Saving;
use crate::chat::What;
use crate::session::now_ms;

/// The longest that leaving waits for a disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that stopping for a while waits.
const SHORT: Duration = Duration::from_millis(500);

enum Job {
    Keep(u64, What),
    Ask(SessionOp),
    Remember(String),
    Sync(mpsc::Sender<()>),
    Close(mpsc::Sender<Option<Left>>),
}

/// The near end of the thread.
pub struct Keeper {
    jobs: Option<mpsc::Sender<Job>>,
    answers: UnboundedReceiver<Msg>,
    /// The thread ended before its time, and that was told.
    gone: bool,
    ended: mpsc::Receiver<()>,
    _thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread.
    pub fn start(mut store: Box<dyn Store>) -> Result<Self> {
        let (jobs, incoming) = mpsc::channel();
        let (told, answers) = unbounded_channel();
        let (end, ended) = mpsc::channel();
        let thread = move || {
            // Dropped however the thread ends.
            let _end: mpsc::Sender<()> = end;
            // Nobody may be left to be told.
            let tell: Tell = Arc::new(move |msg| drop(told.send(msg)));
            work(&mut *store, &incoming, &tell);
        };
        let thread = std::thread::Builder::new().name("sessions".into()).spawn(thread);
        let thread = thread.context("the thread that keeps sessions cannot be started")?;
        Ok(Self { jobs: Some(jobs), answers, gone: false, ended, _thread: thread })
    }

    /// True on threads whose panics are told by [`Keeper::answer`].
    pub fn may_panic_here() -> bool {
        matches!(std::thread::current().name(), Some("sessions" | "library" | "search"))
    }

    /// Something happened.
    pub fn keep(&self, what: What) {
        self.send(Job::Keep(now_ms(), what));
    }

    /// Something is asked about sessions; the answer comes in time.
    pub fn ask(&self, op: SessionOp) {
        self.send(Job::Ask(op));
    }

    /// Keeps a prompt for later.
    pub fn remember(&self, prompt: String) {
        self.send(Job::Remember(prompt));
    }

    /// Waits until what happened is written, but not for long.
    pub fn settle(&self) {
        let (done, written) = mpsc::channel();
        self.send(Job::Sync(done));
        let _ = written.recv_timeout(SHORT);
    }

    /// What there is to tell.
    pub async fn answer(&mut self) -> Msg {
        if !self.gone {
            if let Some(msg) = self.answers.recv().await {
                return msg;
            }
            self.gone = true;
            let why = "what saves it has failed, which is a fault of the program";
            return Msg::Saving(Saving::Failing(why.into()));
        }
        pending().await
    }

    /// The same, if it is there already.
    pub fn try_answer(&mut self) -> Option<Msg> {
        self.answers.try_recv().ok()
    }

    /// Writes everything, and gives where it is.
    pub fn close(mut self) -> Option<Left> {
        let (done, closed) = mpsc::channel();
        self.send(Job::Close(done));
        // The near end is dropped with `self`, which then need not wait again.
        let left = closed.recv_timeout(PATIENCE);
        self.jobs = None;
        let problem = match left {
            Ok(left) => return left,
            Err(mpsc::RecvTimeoutError::Timeout) => "the disk does not answer",
            Err(mpsc::RecvTimeoutError::Disconnected) => "what saves it has failed",
        };
        Some(Left { id: String::new(), path: None, problem: Some(problem.into()) })
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that is gone is told by `answer`.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Keeper {
    /// However the program ends, a panic included, what was said is written first.
    fn drop(&mut self) {
        if self.jobs.take().is_some() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

fn work(store: &mut dyn Store, jobs: &mpsc::Receiver<Job>, tell: &Tell) {
    store.start(tell);
    for job in jobs {
        match job {
            Job::Keep(at, what) => store.keep(at, what, tell),
            Job::Ask(op) => {
                let opening = matches!(op, SessionOp::Open(_));
                if let Err(error) = store.ask(op, tell) {
                    let why = format!("{error:#}");
                    tell(if opening { Msg::SessionNotOpened(why) } else { Msg::Notice(why) });
                }
            }
            Job::Remember(prompt) => store.remember(prompt, tell),
            Job::Sync(done) => {
                store.sync(tell);
                let _ = done.send(());
            }
            Job::Close(done) => {
                let _ = done.send(store.close(tell));
                return;
            }
        }
    }
    store.close(tell);
}
