//! Shuffling without a list: a permutation that is computed, so that a billion rows take no memory, and a place in
//! it is one number.

use super::super::fingerprint::mix;

const ROUNDS: usize = 6;

/// A permutation of the numbers below `count`, which follows from its seed.
#[derive(Debug, Clone)]
pub struct Order {
    count: u64,
    /// Bits of half a number.
    half: u32,
    keys: [u64; ROUNDS],
}

impl Order {
    /// The permutation of this seed.
    pub fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        let mut key = seed;
        let keys = std::array::from_fn(|_| {
            key = mix(key);
            key
        });
        Self { count, half: bits.div_ceil(2).max(1), keys }
    }

    /// Which number stands at this place; both are below the count.
    pub fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.count);
        let mut x = place;
        loop {
            x = self.scramble(x);
            // A Feistel network permutes powers of four; what it throws out of the range is thrown again
            // (cycle walking), which permutes the range.
            if x < self.count {
                return x;
            }
        }
    }

    fn scramble(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half | right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_comes_once(count in 1u64..500, seed in any::<u64>()) {
            let order = Order::new(count, seed);
            let mut seen: Vec<u64> = (0..count).map(|place| order.at(place)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn seeds_shuffle_differently_and_well() {
        let order = |seed| -> Vec<u64> {
            let order = Order::new(1000, seed);
            (0..1000).map(|place| order.at(place)).collect()
        };
        assert_ne!(order(1), order(2));
        // Neighbours do not stay neighbours, and the mean distance is that of chance: a third.
        let shuffled = order(7);
        let near = shuffled.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 10).count();
        assert!(near < 40, "{near}");
        let distance: u64 = shuffled.windows(2).map(|pair| pair[0].abs_diff(pair[1])).sum();
        assert!((300_000..370_000).contains(&distance), "{distance}");
        // The largest numbers work too.
        let large = Order::new(u64::MAX / 2, 3);
        assert!(large.at(12345) < u64::MAX / 2);
    }
}
