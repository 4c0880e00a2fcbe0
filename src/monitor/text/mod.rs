//! What trainers print: lines for people, from which numbers are taken.
//!
//! Each line is tried as, in this order: a progress bar, a dictionary, a row of a table, and words with numbers
//! (`step 10: loss 2.1`, `loss=2.1 lr=1e-4`). What repeats is a metric; what is said once is a setting.

mod ansi;
mod bar;
mod dict;
mod pairs;
mod table;

use std::collections::HashMap;

use super::lines::Lines;
use super::parser::Parser;
use super::role::{self, Role};
use crate::metrics::names::{self, Kind};
use crate::metrics::{Row, Run, State};
use bar::Bar;
use pairs::Pair;
use table::Table;

/// Names that may turn out to be metrics.
const MOST_CANDIDATES: usize = 1000;
/// Characters of a line that are read.
const MOST_READ: usize = 20_000;

/// Names and their numbers.
type Numbers = Vec<(String, f64)>;

/// Reads what is printed.
#[derive(Debug)]
pub(super) struct Text {
    lines: Lines,
    bar: Bar,
    table: Option<Table>,
    /// Names that were said, and whether they are metrics.
    known: HashMap<String, bool>,
    steps: DictSteps,
    /// A dictionary without a step: the bar is drawn again behind it, and tells.
    pending: Option<(Numbers, Option<f64>)>,
    /// A traceback is being printed.
    failing: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            lines: Lines::with_returns(),
            bar: Bar::default(),
            table: None,
            known: HashMap::new(),
            steps: DictSteps::default(),
            pending: None,
            failing: false,
        }
    }
}

/// The steps of dictionaries that do not say theirs: those of the progress bar between them, and where nothing is
/// seen of it (it goes another way than what is printed) as far apart as the last two were.
#[derive(Debug, Default)]
struct DictSteps {
    last: Option<f64>,
    stride: f64,
    from_bar: Option<f64>,
}

impl DictSteps {
    fn next(&mut self, bar: Option<f64>) -> f64 {
        let last = self.last.unwrap_or(0.0);
        let fresh = bar.filter(|n| self.from_bar != Some(*n) && *n > last);
        let step = fresh.unwrap_or(last + self.stride.max(1.0));
        if fresh.is_some() {
            self.stride = step - last;
            self.from_bar = bar;
        }
        self.last = Some(step);
        step
    }
}

impl Parser for Text {
    fn feed(&mut self, bytes: &[u8], now: Option<f64>, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| self.bytes(line, now, run));
        lines.report_too_long(run);
        self.lines = lines;
    }

    fn finish(&mut self, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.bytes(line, None, run));
        self.settle(self.bar.newest(), run);
        self.lines = Lines::with_returns();
    }
}

impl Text {
    /// Keeps lines for the console only: their numbers are known from elsewhere.
    pub(super) fn console(&mut self, text: &str, run: &mut Run) {
        self.lines.feed(text.as_bytes(), |line| {
            let text = String::from_utf8_lossy(line);
            let text = ansi::strip(&text);
            if !text.trim().is_empty() && bar::parse(&text).is_none() {
                run.say(&text);
            }
        });
    }

    /// The end of what [`Self::console`] was given.
    pub(super) fn finish_console(&mut self, run: &mut Run) {
        self.lines.finish(|line| run.say(&ansi::strip(&String::from_utf8_lossy(line))));
        self.lines = Lines::with_returns();
    }

    fn bytes(&mut self, line: &[u8], now: Option<f64>, run: &mut Run) {
        let text = String::from_utf8_lossy(&line[..line.len().min(MOST_READ)]);
        self.line(&ansi::strip(&text), now, run);
    }

    fn line(&mut self, line: &str, now: Option<f64>, run: &mut Run) {
        let line = line.trim_end();
        if line.trim_start().is_empty() {
            return;
        }
        // Standard output and error may share a line: `30%|###  | 3/10 [00:01<00:02]{'loss': 2.1}`.
        let start = dict::start(line);
        let (before, dict) = line.split_at(start.unwrap_or(line.len()));
        if let Some(seen) = bar::parse(before) {
            self.bar(&seen, before, now, run);
            if dict.is_empty() {
                return;
            }
        }
        if !dict.is_empty() && self.dict(dict, now, run) {
            run.say(dict);
            return;
        }
        run.say(line);
        self.failure(line, run);
        if let Some(found) = self.table.as_ref().and_then(|table| table.row(line)) {
            self.row(found, now, run);
        } else if let Some(table) = Table::header(line) {
            if table.is_mlx() {
                run.format = "mlx-lm";
            }
            self.table = Some(table);
        } else {
            self.words(line, now, run);
        }
    }

    fn bar(&mut self, seen: &bar::Seen, line: &str, now: Option<f64>, run: &mut Run) {
        let Some(step) = self.bar.see(seen) else { return };
        self.settle(Some(step), run);
        if self.bar.goal().is_some() {
            run.goal = self.bar.goal();
        }
        // `loss=2.3` behind the bar, or `Loss: 2.3` before it.
        let mut found: Vec<Pair> = seen.postfix(line).into_iter().flat_map(pairs::after_a_bar).collect();
        found.extend(pairs::find(seen.before(line)).pairs.into_iter().filter(|pair| pair.strong));
        found.retain(|pair| !matches!(role::of(&pair.name), Some(Role::Step(_))) && pair.name != "v_num");
        if !found.is_empty() && self.bar.is_new(step) {
            let found = found.into_iter().map(|pair| (pair.name, pair.value)).collect();
            self.put(Some(step), found, now, run);
        }
    }

    fn dict(&mut self, text: &str, now: Option<f64>, run: &mut Run) -> bool {
        let Some(mut found) = dict::parse(text) else { return false };
        self.settle(self.bar.newest(), run);
        if found.iter().any(|(name, _)| name == "train_runtime") {
            run.state = State::Finished;
            found.retain(|(name, _)| name != "epoch");
            // What is said of the whole run is no point of a curve.
            for (name, value) in &found {
                run.set(name, value.to_string());
            }
            return true;
        }
        if !matches!(run.format, "wandb" | "mlx-lm") {
            run.format = "hf-trainer";
        }
        let says_step = found.iter().any(|(name, _)| matches!(role::of(name), Some(Role::Step(_))));
        let evaluates = found.iter().any(|(name, _)| name.starts_with("eval_") || name.starts_with("test_"));
        let step = match (says_step, evaluates) {
            (true, _) => None,
            // An evaluation belongs to the step before it.
            (false, true) => Some(self.steps.last.or(self.bar.newest()).unwrap_or(0.0)),
            (false, false) if self.bar.newest().is_some() => {
                self.pending = Some((found, now));
                return true;
            }
            (false, false) => Some(self.steps.next(None)),
        };
        self.put(step, found, now, run);
        true
    }

    /// Gives the dictionary that waits its step.
    fn settle(&mut self, bar: Option<f64>, run: &mut Run) {
        if let Some((found, now)) = self.pending.take() {
            let step = self.steps.next(bar);
            self.put(Some(step), found, now, run);
        }
    }

    fn row(&mut self, found: table::Found, now: Option<f64>, run: &mut Run) {
        match found {
            table::Found::Numbers(numbers) => self.put(None, numbers, now, run),
            table::Found::Saved(step, what) => run.happen(step, now, "checkpoint", what),
        }
    }

    fn words(&mut self, line: &str, now: Option<f64>, run: &mut Run) {
        let found = pairs::find(line);
        if line.contains("Saved adapter weights") || line.contains("Saving model checkpoint") {
            run.happen(found.step, now, "checkpoint", line.trim().to_owned());
        }
        if found.pairs.is_empty() {
            return;
        }
        if found.step.is_some() {
            if line.starts_with("Iter ") && (line.contains("Train loss") || line.contains("Val loss")) {
                run.format = "mlx-lm";
            }
            let found_pairs = found.pairs.into_iter().map(|pair| (pair.name, pair.value)).collect();
            if let Some(total) = found.total {
                run.goal = Some(total);
            }
            self.put(found.step, found_pairs, now.or(found.time), run);
            return;
        }
        let speaks_of_training = found.pairs.iter().any(|pair| pair.strong && is_telling(&pair.name));
        let mut points = Vec::new();
        for pair in found.pairs.into_iter().filter(|pair| pair.strong) {
            let many = self.known.len() >= MOST_CANDIDATES;
            match self.known.get_mut(&pair.name) {
                Some(metric) => {
                    *metric = true;
                    points.push((pair.name, pair.value));
                }
                None if many => {}
                None if speaks_of_training => {
                    self.known.insert(pair.name.clone(), true);
                    points.push((pair.name, pair.value));
                }
                None => {
                    run.set(&pair.name, pair.value.to_string());
                    self.known.insert(pair.name, false);
                }
            }
        }
        self.put(None, points, now.or(found.time), run);
    }

    fn put(&mut self, step: Option<f64>, found: Numbers, now: Option<f64>, run: &mut Run) {
        let mut row = Row { step, time: now, tokens: None };
        let mut points = Vec::with_capacity(found.len());
        for (name, value) in found {
            match role::of(&name) {
                Some(Role::Step(_)) if row.step.is_none() => row.step = Some(value),
                Some(Role::Step(_) | Role::Event) => {}
                Some(Role::Tokens) => row.tokens = Some(value),
                Some(Role::Goal) => run.goal = Some(value),
                Some(Role::Time) if role::time(value).is_some() => row.time = role::time(value),
                _ => points.extend(run.series_id(&name).map(|id| (id, value))),
            }
        }
        if !points.is_empty() {
            self.failing = false;
            if run.state != State::Open {
                run.state = State::Open;
            }
            run.add(row, &points);
        }
    }

    /// A traceback ends a run; the line that is not indented says why.
    fn failure(&mut self, line: &str, run: &mut Run) {
        if line.starts_with("Traceback (most recent call last)") {
            self.failing = true;
        } else if self.failing && !line.starts_with([' ', '\t']) {
            self.failing = false;
            if line.split([':', ' ']).next().is_some_and(|word| {
                word.ends_with("Error") || word.ends_with("Exception") || word.ends_with("Interrupt")
            }) {
                run.state = State::Failed(line.chars().take(300).collect());
                run.happen(None, None, "error", line.to_owned());
            }
        }
    }
}

/// Names with which a line speaks of training and not of settings.
fn is_telling(name: &str) -> bool {
    let words = [
        "loss",
        "acc",
        "accuracy",
        "ppl",
        "perplexity",
        "reward",
        "grad_norm",
        "bleu",
        "f1",
        "rmse",
        "mse",
        "mae",
        "auc",
    ];
    matches!(names::kind(name), Kind::Loss | Kind::HeldOut | Kind::GradNorm)
        || names::plain(name).split('_').any(|word| words.contains(&word))
}

#[cfg(test)]
mod tests;
