//! What the fields of a logged line are: places on the axes, or metrics.

use crate::metrics::SeriesId;

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The step; of several the one with the smallest number.
    Step(u8),
    /// Tokens so far.
    Tokens,
    /// A time of the calendar, if it looks like one.
    Time,
    /// The line is an event.
    Event,
    /// A metric.
    Metric(SeriesId),
    /// Steps that the run shall make.
    Goal,
    /// Nothing that is kept.
    Nothing,
}

/// The names of steps, the most certain first.
const STEPS: [&str; 16] = [
    "step",
    "global_step",
    "global step",
    "trainer/global_step",
    "train/global_step",
    "iteration",
    "iter",
    "it",
    "steps",
    "iters",
    "current_steps",
    "num_steps",
    "update",
    "updates",
    "num_updates",
    "_step",
];
const TOKENS: [&str; 13] = [
    "tokens",
    "trained_tokens",
    "trained tokens",
    "tokens_seen",
    "n_tokens",
    "num_tokens",
    "total_tokens",
    "train_tokens",
    "consumed_tokens",
    "consumed tokens",
    "num_input_tokens_seen",
    "tokens_trained",
    "num_tokens_seen",
];
const TIMES: [&str; 9] =
    ["time", "_timestamp", "timestamp", "wall_time", "ts", "date", "datetime", "created_at", "unix_time"];
const GOALS: [&str; 3] = ["max_steps", "total_steps", "num_training_steps"];

/// What a name alone tells; none for a metric.
pub(super) fn of(name: &str) -> Option<Role> {
    let lower = name.to_ascii_lowercase();
    let at = |names: &[&str]| names.iter().position(|known| *known == lower);
    if let Some(rank) = at(&STEPS) {
        return Some(Role::Step(rank as u8));
    }
    if at(&TOKENS).is_some() {
        return Some(Role::Tokens);
    }
    if at(&TIMES).is_some() {
        return Some(Role::Time);
    }
    if at(&GOALS).is_some() {
        return Some(Role::Goal);
    }
    (lower == "event").then_some(Role::Event)
}

/// Seconds since 1970, if the number can be a time of our days: seconds, or thousandths and so on of them.
pub(super) fn time(x: f64) -> Option<f64> {
    match x {
        x if (1e8..1e11).contains(&x) => Some(x),
        x if (1e11..1e14).contains(&x) => Some(x / 1e3),
        x if (1e14..1e17).contains(&x) => Some(x / 1e6),
        x if (1e17..1e20).contains(&x) => Some(x / 1e9),
        _ => None,
    }
}

/// Seconds since 1970 of `2026-07-26T15:42:33.5Z` or `2026-07-26 15:42:33,5+02:00`; local times count as universal.
pub(super) fn date(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let is = |at: usize, c: &[u8]| text.as_bytes().get(at).is_some_and(|b| c.contains(b));
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let dashed = is(4, b"-/") && is(7, b"-/");
    if !dashed || !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = (shifted % 400) * 365 + (shifted % 400) / 4 - (shifted % 400) / 100 + day_of_year;
    let days = shifted / 400 * 146_097 + day_of_era - 719_468;
    let mut seconds = days as f64 * 86_400.0;
    if is(10, b"T _") {
        let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19).unwrap_or(0));
        if !is(13, b":") || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        seconds += (hour * 3600 + minute * 60 + second) as f64;
        let mut rest = text.get(19..).unwrap_or("");
        if let Some(part) = rest.strip_prefix(['.', ',']) {
            let count = part.bytes().take_while(u8::is_ascii_digit).count();
            seconds += part[..count].parse::<f64>().unwrap_or(0.0) / 10f64.powi(count as i32);
            rest = &part[count..];
        }
        let east = if rest.starts_with('+') { 1.0 } else { -1.0 };
        if rest.starts_with(['+', '-']) && rest.is_ascii() {
            let offset: String = rest[1..].chars().filter(char::is_ascii_digit).collect();
            let (hours, minutes) = offset.split_at_checked(2).unwrap_or(("0", "0"));
            let of = |text: &str| text.parse::<f64>().unwrap_or(0.0);
            seconds -= east * (of(hours) * 3600.0 + of(minutes) * 60.0);
        }
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_tell() {
        assert_eq!(of("step"), Some(Role::Step(0)));
        assert!(matches!((of("_step"), of("Step")), (Some(Role::Step(a)), Some(Role::Step(b))) if a > b));
        assert_eq!((of("trained_tokens"), of("_timestamp")), (Some(Role::Tokens), Some(Role::Time)));
        assert_eq!((of("loss"), of("event")), (None, Some(Role::Event)));
    }

    #[test]
    fn times_of_many_kinds() {
        assert_eq!(time(1_732_171_234.5), Some(1_732_171_234.5));
        assert_eq!(time(1_732_171_234_500.0), Some(1_732_171_234.5));
        assert_eq!(time(123.4), None);
        for (text, want) in [
            ("1970-01-01", Some(0.0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799.0)),
            ("2026-07-26 15:42:33,500", Some(1_785_080_553.5)),
            ("2026-07-26T17:42:33.5+02:00", Some(1_785_080_553.5)),
            ("2026-07-26T15:42", Some(1_785_080_520.0)),
            ("2026-13-26", None),
            ("hello", None),
            ("2026-07-26T99:00:00", None),
        ] {
            assert_eq!(date(text), want, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_it(text in "[0-9éT:+,. -]{0,30}", more in ".{0,20}") {
            date(&text);
            date(&format!("2026-07-26T15:42:33{more}"));
        }
    }
}
