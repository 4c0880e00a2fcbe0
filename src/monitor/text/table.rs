//! Tables that are printed row by row: `  iter   train_loss   tok/s   tokens`, as mlx-lm and fastai do.

use super::super::number;
use super::super::role::{self, Role};

/// The names above a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    names: Vec<String>,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// Numbers with names, the step among them.
    Numbers(Vec<(String, f64)>),
    /// Something was saved at the step.
    Saved(Option<f64>, String),
}

impl Table {
    /// Takes a line that is nothing but names, of which the first is that of a step.
    pub(super) fn header(line: &str) -> Option<Self> {
        let names: Vec<String> = words(line).map(str::to_lowercase).collect();
        let first = names.first()?;
        let counts = matches!(role::of(first), Some(Role::Step(_))) || first == "epoch";
        let named = |name: &String| {
            number::whole(name.as_bytes()).is_none()
                && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && !name.contains([':', '=', ',', '(', '{', '\'', '"'])
                && !name.ends_with(['.', '!', '?'])
        };
        // A sentence that begins with "step" has no names of metrics in it.
        let telling = names.iter().skip(1).any(|name| super::is_telling(name));
        (counts && names.len() >= 2 && names.len() <= 100 && telling && names.iter().all(named))
            .then_some(Self { names })
    }

    /// True if it is that of mlx-lm.
    pub(super) fn is_mlx(&self) -> bool {
        self.names.len() >= 2 && self.names[0] == "iter" && self.names[1] == "train_loss"
    }

    /// The numbers of a row.
    pub(super) fn row(&self, line: &str) -> Option<Found> {
        let words: Vec<&str> = words(line).collect();
        let first = *words.first()?;
        if first == "save" && self.is_mlx() {
            let name = words.get(1).copied().unwrap_or_default();
            let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
            return Some(Found::Saved(digits.parse().ok(), name.to_owned()));
        }
        let step = cell(first)?;
        // `1   val 2.813   1.27s`
        if let Some(at) = words.iter().position(|word| *word == "val") {
            let mut numbers = vec![(self.names[0].clone(), step)];
            numbers.push(("val_loss".into(), words.get(at + 1).and_then(|word| cell(word))?));
            numbers.extend(words.get(at + 2).and_then(|word| cell(word)).map(|x| ("val_time".into(), x)));
            return Some(Found::Numbers(numbers));
        }
        let cells: Vec<Option<f64>> = words.iter().filter(|word| !is_mark(word)).map(|word| cell(word)).collect();
        if cells.len() > self.names.len() || cells.len() < 2 {
            return None;
        }
        let numbers = self.names.iter().zip(cells).filter_map(|(name, cell)| Some((name.clone(), cell?)));
        Some(Found::Numbers(numbers.collect()))
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, '|' | '│' | '┃')).filter(|word| !word.is_empty())
}

/// Arrows and the like, which say how a number moved.
fn is_mark(word: &str) -> bool {
    !word.contains(|c: char| c.is_alphanumeric())
}

/// `2.134`, `12.3k`, `1,234`, `1.27s`.
fn cell(word: &str) -> Option<f64> {
    let plain: String = word.chars().filter(|c| *c != ',').collect();
    let (x, length) = number::at_start(plain.as_bytes())?;
    match &plain[length..] {
        "" | "s" | "%" | "ms" => Some(x),
        "k" | "K" => Some(x * 1e3),
        "M" => Some(x * 1e6),
        "B" | "G" => Some(x * 1e9),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(table: &Table, line: &str) -> String {
        match table.row(line) {
            Some(Found::Numbers(all)) => all.iter().map(|(n, x)| format!("{n}={x}")).collect::<Vec<_>>().join(" "),
            Some(Found::Saved(step, what)) => format!("{what} {step:?}"),
            None => "none".into(),
        }
    }

    #[test]
    fn rows_of_mlx_and_of_fastai() {
        let table = Table::header("  iter   train_loss     tok/s     tokens").unwrap();
        assert!(table.is_mlx());
        for (line, want) in [
            ("    10    2.134 ▼      432     12.3k", "iter=10 train_loss=2.134 tok/s=432 tokens=12300"),
            ("     1    val 2.813    1.27s", "iter=1 val_loss=2.813 val_time=1.27"),
            ("    20    2.001   1,432     1.2M", "iter=20 train_loss=2.001 tok/s=1432 tokens=1200000"),
            ("  save  0000100_adapters.safetensors", "0000100_adapters.safetensors Some(100.0)"),
            ("Loading pretrained model", "none"),
            ("10", "none"),
        ] {
            assert_eq!(numbers(&table, line), want, "{line}");
        }
        let table = Table::header("epoch     train_loss  valid_loss  accuracy  time").unwrap();
        assert_eq!(numbers(&table, "0  2.5  2.25  0.5  00:12"), "epoch=0 train_loss=2.5 valid_loss=2.25 accuracy=0.5");
        for line in ["step by step we go", "iter 10 loss", "step", "loss step", "Step 1: x"] {
            assert_eq!(Table::header(line), None, "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_it(line in "[a-z0-9.,| ▼éknM]{0,40}") {
            Table::header(&line);
            Table { names: vec!["iter".into(), "train_loss".into()] }.row(&line);
        }
    }
}
