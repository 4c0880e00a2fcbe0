//! What the system asks of us.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is asked.
pub(super) enum Asked {
    Quit,
    Suspend,
    Continued,
}

pub(super) struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            go_on: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    pub(super) async fn asked(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::Quit,
            _ = self.hang_up.recv() => Asked::Quit,
            _ = self.interrupt.recv() => Asked::Quit,
            _ = self.stop.recv() => Asked::Suspend,
            _ = self.go_on.recv() => Asked::Continued,
        }
    }
}
