//! The lines of a file, whatever it holds: bounded, numbered, and whole or not.

use std::io::{self, BufRead};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line that ends as lines do.
    Whole,
    /// The last one, without an end: it may have been cut off.
    Unended,
    /// It is longer than lines may be, and was passed over.
    TooLong,
    /// There is no more.
    End,
}

/// Reads line by line.
pub(super) struct Lines<R> {
    reader: R,
    longest: usize,
    /// The line read last, without its end.
    pub(super) line: Vec<u8>,
    /// Its number, from 1.
    pub(super) number: u64,
    /// Bytes up to and with it.
    pub(super) bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Self {
        Self { reader, longest, line: Vec::new(), number: 0, bytes: 0 }
    }

    /// Reads the next line into `line`.
    pub(super) fn read(&mut self) -> io::Result<Found> {
        self.line.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let piece = match self.reader.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if piece.is_empty() {
                if !any {
                    return Ok(Found::End);
                }
                self.number += 1;
                return Ok(if too_long { Found::TooLong } else { Found::Unended });
            }
            any = true;
            let end = piece.iter().position(|byte| *byte == b'\n');
            let text = &piece[..end.unwrap_or(piece.len())];
            too_long |= self.line.len() + text.len() > self.longest;
            if too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(text);
            }
            let used = end.map_or(piece.len(), |end| end + 1);
            self.reader.consume(used);
            self.bytes += used as u64;
            if end.is_some() {
                self.number += 1;
                return Ok(if too_long { Found::TooLong } else { Found::Whole });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_the_last_is_told_apart() {
        let text = b"one\n\nfar too long\n12345\nfive5";
        let mut lines = Lines::new(io::BufReader::with_capacity(4, &text[..]), 5);
        let mut found = Vec::new();
        loop {
            match lines.read().unwrap() {
                Found::End => break,
                kind => found.push((kind, String::from_utf8(lines.line.clone()).unwrap())),
            }
        }
        let want = [
            (Found::Whole, "one"),
            (Found::Whole, ""),
            (Found::TooLong, ""),
            (Found::Whole, "12345"),
            (Found::Unended, "five5"),
        ];
        assert!(found.iter().map(|(k, t)| (k, t.as_str())).eq(want.iter().map(|(k, t)| (k, *t))), "{found:?}");
        assert_eq!((lines.number, lines.bytes), (5, text.len() as u64));
    }
}
