//! One JSON object a line: our own run folders, and whoever else writes so.

use super::json::Cursor;
use super::lines::Lines;
use super::object::{Objects, Taken};
use super::parser::Parser;
use crate::metrics::Run;

/// Reads lines of JSON.
#[derive(Debug, Default)]
pub(super) struct Jsonl {
    lines: Lines,
    objects: Objects,
    number: u64,
}

impl Jsonl {
    fn line(&mut self, line: &[u8], last: bool, run: &mut Run) {
        self.number += 1;
        if line.trim_ascii().is_empty() {
            return;
        }
        let mut cursor = Cursor::new(line);
        match self.objects.take(&mut cursor, Some(self.number as f64), run) {
            Ok(Taken::Points | Taken::Event | Taken::Nothing) => {}
            // The last line may be half written.
            Err(_) if last => {}
            Err(_) => {
                let number = self.number;
                run.fault(|| format!("line {number} is no JSON object"));
                if let Ok(text) = std::str::from_utf8(line) {
                    run.say(text);
                }
            }
        }
    }
}

impl Parser for Jsonl {
    fn feed(&mut self, bytes: &[u8], _now: Option<f64>, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| self.line(line, false, run));
        lines.report_too_long(run);
        self.lines = lines;
    }

    fn finish(&mut self, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.line(line, true, run));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lines::LONGEST;
    use super::super::parser::check::{points, read};
    use super::*;

    #[test]
    fn lines_in_pieces_bad_lines_and_a_torn_end() {
        let text = b"{\"step\":1,\"loss\":2}\n\nrubbish\n{\"step\":2,\"loss\":1}\n{\"step\":3,\"lo";
        for size in [1, 3, 7, 1000] {
            let run = read(&mut Jsonl::default(), text, size);
            assert_eq!(points(&run), ["loss 1:2 2:1"], "{size}");
            assert_eq!(run.faults().0, ["line 3 is no JSON object"]);
        }
        // What has no step gets the number of its line.
        assert_eq!(points(&read(&mut Jsonl::default(), b"{\"a\":5}\n{\"b\":1}\n{\"a\":6}", 4)), ["a 1:5 3:6", "b 2:1"]);
    }

    #[test]
    fn a_gigantic_line_is_said() {
        let mut text = vec![b'['; LONGEST + 2];
        text.extend_from_slice(b"\n{\"loss\":1}\n");
        let run = read(&mut Jsonl::default(), &text, 1 << 16);
        assert_eq!((run.points(), run.faults().1), (1, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..50) {
            read(&mut Jsonl::default(), &bytes, size);
        }
    }
}
