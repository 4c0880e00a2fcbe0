//! What clients hold: the handle, the events, the thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::sync::{mpsc, oneshot, watch};

use super::Loaded;
use super::lanes::Lanes;
use super::worker::Worker;
use crate::protocol::{Command, EngineSnapshot, Event, ModelInfo};

/// Commands that may wait to be taken.
const COMMANDS: usize = 64;
/// Events that may wait to be read: about half a second of the fastest decoding is no reason to stall.
const EVENTS: usize = 1024;
/// Rendering a template recurses deeper than the default stack is meant for.
const STACK: usize = 16 << 20;

/// Starts the thread, which opens the model. Returns at once.
pub fn spawn(load: impl FnOnce() -> Result<Loaded> + Send + 'static) -> Opening {
    spawn_with_capacity(load, EVENTS)
}

/// [`spawn`] with an event channel of this length: a short one makes the engine wait for its reader.
pub fn spawn_with_capacity(load: impl FnOnce() -> Result<Loaded> + Send + 'static, capacity: usize) -> Opening {
    let (commands, command_end) = mpsc::channel(COMMANDS);
    let (event_end, events) = mpsc::channel(capacity.max(1));
    let (board, snapshot) = watch::channel(EngineSnapshot::default());
    let (ready_end, ready) = oneshot::channel();
    let thread = std::thread::Builder::new().name("engine".into()).stack_size(STACK).spawn(move || {
        let opened = load().and_then(|model| {
            let lanes = Lanes::new(command_end, event_end)?;
            let info = Arc::new(model.info.clone());
            Ok((Worker::new(model, lanes, board)?, info))
        });
        match opened {
            Ok((mut worker, info)) => {
                if ready_end.send(Ok(info)).is_ok() {
                    worker.work();
                }
            }
            // The client may have stopped waiting; then nobody wants to know.
            Err(error) => drop(ready_end.send(Err(error))),
        }
    });
    Opening { commands, events: Events(events), snapshot, ready, thread }
}

/// An engine whose model is being opened.
pub struct Opening {
    commands: mpsc::Sender<Command>,
    events: Events,
    snapshot: watch::Receiver<EngineSnapshot>,
    ready: oneshot::Receiver<Result<Arc<ModelInfo>>>,
    thread: std::io::Result<JoinHandle<()>>,
}

impl Opening {
    /// Waits until the model is open. Must not be called from async code: see [`Opening::ready`].
    pub fn wait(mut self) -> Result<Engine> {
        let (_, placeholder) = oneshot::channel();
        let ready = std::mem::replace(&mut self.ready, placeholder).blocking_recv();
        self.finish(ready)
    }

    /// Waits until the model is open.
    pub async fn ready(mut self) -> Result<Engine> {
        let ready = (&mut self.ready).await;
        self.finish(ready)
    }

    fn finish(self, ready: Result<Result<Arc<ModelInfo>>, oneshot::error::RecvError>) -> Result<Engine> {
        let thread = Thread(self.thread.context("the engine's thread could not be started")?);
        let info = match ready {
            Ok(opened) => opened?,
            Err(_) => return Err(thread.join().err().unwrap_or_else(|| anyhow!("the engine ended while opening"))),
        };
        let handle = Handle { commands: self.commands, snapshot: self.snapshot, info };
        Ok(Engine { handle, events: self.events, thread })
    }
}

/// A running engine. Take it apart to use its ends in different places; dropping the events ends it.
pub struct Engine {
    /// Commands in.
    pub handle: Handle,
    /// Events out.
    pub events: Events,
    /// The thread, to wait for at the end.
    pub thread: Thread,
}

impl Engine {
    /// Stops what runs, and waits until the thread has ended and the model's memory is free.
    pub fn close(self) -> Result<()> {
        drop(self.events);
        drop(self.handle);
        self.thread.join()
    }
}

/// Sends commands. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<EngineSnapshot>,
    info: Arc<ModelInfo>,
}

impl Handle {
    /// Sends a command; waits while the channel is full. An error means that the engine has ended.
    pub async fn send(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.ok().context(ENDED)
    }

    /// [`Handle::send`] for code that is not async.
    pub fn send_blocking(&self, command: Command) -> Result<()> {
        self.commands.blocking_send(command).ok().context(ENDED)
    }

    /// Sends without waiting: an error if the channel is full or the engine has ended.
    pub fn try_send(&self, command: Command) -> Result<()> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => anyhow!("the engine is busy: {COMMANDS} commands wait already"),
            mpsc::error::TrySendError::Closed(_) => anyhow!(ENDED),
        })
    }

    /// An error if the engine has ended.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.commands.is_closed(), ENDED);
        Ok(())
    }

    /// The newest state, and a way to wait for the next.
    pub fn snapshot(&self) -> watch::Receiver<EngineSnapshot> {
        self.snapshot.clone()
    }

    /// The model.
    pub fn info(&self) -> &Arc<ModelInfo> {
        &self.info
    }
}

const ENDED: &str = "the engine has ended";

/// Receives events, in order and without loss.
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; none when the engine has ended.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// [`Events::recv`] for code that is not async.
    pub fn recv_blocking(&mut self) -> Option<Event> {
        self.0.blocking_recv()
    }

    /// An event that is there already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

/// The engine's thread.
pub struct Thread(JoinHandle<()>);

impl Thread {
    /// Waits until the engine has ended: after [`Command::Shutdown`], or when its events were dropped.
    pub fn join(self) -> Result<()> {
        self.0.join().map_err(|panic| anyhow!("the engine broke down: {}", panic_text(&*panic)))
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no reason given".into())
}
