//! Small numbers side by side in 64-bit words, all of one width.

/// Words that `count` numbers of `width` bits take.
pub(super) fn words(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(64)
}

/// The bits that the largest of the numbers needs.
pub(super) fn width(largest: u64) -> u32 {
    64 - largest.leading_zeros()
}

/// Packs numbers that all fit in `width` bits.
pub(super) fn pack(numbers: impl ExactSizeIterator<Item = u64>, width: u32) -> Box<[u64]> {
    let mut packed = Vec::with_capacity(words(numbers.len(), width));
    if width == 0 {
        return packed.into();
    }
    let (mut word, mut filled) = (0u64, 0u32);
    for number in numbers {
        word |= number << filled;
        filled += width;
        if filled >= 64 {
            packed.push(word);
            filled -= 64;
            // What did not fit; all of it did where nothing is left.
            word = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    if filled > 0 {
        packed.push(word);
    }
    packed.into()
}

/// The number at `index`. What lies beyond the words is zero.
#[inline]
pub(super) fn get(words: &[u64], width: u32, index: usize) -> u64 {
    if width == 0 {
        return 0;
    }
    let bit = index * width as usize;
    let (word, shift) = (bit >> 6, bit & 63);
    let mut number = words.get(word).copied().unwrap_or(0) >> shift;
    if shift + width as usize > 64 {
        number |= words.get(word + 1).copied().unwrap_or(0) << (64 - shift);
    }
    number & (u64::MAX >> (64 - width))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_packed_comes_back(numbers in prop::collection::vec(any::<u64>(), 0..70), bits in 0u32..=64) {
            let mask = if bits == 0 { 0 } else { u64::MAX >> (64 - bits) };
            let numbers: Vec<u64> = numbers.into_iter().map(|n| n & mask).collect();
            let width = width(numbers.iter().copied().max().unwrap_or(0));
            let packed = pack(numbers.iter().copied(), width);
            prop_assert!(packed.len() <= words(numbers.len(), bits));
            for (i, number) in numbers.iter().enumerate() {
                prop_assert_eq!(get(&packed, width, i), *number);
            }
        }
    }
}
