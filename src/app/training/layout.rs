//! How runs are looked at, as a text that outlives the program: what a person arranged is there again next time.
//!
//! The text may be old, damaged or written by someone else. What in it makes no sense is passed over, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{COLOURS, Entry, Side, Sort, Training, lock};
use crate::metrics::Axis;

/// Runs that are remembered, and pairs and names of charts.
const MOST: usize = 2000;
/// Bytes of a name or a filter.
const LONGEST: usize = 1000;
/// Columns over which curves are smoothed at most.
pub(super) const SMOOTHEST: u32 = 64;

const SIDES: [(Side, &str); 5] = [
    (Side::Runs, "runs"),
    (Side::Console, "console"),
    (Side::Alerts, "alerts"),
    (Side::Experts, "experts"),
    (Side::Run, "run"),
];

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    hidden: bool,
    pinned: bool,
    /// None while it has the one that its place gives it.
    colour: Option<usize>,
}

/// What is remembered of runs, by where they are read from: those that are not there now may come back.
pub(super) type Remembered = BTreeMap<String, Shown>;

/// By what a run is known again. Its name may be told only later.
fn key(entry: &Entry) -> String {
    let run = lock(&entry.run);
    if run.source.is_empty() { run.name.clone() } else { run.source.clone() }
}

impl Training {
    /// Shows a run that came as it was shown before.
    pub(super) fn recall(&mut self, at: usize) {
        let Some(entry) = self.entries.get(at).filter(|_| !self.remembered.is_empty()) else { return };
        let Some(shown) = self.remembered.get(&key(entry)).copied() else { return };
        let entry = &mut self.entries[at];
        (entry.hidden, entry.pinned) = (shown.hidden, shown.pinned);
        entry.colour = shown.colour.unwrap_or(entry.colour);
    }

    /// How it is looked at, as a text.
    pub fn layout(&self) -> String {
        let mut runs = self.remembered.clone();
        for (at, entry) in self.entries.iter().enumerate() {
            let colour = (entry.colour != at % COLOURS).then_some(entry.colour);
            let shown = Shown { hidden: entry.hidden, pinned: entry.pinned, colour };
            if shown == (Shown { hidden: false, pinned: false, colour: None }) {
                runs.remove(&key(entry));
            } else if runs.len() < MOST {
                runs.insert(key(entry), shown);
            }
        }
        let runs: Map<String, Value> = runs
            .into_iter()
            .map(|(name, s)| (name, json!({"hidden": s.hidden, "pinned": s.pinned, "colour": s.colour})))
            .collect();
        let side = SIDES.iter().find(|(side, _)| *side == self.side).map_or("runs", |(_, name)| name);
        // The first one is chosen where nobody chose.
        let chosen = self.charts.get(self.chart).filter(|_| self.chart > 0).map(|chart| &chart.name);
        let chart = chosen.or(self.plan.wanted.as_ref());
        let all = json!({
            "axis": self.axis.name(),
            "log": self.log,
            "smoothing": self.smoothing,
            "sort": self.sort.0.name(),
            "backwards": self.sort.1,
            "runs_filter": self.run_filter,
            "metrics_filter": self.metric_filter,
            "chart": chart,
            "large": self.large,
            "grid": self.grid,
            "columns": self.columns,
            "side": side,
            "front": self.plan.front,
            "joined": self.plan.joined,
            "runs": runs,
        });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }

    /// Looks at it as a text of before says.
    pub fn wear(&mut self, text: &str) {
        let Ok(Value::Object(all)) = serde_json::from_str::<Value>(text) else { return };
        let word = |name: &str| all.get(name).and_then(word);
        let is = |name: &str| all.get(name).and_then(Value::as_bool).unwrap_or(false);
        let axis = word("axis").and_then(|name| Axis::ALL.into_iter().find(|axis| axis.name() == name));
        self.axis = axis.unwrap_or(self.axis);
        (self.log, self.large, self.grid, self.columns) = (is("log"), is("large"), is("grid"), is("columns"));
        let smoothing = all.get("smoothing").and_then(Value::as_u64).unwrap_or(0);
        self.smoothing = u32::try_from(smoothing).unwrap_or(0).min(SMOOTHEST);
        self.sort = (word("sort").map_or(Sort::Found, Sort::named), is("backwards"));
        if let Some((side, _)) = SIDES.iter().find(|(_, name)| word("side") == Some(name)) {
            self.side = *side;
        }
        // A filter that is none any more would hide everything, or say so at every key.
        let runs = word("runs_filter").filter(|text| text.parse::<crate::metrics::filter::Filter>().is_ok());
        let _ = self.wish(runs.unwrap_or_default(), word("metrics_filter").unwrap_or_default());
        self.plan.wanted = word("chart").map(str::to_owned);
        self.plan.front = list(all.get("front")).iter().filter_map(self::word).map(str::to_owned).collect();
        let pair = |pair: &Value| match pair.as_array()?.as_slice() {
            [into, metric] => Some((self::word(into)?.to_owned(), self::word(metric)?.to_owned())),
            _ => None,
        };
        self.plan.joined = list(all.get("joined")).iter().filter_map(pair).collect();
        let runs = all.get("runs").and_then(Value::as_object);
        let shown = |(name, shown): (&String, &Value)| {
            let is = |name: &str| shown.get(name).and_then(Value::as_bool).unwrap_or(false);
            let colour = shown.get("colour").and_then(Value::as_u64).map(|colour| colour as usize % COLOURS);
            (name.clone(), Shown { hidden: is("hidden"), pinned: is("pinned"), colour })
        };
        let known = runs.into_iter().flatten().filter(|(name, _)| name.len() <= LONGEST).take(MOST);
        self.remembered = known.map(shown).collect();
        (0..self.entries.len()).for_each(|at| self.recall(at));
        self.refresh();
    }
}

fn word(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.len() <= LONGEST)
}

fn list(value: Option<&Value>) -> &[Value] {
    let all = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    &all[..all.len().min(100)]
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::super::Shared;
    use super::*;
    use crate::metrics::{Row, Run};

    fn run(source: &str) -> Shared {
        let mut run = Run::new(source, "jsonl");
        source.clone_into(&mut run.source);
        run.set("lr", "1e-3");
        for name in ["loss", "val_loss", "lr"] {
            let id = run.series_id(name).unwrap();
            run.add(Row { step: Some(1.0), ..Row::default() }, &[(id, 1.0)]);
        }
        Arc::new(Mutex::new(run))
    }

    fn training(runs: &[&str]) -> Training {
        let mut training = Training::default();
        training.read(&runs.iter().map(|source| run(source)).collect::<Vec<_>>(), None);
        training
    }

    #[test]
    fn what_was_arranged_is_there_again() {
        let mut first = training(&["a", "b", "c"]);
        (first.axis, first.log, first.smoothing, first.large, first.grid) = (Axis::Tokens, true, 8, true, true);
        first.sort = (Sort::Setting("lr".into()), true);
        first.side = Side::Console;
        first.wish("!zzz", "l").unwrap();
        (first.entries[1].hidden, first.entries[2].pinned, first.entries[2].colour) = (true, true, 7);
        first.plan.front = vec!["lr".into()];
        first.plan.joined = vec![("lr".into(), "loss".into())];
        first.refresh();
        first.chart = first.charts.iter().position(|chart| chart.name == "loss").unwrap();
        let text = first.layout();

        // Runs come one after the other, and not all of them.
        let mut second = Training::default();
        second.wear(&text);
        assert_eq!(second.layout(), text);
        second.read(&[run("c"), run("b")], None);
        assert_eq!((second.axis, second.log, second.smoothing, second.grid), (Axis::Tokens, true, 8, true));
        assert_eq!((second.entries[0].pinned, second.entries[0].colour, second.entries[1].hidden), (true, 7, true));
        assert_eq!((second.charts[0].name.as_str(), second.charts[0].more.len()), ("lr", 1));
        assert_eq!(second.charts[second.chart].name, "loss");
        assert_eq!((second.sort.0.name(), second.side), ("lr", Side::Console));
        // The run that is not there is remembered all the same, and so is one that is shown again not.
        second.entries[1].hidden = false;
        let mut third = Training::default();
        third.wear(&second.layout());
        third.read(&[run("a"), run("b"), run("c")], None);
        assert!(!third.entries[1].hidden && third.entries[2].pinned);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over_and_the_rest_is_taken() {
        let mut t = training(&["a"]);
        t.wear(
            r#"{"axis": "sideways", "log": "yes", "smoothing": 1e9, "sort": 7, "side": "moon", "chart": {},
                "runs_filter": ">=", "metrics_filter": "loss", "front": [1, "lr"], "joined": [["a"], ["a", 2], "x"],
                "runs": {"a": {"hidden": true, "colour": 1000003}, "b": 5}}"#,
        );
        assert_eq!((t.axis, t.log, t.smoothing, t.run_filter.as_str()), (Axis::Step, false, 0, ""));
        assert_eq!((t.metric_filter.as_str(), t.plan.front.len(), t.plan.joined.len()), ("loss", 1, 0));
        assert!(t.entries[0].hidden && t.entries[0].colour < COLOURS);
        for text in ["", "[]", "null", "{", "{}", "\u{0}"] {
            training(&["a"]).wear(text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_breaks_it(cut in 0usize..700, at in 0usize..700, byte in any::<u8>(), text in ".{0,40}") {
            let mut bytes = training(&["a", "b"]).layout().into_bytes();
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            training(&["a"]).wear(&String::from_utf8_lossy(&bytes));
            training(&["a"]).wear(&text);
        }
    }
}
