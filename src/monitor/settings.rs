//! Settings that lie beside a log: what the run was told to do.

use std::fs;
use std::path::Path;

use super::json::{Cursor, Scalar, unescape};
use crate::metrics::Run;

/// Files that hold settings, the most certain last, since later ones win.
const FILES: [&str; 9] = [
    "hparams.yaml",
    "config.yaml",
    "adapter_config.json",
    "training_args.json",
    "args.json",
    "params.json",
    "config.toml",
    "run.toml",
    "settings.toml",
];
/// Bytes of such a file.
const LARGEST: u64 = 1 << 20;

/// Reads the settings that lie in a folder.
pub(super) fn read(folder: &Path, run: &mut Run) {
    for name in FILES {
        let path = folder.join(name);
        if fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() <= LARGEST)
            && let Ok(text) = fs::read_to_string(&path)
        {
            match name.rsplit('.').next() {
                Some("toml") => toml(&text, run),
                Some("yaml") => yaml(&text, run),
                _ => json(&text, run),
            }
        }
    }
}

fn json(text: &str, run: &mut Run) {
    let _ = Cursor::new(text.as_bytes()).leaves(&mut String::new(), &mut |path, scalar| match scalar {
        Scalar::Number(x) => run.set(path, x.to_string()),
        Scalar::Text(raw) => run.set(path, unescape(raw)),
        Scalar::Bool(is) => run.set(path, is.to_string()),
        Scalar::Null => {}
    });
}

fn toml(text: &str, run: &mut Run) {
    fn walk(path: &str, value: &toml::Value, run: &mut Run) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, run);
                }
            }
            toml::Value::String(text) => run.set(path, text.clone()),
            other => run.set(path, other.to_string()),
        }
    }
    if let Ok(table) = text.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), run);
    }
}

/// `key: value` lines, and the keys of those above that are indented less.
fn yaml(text: &str, run: &mut Run) {
    let mut above: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or(line).trim_end();
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim_start().split_once(':') else { continue };
        if key.is_empty() || key.starts_with(['#', '-', '"']) {
            continue;
        }
        above.retain(|(depth, _)| *depth < indent);
        let value = value.trim().trim_matches(['"', '\'']);
        if value.is_empty() {
            above.push((indent, key));
        } else {
            // W&B writes each value below its key, under `value`.
            let path: Vec<&str> = above.iter().map(|(_, key)| *key).chain((key != "value").then_some(key)).collect();
            run.set(&path.join("."), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_three_kinds_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hparams.yaml"), "lr: 0.1 # high\noptim:\n  name: 'adam'\nbatch:\n  value: 8\n- x\n")
            .unwrap();
        fs::write(dir.path().join("args.json"), r#"{"seed": 3, "model": {"name": "m"}}"#).unwrap();
        fs::write(dir.path().join("run.toml"), "lr = 0.5\n[data]\npath = \"d\"\n").unwrap();
        fs::write(dir.path().join("settings.toml"), "not toml").unwrap();
        let mut run = Run::new("a", "");
        read(dir.path(), &mut run);
        for (name, want) in [
            ("lr", "0.5"),
            ("optim.name", "adam"),
            ("batch", "8"),
            ("seed", "3"),
            ("model.name", "m"),
            ("data.path", "d"),
        ] {
            assert_eq!(run.setting(name), Some(want), "{name}");
        }
    }
}
