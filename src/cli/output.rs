//! All that the program prints: standard output, notices, errors, colours.
//!
//! Text from models, files and servers may hold escape sequences that move the cursor, recolour the
//! screen or make a name read backwards. [`safe`] shows such characters instead of sending them.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Standard output. Its errors say whether the reader has gone, which is no failure.
#[derive(Debug)]
pub struct Stdout(io::StdoutLock<'static>);

/// Locks standard output. Put a `BufWriter` around it for much output, and flush that.
pub fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

/// Carried by a broken pipe of our own standard output, to tell it from one to a server.
#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output has gone")
    }
}

impl std::error::Error for ReaderGone {}

pub(super) fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, ReaderGone),
        _ => error,
    }
}

/// True if the error comes from writing to a standard output that nobody reads any more.
pub fn reader_gone(error: &anyhow::Error) -> bool {
    let is_ours = |e: &io::Error| e.get_ref().is_some_and(|inner| inner.is::<ReaderGone>());
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_ours))
}

/// Prints one line as it is: for text of our own.
pub fn line(text: impl fmt::Display) -> io::Result<()> {
    writeln!(stdout(), "{text}")
}

/// Prints text of a model or a file at once, without a line end: shown safely on a terminal, byte
/// for byte into a pipe or a file.
pub fn foreign(text: &str) -> io::Result<()> {
    let mut out = stdout();
    let shown = if out.0.is_terminal() { safe(text) } else { Cow::Borrowed(text) };
    out.write_all(shown.as_bytes())?;
    out.flush()
}

/// Prints a value as one line of JSON, at once.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout();
    writeln!(out, "{}", json(value)?)?;
    Ok(out.flush()?)
}

/// A value as JSON on one line, safe to show: what a terminal would obey is escaped, which changes
/// nothing for a program that reads it.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.contains(obeyed) {
        return Ok(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            escaped.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    Ok(escaped)
}

/// Prints a notice on standard error. That nobody reads it is no reason to stop.
pub fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", safe(&text.to_string()));
}

/// Prints the beginning of a line on standard error: who speaks next.
pub fn label(text: impl fmt::Display) {
    let mut err = io::stderr();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// Prints what went wrong on standard error: `error: ...`, and each cause on a line below it.
pub fn error(error: &anyhow::Error) {
    let label = paint(Stream::Err, Style::Error, "error:");
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    let mut text = format!("{label} {}\n", indented(&first));
    for cause in causes {
        text.push_str(&format!("  {}\n", indented(&cause)));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

fn indented(text: &str) -> String {
    safe(text.trim_end()).replace('\n', "\n  ")
}

/// Where something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How something is printed, where colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Something went wrong.
    Error,
    /// Headings, names.
    Bold,
    /// What matters less.
    Dim,
    /// Who speaks, what was asked.
    Accent,
}

/// True if colours belong on this stream: a terminal that knows them, and no `NO_COLOR`.
pub fn colours(stream: Stream) -> bool {
    let terminal = match stream {
        Stream::Out => io::stdout().is_terminal(),
        Stream::Err => io::stderr().is_terminal(),
    };
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The text in a style, where colours belong on this stream; else as it is.
pub fn paint(stream: Stream, style: Style, text: &str) -> String {
    if !colours(stream) {
        return text.to_owned();
    }
    let code = match style {
        Style::Error => "1;31",
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Accent => "1;36",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The text with every character that a terminal would obey shown instead; newlines and tabs stay.
pub fn safe(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| obeyed(c) && c != '\n' && c != '\t';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !hidden(c) => shown.push(c),
            // Each C0 character has a picture: U+241B is that of escape.
            c if c < ' ' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\x7f' => shown.push('\u{2421}'),
            c => shown.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// Controls (C0, delete, C1) and the marks that turn the direction of text.
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn controls_are_shown_and_the_rest_stays() {
        assert_eq!(safe("plain é 漢字 \n\tend"), "plain é 漢字 \n\tend");
        assert!(matches!(safe("plain"), Cow::Borrowed(_)));
        assert_eq!(safe("\x1b[2J"), "␛[2J");
        assert_eq!(safe("a\rb\x07\x7f"), "a␍b␇␡");
        assert_eq!(safe("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(safe("txt\u{202e}exe"), "txt\\u{202e}exe");
    }

    #[test]
    fn json_is_safe_and_means_the_same() {
        let value = "\x1b[2J \u{9b}2J \u{202e} é \x7f";
        let text = json(&value).unwrap();
        assert_eq!(text, r#""\u001b[2J \u009b2J \u202e é \u007f""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn long_causes_stay_indented() {
        assert_eq!(indented("first\nsecond\n"), "first\n  second");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_gets_through(text in any::<String>()) {
            prop_assert!(!safe(&text).contains(|c| obeyed(c) && c != '\n' && c != '\t'));
            let json = json(&text).unwrap();
            prop_assert!(!json.contains(obeyed));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
