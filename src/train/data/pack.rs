//! Examples joined into sequences of one length.
//!
//! ```text
//! example 1 | end | example 2 | end | exam    leaves as one sequence of `length` tokens
//! ple 3 | end | example 4 ...                 is what the next one begins with
//! ```
//!
//! The end token that joins two examples bears no loss. Where examples are isolated, neither does the first token of
//! each: it could only be foreseen from the one before.

use crate::backend::learn::Sequence;
use crate::model::template::Labelled;
use crate::protocol::TokenId;
use crate::train::settings::OverLong;

/// Joins examples.
#[derive(Debug, Clone)]
pub struct Packer {
    length: usize,
    end: TokenId,
    isolate: bool,
    tokens: Vec<TokenId>,
    mask: Vec<bool>,
    starts: Vec<usize>,
    /// Rows whose examples the buffer holds parts of.
    rows: Vec<u64>,
}

/// A sequence that is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// It.
    pub sequence: Sequence,
    /// The rows that it holds parts of.
    pub rows: Vec<u64>,
    /// Tokens of the newest example that are in this sequence or in those before it.
    pub consumed: usize,
}

impl Packer {
    /// Sequences of `length` tokens, which is at least 2.
    pub fn new(length: usize, end: TokenId, isolate: bool) -> Self {
        Self {
            length: length.max(2),
            end,
            isolate,
            tokens: Vec::new(),
            mask: Vec::new(),
            starts: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds an example without its first `from` tokens, which were packed before, and gives what is full now.
    pub fn push(&mut self, example: &Labelled, from: usize, row: u64) -> Vec<Packed> {
        if !self.tokens.is_empty() {
            self.tokens.push(self.end);
            self.mask.push(false);
        }
        let at = self.tokens.len();
        self.tokens.extend(&example.tokens[from..]);
        self.mask.extend(&example.mask[from..]);
        if self.isolate && from == 0 && at > 0 {
            self.starts.push(at);
            if let Some(first) = self.mask.get_mut(at) {
                *first = false;
            }
        }
        self.rows.push(row);
        let mut full = Vec::new();
        while self.tokens.len() >= self.length {
            let rows = std::mem::take(&mut self.rows);
            let sequence = self.take();
            if !self.tokens.is_empty() {
                self.rows.push(row);
            }
            full.push(Packed { sequence, rows, consumed: example.tokens.len() - self.tokens.len() });
        }
        full
    }

    /// The last sequence, filled up; none if nothing is left.
    pub fn flush(&mut self) -> Option<Packed> {
        if self.tokens.is_empty() {
            return None;
        }
        self.tokens.resize(self.length, self.end);
        self.mask.resize(self.length, false);
        let rows = std::mem::take(&mut self.rows);
        Some(Packed { sequence: self.take(), rows, consumed: 0 })
    }

    /// The first `length` tokens.
    fn take(&mut self) -> Sequence {
        let tokens = self.tokens.drain(..self.length).collect();
        let mut mask: Vec<bool> = self.mask.drain(..self.length).collect();
        // Nothing stands before it that it could be foreseen from.
        mask[0] = false;
        let (starts, later): (Vec<_>, Vec<_>) = self.starts.iter().partition(|at| **at < self.length);
        // What begins a sequence has nothing before it anyway.
        self.starts = later.into_iter().map(|at| at - self.length).filter(|at| *at > 0).collect();
        Sequence { tokens, mask, starts }
    }
}

/// Cuts an example to what a sequence holds, if it shall be; true if it is longer than that.
pub fn limit(example: &mut Labelled, length: usize, over_long: OverLong) -> bool {
    let long = example.tokens.len() > length;
    if long && over_long == OverLong::Cut {
        example.tokens.truncate(length);
        example.mask.truncate(length);
    }
    long
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const END: TokenId = 0;

    fn example(tokens: std::ops::Range<TokenId>) -> Labelled {
        Labelled { mask: tokens.clone().map(|token| token % 3 != 0).collect(), tokens: tokens.collect() }
    }

    #[test]
    fn four_of_512_make_one_of_2048_and_three_more_tokens() {
        let mut packer = Packer::new(2048, END, false);
        let mut full = Vec::new();
        for i in 0..4 {
            full.extend(packer.push(&example(1000 * (i + 1)..1000 * (i + 1) + 512), 0, i.into()));
        }
        assert_eq!(full.len(), 1);
        let Packed { sequence, rows, consumed } = &full[0];
        assert_eq!((sequence.tokens.len(), sequence.mask.len(), &rows[..]), (2048, 2048, &[0, 1, 2, 3][..]));
        for seam in [512, 1025, 1538] {
            assert_eq!((sequence.tokens[seam], sequence.mask[seam]), (END, false));
        }
        assert_eq!(sequence.tokens.iter().filter(|token| **token == END).count(), 3);
        assert_eq!((sequence.tokens[511], sequence.tokens[513], sequence.tokens[2047]), (1511, 2000, 4508));
        // Three tokens run on into the next.
        assert_eq!((packer.tokens.clone(), *consumed), (vec![4509, 4510, 4511], 509));
        let rest = packer.flush().unwrap();
        assert_eq!((rest.sequence.tokens.len(), &rest.rows[..]), (2048, &[3][..]));
        assert!(rest.sequence.mask[3..].iter().all(|bears| !bears));
        assert!(packer.flush().is_none());
    }

    #[test]
    fn isolated_examples_say_where_they_begin() {
        let mut packer = Packer::new(8, END, true);
        let mut full = Vec::new();
        for (i, tokens) in [10..13, 20..23, 30..38, 40..42].into_iter().enumerate() {
            full.extend(packer.push(&example(tokens), 0, i as u64));
        }
        full.extend(packer.flush());
        let sequences: Vec<(Vec<TokenId>, Vec<usize>)> =
            full.iter().map(|packed| (packed.sequence.tokens.clone(), packed.sequence.starts.clone())).collect();
        assert_eq!(
            sequences,
            [
                (vec![10, 11, 12, END, 20, 21, 22, END], vec![4]),
                // Its first example begins with the sequence.
                (vec![30, 31, 32, 33, 34, 35, 36, 37], vec![]),
                (vec![40, 41, END, END, END, END, END, END], vec![]),
            ]
        );
        assert!(!full[0].sequence.mask[4]);
    }

    #[test]
    fn over_long_examples_are_split_or_cut() {
        let (mut long, mut other) = (example(1..30), example(1..30));
        assert!(limit(&mut long, 8, OverLong::Split) && long.tokens.len() == 29);
        assert!(limit(&mut other, 8, OverLong::Cut) && other.tokens.len() == 8 && other.mask.len() == 8);
        assert!(!limit(&mut other, 8, OverLong::Cut));
        let full = Packer::new(8, END, false).push(&long, 0, 5);
        assert_eq!(full.iter().map(|packed| packed.consumed).collect::<Vec<_>>(), [8, 16, 24]);
        assert!(full.iter().all(|packed| packed.rows == [5]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn nothing_is_lost_masks_stay_aligned_and_it_goes_on_anywhere(
            lengths in prop::collection::vec(1usize..30, 1..20), length in 2usize..25, isolate in any::<bool>(),
        ) {
            // Every token is another, so that each can be followed.
            let mut next = 1;
            let examples: Vec<Labelled> = lengths.iter().map(|n| {
                let tokens = next..next + *n as TokenId;
                next = tokens.end;
                example(tokens)
            }).collect();
            let mut packer = Packer::new(length, END, isolate);
            let mut all = Vec::new();
            for (i, e) in examples.iter().enumerate() {
                for packed in packer.push(e, 0, i as u64) {
                    // From the place that it names, the rest comes out the same.
                    let mut again = Packer::new(length, END, isolate);
                    let mut rest = if packed.consumed < e.tokens.len() { again.push(e, packed.consumed, i as u64) } else { vec![] };
                    for (j, later) in examples.iter().enumerate().skip(i + 1) {
                        rest.extend(again.push(later, 0, j as u64));
                    }
                    rest.extend(again.flush());
                    all.push((packed, Some(rest)));
                }
            }
            all.extend(packer.flush().map(|packed| (packed, Some(vec![]))));
            let packed: Vec<Packed> = all.iter().map(|(packed, _)| packed.clone()).collect();
            for (i, (_, rest)) in all.iter().enumerate() {
                let want = &packed[i + 1..];
                let rest = rest.as_ref().unwrap();
                prop_assert_eq!(rest.len(), want.len());
                for (a, b) in rest.iter().zip(want) {
                    prop_assert_eq!((&a.sequence, &a.rows), (&b.sequence, &b.rows));
                }
            }
            let (mut tokens, mut at) = (Vec::new(), 0);
            for Packed { sequence, rows, .. } in &packed {
                prop_assert!(sequence.tokens.len() == length && sequence.mask.len() == length && !sequence.mask[0]);
                for (i, (token, bears)) in sequence.tokens.iter().zip(&sequence.mask).enumerate() {
                    let begins = isolate && sequence.starts.contains(&i);
                    prop_assert_eq!(*bears, *token != END && token % 3 != 0 && i > 0 && !begins);
                    if *token == END { continue }
                    tokens.push(*token);
                    while !examples[at].tokens.contains(token) { at += 1 }
                    prop_assert!(rows.contains(&(at as u64)));
                    if isolate && examples[at].tokens[0] == *token && i > 0 {
                        prop_assert!(begins);
                    }
                }
            }
            prop_assert_eq!(tokens, (1..next).collect::<Vec<_>>());
        }
    }
}
