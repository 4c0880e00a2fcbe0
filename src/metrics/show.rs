//! Numbers and curves in few characters.

use super::reduce::Dot;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_BARS: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];

/// A number in at most nine characters: `2.134`, `1.0e-5`, `12.3k`, `NaN`.
pub fn number(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let size = x.abs();
    let whole = x.fract() == 0.0;
    match size {
        0.0 => "0".into(),
        s if s < 1e-3 => tidy(&format!("{x:.3e}")),
        s if s < 10.0 && !whole => format!("{x:.4}"),
        s if s < 100.0 && !whole => format!("{x:.3}"),
        s if s < 1e3 && !whole => format!("{x:.2}"),
        s if s < 1e4 && whole => format!("{x:.0}"),
        s if s < 1e4 => format!("{x:.1}"),
        s if s < 999_950.0 => format!("{:.1}k", x / 1e3),
        s if s < 999_950_000.0 => format!("{:.2}M", x / 1e6),
        s if s < 1e12 => format!("{:.2}G", x / 1e9),
        _ => tidy(&format!("{x:.3e}")),
    }
}

/// `1.000e-5` as `1.0e-5`.
fn tidy(scientific: &str) -> String {
    match scientific.split_once('e') {
        Some((digits, power)) => {
            let digits = digits.trim_end_matches('0');
            let dot = if digits.ends_with('.') { "0" } else { "" };
            format!("{digits}{dot}e{power}")
        }
        None => scientific.to_owned(),
    }
}

/// Seconds as people say them: `45s`, `3m20s`, `2h05m`, `3d04h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    let s = seconds as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A curve of one row of characters, one a dot; columns without a point stay blank.
pub fn sparkline(dots: &[Dot], ascii: bool) -> String {
    let means = || dots.iter().filter(|dot| !dot.is_empty()).map(|dot| dot.mean);
    let (low, high) = means().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), m| (l.min(m), h.max(m)));
    let bars = if ascii { ASCII_BARS } else { BARS };
    let bar = |dot: &Dot| {
        if dot.is_empty() {
            return ' ';
        }
        let share = if high > low { (dot.mean - low) / (high - low) } else { 0.5 };
        bars[((share * 8.0) as usize).min(7)]
    };
    dots.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (x, want) in [
            (0.0, "0"),
            (2.1342, "2.1342"),
            (-2.0, "-2"),
            (1e-5, "1.0e-5"),
            (0.000_123_4, "1.234e-4"),
            (12.3456, "12.346"),
            (123.456, "123.46"),
            (1234.0, "1234"),
            (12_345.0, "12.3k"),
            (999_960.0, "1.00M"),
            (12_345_678.0, "12.35M"),
            (1e15, "1.0e15"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(x), want);
        }
        for power in -300..300 {
            for x in [1.0, -9.99999, 3.3] {
                assert!(number(x * 10f64.powi(power)).len() <= 10, "{}", number(x * 10f64.powi(power)));
            }
        }
    }

    #[test]
    fn durations_are_short() {
        for (seconds, want) in
            [(0.2, "0s"), (59.9, "59s"), (200.0, "3m20s"), (7500.0, "2h05m"), (273_600.0, "3d04h"), (f64::NAN, "-")]
        {
            assert_eq!(duration(seconds), want);
        }
    }
}
