//! The real program in a pseudo-terminal: keys in, a screen out.
//!
//! Nothing here depends on speed: every wait is for something to be seen, with a deadline that only a
//! hung program reaches.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::ffi::OsStr;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

use super::stream;

/// Only a program that hangs takes as long as this.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Pty {
    master: Option<OwnedFd>,
    child: Child,
    parser: vt100::Parser,
    /// Everything that was sent to the terminal.
    pub raw: Vec<u8>,
    /// The user's folders.
    pub home: TempDir,
    /// What is sent is only what the workbench may send.
    pub checked: bool,
}

/// How a program is started.
pub struct Start {
    command: Command,
    home: TempDir,
    size: (u16, u16),
}

fn at_least_one(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}

/// The workbench, with folders of its own and a terminal that knows all colours.
pub fn start(arguments: &[impl AsRef<OsStr>]) -> Start {
    let mut start = start_program(env!("CARGO_BIN_EXE_bit-axon"));
    start.command.args(arguments);
    start
}

/// Any program.
pub fn start_program(program: &str) -> Start {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home.path()).env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
    command.current_dir(home.path());
    Start { command, home, size: (120, 36) }
}

impl Start {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// In this folder.
    pub fn within(mut self, folder: &std::path::Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub fn size(mut self, columns: u16, rows: u16) -> Self {
        self.size = (columns, rows);
        self
    }

    pub fn spawn(mut self) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let (columns, rows) = self.size;
        tcsetwinsize(&master, winsize(columns, rows)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || std::fs::File::options().read(true).write(true).open(&name).unwrap();
        self.command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open()));
        // SAFETY: between fork and exec only two system calls are made; neither allocates nor locks.
        unsafe {
            self.command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = self.command.spawn().unwrap();
        // The command holds the terminal's other end open as long as it lives.
        drop(self.command);
        let parser = vt100::Parser::new(at_least_one(rows), at_least_one(columns), 0);
        Pty { master: Some(master), child, parser, raw: Vec::new(), home: self.home, checked: true }
    }
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// What became of looking for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// So many bytes came.
    Bytes(usize),
    /// Nothing came in time.
    Nothing,
    /// Nobody has the other end open.
    Closed,
}

impl Pty {
    /// Takes in what the program says, waiting for it at most so long.
    pub fn pump(&mut self, at_most: Duration) -> Pumped {
        let Some(master) = &self.master else { return Pumped::Closed };
        let mut polled = [PollFd::new(master, PollFlags::IN)];
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Pumped::Nothing,
            Ok(_) => {}
            Err(error) => panic!("poll: {error}"),
        }
        let mut buffer = [0; 1 << 16];
        match rustix::io::read(master, &mut buffer) {
            // The other end was closed.
            Ok(0) | Err(rustix::io::Errno::IO) => Pumped::Closed,
            Ok(n) => {
                self.raw.extend_from_slice(&buffer[..n]);
                self.parser.process(&buffer[..n]);
                Pumped::Bytes(n)
            }
            Err(error) => panic!("read: {error}"),
        }
    }

    /// Takes in what is said in so long a time.
    pub fn pump_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.pump(left) == Pumped::Closed {
                std::thread::sleep(left.min(Duration::from_millis(5)));
            }
        }
    }

    /// Waits until the screen is as wanted.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&vt100::Screen) -> bool) -> &mut Self {
        let deadline = Instant::now() + DEADLINE;
        while !wanted(self.parser.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let pumped = self.pump(left.min(Duration::from_secs(1)));
            let ended = pumped == Pumped::Closed && !wanted(self.parser.screen());
            if left.is_zero() || ended {
                let why = if ended { "the program ended" } else { "it never came" };
                panic!("waiting for {what}: {why}. The screen:\n{}", self.text());
            }
        }
        self
    }

    /// Waits until a text is on the screen.
    pub fn sees(&mut self, text: &str) -> &mut Self {
        self.until(text, |screen| screen.contents().contains(text))
    }

    /// Waits until a text is not on the screen.
    pub fn loses(&mut self, text: &str) -> &mut Self {
        self.until(&format!("no {text}"), |screen| !screen.contents().contains(text))
    }

    /// Waits until nothing comes for a while: the frame is whole.
    pub fn settles(&mut self) -> &mut Self {
        while let Pumped::Bytes(_) = self.pump(Duration::from_millis(150)) {}
        self
    }

    /// Waits until the model can be asked.
    pub fn ready(&mut self) -> &mut Self {
        self.sees("Ask something")
    }

    /// Types: letters as they are, other keys as `<enter>`. Escape must come last: what follows at
    /// once would make another key of it.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        self.send(&bytes_of(keys))
    }

    pub fn send(&mut self, mut bytes: &[u8]) -> &mut Self {
        while !bytes.is_empty() {
            let master = self.master.as_ref().expect("the terminal is open");
            match rustix::io::write(master, &bytes[..bytes.len().min(512)]) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) => panic!("write: {error}"),
            }
            if !bytes.is_empty() {
                self.pump(Duration::from_millis(1));
            }
        }
        self
    }

    pub fn resize(&mut self, columns: u16, rows: u16) -> &mut Self {
        self.parser.set_size(at_least_one(rows), at_least_one(columns));
        if let Some(master) = &self.master {
            tcsetwinsize(master, winsize(columns, rows)).unwrap();
        }
        self
    }

    pub fn signal(&mut self, signal: Signal) -> &mut Self {
        kill_process(self.pid(), signal).unwrap();
        self
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The terminal goes away.
    pub fn close(&mut self) {
        self.master = None;
    }

    /// Waits for the program's end.
    pub fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ended = self.child.try_wait().unwrap();
            let pumped = self.pump(Duration::from_millis(10));
            if let Some(status) = ended {
                while let Pumped::Bytes(_) = self.pump(Duration::ZERO) {}
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end. The screen:\n{}", self.text());
            if pumped == Pumped::Closed {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Waits for the end without reading what the program says.
    pub fn ends_unheard(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end while nobody reads");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// The screen as text.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Waits until the process has stopped, as for Ctrl-Z.
    pub fn stops(&mut self) -> &mut Self {
        let deadline = Instant::now() + DEADLINE;
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while !waitid(WaitId::Pid(self.pid()), look).unwrap().is_some_and(|status| status.stopped()) {
            assert!(Instant::now() < deadline, "it does not stop. The screen:\n{}", self.text());
            self.pump(Duration::from_millis(5));
        }
        self
    }

    /// Waits until the terminal is as a shell wants it.
    pub fn given_back(&mut self) -> &mut Self {
        self.until("the shell's screen", |screen| {
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && !screen.bracketed_paste()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
                && screen.fgcolor() == vt100::Color::Default
                && screen.bgcolor() == vt100::Color::Default
                && !screen.inverse()
        });
        let deadline = Instant::now() + DEADLINE;
        while !self.is_cooked() {
            assert!(Instant::now() < deadline, "the terminal is still raw");
            std::thread::sleep(Duration::from_millis(2));
        }
        self
    }

    fn is_cooked(&self) -> bool {
        let master = self.master.as_ref().expect("the terminal is open");
        let modes = tcgetattr(master).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits until the program has the terminal.
    pub fn taken_over(&mut self) -> &mut Self {
        self.until("the workbench", |screen| screen.alternate_screen() && screen.bracketed_paste())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if self.checked
            && !std::thread::panicking()
            && let Some(fault) = stream::fault(&self.raw)
        {
            panic!("this must never reach a terminal: {fault}");
        }
    }
}

/// What a terminal sends for keys written as `go<enter><alt-x>`.
pub fn bytes_of(keys: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = keys;
    while let Some(c) = rest.chars().next() {
        let closed = |r: &str| r.find('>').map(|at| if r[at + 1..].starts_with('>') { at + 1 } else { at });
        match rest.strip_prefix('<').and_then(|r| Some(&r[..closed(r)?])).filter(|name| !name.is_empty()) {
            Some(name) => {
                bytes.extend(key(name));
                rest = &rest[name.len() + 2..];
                assert!(name != "esc" || rest.is_empty(), "escape comes last");
            }
            None => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    bytes
}

fn key(name: &str) -> Vec<u8> {
    if let Some(letter) = name.strip_prefix("ctrl-") {
        return vec![letter.as_bytes()[0] & 0x1f];
    }
    let plain = |name: &str| -> Option<&'static str> {
        Some(match name {
            "enter" => "\r",
            "esc" => "\x1b",
            "tab" => "\t",
            "shift-tab" => "\x1b[Z",
            "backspace" => "\x7f",
            "up" => "\x1b[A",
            "down" => "\x1b[B",
            "right" => "\x1b[C",
            "left" => "\x1b[D",
            "home" => "\x1b[H",
            "end" => "\x1b[F",
            "pageup" => "\x1b[5~",
            "pagedown" => "\x1b[6~",
            "delete" => "\x1b[3~",
            "space" => " ",
            "f1" => "\x1bOP",
            "f2" => "\x1bOQ",
            "f3" => "\x1bOR",
            "f4" => "\x1bOS",
            "f5" => "\x1b[15~",
            "f6" => "\x1b[17~",
            _ => return None,
        })
    };
    if let Some(bytes) = plain(name) {
        return bytes.into();
    }
    let alt = name.strip_prefix("alt-").unwrap_or_else(|| panic!("no key is called {name}"));
    match alt {
        "up" => "\x1b[1;3A".into(),
        "down" => "\x1b[1;3B".into(),
        "right" => "\x1b[1;3C".into(),
        "left" => "\x1b[1;3D".into(),
        "enter" => "\x1b\r".into(),
        letter => format!("\x1b{letter}").into(),
    }
}

/// Runs a program without any terminal and gives what came of it.
pub fn without_terminal(arguments: &[&str]) -> io::Result<std::process::Output> {
    Command::new(env!("CARGO_BIN_EXE_bit-axon")).args(arguments).stdin(Stdio::null()).output()
}
