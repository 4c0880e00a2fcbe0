//! Sums over a recording at any place of it, without beginning at the start each time.

use super::Moment;

/// Keeps copies of a running sum at regular places, so that going to any place of a recording adds no
/// more than the moments since the copy before it.
///
/// For what has a bounded size, as counts per expert. The chat itself is taken back step by step
/// instead, which needs no copies.
#[derive(Debug, Clone)]
pub struct Checkpoints<S> {
    every: usize,
    /// The sum before moment `i * every`.
    kept: Vec<S>,
}

/// At most so many copies.
const COPIES: usize = 256;
/// At least so many moments from one copy to the next.
const SPACING: usize = 256;

impl<S: Clone> Checkpoints<S> {
    /// For a recording of so many moments; `start` is the sum of nothing.
    pub fn new(start: S, moments: usize) -> Self {
        Self { every: SPACING.max(moments.div_ceil(COPIES)), kept: vec![start] }
    }

    /// The sum of the first `position` moments.
    pub fn at(&mut self, moments: &[Moment], position: usize, mut add: impl FnMut(&mut S, &Moment)) -> S {
        let position = position.min(moments.len());
        let copy = position / self.every;
        while self.kept.len() <= copy {
            let from = (self.kept.len() - 1) * self.every;
            let mut sum = self.kept[self.kept.len() - 1].clone();
            moments[from..from + self.every].iter().for_each(|moment| add(&mut sum, moment));
            self.kept.push(sum);
        }
        let mut sum = self.kept[copy].clone();
        moments[copy * self.every..position].iter().for_each(|moment| add(&mut sum, moment));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, What};
    use super::*;

    #[test]
    fn sums_are_those_from_the_start() {
        let change = |id| What::Change(Change::Choose { id });
        let moments: Vec<Moment> = (0..2000).map(|i| Moment { at: 0.0, what: change(i % 7) }).collect();
        let mut checkpoints = Checkpoints::new(0usize, moments.len());
        let add = |sum: &mut usize, moment: &Moment| {
            if let What::Change(Change::Choose { id }) = moment.what {
                *sum += id;
            }
        };
        for position in [1999, 0, 256, 255, 257, 5000, 1024] {
            let want: usize = (0..position.min(2000)).map(|i| i % 7).sum();
            assert_eq!(checkpoints.at(&moments, position, add), want, "{position}");
        }
    }
}
