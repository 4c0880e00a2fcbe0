//! A number that tells contents apart: files that were changed, cut short or damaged by accident. It is no
//! protection against someone who makes two files alike on purpose.

/// Odd, with its bits well spread.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes bytes piece by piece, however they are cut.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// Four at once, since each multiplication waits for the one before it.
    lanes: [u64; 4],
    /// What does not fill a block yet.
    rest: Vec<u8>,
    len: u64,
}

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self { lanes: [1, 2, 3, 4], rest: Vec::with_capacity(32), len: 0 }
    }

    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if !self.rest.is_empty() {
            let take = bytes.len().min(32 - self.rest.len());
            self.rest.extend(&bytes[..take]);
            bytes = &bytes[take..];
            if self.rest.len() < 32 {
                return;
            }
            let block: Vec<u8> = std::mem::take(&mut self.rest);
            self.blocks(&block);
        }
        let whole = bytes.len() / 32 * 32;
        self.blocks(&bytes[..whole]);
        self.rest.extend(&bytes[whole..]);
    }

    fn blocks(&mut self, bytes: &[u8]) {
        for block in bytes.as_chunks::<32>().0 {
            for (lane, word) in self.lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
            }
        }
    }

    pub(crate) fn finish(mut self) -> u64 {
        let mut rest = std::mem::take(&mut self.rest);
        rest.resize(32, 0);
        self.blocks(&rest);
        self.lanes.into_iter().fold(mix(self.len), |all, lane| mix(all ^ lane))
    }
}

/// The fingerprint of bytes at hand.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    let mut all = Fingerprint::new();
    all.add(bytes);
    all.finish()
}

/// Every bit of the result depends on every bit of `x` (SplitMix64; Steele, Lea and Flood 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(FACTOR);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_same_however_bytes_are_cut_and_another_when_one_is_changed(
            bytes in prop::collection::vec(any::<u8>(), 1..200), cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
        ) {
            let (cut, at) = (cut.index(bytes.len()), at.index(bytes.len()));
            let mut pieces = Fingerprint::new();
            pieces.add(&bytes[..cut]);
            pieces.add(&bytes[cut..]);
            let whole = fingerprint(&bytes);
            prop_assert_eq!(pieces.finish(), whole);
            let mut other = bytes.clone();
            other[at] ^= 1;
            prop_assert_ne!(fingerprint(&other), whole);
            prop_assert_ne!(fingerprint(&bytes[..bytes.len() - 1]), whole);
            other[at] = bytes[at];
            other.push(0);
            prop_assert_ne!(fingerprint(&other), whole);
        }
    }
}
