//! A column of numbers that only grows, packed in chunks.
//!
//! Logs hold decimals (`2.1342`), counters (`10, 20, 30`) and single-precision floats. A chunk whose numbers are
//! whole multiples of a power of ten is kept as whole numbers: what they differ from a straight line takes few
//! bits, and none at all for a counter. Other numbers become `f32`, of which neighbours share their first bits.
//! Only where that would lose what can be seen (times since 1970) all 64 bits are kept.

use super::pack;

/// Numbers in a chunk.
pub(super) const CHUNK: usize = 1024;
/// Decimal places that are tried.
const MOST_PLACES: usize = 12;
/// Whole numbers below this are exact in an `f64`, with some room.
const EXACT: f64 = (1u64 << 51) as f64;
/// Numbers that are looked at side by side.
const LANES: usize = 8;
const TENS: [f64; MOST_PLACES + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];

/// How the numbers of a chunk are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Whole numbers of this power of ten.
    Places(u8),
    /// Bits of `f32`, in the order of their values.
    Single,
    /// Bits of `f64`.
    Double,
}

#[derive(Debug, Clone)]
struct Chunk {
    words: Box<[u64]>,
    base: i64,
    slope: i64,
    kind: Kind,
    width: u8,
}

/// Numbers, of which none is ever changed.
#[derive(Debug, Clone, Default)]
pub struct Column {
    chunks: Vec<Chunk>,
    /// What is not a whole chunk yet.
    tail: Vec<f64>,
}

impl Column {
    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.chunks.len() * CHUNK + self.tail.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a number.
    #[inline]
    pub fn push(&mut self, number: f64) {
        self.push_then(number, CHUNK, |_| {});
    }

    /// Adds a number, and calls for every `part` of them; a chunk holds a whole count of parts.
    #[inline]
    pub(super) fn push_then(&mut self, number: f64, part: usize, whole: impl FnOnce(&[f64])) {
        self.tail.push(number);
        if self.tail.len().is_multiple_of(part) {
            whole(&self.tail[self.tail.len() - part..]);
        }
        if self.tail.len() == CHUNK {
            self.chunks.push(seal(&self.tail));
            self.tail.clear();
        }
    }

    /// Whole numbers of a straight line, as pushing each of them would leave it.
    pub(super) fn of_line(first: f64, stride: f64, count: usize) -> Self {
        let mut column = Self::default();
        (0..count).for_each(|i| column.push(first + stride * i as f64));
        column
    }

    /// The number at a place; NaN beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> f64 {
        match self.chunks.get(index / CHUNK) {
            Some(chunk) => chunk.get(index % CHUNK),
            None => self.tail.get(index - self.chunks.len() * CHUNK).copied().unwrap_or(f64::NAN),
        }
    }

    /// Adds the numbers from one place up to another to `out`: faster than one by one.
    pub fn read(&self, from: usize, to: usize, out: &mut Vec<f64>) {
        let (mut at, to) = (from, to.min(self.len()));
        while at < to {
            let chunk = at / CHUNK;
            match self.chunks.get(chunk) {
                Some(packed) => {
                    let end = to.min((chunk + 1) * CHUNK);
                    packed.read(at - chunk * CHUNK, end - chunk * CHUNK, out);
                    at = end;
                }
                None => {
                    let before = self.chunks.len() * CHUNK;
                    out.extend_from_slice(&self.tail[at - before..to - before]);
                    break;
                }
            }
        }
    }

    /// The last number; NaN if there is none.
    pub fn last(&self) -> f64 {
        self.len().checked_sub(1).map_or(f64::NAN, |last| self.get(last))
    }

    /// The first place whose number is not `below`, if those that are come first.
    pub fn partition(&self, from: usize, to: usize, below: impl Fn(f64) -> bool) -> usize {
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            if below(self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.capacity() * size_of::<Chunk>();
        chunks + self.chunks.iter().map(|c| c.words.len() * 8).sum::<usize>() + self.tail.capacity() * 8
    }
}

impl Chunk {
    #[inline]
    fn whole(&self, index: usize) -> i64 {
        let packed = pack::get(&self.words, u32::from(self.width), index);
        self.base.wrapping_add(self.slope.wrapping_mul(index as i64)).wrapping_add(packed.cast_signed())
    }

    fn read(&self, from: usize, to: usize, out: &mut Vec<f64>) {
        match self.kind {
            Kind::Places(0) => out.extend((from..to).map(|i| self.whole(i) as f64)),
            Kind::Places(places) => {
                let ten = TENS[usize::from(places)];
                out.extend((from..to).map(|i| self.whole(i) as f64 / ten));
            }
            Kind::Single => out.extend((from..to).map(|i| f64::from(from_order(self.whole(i) as u32)))),
            Kind::Double => out.extend((from..to).map(|i| self.get(i))),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> f64 {
        let packed = pack::get(&self.words, u32::from(self.width), index);
        let whole = self.base.wrapping_add(self.slope.wrapping_mul(index as i64)).wrapping_add(packed.cast_signed());
        match self.kind {
            Kind::Places(0) => whole as f64,
            Kind::Places(places) => whole as f64 / TENS[usize::from(places)],
            Kind::Single => f64::from(from_order(whole as u32)),
            Kind::Double => f64::from_bits(packed),
        }
    }
}

fn seal(numbers: &[f64]) -> Chunk {
    let mut whole = [0.0; CHUNK];
    let whole = &mut whole[..numbers.len()];
    if let Some(places) = places(numbers, whole) {
        let steps = (whole.len() as i64 - 1).max(1);
        let slope = (whole[whole.len() - 1] as i64 - whole[0] as i64) / steps;
        let (flat, sloped) = (spread(whole, 0), spread(whole, slope));
        let ((base, width), slope) = if sloped.1 < flat.1 { (sloped, slope) } else { (flat, 0) };
        return packed(whole, base, slope, Kind::Places(places as u8), width);
    }
    if singles_do(numbers) {
        whole.iter_mut().zip(numbers).for_each(|(whole, n)| *whole = f64::from(to_order(*n as f32)));
        let (base, width) = spread(whole, 0);
        return packed(whole, base, 0, Kind::Single, width);
    }
    let words = numbers.iter().map(|n| n.to_bits()).collect();
    Chunk { words, base: 0, slope: 0, kind: Kind::Double, width: 64 }
}

fn packed(whole: &[f64], base: i64, slope: i64, kind: Kind, width: u32) -> Chunk {
    let mut line = base;
    let rest = whole.iter().map(|n| {
        let rest = *n as i64 - line;
        line += slope;
        rest.cast_unsigned()
    });
    Chunk { words: pack::pack(rest, width), base, slope, kind, width: width as u8 }
}

/// The smallest distance from a line of this slope, and the bits of the largest above it. All numbers are whole, and
/// so small that the arithmetic is exact.
fn spread(whole: &[f64], slope: i64) -> (i64, u32) {
    // Side by side, so that the compiler takes several at once.
    let (mut low, mut high) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let mut line: [f64; LANES] = std::array::from_fn(|lane| (slope * lane as i64) as f64);
    let step = (slope * LANES as i64) as f64;
    let mut take = |part: &[f64]| {
        for (lane, n) in part.iter().enumerate() {
            let rest = n - line[lane];
            line[lane] += step;
            low[lane] = if rest < low[lane] { rest } else { low[lane] };
            high[lane] = if rest > high[lane] { rest } else { high[lane] };
        }
    };
    let (parts, left) = whole.as_chunks::<LANES>();
    parts.iter().for_each(|part| take(part));
    take(left);
    let low = low.into_iter().fold(f64::INFINITY, f64::min) as i64;
    let high = high.into_iter().fold(f64::NEG_INFINITY, f64::max) as i64;
    (low, pack::width(high.abs_diff(low)))
}

/// The nearest whole number of one below `EXACT`, without a call: the sum has no room for a fraction.
#[inline]
fn rounded(n: f64) -> f64 {
    const LARGE: f64 = 3.0 * (1u64 << 51) as f64;
    (n + LARGE) - LARGE
}

/// The decimal places with which all numbers come back exactly; `whole` gets the whole numbers that they become.
fn places(numbers: &[f64], whole: &mut [f64]) -> Option<usize> {
    let exact = |n: f64, places: usize| {
        let whole = rounded(n * TENS[places]);
        whole.abs() < EXACT && whole / TENS[places] == n
    };
    let mut places = 0;
    // A few numbers tell most of the time that there are none.
    for n in numbers.iter().step_by(numbers.len().div_ceil(16)) {
        while !exact(*n, places) {
            places += 1;
            if places > MOST_PLACES {
                return None;
            }
        }
    }
    loop {
        let ten = TENS[places];
        let mut all = true;
        for (n, out) in numbers.iter().zip(&mut *whole) {
            *out = rounded(n * ten);
            all &= (out.abs() < EXACT) & (*out / ten == *n);
        }
        if all {
            return Some(places);
        }
        places += 1;
        if places > MOST_PLACES {
            return None;
        }
    }
}

/// True if nothing that can be seen is lost in `f32`.
fn singles_do(numbers: &[f64]) -> bool {
    let (mut low, mut high, mut exact) = (f64::INFINITY, f64::NEG_INFINITY, true);
    for &n in numbers {
        if n.is_finite() {
            let single = n as f32;
            if !single.is_finite() || (n != 0.0 && single == 0.0) {
                return false;
            }
            exact &= f64::from(single) == n;
            (low, high) = (low.min(n), high.max(n));
        }
    }
    exact || low > high || high - low >= 1e-4 * high.abs().max(low.abs())
}

/// The bits of a float so that they are in the order of the values.
fn to_order(x: f32) -> u32 {
    let bits = if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn from_order(order: u32) -> f32 {
    f32::from_bits(if order >> 31 == 1 { order & !(1 << 31) } else { !order })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(numbers: impl IntoIterator<Item = f64>) -> Column {
        let mut column = Column::default();
        numbers.into_iter().for_each(|n| column.push(n));
        column
    }

    fn assert_exact(numbers: &[f64]) -> usize {
        let column = column(numbers.iter().copied());
        assert_eq!(column.len(), numbers.len());
        for (i, n) in numbers.iter().enumerate() {
            assert!(column.get(i) == *n || (n.is_nan() && column.get(i).is_nan()), "{i}: {n} {}", column.get(i));
        }
        assert!(column.get(numbers.len()).is_nan());
        for (from, to) in [(0, numbers.len()), (numbers.len() / 3, numbers.len() / 2 + 1), (5, 5)] {
            let mut read = Vec::new();
            column.read(from, to, &mut read);
            let one_by_one: Vec<u64> = (from..to).map(|i| column.get(i).to_bits()).collect();
            assert_eq!(read.iter().map(|n| n.to_bits()).collect::<Vec<_>>(), one_by_one);
        }
        column.bytes()
    }

    fn noise(i: usize) -> f64 {
        f64::from((i as u32).wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24)
    }

    #[test]
    fn counters_take_next_to_nothing_and_decimals_two_bytes() {
        let many = 64 * CHUNK;
        let counter: Vec<f64> = (0..many).map(|i| (i * 10) as f64).collect();
        assert!(assert_exact(&counter) < many / 5);
        let decimals: Vec<f64> = (0..many).map(|i| (20_000.0 + (noise(i) * 9000.0).round()) / 10_000.0).collect();
        assert!(assert_exact(&decimals) < many * 2);
        let times: Vec<f64> = (0..many).map(|i| 1_732_171_234.0 + (i * 251) as f64 / 1000.0).collect();
        assert!(assert_exact(&times) < many);
        let singles: Vec<f64> = (0..many).map(|i| f64::from(noise(i) as f32 + 2.0)).collect();
        assert!(assert_exact(&singles) < many * 31 / 10);
    }

    #[test]
    fn odd_numbers_come_back() {
        let mut odd = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.5, 1e-40, 1e300, -3.25e-7];
        odd.resize(CHUNK + 3, 0.1);
        assert_exact(&odd);
        let seconds: Vec<f64> = (0..CHUNK).map(|i| 1.7e9 + i as f64 * std::f64::consts::PI).collect();
        assert_exact(&seconds);
        assert_exact(&vec![f64::NAN; CHUNK]);
        assert_exact(&(0..CHUNK).map(|i| 9e15 + i as f64).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_number_moves_by_more_than_a_float_does(seed in prop::collection::vec(any::<f64>(), 1..40), scale in -9i32..9) {
            let number = |i: usize| if i.is_multiple_of(3) { seed[i % seed.len()] } else { noise(i) * 10f64.powi(scale) };
            let column = column((0..CHUNK).map(number));
            for i in 0..CHUNK {
                let (want, got) = (number(i), column.get(i));
                let near = (want - got).abs() <= want.abs() * 1e-7 || want == got || (want.is_nan() && got.is_nan());
                prop_assert!(near, "{} {}", want, got);
            }
        }
    }
}
