//! Dictionaries as Python prints them: `{'loss': 2.13, 'learning_rate': '5e-05', 'note': None}`.

use super::super::number;

/// Deeper ones are no lines of a log.
const DEEPEST: usize = 8;

/// Where in a line a dictionary begins.
pub(super) fn start(line: &str) -> Option<usize> {
    let at = line.find("{'").into_iter().chain(line.find("{\"")).min()?;
    line[at..].contains(':').then_some(at)
}

/// The numbers of a dictionary; none if it holds none, or is something else.
pub(super) fn parse(text: &str) -> Option<Vec<(String, f64)>> {
    let mut found = Vec::new();
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 1 };
    scanner.members("", 0, &mut found)?;
    (!found.is_empty()).then_some(found)
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let quote = self.peek().filter(|b| matches!(b, b'\'' | b'"'))?;
        let begin = self.at + 1;
        self.at = begin;
        loop {
            match *self.bytes.get(self.at)? {
                b'\\' => self.at += 2,
                byte if byte == quote => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.bytes[begin..self.at - 1])
    }

    /// The members of a dictionary whose brace was taken.
    fn members(&mut self, path: &str, depth: usize, found: &mut Vec<(String, f64)>) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = String::from_utf8_lossy(self.text()?);
            let name = if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") };
            self.take(b':')?;
            match self.peek()? {
                b'\'' | b'"' => {
                    let text = self.text()?;
                    found.extend(number::whole(text).map(|x| (name, x)));
                }
                b'{' => {
                    self.at += 1;
                    self.members(&name, depth + 1, found)?;
                }
                _ => match number::at_start(&self.bytes[self.at..]) {
                    Some((x, length)) => {
                        self.at += length;
                        found.push((name, x));
                    }
                    // None, True, a list, tensor(2.13, device='cuda:0'), np.float64(2.13).
                    None => found.extend(self.other().map(|x| (name, x))),
                },
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Goes over a value of any other kind, and gives the number in its first brackets.
    fn other(&mut self) -> Option<f64> {
        let begin = self.at;
        let mut depth = 0usize;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b',' | b'}' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let text = &self.bytes[begin..self.at];
        let open = text.iter().position(|b| *b == b'(')?;
        let inner = text.get(open + 1..)?;
        number::at_start(inner).map(|(x, _)| x)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> String {
        let words = |all: Vec<(String, f64)>| all.iter().map(|(n, x)| format!("{n}={x}")).collect::<Vec<_>>().join(" ");
        parse(text).map_or("none".into(), words)
    }

    #[test]
    fn dictionaries_of_both_generations() {
        for (text, want) in [
            (
                "{'loss': 2.13, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.01}",
                "loss=2.13 grad_norm=1.2 learning_rate=0.00005 epoch=0.01",
            ),
            ("{'loss': '2.13', 'learning_rate': '5e-05', 'name': 'x'}", "loss=2.13 learning_rate=0.00005"),
            ("{'loss': nan, 'a': None, 'b': True, 'c': [1, 2], 'd': inf}", "loss=NaN d=inf"),
            ("{'loss': tensor(2.5, device='cuda:0'), 'x': np.float64(1.5)} more", "loss=2.5 x=1.5"),
            ("{\"a\": {'b': 1, 'c': {}}, 'it\\'s': 2}", "a.b=1 it\\'s=2"),
            ("{'a': 'b'}", "none"),
            ("{'a': 1", "none"),
            ("{'a'}", "none"),
        ] {
            assert_eq!(found(text), want, "{text}");
        }
        assert_eq!(start("10/20 [00:01<00:02]{'loss': 1}"), Some(19));
        assert_eq!(start("no {dict} here"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_it(text in "\\{[{}'\":,0-9a()\\[\\]\\\\é .]{0,40}") {
            parse(&text);
        }
    }
}
