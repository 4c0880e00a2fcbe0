//! Times of the calendar, in universal time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// `(year, month, day, hour, minute, second)`.
fn parts(ms: u64) -> (u64, u64, u64, u64, u64, u64) {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is the last of its year: eras of 400 years repeat.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

/// `2026-07-26 15:42`.
pub fn date_and_time(ms: u64) -> String {
    let (year, month, day, hour, minute, _) = parts(ms);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// How long ago that was, for people, wherever they live: `12 min ago`; the date if it was long ago; nothing
/// if it is not known, as of an empty file.
pub fn ago(now: u64, then: u64) -> String {
    if then == 0 {
        return String::new();
    }
    let minutes = now.saturating_sub(then) / 60_000;
    match minutes {
        0 => "just now".into(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        1440..2880 => "yesterday".into(),
        2880..14_400 => format!("{} days ago", minutes / 1440),
        _ => date_and_time(then)[..10].to_owned(),
    }
}

/// `20260726-154233`, which sorts as the times do.
pub(super) fn for_a_name(ms: u64) -> String {
    let (year, month, day, hour, minute, second) = parts(ms);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(date_and_time(0), "1970-01-01 00:00");
        assert_eq!(for_a_name(951_782_399_000), "20000228-235959");
        assert_eq!(for_a_name(951_782_400_000), "20000229-000000");
        assert_eq!(for_a_name(1_785_080_553_999), "20260726-154233");
        assert_eq!(date_and_time(4_107_542_400_000), "2100-03-01 00:00");
        let ago = |minutes: u64| ago(1_785_080_553_999, 1_785_080_553_999 - minutes * 60_000);
        let told = [0, 59, 60, 1439, 1440, 3000, 14_399, 14_400].map(ago);
        let want = ["just now", "59 min ago", "1 h ago", "23 h ago", "yesterday", "2 days ago", "9 days ago"];
        assert_eq!((&told[..7], told[7].as_str()), (&want.map(String::from)[..], "2026-07-16"));
        assert_eq!(super::ago(0, u64::MAX), "just now");
        super::ago(u64::MAX, 1);
        assert_eq!(super::ago(1_785_080_553_999, 0), "", "what is not known is no date");
        // The largest number is no reason to panic.
        date_and_time(u64::MAX);
    }
}
