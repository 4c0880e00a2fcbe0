//! Numbers in text, fast: the digits of most are multiplied by a power of ten that is exact.

const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Powers of ten as whole numbers.
const WHOLE_TENS: [u64; 20] = {
    let mut tens = [1; 20];
    let mut at = 1;
    while at < tens.len() {
        tens[at] = tens[at - 1] * 10;
        at += 1;
    }
    tens
};

/// The number at the beginning of the bytes, and how many bytes it takes: `-1.5e-3`, `.5`, `NaN`, `inf`, `Infinity`.
#[inline]
pub(super) fn at_start(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let mut at = usize::from(negative || bytes.first() == Some(&b'+'));
    let begin = at;
    let mut digits = 0u64;
    let mut power = 0i32;
    while let Some(digit) = digit(bytes, at) {
        digits = digits.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    let mut count = at - begin;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let places = at;
        while let Some((eight, taken)) = bytes.get(at..).and_then(up_to_eight) {
            digits = digits.wrapping_mul(WHOLE_TENS[taken]).wrapping_add(eight);
            at += taken;
            if taken < 8 {
                break;
            }
        }
        while let Some(digit) = digit(bytes, at) {
            digits = digits.wrapping_mul(10).wrapping_add(digit);
            at += 1;
        }
        count += at - places;
        power = -i32::try_from(at - places).ok()?;
    }
    if count == 0 {
        return word(&bytes[begin..]).map(|(x, len)| (if negative { -x } else { x }, begin + len));
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'-' | b'+'));
        let mut end = at + 1 + usize::from(signed);
        let first = end;
        let mut exponent = 0i32;
        while let Some(digit) = digit(bytes, end) {
            exponent = (exponent * 10 + digit as i32).min(9999);
            end += 1;
        }
        if end > first {
            power += if bytes[at + 1] == b'-' { -exponent } else { exponent };
            at = end;
        }
    }
    let size = if count <= 19 && digits < 1 << 53 && (-22..=22).contains(&power) {
        let digits = digits as f64;
        if power < 0 { digits / TENS[(-power) as usize] } else { digits * TENS[power as usize] }
    } else if count <= 19 && digits > 0 && (-19..=0).contains(&power) {
        divided(digits, -power as usize)
    } else {
        // Rare, or long: the library rounds it right.
        std::str::from_utf8(&bytes[begin..at]).ok()?.parse().ok()?
    };
    Some((if negative { -size } else { size }, at))
}

#[inline]
fn digit(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at).map(|b| u64::from(b.wrapping_sub(b'0'))).filter(|digit| *digit < 10)
}

/// The digits at the beginning, at most eight, all in one go, and how many they are; none where fewer than eight
/// bytes are left to look at.
#[inline]
fn up_to_eight(bytes: &[u8]) -> Option<(u64, usize)> {
    const ALL: u64 = 0x0101_0101_0101_0101;
    let values = u64::from_le_bytes(*bytes.first_chunk()?) ^ (ALL * b'0' as u64);
    // The highest bit of each byte that is no digit; a sum that overflows spoils only bytes behind such a one.
    let others = (values.wrapping_add(ALL * 0x76) | values) & (ALL * 0x80);
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return Some((0, 0));
    }
    // Noughts in front, so that there are eight; then neighbours are joined: pairs, fours, all.
    let values = values << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let (odd, even) = (pairs & 0x0000_00ff_0000_00ff, (pairs >> 16) & 0x0000_00ff_0000_00ff);
    let joined = odd.wrapping_mul((1_000_000 << 32) + 100).wrapping_add(even.wrapping_mul((10_000 << 32) + 1));
    Some((joined >> 32, count))
}

/// `digits` through a power of ten up to 19, rounded right: what Python writes of a float has 17 digits.
fn divided(digits: u64, places: usize) -> f64 {
    let ten = WHOLE_TENS[places];
    let (left, right) = (digits.leading_zeros(), ten.leading_zeros());
    // Both have their highest bit, so that the quotient has 63 or 64: more than ten beyond what an f64 holds.
    let (dividend, divisor) = (u128::from(digits << left) << 63, u128::from(ten << right));
    let quotient = (dividend / divisor) as u64;
    // A rest makes it uneven, so that nothing is taken for half way.
    let rest = u128::from(quotient) * divisor != dividend;
    let power = 1023 + i64::from(right) - i64::from(left) - 63;
    (quotient | u64::from(rest)) as f64 * f64::from_bits(power.cast_unsigned() << 52)
}

fn word(bytes: &[u8]) -> Option<(f64, usize)> {
    let words = [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)];
    let is = |word: &str| bytes.len() >= word.len() && bytes[..word.len()].eq_ignore_ascii_case(word.as_bytes());
    let found = words.iter().find(|(word, _)| is(word))?;
    let after = bytes.get(found.0.len());
    (!after.is_some_and(u8::is_ascii_alphanumeric)).then_some((found.1, found.0.len()))
}

/// The number that the whole text is, blanks around it aside.
pub(super) fn whole(bytes: &[u8]) -> Option<f64> {
    let bytes = bytes.trim_ascii();
    at_start(bytes).filter(|(_, len)| *len == bytes.len()).map(|(x, _)| x)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_as_logs_have_them() {
        for (text, want) in [
            ("0", Some((0.0, 1))),
            ("-2.5,", Some((-2.5, 4))),
            ("1e-05}", Some((1e-5, 5))),
            ("1.000E+3", Some((1000.0, 8))),
            ("12.", Some((12.0, 3))),
            (".5", Some((0.5, 2))),
            ("3e", Some((3.0, 1))),
            ("3em", Some((3.0, 1))),
            ("Infinity", Some((f64::INFINITY, 8))),
            ("-inf ", Some((f64::NEG_INFINITY, 4))),
            ("info", None),
            ("", None),
            ("-", None),
            (".", None),
            ("e5", None),
        ] {
            assert_eq!(at_start(text.as_bytes()), want, "{text}");
        }
        assert!(at_start(b"NaN").is_some_and(|(x, len)| x.is_nan() && len == 3));
        assert_eq!(whole(b" 7 "), Some(7.0));
        assert_eq!(whole(b"7 s"), None);
        let long = "9".repeat(400);
        assert_eq!(whole(long.as_bytes()), Some(f64::INFINITY));
    }

    #[test]
    fn long_decimals_are_rounded_as_the_library_rounds_them() {
        // Halves of the last bit, and one digit beside them.
        for text in [
            "9007199254740993.0",
            "9007199254740992.9",
            "4503599627370497.5",
            "4503599627370498.5",
            "0.9007199254740993",
            "18446744073709551.15",
            "1.0000000000000000001",
            "9.999999999999999999",
        ] {
            assert_eq!(whole(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn every_decimal_is_read_as_the_library_reads_it(whole_part in 0u64..100_000, places in "[0-9]{0,19}", after in "[,} e]?.{0,9}") {
            let text = format!("{whole_part}.{places}");
            let exponent = after.starts_with(['e', 'E']) || after.starts_with(|c: char| c.is_ascii_digit());
            let longer = format!("{text}{}", if exponent { "," } else { after.as_str() });
            prop_assert_eq!(at_start(longer.as_bytes()), Some((text.parse().unwrap(), text.len())), "{}", longer);
        }

        #[test]
        fn every_float_comes_back(x in any::<f64>().prop_filter("a number", |x| x.is_finite())) {
            for text in [format!("{x:?}"), format!("{x}"), format!("{x:e}")] {
                prop_assert_eq!(whole(text.as_bytes()), Some(x), "{}", text);
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..30), text in "[-+0-9.eEnaif]{0,12}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                if let Some((_, len)) = at_start(bytes) {
                    prop_assert!(len > 0 && len <= bytes.len());
                }
            }
        }
    }
}
