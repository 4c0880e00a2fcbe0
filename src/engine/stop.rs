//! Stop strings: text is held back while it may still become one.

use anyhow::{Result, ensure};

/// Looks for stop strings in text that comes in pieces.
#[derive(Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    /// The longest end of the text so far that begins a stop string.
    held: String,
}

impl StopText {
    /// Looks for any of these.
    pub fn new(stops: &[String]) -> Result<Self> {
        ensure!(
            stops.iter().all(|stop| !stop.is_empty()),
            "a stop text is empty: it would stop before the first token"
        );
        Ok(Self { stops: stops.to_vec(), held: String::new() })
    }

    /// Takes the next piece. Gives the text that is certain, and true if a stop string was met: then
    /// the text ends before it, and nothing may follow.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let hold_from = self.hold_from();
        let rest = self.held.split_off(hold_from);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The text that was held back and became no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the longest end begins that is the beginning of a stop string.
    fn hold_from(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let earliest = self.held.len().saturating_sub(longest.saturating_sub(1));
        let ends = self.held.char_indices().map(|(at, _)| at).skip_while(|at| *at < earliest);
        let begins_one = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        ends.into_iter().find(begins_one).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool, String) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut stop = StopText::new(&stops).unwrap();
        let mut out = Vec::new();
        for piece in pieces {
            let (text, met) = stop.push(piece);
            out.push(text);
            if met {
                return (out, true, stop.finish());
            }
        }
        (out, false, stop.finish())
    }

    #[test]
    fn across_pieces_and_inside_characters() {
        assert_eq!(run(&["END"], &["a E", "N", "Dx"]), (vec!["a ".into(), "".into(), "".into()], true, "".into()));
        assert_eq!(run(&["END"], &["E", "NEN", "."]), (vec!["".into(), "EN".into(), "EN.".into()], false, "".into()));
        assert_eq!(run(&["é世"], &["xé", "é", "世"]), (vec!["x".into(), "é".into(), "".into()], true, "".into()));
        assert_eq!(run(&["aab"], &["aaab"]), (vec!["a".into()], true, "".into()));
        assert_eq!(run(&["\n\n", "\nUser:"], &["hi\n", "Us"]), (vec!["hi".into(), "".into()], false, "\nUs".into()));
        assert_eq!(run(&[], &["x"]), (vec!["x".into()], false, "".into()));
        assert!(StopText::new(&[String::new()]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn pieces_do_not_matter(pieces in prop::collection::vec("[ab\u{e9}]{0,3}", 0..8), stops in prop::collection::vec("[ab\u{e9}]{1,4}", 0..3)) {
            let whole: String = pieces.concat();
            let first = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, met, rest) = run(&stops, &pieces);
            // A longer stop string may begin earlier and still be incomplete when a shorter one is met.
            let text = out.concat() + &rest;
            prop_assert_eq!(met, first.is_some());
            match first {
                None => prop_assert_eq!(text, whole),
                Some(at) => {
                    prop_assert!(whole.starts_with(&text) && text.len() >= at);
                    prop_assert!(stops.iter().all(|stop| !text.contains(stop)));
                    prop_assert!(stops.iter().any(|stop| whole[text.len()..].starts_with(stop)));
                }
            }
        }
    }
}
