//! A place in a recording, as people write it.

use std::str::FromStr;

/// Somewhere in a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// Behind so many tokens.
    Token(usize),
    /// So many tokens on, or back.
    By(isize),
    /// A share of the time that it takes.
    Share(f64),
    /// So many seconds of playing.
    Seconds(f64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let place = match text {
            "start" => Some(Place::Share(0.0)),
            "end" => Some(Place::Share(1.0)),
            _ if text.ends_with('%') => {
                let share = text.trim_end_matches('%').trim().parse::<f64>().ok();
                share.filter(|share| (0.0..=100.0).contains(share)).map(|share| Place::Share(share / 100.0))
            }
            _ if text.starts_with(['+', '-']) => text.parse().ok().map(Place::By),
            _ => match text.split_once(':') {
                Some((minutes, seconds)) => time(minutes, seconds).map(Place::Seconds),
                None => text.parse().ok().map(Place::Token),
            },
        };
        place.ok_or_else(|| {
            format!(
                "`{text}` is no place in a recording: write 120 for the 120th token, +10 or -10 for tokens on or \
                 back, 40% or 1:30 for a time, start or end"
            )
        })
    }
}

fn time(minutes: &str, seconds: &str) -> Option<f64> {
    let minutes = minutes.parse::<u32>().ok()?;
    let seconds = seconds.parse::<f64>().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    Some(f64::from(minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (text, place) in [
            ("120", Place::Token(120)),
            ("+10", Place::By(10)),
            ("-3", Place::By(-3)),
            ("40%", Place::Share(0.4)),
            ("1:30", Place::Seconds(90.0)),
            (" end ", Place::Share(1.0)),
            ("start", Place::Share(0.0)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        for bad in ["", "x", "101%", "-1%", "nan%", "1:99", "1:-2", "1.5", ":", "--1", "NaN", "1:nan"] {
            assert!(bad.parse::<Place>().unwrap_err().contains("40%"), "{bad}");
        }
    }
}
