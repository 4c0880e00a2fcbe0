//! Numbers with names in a line for people.
//!
//! ```text
//!   step 250: train loss 2.13, val loss 2.20            iter 10 | loss 3.2 (+0.1z)| lr 6.0e-04 | 123456 tok/s
//!   [1] train-rmse:0.12  eval-rmse:0.13                 Epoch [1/10], Step [100/600], Loss: 2.3
//! ```
//!
//! The name of a number is what stands before it, back to the last separator. Between the two stands `:` or `=`,
//! or in a line that says its step a blank. Where nothing stands before, the words behind are the name.

use super::super::number;
use super::super::role::{self, Role};

/// A name and its number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: f64,
    /// Joined by `:` or `=`.
    pub(super) strong: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    pub(super) step: Option<f64>,
    /// `100` of `step 10/100`.
    pub(super) total: Option<f64>,
    /// The date at its beginning.
    pub(super) time: Option<f64>,
    pub(super) pairs: Vec<Pair>,
}

/// Numbers of a line that are looked at.
const MOST: usize = 500;
/// Bytes of a name.
const LONGEST_NAME: usize = 64;
/// Units that may stand behind a number and belong to no name.
const UNITS: [&str; 26] = [
    "gb",
    "gib",
    "mb",
    "mib",
    "kb",
    "kib",
    "b",
    "tb",
    "ms",
    "s",
    "sec",
    "secs",
    "seconds",
    "us",
    "min",
    "mins",
    "h",
    "hours",
    "it/s",
    "s/it",
    "tok/s",
    "tokens/s",
    "%",
    "samples/s",
    "w",
    "c",
];

/// The pairs of a line.
pub(super) fn find(line: &str) -> Found {
    let mut found = Found { time: time(line), ..Found::default() };
    let mut epoch = None;
    let mut key_from = 0;
    let mut weak: Vec<Pair> = Vec::new();
    for number in numbers(line).take(MOST) {
        let before = &line[key_from.min(number.from)..number.from];
        // In `loss 3.2 (+0.1z)` the second is an aside.
        let aside = before.trim_end().ends_with('(') && before.trim_start().len() <= 2;
        key_from = number.to;
        if aside {
            continue;
        }
        let strong =
            before.trim_end().trim_end_matches(['[', '(', '\'', '"', '$', '~']).trim_end().ends_with([':', '=']);
        let Some(name) = name(before) else {
            let first = line[..number.from].trim_matches(['[', '(', ' ']).is_empty();
            if first && line[..number.from].contains('[') && found.step.is_none() {
                // `[10] train-rmse:0.12`.
                found.step = Some(number.value);
            } else if let Some(name) = name_behind(&line[number.to..]).filter(|_| before.trim_end().ends_with('|')) {
                weak.push(Pair { name, value: number.value, strong: false });
            }
            continue;
        };
        match role::of(&name) {
            Some(Role::Step(_)) => {
                if found.step.is_none() {
                    (found.step, found.total) = (Some(number.value), number.total);
                }
            }
            _ if name == "epoch" || name == "ep" => {
                epoch = epoch.or(Some(number.value));
                found.pairs.push(Pair { name: "epoch".into(), value: number.value, strong });
            }
            _ if strong => found.pairs.push(Pair { name, value: number.value, strong }),
            _ => weak.push(Pair { name, value: number.value, strong }),
        }
    }
    if found.step.is_none() && !found.pairs.iter().all(|pair| pair.name == "epoch") {
        found.step = epoch;
        if epoch.is_some() {
            found.pairs.retain(|pair| pair.name != "epoch");
        }
    }
    if found.step.is_some() {
        found.pairs.extend(weak);
    }
    found
}

/// The pairs behind a bar: `2.49it/s, loss=2.3, acc=0.5` or ` - loss: 2.3`.
pub(super) fn after_a_bar(text: &str) -> Vec<Pair> {
    find(text).pairs.into_iter().filter(|pair| pair.strong && pair.name != "eta").collect()
}

fn time(line: &str) -> Option<f64> {
    let start = line.trim_start_matches(['[', '(', ' ']);
    start.get(..19).filter(|text| text.is_ascii()).and_then(|_| role::date(start.split([']', ')']).next()?))
}

/// A number, where it stands, and `100` of `10/100`.
#[derive(Debug, Clone, Copy)]
struct Number {
    from: usize,
    to: usize,
    value: f64,
    total: Option<f64>,
}

fn numbers(line: &str) -> impl Iterator<Item = Number> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let starts = at == 0 || !is_word(bytes[at - 1]) && !matches!(bytes[at - 1], b'.' | b'/' | b'\\');
            let sign = matches!(bytes[at], b'-' | b'+') && (at == 0 || !is_word(bytes[at - 1]));
            let word = starts && matches!(bytes[at], b'n' | b'N' | b'i' | b'I');
            if !(starts && (bytes[at].is_ascii_digit() || bytes[at] == b'.') || sign || word) {
                at += 1;
                continue;
            }
            let from = at;
            match take(line, from) {
                Ok(number) => {
                    at = number.to;
                    return Some(number);
                }
                Err(next) => at = next.max(from + 1),
            }
        }
        None
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The number at a place, or where to look on.
fn take(line: &str, from: usize) -> Result<Number, usize> {
    let bytes = line.as_bytes();
    let (mut value, length) = number::at_start(&bytes[from..]).ok_or(from + 1)?;
    let mut to = from + length;
    let skip = |to: usize| {
        to + bytes[to..].iter().take_while(|b| is_word(**b) || matches!(b, b'.' | b':' | b'-' | b'/')).count()
    };
    // Thousands: 123,456.
    if bytes[from..to].iter().all(u8::is_ascii_digit) && length <= 3 {
        let mut end = to;
        while bytes.get(end) == Some(&b',')
            && bytes.get(end + 1..end + 4).is_some_and(|d| d.iter().all(u8::is_ascii_digit))
            && !bytes.get(end + 4).is_some_and(u8::is_ascii_digit)
        {
            end += 4;
        }
        if end > to {
            let digits: String = line[from..end].chars().filter(|c| *c != ',').collect();
            (value, to) = (digits.parse().map_err(|_| end)?, end);
        }
    }
    // Times, dates, versions and names are no numbers.
    match (bytes.get(to), bytes.get(to + 1)) {
        (Some(b':' | b'-' | b'.'), Some(next)) if next.is_ascii_digit() => return Err(skip(to)),
        (Some(b'_'), _) => return Err(skip(to)),
        _ => {}
    }
    let letters = bytes[to..].iter().take_while(|b| b.is_ascii_alphabetic() || matches!(b, b'%' | b'/')).count();
    let unit = &line[to..to + letters];
    let mut total = None;
    if let Some(rest) = line[to..].trim_start().strip_prefix('/') {
        let rest_from = line.len() - rest.trim_start().len();
        if let Some((x, length)) = number::at_start(&bytes[rest_from..]).filter(|(x, _)| x.is_finite()) {
            (total, to) = (Some(x), rest_from + length);
            return Ok(Number { from, to, value, total });
        }
    }
    if bytes.get(to + letters).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
        return Err(skip(to));
    }
    match unit {
        "k" | "K" => value *= 1e3,
        "M" => value *= 1e6,
        _ if letters > 12 => return Err(skip(to)),
        _ => {}
    }
    to += letters;
    Ok(Number { from, to, value, total })
}

/// The name that ends where a number begins.
fn name(before: &str) -> Option<String> {
    let text = before.trim_end().trim_end_matches(['[', '(', '\'', '"', '$', '~']).trim_end();
    let text = text.trim_end_matches([':', '=']).trim_end();
    let mut from = 0;
    for separator in [",", ";", "|", "\t", " - ", "  ", "]", "•", "{", ": ", "= ", "\u{2502}", " and ", "·", "▼", "▲"]
    {
        if let Some(at) = text.rfind(separator) {
            from = from.max(at + separator.len());
        }
    }
    let text = text[from..].trim_start_matches(')').trim_matches(['\'', '"', ' ', '-', '*', '>', '.', '#']);
    // What stands behind the number before is its unit.
    let text = match text.split_once(' ') {
        Some((first, rest)) if UNITS.contains(&first.to_lowercase().as_str()) => rest.trim_start(),
        _ => text,
    };
    good(text)
}

/// The name that stands behind a number, up to the next separator.
fn name_behind(after: &str) -> Option<String> {
    let end = after.find(['|', ',', ';', '(']).unwrap_or(after.len());
    good(after[..end].trim())
}

fn good(text: &str) -> Option<String> {
    let first = text.chars().next()?;
    let words = text.split_whitespace().count();
    let fits = (first.is_alphabetic() || first == '_' || first == '%') && text.len() <= LONGEST_NAME && words <= 5;
    let odd = text.contains(['"', '\'', '{', '}', '<', '>', '\\', '=', '?', '!', ',', '`'])
        || text.contains("//")
        || text.starts_with("File ");
    if !fits || odd {
        return None;
    }
    let lower = text.to_lowercase();
    Some(lower.split_whitespace().collect::<Vec<_>>().join("_"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(line: &str) -> String {
        let found = find(line);
        let step = found.step.map_or("-".into(), |step| step.to_string());
        let total = found.total.map_or(String::new(), |total| format!("/{total}"));
        let pair = |pair: &Pair| format!(" {}{}{}", pair.name, if pair.strong { '=' } else { '~' }, pair.value);
        format!("{step}{total}{}", found.pairs.iter().map(pair).collect::<String>())
    }

    #[test]
    fn lines_of_many_trainers() {
        for (line, want) in [
            (
                "Iter 10: Train loss 2.134, Learning Rate 1.000e-05, It/sec 0.512, Tokens/sec 432.100, Trained Tokens 12345, Peak mem 5.123 GB",
                "10 train_loss~2.134 learning_rate~0.00001 it/sec~0.512 tokens/sec~432.1 trained_tokens~12345 peak_mem~5.123",
            ),
            ("Iter 1: Val loss 2.813, Val took 1.274s", "1 val_loss~2.813 val_took~1.274"),
            ("iter 100: loss 2.1342, time 123.45ms, mfu 12.34%", "100 loss~2.1342 time~123.45 mfu~12.34"),
            ("step 250: train loss 2.1300, val loss 2.2000", "250 train_loss~2.13 val_loss~2.2"),
            (
                "step  100/1000 | loss 3.21 (+0.10z)| norm 1.23 (-0.2z)| lr 6.00e-04 | 100.2 ms | 50.1% bf16 MFU | 123456 tok/s",
                "100/1000 loss~3.21 norm~1.23 lr~0.0006 ms~100.2 bf16_mfu~50.1 tok/s~123456",
            ),
            (
                "Step 1 | loss:2.13 lr:2e-05 tokens_per_second_per_gpu:1234",
                "1 loss=2.13 lr=0.00002 tokens_per_second_per_gpu=1234",
            ),
            (
                "step:100/1750 train_loss:4.2 train_time:123ms step_avg:12.3ms",
                "100/1750 train_loss=4.2 train_time=123 step_avg=12.3",
            ),
            (
                "step: 10  loss: 2.1  grad_norm: 1.2  memory: 1.2GiB(10%)  tps: 1,234  mfu: 30.5%",
                "10 loss=2.1 grad_norm=1.2 memory=1.2 tps=1234 mfu=30.5",
            ),
            (
                " iteration      100/  500000 | consumed samples: 25600 | elapsed time per iteration (ms): 123.4 | learning rate: 1.5E-04 | lm loss: 2.13E+00 | loss scale: 1.0 |",
                "100/500000 consumed_samples=25600 elapsed_time_per_iteration_(ms)=123.4 learning_rate=0.00015 lm_loss=2.13 loss_scale=1",
            ),
            ("Epoch [1/10], Step [100/600], Loss: 2.3", "100/600 epoch~1 loss=2.3"),
            ("[10]\ttrain-rmse:0.12\teval-rmse:0.13", "10 train-rmse=0.12 eval-rmse=0.13"),
            ("Epoch 3 - loss: 0.5 - accuracy: 0.9", "3 loss=0.5 accuracy=0.9"),
            ("2024-01-01 10:00:00,123 - INFO - step 10 - loss=2.5 lr=1e-4", "10 loss=2.5 lr=0.0001"),
            ("[2024-01-01 10:00:00] global_step=5, loss=nan, tok/s=12.3k", "5 loss=NaN tok/s=12300"),
            (
                "eta: 0:10:00  iter: 19  total_loss: 4.2  lr: 0.0001  max_mem: 1234M",
                "19 total_loss=4.2 lr=0.0001 max_mem=1234000000",
            ),
            ("loss=0.5 acc=0.25", "- loss=0.5 acc=0.25"),
            ("loss: 0.5", "- loss=0.5"),
            ("Loading 24 files in 3 seconds", "-"),
            ("  File \"train.py\", line 10, in main", "-"),
            ("version 1.2.3 at http://127.0.0.1:8080/", "-"),
            ("Reward: -1.5 | KL: 0.01 | Steps: 40", "40 reward=-1.5 kl=0.01"),
        ] {
            assert_eq!(said(line), want, "{line}");
        }
        assert_eq!(find("2024-01-01 10:00:00,500 step 1 loss 2").time, Some(1_704_103_200.5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_breaks_it(line in "[a-e0-9:=,|/ ().\\[\\]%\té+-]{0,60}", other in ".{0,60}") {
            find(&line);
            find(&other);
            after_a_bar(&other);
        }
    }
}
