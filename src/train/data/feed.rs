//! Reads and tokenises a little ahead of the learner, on a thread of its own.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

use super::units::{Fed, Units};

/// Units that wait for the learner, at most.
const AHEAD: usize = 32;

/// The data, in order, as it is needed.
#[derive(Debug)]
pub struct Feed {
    units: Option<Receiver<Result<Fed>>>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Begins to read.
    pub fn start(mut units: Units) -> io::Result<Self> {
        let (send, receiver) = sync_channel(AHEAD);
        let thread = thread::Builder::new().name("bit-axon-data".into()).spawn(move || {
            loop {
                let fed = units.take();
                let failed = fed.is_err();
                // Nobody takes it: the run has ended.
                if send.send(fed).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { units: Some(receiver), thread: Some(thread) })
    }

    /// What comes next.
    pub fn take(&mut self) -> Result<Fed> {
        let gone = || anyhow!("the thread that reads the data has ended unexpectedly");
        self.units.as_ref().ok_or_else(gone)?.recv().map_err(|_| gone())?
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.units = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
