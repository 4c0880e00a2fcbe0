//! The terminal: taken over, given back whatever happens, and written to without waiting.

pub mod cells;
pub mod output;
mod shown;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crossterm::terminal;

/// Alternate screen, bracketed paste, cursor hidden. The terminal remembers its colours with the cursor.
const ENTER: &str = "\x1b[0m\x1b[?1049h\x1b[?2004h\x1b[?25l";
/// The reverse, mouse reports off too, colours plain.
const LEAVE: &str = "\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";
/// Wheel and buttons, in the form that has no limit of columns.
const MOUSE: &str = "\x1b[?1000h\x1b[?1006h";
/// Between these a terminal that knows mode 2026 shows nothing.
const SYNC: (&[u8], &[u8]) = (b"\x1b[?2026h", b"\x1b[?2026l");

/// True if there are a keyboard and a screen.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Takes the terminal over.
pub fn enter(mouse: bool) -> io::Result<()> {
    terminal::enable_raw_mode()?;
    let mut out = io::stdout();
    out.write_all(ENTER.as_bytes())?;
    if mouse {
        out.write_all(MOUSE.as_bytes())?;
    }
    out.flush()
}

/// How long a terminal that takes nothing is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Gives it back. A terminal that is gone is no error, and one that is stuck (a dead connection, Ctrl-S)
/// is not waited for: whoever ends this program wants it to end. False if it is stuck.
pub fn leave() -> bool {
    let (done, waited) = mpsc::channel();
    let write = move || {
        let mut out = io::stdout();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        let _ = done.send(());
    };
    let heard =
        thread::Builder::new().name("leave".into()).spawn(write).is_ok() && waited.recv_timeout(PATIENCE).is_ok();
    let _ = terminal::disable_raw_mode();
    heard
}

/// From now on a panic gives the terminal back before it is reported, unless `harmless` says of the
/// thread that it survives its panics.
pub fn restore_on_panic(harmless: fn() -> bool) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if harmless() {
            return;
        }
        leave();
        report(panic);
    }));
}

/// Stops this process until the shell continues it.
#[cfg(unix)]
pub fn stop() {
    // SAFETY: raise takes a plain number; SIGSTOP stops the process and changes nothing in it.
    unsafe {
        libc::raise(libc::SIGSTOP);
    }
}

/// There is no such thing here.
#[cfg(not(unix))]
pub fn stop() {}

/// Columns and rows.
pub fn size() -> (u16, u16) {
    terminal::size().unwrap_or((80, 24))
}

/// True if this terminal is known to have synchronised output. Others would be sent bytes that do
/// nothing, and asking them all costs a round trip before the first frame.
pub fn has_sync() -> bool {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let (program, term) = (var("TERM_PROGRAM").to_lowercase(), var("TERM").to_lowercase());
    let programs = ["wezterm", "iterm", "ghostty", "vscode", "contour", "rio", "mintty"];
    let terms = ["kitty", "foot", "alacritty", "ghostty", "wezterm", "contour", "rio"];
    programs.iter().any(|p| program.starts_with(p))
        || terms.iter().any(|t| term.contains(t))
        || std::env::var_os("KITTY_WINDOW_ID").is_some()
}

/// A frame as it is sent.
pub fn frame(bytes: Vec<u8>, sync: bool) -> Vec<u8> {
    if !sync || bytes.is_empty() {
        return bytes;
    }
    [SYNC.0, &bytes, SYNC.1].concat()
}

/// What puts text on the clipboard of the terminal that the user sits at, however far away (OSC 52).
/// Inside of tmux it is tmux that passes it on (`set -g set-clipboard on`).
pub fn copy(text: &str) -> Vec<u8> {
    format!("\x1b]52;c;{}\x07", base64(text.as_bytes())).into_bytes()
}

/// What makes the terminal tell its user something, even if it is not looked at (OSC 9).
pub fn notify(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("\x1b]9;{text}\x07").into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let value = three.iter().fold(0u32, |v, b| v << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = LETTERS[(value >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= three.len() { letter as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_encoded() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("é\n", "w6kK")] {
            assert_eq!(copy(plain), format!("\x1b]52;c;{encoded}\x07").into_bytes());
        }
        assert_eq!(frame(b"x".to_vec(), true), b"\x1b[?2026hx\x1b[?2026l");
        assert!(frame(Vec::new(), true).is_empty());
    }
}
