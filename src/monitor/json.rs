//! JSON, walked once from left to right, without keeping it: fast enough that a disk is the slower part.
//!
//! It takes what trainers write: `NaN` and `Infinity` are numbers. It does not insist on more than it needs to
//! find its way.

use super::number;

/// Deeper nesting is no log.
const DEEPEST: usize = 64;

/// A value that holds no others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    /// A number.
    Number(f64),
    /// A text between its quotes, its escapes as they stand.
    Text(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// Nothing.
    Null,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Next<'a> {
    /// A value that holds no others.
    Scalar(Scalar<'a>),
    /// An object begins; the cursor is behind its brace.
    Object,
    /// A list begins; the cursor is behind its bracket.
    List,
}

/// The bytes are no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A place in JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Goes over `byte` if it comes next, blanks aside.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        if self.bytes.get(self.at) != Some(&byte) {
            self.skip_blanks();
        }
        let is = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    /// Goes over a text whose quote was taken, and gives what is between its quotes.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a [u8], Broken> {
        let begin = self.at;
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Broken)?;
            self.at += memchr::memchr2(b'"', b'\\', rest).ok_or(Broken)?;
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.bytes[begin..self.at - 1]);
            }
            self.at += 2;
        }
    }

    /// Goes over a key and its colon if it is this one.
    #[inline]
    pub(super) fn key_is(&mut self, key: &[u8]) -> bool {
        let end = self.at + key.len();
        if self.bytes.len() > end + 1 && same(&self.bytes[self.at..end], key) && self.bytes[end] == b'"' {
            let before = self.at;
            self.at = end + 1;
            if self.take(b':') {
                return true;
            }
            self.at = before;
        }
        false
    }

    /// What comes next; the cursor is behind it, or within it where it holds others.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Next<'a>, Broken> {
        self.skip_blanks();
        let rest = self.bytes.get(self.at..).ok_or(Broken)?;
        let scalar = match *rest.first().ok_or(Broken)? {
            b'"' => {
                self.at += 1;
                return Ok(Next::Scalar(Scalar::Text(self.text()?)));
            }
            b'{' => {
                self.at += 1;
                return Ok(Next::Object);
            }
            b'[' => {
                self.at += 1;
                return Ok(Next::List);
            }
            b't' if rest.starts_with(b"true") => (Scalar::Bool(true), 4),
            b'f' if rest.starts_with(b"false") => (Scalar::Bool(false), 5),
            b'n' if rest.starts_with(b"null") => (Scalar::Null, 4),
            _ => number::at_start(rest).map(|(x, len)| (Scalar::Number(x), len)).ok_or(Broken)?,
        };
        self.at += scalar.1;
        Ok(Next::Scalar(scalar.0))
    }

    /// Calls for every scalar below the value that comes next, with its path: `a.b` for members and `a.3` for the
    /// elements of lists.
    pub(super) fn leaves(&mut self, path: &mut String, found: &mut dyn FnMut(&str, Scalar<'a>)) -> Result<(), Broken> {
        match self.next()? {
            Next::Scalar(scalar) => {
                found(path, scalar);
                Ok(())
            }
            opened => self.within(opened, path, 0, found),
        }
    }

    /// The same for what was opened already.
    pub(super) fn within(
        &mut self,
        opened: Next<'a>,
        path: &mut String,
        depth: usize,
        found: &mut dyn FnMut(&str, Scalar<'a>),
    ) -> Result<(), Broken> {
        if depth > DEEPEST {
            return Err(Broken);
        }
        let close = if opened == Next::Object { b'}' } else { b']' };
        if self.take(close) {
            return Ok(());
        }
        let stem = path.len();
        for index in 0usize.. {
            if stem > 0 {
                path.push('.');
            }
            if opened == Next::Object {
                if !self.take(b'"') {
                    return Err(Broken);
                }
                path.push_str(&unescape(self.text()?));
                if !self.take(b':') {
                    return Err(Broken);
                }
            } else {
                path.push_str(&index.to_string());
            }
            match self.next()? {
                Next::Scalar(scalar) => found(path, scalar),
                inner => self.within(inner, path, depth + 1, found)?,
            }
            path.truncate(stem);
            if self.take(close) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(Broken);
            }
        }
        Err(Broken)
    }

    /// Goes over the value that comes next.
    pub(super) fn skip(&mut self) -> Result<(), Broken> {
        self.leaves(&mut String::new(), &mut |_, _| {})
    }
}

/// True if both are the same; they are of one length. Keys are short, and a call for each would be the longer part.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a1), Some(b1), Some(a2), Some(b2)) if a.len() <= 16 && b.len() <= 16 => a1 == b1 && a2 == b2,
        (None, None, ..) => a.iter().eq(b),
        _ => a == b,
    }
}

/// The text that stands between quotes; what is no text is replaced.
pub(super) fn unescape(raw: &[u8]) -> String {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw).into_owned();
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(text: &str) -> Result<Vec<String>, Broken> {
        let mut cursor = Cursor::new(text.as_bytes());
        let mut all = Vec::new();
        cursor.leaves(&mut String::new(), &mut |path, scalar| {
            all.push(match scalar {
                Scalar::Text(raw) => format!("{path}={}", unescape(raw)),
                other => format!("{path}={other:?}"),
            });
        })?;
        Ok(all)
    }

    #[test]
    fn everything_below_has_a_path() {
        let found =
            leaves(r#" {"a":1, "b": {"c": [2.5, "x\n\"", null], "d" : true}, "e":[], "f":{}, "g":NaN} "#).unwrap();
        assert_eq!(
            found,
            ["a=Number(1.0)", "b.c.0=Number(2.5)", "b.c.1=x\n\"", "b.c.2=Null", "b.d=Bool(true)", "g=Number(NaN)"]
        );
    }

    #[test]
    fn broken_json_is_told() {
        for text in
            ["", "{", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1"#, r#"{"a":1,}"#, "[1 2]", r#"{"a":"x"#, r#""\"#, "nul"]
        {
            assert_eq!(leaves(text), Err(Broken), "{text}");
        }
        assert_eq!(leaves(&"[".repeat(100_000)), Err(Broken));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_it(text in r#"[{}\[\]":,0-9.eE\\ntrufalsN -]{0,40}"#, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = leaves(&text);
            let _ = Cursor::new(&bytes).skip();
        }
    }
}
