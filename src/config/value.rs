//! Kinds of values, from text and from TOML.

use std::path::PathBuf;

use serde::Serialize;
use toml::de::DeValue;

use super::suggest;
use crate::protocol::SensorChoice;

/// A value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Switch(bool),
    /// A whole number.
    Whole(u64),
    /// A number.
    Number(f64),
    /// Bytes.
    Size(u64),
    /// Any text.
    Text(String),
    /// A place.
    Path(PathBuf),
    /// A sensor.
    Sensor(SensorChoice),
    /// Several texts.
    List(Vec<String>),
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// Bytes, as `256MiB`.
    Size,
    /// Any text.
    Text,
    /// A place; `~` is the home folder.
    Path,
    /// A sensor.
    Sensor,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Choices(&'static [&'static str]),
}

impl Kind {
    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Switch => "true or false".into(),
            Self::Whole(least, most) if *most >= 1 << 32 => format!("a whole number of {least} or more"),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Size => "a size as 256MiB, 2GiB or 0".into(),
            Self::Text => "a text".into(),
            Self::Path => "a path that begins with / or ~".into(),
            Self::Sensor => SensorChoice::ALLOWED.into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Choices(words) => format!("a list of {}", words.join(", ")),
        }
    }

    /// Reads a value as it stands in a variable or behind an option; none if it is empty.
    pub fn read(&self, text: &str) -> Result<Option<Value>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = || format!("`{}` is not allowed: it must be {}", shown(text), self.allowed());
        let value = match self {
            Self::Switch => match text {
                "true" | "on" | "yes" | "1" => Value::Switch(true),
                "false" | "off" | "no" | "0" => Value::Switch(false),
                _ => return Err(wrong()),
            },
            Self::Whole(least, most) => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(&number));
                Value::Whole(number.ok_or_else(wrong)?)
            }
            Self::Number(least, most) => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(&number));
                Value::Number(number.ok_or_else(wrong)?)
            }
            Self::Size => Value::Size(size(text).ok_or_else(wrong)?),
            Self::Text => Value::Text(text.to_owned()),
            Self::Path if text.starts_with(['/', '~']) || PathBuf::from(text).is_absolute() => Value::Path(text.into()),
            Self::Path => return Err(wrong()),
            Self::Sensor => Value::Sensor(text.parse()?),
            Self::Choice(words) => Value::Text(one_of(words, text, self)?),
            Self::Choices(words) => {
                let list = text.trim_start_matches('[').trim_end_matches(']').split(',').map(str::trim);
                let list = list.filter(|word| !word.is_empty()).map(|word| one_of(words, word, self));
                Value::List(list.collect::<Result<_, _>>()?)
            }
        };
        Ok(Some(value))
    }

    /// Reads a value of the file: its type has to be right as well.
    pub(super) fn read_toml(&self, value: &DeValue<'_>) -> Result<Option<Value>, String> {
        let wrong = || format!("is {}: it must be {}", type_name(value), self.allowed());
        match (self, value) {
            (Self::Switch, DeValue::Boolean(on)) => Ok(Some(Value::Switch(*on))),
            (Self::Whole(..) | Self::Number(..) | Self::Size, DeValue::Integer(number)) => match number.radix() {
                10 => self.read(number.as_str()),
                radix => {
                    let number = i128::from_str_radix(number.as_str(), radix).map_err(|_| wrong())?;
                    self.read(&number.to_string())
                }
            },
            (Self::Number(..), DeValue::Float(number)) => self.read(number.as_str()),
            (Self::Size | Self::Text | Self::Path | Self::Sensor | Self::Choice(_), DeValue::String(text)) => {
                self.read(text)
            }
            (Self::Choices(words), DeValue::Array(list)) => {
                let words = list.iter().map(|item| match item.get_ref() {
                    DeValue::String(word) => one_of(words, word, self),
                    _ => Err(format!("holds {}: it must be {}", type_name(item.get_ref()), self.allowed())),
                });
                Ok(Some(Value::List(words.collect::<Result<_, _>>()?)))
            }
            _ => Err(wrong()),
        }
    }
}

impl Value {
    /// The value as TOML.
    pub fn to_toml(&self) -> String {
        let text = |text: String| toml::Value::String(text).to_string();
        match self {
            Self::Switch(on) => on.to_string(),
            Self::Whole(number) => number.to_string(),
            // TOML has whole numbers and others; ours may be either.
            Self::Number(number) => number.to_string(),
            Self::Size(bytes) => text(size_text(*bytes)),
            Self::Text(value) => text(value.clone()),
            Self::Path(path) => text(path.display().to_string()),
            Self::Sensor(sensor) => text(sensor.to_string()),
            Self::List(words) => format!("[{}]", words.iter().cloned().map(text).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn one_of(words: &[&str], word: &str, kind: &Kind) -> Result<String, String> {
    if words.contains(&word) {
        return Ok(word.to_owned());
    }
    let hint = suggest::hint(word, words.iter().copied());
    Err(format!("`{}` is not allowed{hint}: it must be {}", shown(word), kind.allowed()))
}

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// Bytes, from `256MiB`, `1.5 GiB`, `4096` or `0`.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_lowercase();
    let unit = UNITS.iter().find_map(|(unit, bits)| Some((lower.strip_suffix(&unit.to_lowercase())?, *bits)));
    let (number, bits) = unit.unwrap_or((lower.strip_suffix('b').unwrap_or(&lower), 0));
    let number = number.trim();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << bits);
    }
    let part: f64 = number.parse().ok()?;
    let bytes = part * (1u64 << bits) as f64;
    // Parts of bytes are no size; the upper bound keeps the number exact.
    (bits > 0 && (0.0..9e15).contains(&bytes)).then_some(bytes as u64)
}

/// Bytes in the largest unit in which they are a whole number.
fn size_text(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| bytes.to_string(), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

/// What a value of the file is, for people.
pub(super) fn type_name(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text `{}`", shown(text)),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a section".into(),
    }
}

/// The beginning of a text.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
