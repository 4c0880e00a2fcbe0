//! Asks the engine for one answer at a time, and lets Ctrl-C stop it.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::{Builder, Runtime};

use crate::cli::interrupt;
use crate::engine::Engine;
use crate::protocol::{Command, Event, FinishReason, MemoryReport, Request};

/// How often a silent engine is interrupted to see whether Ctrl-C came.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Asker {
    engine: Engine,
    runtime: Runtime,
    last_id: u64,
}

/// How an answer ended.
pub(super) struct Ended {
    pub(super) reason: FinishReason,
    pub(super) generated: usize,
}

impl Asker {
    pub(super) fn new(engine: Engine) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build().context("cannot start a clock")?;
        Ok(Self { engine, runtime, last_id: 0 })
    }

    /// Asks, and shows every event up to the last one. When showing fails, the engine's answer is
    /// given up. After Ctrl-C the reason is [`FinishReason::Cancelled`].
    pub(super) fn ask(&mut self, request: Request, mut show: impl FnMut(&Event) -> Result<()>) -> Result<Ended> {
        self.last_id += 1;
        let request = Request { id: self.last_id, ..request };
        interrupt::catch();
        self.engine.handle.send_blocking(Command::Generate(request))?;
        let ended = self.follow(&mut show);
        interrupt::release();
        if ended.is_err() {
            // Nobody hears the rest; the next question must not wait for it.
            let _ = self.engine.handle.try_send(Command::Cancel(self.last_id));
        }
        ended
    }

    fn follow(&mut self, show: &mut impl FnMut(&Event) -> Result<()>) -> Result<Ended> {
        loop {
            let events = &mut self.engine.events;
            let event = self.runtime.block_on(async { tokio::time::timeout(LOOK, events.recv()).await });
            if interrupt::take() {
                self.engine.handle.send_blocking(Command::Cancel(self.last_id))?;
            }
            // Nothing came in time: look again.
            let Ok(event) = event else { continue };
            let Some(event) = event else { return Err(anyhow!("the engine ended before its answer did")) };
            match &event {
                // What is left of an answer that was given up.
                Event::Token(token) if token.id != self.last_id => continue,
                Event::Finished { id, .. } | Event::Failed { id, .. } if *id != self.last_id => continue,
                Event::Failed { message, .. } => return Err(anyhow!(message.clone())),
                Event::Finished { reason, stats, .. } => {
                    show(&event)?;
                    return Ok(Ended { reason: *reason, generated: stats.generated_tokens });
                }
                _ => show(&event)?,
            }
        }
    }

    /// An error if the engine has ended: then nothing can be asked any more.
    pub(super) fn check(&self) -> Result<()> {
        self.engine.handle.check()
    }

    /// What the model holds.
    pub(super) fn memory(&self) -> MemoryReport {
        self.engine.handle.snapshot().borrow().memory.clone()
    }

    pub(super) fn close(self) -> Result<()> {
        self.engine.close()
    }
}
