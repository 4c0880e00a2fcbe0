//! Which token of a source each token of a model is: a JSON file, read as data and believed only once it was checked.
//!
//! A list has the source's token at each of the model's, or null; an object has the model's tokens as keys and the
//! source's as values.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

const MAX_BYTES: u64 = 64 << 20;

/// Beyond this a token is a mistake.
const MAX_TOKENS: usize = 1 << 24;

/// For each token of a model the one of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VocabularyMap(Vec<Option<u32>>);

impl VocabularyMap {
    /// Each token is its own.
    pub fn same(tokens: usize) -> Self {
        Self((0..tokens as u32).map(Some).collect())
    }

    /// Reads a file, for a source of so many tokens.
    pub fn read(path: &Path, source: usize) -> Result<Self> {
        let shown = path.display();
        let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(size <= MAX_BYTES, "{shown} has {size} bytes; a vocabulary map has at most {MAX_BYTES}");
        let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        Self::parse(&text, source).with_context(|| format!("{shown} is no vocabulary map"))
    }

    fn parse(text: &[u8], source: usize) -> Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let map = Seed { source }.deserialize(&mut reader)?;
        reader.end()?;
        ensure!(map.iter().any(Option::is_some), "it maps no token");
        Ok(Self(map))
    }

    /// Tokens of the model, as far as the map goes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a map that maps nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The source's token for one of the model's.
    pub fn source(&self, token: usize) -> Option<usize> {
        self.0.get(token).copied().flatten().map(|source| source as usize)
    }

    /// Those of all tokens, in order.
    pub fn sources(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.0.iter().map(|source| source.map(|source| source as usize))
    }
}

struct Seed {
    source: usize,
}

impl Seed {
    fn checked<E: Error>(&self, token: usize, source: u64) -> Result<u32, E> {
        let there = usize::try_from(source).is_ok_and(|source| source < self.source);
        let number = u32::try_from(source).ok().filter(|_| there);
        number.ok_or_else(|| {
            E::custom(format!(
                "token {token} is mapped to {source}, and the source has tokens 0 to {}",
                self.source - 1
            ))
        })
    }
}

impl<'d> DeserializeSeed<'d> for Seed {
    type Value = Vec<Option<u32>>;

    fn deserialize<D: serde::Deserializer<'d>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'d> Visitor<'d> for Seed {
    type Value = Vec<Option<u32>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of the source's tokens, or an object from the model's tokens to the source's")
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(source) = list.next_element::<Option<u64>>()? {
            if map.len() == MAX_TOKENS {
                return Err(A::Error::custom(format!("it has more than {MAX_TOKENS} tokens")));
            }
            map.push(source.map(|source| self.checked(map.len(), source)).transpose()?);
        }
        Ok(map)
    }

    fn visit_map<A: MapAccess<'d>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, source)) = object.next_entry::<String, u64>()? {
            let plain = key.bytes().all(|byte| byte.is_ascii_digit());
            let token = key.parse::<usize>().ok().filter(|token| plain && *token < MAX_TOKENS);
            let Some(token) = token else {
                let shown = crate::model::checkpoint::printable(&key);
                return Err(A::Error::custom(format!("`{shown}` is no token from 0 to {}", MAX_TOKENS - 1)));
            };
            if map.len() <= token {
                map.resize(token + 1, None);
            }
            if map[token].replace(self.checked(token, source)?).is_some() {
                return Err(A::Error::custom(format!("token {token} is mapped twice")));
            }
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_objects_say_the_same() {
        let list = VocabularyMap::parse(b"[3, null, 0]", 4).unwrap();
        assert_eq!(list, VocabularyMap::parse(br#"{"2": 0, "0": 3}"#, 4).unwrap());
        assert_eq!(list.sources().collect::<Vec<_>>(), [Some(3), None, Some(0)]);
        assert_eq!((list.len(), list.source(9)), (3, None));
    }

    #[test]
    fn what_is_malformed_is_refused_and_said() {
        for (text, want) in [
            ("", "EOF"),
            ("7", "a list of the source's tokens"),
            ("__import__('os').system('true')", "expected"),
            ("{'1': 2}", "key must be a string"),
            ("[4]", "the source has tokens 0 to 3"),
            ("[-1]", "-1"),
            ("[1.5]", "1.5"),
            ("[null]", "maps no token"),
            ("[]", "maps no token"),
            ("[1] x", "trailing"),
            (r#"{"1": 2, "01": 3}"#, "mapped twice"),
            (r#"{"-1": 2}"#, "no token"),
            (r#"{"+1": 2}"#, "no token"),
            (r#"{"99999999999": 2}"#, "no token"),
            (r#"{"a": 2}"#, "`a` is no token"),
            (r#"{"1": null}"#, "null"),
        ] {
            let said = format!("{:#}", VocabularyMap::parse(text.as_bytes(), 4).unwrap_err());
            assert!(said.contains(want), "{text}: {said} lacks {want}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:0-9null ]{0,40}") {
            let _ = VocabularyMap::parse(&bytes, 10);
            let _ = VocabularyMap::parse(text.as_bytes(), 10);
        }
    }
}
