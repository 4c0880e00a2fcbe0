//! How far a long piece of work is: one line that renews itself on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::output;

/// Progress of a whole download, or of a whole model that is written.
pub(super) struct Progress {
    total: Option<u64>,
    /// Bytes that are there, those of earlier attempts included.
    done: u64,
    name: String,
    terminal: bool,
    shown: Option<Instant>,
    /// Where the running rate was last measured.
    mark: (Instant, u64),
    /// Bytes a second.
    rate: Option<f64>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        let mark = (Instant::now(), 0);
        let terminal = io::stderr().is_terminal();
        Self { total, done: 0, name: String::new(), terminal, shown: None, mark, rate: None }
    }

    /// Another file comes, of which so much is there already.
    pub(super) fn begin(&mut self, name: &str, there: u64) {
        self.name = output::safe(name).into_owned();
        self.jump(there as i64);
        if !self.terminal {
            output::note(name);
        }
    }

    /// Bytes that are there without having come, or that were lost: they say nothing about the rate.
    pub(super) fn jump(&mut self, by: i64) {
        self.done = self.done.saturating_add_signed(by);
        self.mark = (self.mark.0, self.mark.1.saturating_add_signed(by));
    }

    /// Bytes that came.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        let now = Instant::now();
        let since = now - self.mark.0;
        if since >= Duration::from_millis(500) {
            let newest = self.done.saturating_sub(self.mark.1) as f64 / since.as_secs_f64();
            // Smoothed, so that the time left can be read.
            self.rate = Some(self.rate.map_or(newest, |old| 0.8 * old + 0.2 * newest));
            self.mark = (now, self.done);
        }
        let pause = Duration::from_millis(if self.terminal { 100 } else { 10_000 });
        let start = *self.shown.get_or_insert(now);
        if now - start >= pause {
            self.shown = Some(now);
            self.show();
        }
    }

    fn show(&self) {
        let text = line(&self.name, self.done, self.total, self.rate);
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        } else {
            output::note(text);
        }
    }

    /// Clears the line, so that something else can be said.
    pub(super) fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// At most 79 columns, so that it never wraps on a usual terminal.
fn line(name: &str, done: u64, total: Option<u64>, rate: Option<f64>) -> String {
    let mut text: String = match name.char_indices().nth_back(23) {
        Some((at, _)) if at > 0 => format!("…{}", &name[at..]),
        _ => name.to_owned(),
    };
    text.push_str(&format!("  {}", bytes(done)));
    if let Some(total) = total {
        let percent = (done as f64 / total.max(1) as f64 * 100.0).min(100.0);
        text.push_str(&format!(" of {}, {percent:.0}%", bytes(total)));
    }
    if let Some(rate) = rate.filter(|rate| *rate > 0.0) {
        text.push_str(&format!(", {}/s", bytes(rate as u64)));
        if let Some(total) = total {
            text.push_str(&format!(", {} left", time(total.saturating_sub(done) as f64 / rate)));
        }
    }
    text
}

/// A number of bytes for people, as 1.2 GB.
pub(super) fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    if value < 1000.0 {
        return format!("{n} B");
    }
    let mut unit = 0;
    value /= 1000.0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// A number of values, as 3.22 B.
pub(super) fn count(n: u64) -> String {
    let value = n as f64;
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1} K", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", value / 1e6),
        _ => format!("{:.2} B", value / 1e9),
    }
}

pub(super) fn time(seconds: f64) -> String {
    let s = seconds.min(359_999.0) as u64;
    if s >= 3600 {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    } else {
        format!("{}:{:02}", s / 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        assert_eq!(line("config.json", 512, None, None), "config.json  512 B");
        assert_eq!(
            line("model.safetensors", 450_000_000, Some(1_800_000_000), Some(45e6)),
            "model.safetensors  450.0 MB of 1.8 GB, 25%, 45.0 MB/s, 0:30 left"
        );
        let long = line(&"é".repeat(100), u64::MAX, Some(u64::MAX), Some(1.0));
        assert!(long.chars().count() < 120, "{long}");
        let usual = line(&"n".repeat(100), 999_949_999_999, Some(999_949_999_999), Some(999.9e6));
        assert!(usual.chars().count() <= 79, "{usual}");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([bytes(0), bytes(999), bytes(1000), bytes(999_999)], ["0 B", "999 B", "1.0 kB", "1.0 MB"]);
        assert_eq!([9999, 10_000, 1_234_567, 3_220_000_000].map(count), ["9999", "10.0 K", "1.2 M", "3.22 B"]);
        assert_eq!([time(0.4), time(61.0), time(3661.0)], ["0:00", "1:01", "1:01:01"]);
    }
}
