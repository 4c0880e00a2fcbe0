//! Bytes into lines, as they come.

use crate::metrics::Run;

/// Bytes of a line that is taken; of a longer one nothing is.
pub(super) const LONGEST: usize = 8 << 20;

/// What is left of the newest line until its end comes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
    /// The rest of the line is thrown away.
    skipping: bool,
    too_long: u64,
    /// A carriage return ends a line too, as it does for progress bars.
    returns: bool,
}

impl Lines {
    /// For text that redraws its line.
    pub(super) fn with_returns() -> Self {
        Self { returns: true, ..Self::default() }
    }

    /// Calls for every line that is whole now, without its end.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = self.end(bytes) {
            let (first, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.skipping {
                self.skipping = false;
            } else if self.held.is_empty() {
                line(trim(first));
            } else {
                self.held.extend_from_slice(first);
                line(trim(&self.held));
                self.held.clear();
            }
            bytes = rest;
        }
        if !self.skipping {
            self.held.extend_from_slice(bytes);
            if self.held.len() > LONGEST {
                self.held = Vec::new();
                self.skipping = true;
                self.too_long += 1;
            }
        }
    }

    fn end(&self, bytes: &[u8]) -> Option<usize> {
        if self.returns { memchr::memchr2(b'\n', b'\r', bytes) } else { memchr::memchr(b'\n', bytes) }
    }

    /// Calls for what stands after the last line end, if anything does: there will be no more.
    pub(super) fn finish(&mut self, line: impl FnOnce(&[u8])) {
        let held = std::mem::take(&mut self.held);
        if !self.skipping && !held.is_empty() {
            line(trim(&held));
        }
        self.skipping = false;
    }

    /// Tells the run of lines that were too long, each once.
    pub(super) fn report_too_long(&mut self, run: &mut Run) {
        for _ in 0..self.too_long() {
            run.fault(|| format!("a line is longer than {} MiB and was left out", LONGEST >> 20));
        }
    }

    /// Lines that were too long, since this was last asked.
    fn too_long(&mut self) -> u64 {
        std::mem::take(&mut self.too_long)
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        for piece in pieces {
            lines.feed(piece, |line| all.push(String::from_utf8_lossy(line).into_owned()));
        }
        lines.finish(|line| all.push(String::from_utf8_lossy(line).into_owned()));
        all
    }

    #[test]
    fn lines_may_come_in_pieces() {
        assert_eq!(split(&mut Lines::default(), &[b"a\nb", b"c\r\n", b"", b"\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(split(&mut Lines::with_returns(), &[b"10%\r20%\rdone\n"]), ["10%", "20%", "done"]);
    }

    #[test]
    fn a_gigantic_line_is_left_out_and_takes_no_memory() {
        let mut lines = Lines::default();
        let mut count = 0;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            lines.feed(&piece, |_| count += 1);
            assert!(lines.held.len() <= LONGEST);
        }
        lines.feed(b"end\nnext\n", |line| {
            count += 1;
            assert_eq!(line, b"next");
        });
        assert_eq!((count, lines.too_long(), lines.too_long()), (1, 1, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn where_it_is_cut_makes_no_difference(text in "[ab\n\r]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(split(&mut Lines::default(), &pieces), split(&mut Lines::default(), &[text.as_bytes()]));
        }
    }
}
