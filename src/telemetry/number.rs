//! From text to a temperature.

use std::ops::RangeInclusive;

/// Degrees Celsius that a working computer can have. What lies outside is a sensor that is not
/// connected, another unit, or another thing altogether.
pub(super) const PLAUSIBLE: RangeInclusive<f32> = -50.0..=150.0;

/// From here on whole numbers are thousandths of a degree.
const THOUSANDTHS_FROM: i64 = 1000;

/// Reads a temperature in degrees Celsius, one a line; the hottest counts.
///
/// A whole number of 1000 or more is in thousandths, as Linux's thermal zones give them; everything
/// else is in degrees. `48.3`, `48300`, `48.3 C`, `48.3°C` and `temp=48.3'C` are the same.
pub(super) fn temperature(text: &str) -> Result<f32, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let celsius = lines.map(one).collect::<Result<Vec<f32>, String>>()?;
    celsius.into_iter().reduce(f32::max).ok_or_else(|| "it is empty".to_owned())
}

fn one(line: &str) -> Result<f32, String> {
    let unreadable = || format!("`{}` is no temperature in degrees Celsius", short(line));
    let value = line.rsplit_once(['=', ':']).map_or(line, |(_, value)| value);
    let bare = value.trim().trim_end_matches(['C', 'c']).trim_end_matches(['°', '\'', '℃']).trim();
    if let Ok(whole) = bare.parse::<i64>()
        && whole.unsigned_abs() >= THOUSANDTHS_FROM.unsigned_abs()
        && bare.len() == value.trim().len()
    {
        return plausible(whole as f32 / 1000.0).map_err(|why| format!("`{}`, in thousandths, {why}", short(line)));
    }
    let celsius: f32 = bare.parse().map_err(|_| unreadable())?;
    plausible(celsius).map_err(|why| format!("`{}` {why}", short(line)))
}

/// The temperature if it can be one.
pub(super) fn plausible(celsius: f32) -> Result<f32, String> {
    if PLAUSIBLE.contains(&celsius) {
        return Ok(celsius);
    }
    Err(format!("is not between {} and {} °C", PLAUSIBLE.start(), PLAUSIBLE.end()))
}

/// The beginning of a foreign text on one line, without what a terminal would obey.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.trim().chars().take(LONGEST).collect();
    if text.trim().chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn degrees_and_thousandths_are_told_apart() {
        for (text, want) in [
            ("48.3", 48.3),
            ("48300\n", 48.3),
            ("  48 \n\n", 48.0),
            ("temp=48.3'C", 48.3),
            ("CPU: 48.3 °C", 48.3),
            ("48.3C", 48.3),
            ("4.83e1", 48.3),
            ("0", 0.0),
            ("-5000", -5.0),
            ("1000", 1.0),
            ("71\n73\n72\n", 73.0),
        ] {
            assert!((temperature(text).unwrap() - want).abs() < 1e-4, "{text}");
        }
    }

    #[test]
    fn what_is_no_temperature_is_refused() {
        for (text, want) in [
            ("", "empty"),
            (" \n ", "empty"),
            ("NaN", "between"),
            ("inf", "between"),
            ("5000°C", "between"),
            ("5000.0", "between"),
            ("999", "between"),
            ("-273000", "between"),
            ("2147483647", "between"),
            ("99999999999999999999", "between"),
            ("[N/A]", "no temperature"),
            ("48 F", "no temperature"),
            ("48,3", "no temperature"),
            ("71\nhello", "hello"),
            ("°C", "no temperature"),
            ("temp=", "no temperature"),
        ] {
            let error = temperature(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn foreign_text_is_shown_short_and_tame() {
        assert_eq!(short(" \x1b[2J\tx "), "\u{fffd}[2J\u{fffd}x");
        assert_eq!(short(&"é".repeat(100)), format!("{}…", "é".repeat(60)));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_plausible(text in "\\PC{0,12}|-?[0-9]{1,7}(\\.[0-9]{0,3})?( ?°?C)?") {
            if let Ok(celsius) = temperature(&text) {
                prop_assert!(PLAUSIBLE.contains(&celsius));
            }
        }
    }
}
