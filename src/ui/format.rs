//! Numbers for people, in a constant number of columns where they change often.

/// Bytes in powers of 1024, four characters and a unit: `12.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match (unit, value) {
        (0, _) => format!("{bytes} B"),
        (_, v) if v < 9.995 => format!("{v:.2} {}", units[unit]),
        (_, v) if v < 99.95 => format!("{v:.1} {}", units[unit]),
        (_, v) => format!("{v:.0} {}", units[unit]),
    }
}

/// A count: `512`, `4.1K`, `65K`.
pub(super) fn count(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..10_000 => format!("{:.1}K", n as f64 / 1000.0),
        10_000..1_000_000 => format!("{}K", n / 1000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

/// Seconds: `85 ms`, `1.25 s`, `12 s`.
pub(super) fn seconds(s: f64) -> String {
    match s {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.995 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// Tokens per second: `31.2`, `4210`.
pub(super) fn rate(r: f64) -> String {
    if r < 99.95 { format!("{r:.1}") } else { format!("{r:.0}") }
}

/// A share of 0 to 1 in three columns: `.42`, `1.0`.
pub(super) fn share(x: f64) -> String {
    // A sum of nothing is negative zero.
    let x = x.max(0.0) + 0.0;
    if x >= 0.995 { "1.0".into() } else { format!("{x:.2}")[1..].to_owned() }
}

/// A bar of eighths: `filled` of 1, in this many columns.
pub(super) fn bar(filled: f64, columns: usize) -> (String, String) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (filled.clamp(0.0, 1.0) * 8.0 * columns as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(EIGHTHS[eighths % 8]);
    let rest = columns - eighths.div_ceil(8).min(columns);
    (bar, "·".repeat(rest))
}

/// The bar of eighths that stands: ` ` to `█`.
pub(super) fn level(value: f64) -> &'static str {
    const LEVELS: [&str; 9] = ["·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let at = (value.clamp(0.0, 1.0) * 8.0).round() as usize;
    LEVELS[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [bytes(12), bytes(1 << 20), bytes(340_000_000), bytes(u64::MAX)],
            ["12 B", "1.00 MiB", "324 MiB", "16777216 TiB"]
        );
        assert_eq!([count(999), count(4096), count(65536), count(7_700_000)], ["999", "4.1K", "65K", "7.7M"]);
        assert_eq!([seconds(0.085), seconds(1.25), seconds(61.0)], ["85 ms", "1.25 s", "61 s"]);
        assert_eq!([share(0.42), share(0.999), share(0.0), share(-0.0)], [".42", "1.0", ".00", ".00"]);
        for i in 0..=100 {
            let (bar, rest) = bar(f64::from(i) / 100.0, 7);
            assert_eq!(bar.chars().count() + rest.chars().count(), 7, "{i}");
        }
        assert_eq!((level(0.0), level(0.5), level(2.0)), ("·", "▄", "█"));
    }
}
