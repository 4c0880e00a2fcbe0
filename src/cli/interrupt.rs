//! Ctrl-C for commands that must tidy up: they catch it and ask now and then whether it came.
//!
//! Commands that leave nothing behind need none of this: the system ends them, and the shell sees 130.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

static CAME: AtomicBool = AtomicBool::new(false);

/// The user pressed Ctrl-C: exit code 130, and nothing more to say.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by Ctrl-C")
    }
}

impl std::error::Error for Interrupted {}

/// From now on Ctrl-C is noted instead of ending the program. A second one ends it as always.
pub fn catch() {
    #[cfg(unix)]
    {
        extern "C" fn note(_signal: libc::c_int) {
            CAME.store(true, Ordering::Relaxed);
        }
        // SAFETY: an all-zero sigaction is a valid value of this plain C struct. The handler only
        // stores to an atomic, which is allowed in a signal handler. The pointers are valid for the
        // call, and a null pointer for the old action is allowed.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
            libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut());
        }
    }
}

/// True if Ctrl-C came since the last time that this was asked.
pub fn take() -> bool {
    CAME.swap(false, Ordering::Relaxed)
}

/// As if Ctrl-C came.
pub fn raise() {
    CAME.store(true, Ordering::Relaxed);
}

/// True if Ctrl-C came.
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// From now on Ctrl-C ends the program again; one that came is forgotten.
pub fn release() {
    end_next();
    CAME.store(false, Ordering::Relaxed);
}

/// The next Ctrl-C ends the program.
pub fn end_next() {
    // SAFETY: setting the default action of a signal touches no memory of ours.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
}

/// An error once Ctrl-C came: call it wherever stopping is safe.
pub fn check() -> Result<(), Interrupted> {
    if came() { Err(Interrupted) } else { Ok(()) }
}
