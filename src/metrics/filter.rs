//! Which runs are seen: `lr>=1e-4 model:7b qwen`.
//!
//! Words are joined by "and". `name:text` asks whether a setting (or a part of it) holds the text,
//! `name>=number` and its kin compare a setting, or the newest value of a metric; `!` before a word turns it
//! round; any other word must be in the name of the run.

use std::str::FromStr;

use super::names;
use super::run::Run;

/// A wish that a run fulfils or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter(Vec<(bool, Word)>);

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Name(String),
    Holds(String, String),
    Compares(String, Order, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Other,
}

const ORDERS: [(&str, Order); 7] = [
    (">=", Order::AtLeast),
    ("<=", Order::AtMost),
    ("!=", Order::Other),
    ("==", Order::Equal),
    (">", Order::Greater),
    ("<", Order::Less),
    ("=", Order::Equal),
];

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_whitespace().map(word).collect::<Result<_, _>>().map(Filter)
    }
}

fn word(text: &str) -> Result<(bool, Word), String> {
    let (wanted, text) = match text.strip_prefix('!') {
        Some(rest) if !rest.is_empty() => (false, rest),
        _ => (true, text),
    };
    let order = ORDERS
        .iter()
        .filter_map(|(sign, order)| text.find(sign).map(|at| (at, std::cmp::Reverse(sign.len()), *sign, *order)))
        .min_by_key(|(at, length, ..)| (*at, *length));
    if let Some((at, _, sign, order)) = order {
        let (name, value) = (&text[..at], &text[at + sign.len()..]);
        if name.is_empty() {
            return Err(format!("`{text}` lacks a name before `{sign}`: write it as lr{sign}1e-4"));
        }
        return match (value.parse::<f64>(), order) {
            (Ok(number), _) => Ok((wanted, Word::Compares(name.into(), order, number))),
            (Err(_), Order::Equal) => Ok((wanted, Word::Holds(name.into(), value.to_lowercase()))),
            (Err(_), Order::Other) => Ok((!wanted, Word::Holds(name.into(), value.to_lowercase()))),
            (Err(_), _) => Err(format!("`{value}` in `{text}` is no number")),
        };
    }
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((wanted, Word::Holds(name.into(), value.to_lowercase()))),
        _ => Ok((wanted, Word::Name(text.to_lowercase()))),
    }
}

impl Filter {
    /// True if every run fulfils it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the run fulfils it.
    pub fn takes(&self, run: &Run) -> bool {
        self.0.iter().all(|(wanted, word)| word.takes(run) == *wanted)
    }
}

impl Word {
    fn takes(&self, run: &Run) -> bool {
        match self {
            Word::Name(text) => run.name.to_lowercase().contains(text),
            Word::Holds(name, text) => match name.as_str() {
                "format" => run.format.contains(text.as_str()),
                "name" => run.name.to_lowercase().contains(text),
                _ => setting(run, name).is_some_and(|value| value.to_lowercase().contains(text)),
            },
            Word::Compares(name, order, number) => {
                let value = setting(run, name).and_then(|value| value.parse().ok());
                value.or_else(|| newest(run, name)).is_some_and(|value: f64| match order {
                    Order::Less => value < *number,
                    Order::AtMost => value <= *number,
                    Order::Greater => value > *number,
                    Order::AtLeast => value >= *number,
                    Order::Equal => value == *number,
                    Order::Other => value != *number,
                })
            }
        }
    }
}

/// `lr` also finds the setting `learning_rate`.
fn setting<'a>(run: &'a Run, name: &str) -> Option<&'a str> {
    let common = names::common(name);
    run.setting(name).or_else(|| {
        let last = |known: &'a str| known.rsplit(['.', '/']).next().unwrap_or(known);
        run.settings().iter().find(|(known, _)| names::common(last(known)) == common).map(|(_, value)| value.as_str())
    })
}

fn newest(run: &Run, name: &str) -> Option<f64> {
    let common = names::common(name);
    let found = run.named(name).or_else(|| run.series().iter().find(|s| names::common(s.name()) == common));
    found.map(super::Series::last).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Row;

    fn run() -> Run {
        let mut run = Run::new("Qwen-sft-2", "hf-log");
        run.set("model", "Qwen2.5-7B");
        run.set("optim.learning_rate", "2e-4");
        let loss = run.series_id("train_loss").unwrap();
        run.add(Row::default(), &[(loss, 1.5)]);
        run
    }

    #[test]
    fn words_are_and() {
        let run = run();
        for (text, takes) in [
            ("", true),
            ("qwen", true),
            ("llama", false),
            ("!llama", true),
            ("lr>=1e-4 model:7b", true),
            ("lr>=1e-3 model:7b", false),
            ("lr<1", true),
            ("learning_rate=0.0002", true),
            ("learning_rate!=0.0002", false),
            ("loss<2", true),
            ("train_loss>2", false),
            ("nothing>2", false),
            ("!nothing>2", true),
            ("model=qwen2.5-7b", true),
            ("model!=qwen", false),
            ("format:hf name:sft", true),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap().takes(&run), takes, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(">=3".parse::<Filter>().unwrap_err().contains("lacks a name"));
        assert!("lr>=fast".parse::<Filter>().unwrap_err().contains("no number"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_breaks_it(text in "[a-z!<>=:. é0-9]{0,20}") {
            if let Ok(filter) = text.parse::<Filter>() {
                filter.takes(&run());
            }
        }
    }
}
