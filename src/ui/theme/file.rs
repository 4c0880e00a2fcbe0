//! A theme file: styles by name, each mistake with its line.

use std::collections::BTreeMap;

use ratatui::style::Style;
use toml::de::{DeTable, DeValue};

use super::{BASE, BUILT_IN, Depth, color};

/// What a file gives: the theme it is based on, and its styles by name.
pub(super) type Given = (Option<String>, BTreeMap<String, Style>);

/// Reads a file: the theme it is based on, and its styles. `place` is what errors call it.
pub(super) fn read(place: &str, text: &str, keys: &[&str], depth: Depth) -> Result<Given, String> {
    let line = |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
    let table = DeTable::parse(text).map_err(|e| {
        format!("{place}:{}: this is not TOML: {}", line(e.span().map_or(0, |span| span.start)), e.message())
    })?;
    let (mut base, mut styles, mut wrong) = (None, BTreeMap::new(), Vec::new());
    for (name, value) in table.get_ref() {
        let key: &str = name.get_ref();
        let read = match value.get_ref() {
            _ if key != BASE && !keys.contains(&key) => Err(unknown(key, keys)),
            DeValue::String(theme) if key == BASE => match BUILT_IN.iter().any(|(name, _)| name == theme) {
                true => {
                    base = Some(theme.to_string());
                    Ok(())
                }
                false => {
                    Err(format!("base: there is no theme {theme}: there are {}", BUILT_IN.map(|(n, _)| n).join(", ")))
                }
            },
            DeValue::String(style) => color::style(style, depth)
                .map(|style| {
                    styles.insert(key.to_owned(), style);
                })
                .map_err(|why| format!("{key}: {why}")),
            _ => Err(format!("{key}: it must be a text, as \"lightblue bold\"")),
        };
        if let Err(problem) = read {
            wrong.push((name.span().start, problem));
        }
    }
    wrong.sort();
    let wrong: Vec<String> =
        wrong.into_iter().map(|(at, problem)| format!("{place}:{}: {problem}", line(at))).collect();
    if wrong.is_empty() { Ok((base, styles)) } else { Err(wrong.join("\n")) }
}

fn unknown(key: &str, keys: &[&str]) -> String {
    let near = keys.iter().max_by(|a, b| strsim::jaro(key, a).total_cmp(&strsim::jaro(key, b)));
    match near.filter(|near| strsim::jaro(key, near) > 0.7) {
        Some(near) => format!("there is no style `{key}`; did you mean `{near}`?"),
        None => format!("there is no style `{key}`: there are {}", keys.join(", ")),
    }
}

/// What is said of styles that are not given.
pub(super) fn missing(place: &str, keys: &[&str]) -> String {
    let (are, styles) = if keys.len() == 1 { ("is", "style") } else { ("are", "styles") };
    let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    format!("{place}: the {styles} {} {are} missing; {BASE} = \"dark\" takes them from that theme", names.join(", "))
}
