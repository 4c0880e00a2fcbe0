//! The tokens of a sequence that are read, which of them see each other, and what each is to foretell.

use std::ops::Range;

use anyhow::{Result, ensure};

use crate::backend::learn::Sequence;
use crate::protocol::TokenId;

/// One sequence, checked.
pub(crate) struct Rows<'a> {
    /// Inputs, up to the last that foretells something: what follows changes no loss.
    pub(crate) tokens: &'a [TokenId],
    /// Rows of each example that sees only itself.
    pub(crate) examples: Vec<Range<usize>>,
    /// For each row, the first row that it may see.
    pub(crate) sees_from: Vec<usize>,
    /// Tokens of the whole sequence, padding included.
    pub(crate) given: usize,
    /// Rows whose next token bears loss, and that token.
    pub(crate) labels: Vec<(usize, TokenId)>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(sequence: &'a Sequence, vocab: usize) -> Result<Self> {
        let Sequence { tokens, mask, starts } = sequence;
        ensure!(
            mask.len() == tokens.len(),
            "a sequence of {} tokens has a mask of {}: they must be as long",
            tokens.len(),
            mask.len()
        );
        if let Some(bad) = tokens.iter().find(|id| **id as usize >= vocab) {
            anyhow::bail!("token {bad} is outside the vocabulary: the model has tokens 0 to {}", vocab - 1);
        }
        ensure!(
            starts.is_sorted() && starts.last().is_none_or(|last| *last < tokens.len()),
            "the starts of a sequence's examples must ascend and lie within its {} tokens",
            tokens.len()
        );
        let labels: Vec<_> = (1..tokens.len()).filter(|i| mask[*i]).map(|i| (i - 1, tokens[i])).collect();
        let read = labels.last().map_or(0, |(row, _)| row + 1);
        let mut bounds: Vec<usize> = starts.iter().copied().filter(|s| *s < read).chain([0, read]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let examples: Vec<_> = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let sees_from = examples.iter().flat_map(|e| std::iter::repeat_n(e.start, e.len())).collect();
        Ok(Self { tokens: &tokens[..read], examples, sees_from, given: tokens.len(), labels })
    }

    /// T
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: &[u32], mask: &[u8], starts: &[usize]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), mask: mask.iter().map(|m| *m > 0).collect(), starts: starts.to_vec() }
    }

    #[test]
    fn what_foretells_nothing_is_not_read() {
        let s = sequence(&[5, 6, 7, 8, 0, 0], &[1, 0, 1, 1, 0, 0], &[0, 2, 2, 5]);
        let rows = Rows::new(&s, 9).unwrap();
        assert_eq!(rows.tokens, [5, 6, 7]);
        assert_eq!(rows.labels, [(1, 7), (2, 8)]);
        assert_eq!(rows.examples, [0..2, 2..3]);
        assert_eq!(rows.sees_from, [0, 0, 2]);
        let none = sequence(&[5, 6], &[1, 0], &[]);
        let rows = Rows::new(&none, 9).unwrap();
        assert!(rows.len() == 0 && rows.labels.is_empty() && rows.examples.is_empty());
    }

    #[test]
    fn impossible_sequences_are_named() {
        let cases = [
            (sequence(&[1, 9], &[0, 1], &[]), "token 9 is outside"),
            (sequence(&[1, 2], &[0], &[]), "a mask of 1"),
            (sequence(&[1, 2], &[0, 1], &[2]), "starts"),
            (sequence(&[1, 2], &[0, 1], &[1, 0]), "starts"),
        ];
        for (s, want) in cases {
            let said = Rows::new(&s, 9).err().unwrap().to_string();
            assert!(said.contains(want), "{said}");
        }
    }
}
