//! What is seen of runs, written down: JSON and CSV with every point, SVG as a picture.

mod svg;

use std::io::{self, Write};

use super::Shared;
use super::follow::lock;
use crate::metrics::filter::Filter;
use crate::metrics::names;
use crate::metrics::{Axis, Run, Series};

pub use svg::svg;

/// Which runs and metrics are meant, and along which axis.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Runs.
    pub filter: Filter,
    /// Metrics whose names hold one of these; all if there is none.
    pub metrics: Vec<String>,
    /// Along the bottom.
    pub axis: Axis,
}

impl Choice {
    /// True if the run is meant.
    pub fn takes(&self, run: &Run) -> bool {
        self.filter.takes(run)
    }

    /// The metrics of a run that are meant and hold a point, what people look at first in front.
    pub fn series<'a>(&self, run: &'a Run) -> Vec<&'a Series> {
        let named = |series: &&Series| {
            let meant = |wanted: &String| {
                let (name, wanted) = (series.name().to_lowercase(), wanted.to_lowercase());
                name.contains(&wanted) || names::common(&name) == wanted
            };
            !series.is_empty() && (self.metrics.is_empty() || self.metrics.iter().any(meant))
        };
        let mut all: Vec<&Series> = run.series().iter().filter(named).collect();
        all.sort_by_key(|series| names::rank(series.name()));
        all
    }
}

/// Writes `{"runs":[{"name":..,"format":..,"metrics":{"loss":[[x,y],...]}}]}`; what is no finite number is `null`.
pub fn json(runs: &[Shared], choice: &Choice, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"{\"runs\":[")?;
    let mut first = true;
    for run in runs {
        let run = lock(run);
        if !choice.takes(&run) {
            continue;
        }
        out.write_all(if std::mem::take(&mut first) { b"" } else { b"," })?;
        write!(out, "{{\"name\":{},\"format\":{},\"metrics\":{{", text(&run.name), text(run.format))?;
        for (i, series) in choice.series(&run).into_iter().enumerate() {
            write!(out, "{}{}:[", if i > 0 { "," } else { "" }, text(series.name()))?;
            for at in 0..series.len() {
                let (x, y) = (number(run.x(choice.axis, series.row(at))), number(series.value(at)));
                write!(out, "{}[{x},{y}]", if at > 0 { "," } else { "" })?;
            }
            out.write_all(b"]")?;
        }
        out.write_all(b"}}")?;
    }
    out.write_all(b"]}\n")
}

/// Writes `run,metric,step,tokens,time,value`, a line a point.
pub fn csv(runs: &[Shared], choice: &Choice, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "run,metric,step,tokens,time,value")?;
    for run in runs {
        let run = lock(run);
        if !choice.takes(&run) {
            continue;
        }
        for series in choice.series(&run) {
            for at in 0..series.len() {
                let row = series.row(at);
                let x = |axis| if run.has(axis) { plain(run.x(axis, row)) } else { String::new() };
                let (step, tokens, time) = (x(Axis::Step), x(Axis::Tokens), x(Axis::Time));
                let (name, metric, value) = (field(&run.name), field(series.name()), plain(series.value(at)));
                writeln!(out, "{name},{metric},{step},{tokens},{time},{value}")?;
            }
        }
    }
    Ok(())
}

/// A text in JSON, in which nothing is left that a terminal would obey.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control()
                || ('\u{200e}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
                || c == '\u{61c}' =>
            {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn number(x: f64) -> String {
    if x.is_finite() { plain(x) } else { "null".into() }
}

/// A number with no more digits than it has: what is kept as a float is written as one.
fn plain(x: f64) -> String {
    let single = x as f32;
    if x.is_finite() && x.fract() == 0.0 && x.abs() < 1e15 {
        format!("{x:.0}")
    } else if f64::from(single) == x && x.is_finite() {
        format!("{single:?}")
    } else {
        format!("{x:?}")
    }
}

/// A field of CSV. A name that begins as a formula does would be one in a spreadsheet.
fn field(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::metrics::Row;

    pub(super) fn runs() -> Vec<Shared> {
        let run = |name: &str, scale: f64| {
            let mut run = Run::new(name, "jsonl");
            let (lr, loss) = (run.series_id("lr").unwrap(), run.series_id("train/loss").unwrap());
            for step in 1..=3 {
                let value = if step == 3 && scale > 1.0 { f64::NAN } else { scale / f64::from(step) };
                let row = Row { step: Some(f64::from(step)), time: Some(1.5), ..Row::default() };
                run.add(row, &[(lr, 1e-4), (loss, value)]);
            }
            Arc::new(Mutex::new(run))
        };
        vec![run("a, \"b\"\x1b", 1.0), run("=b", 2.0)]
    }

    pub(super) fn choice(filter: &str, metrics: &[&str]) -> Choice {
        Choice {
            filter: filter.parse().unwrap(),
            metrics: metrics.iter().map(|m| (*m).to_owned()).collect(),
            axis: Axis::Step,
        }
    }

    #[test]
    fn json_has_the_shape_that_is_promised() {
        let mut out = Vec::new();
        json(&runs(), &choice("", &["loss"]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"runs\":[{\"name\":\"a, \\\"b\\\"\\u001b\",\"format\":\"jsonl\",\"metrics\":{\"train/loss\":[[1,1],[2,0.5],[3,0.3333333333333333]]}},\
             {\"name\":\"=b\",\"format\":\"jsonl\",\"metrics\":{\"train/loss\":[[1,2],[2,1],[3,null]]}}]}\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn csv_has_a_line_a_point_and_no_formulas() {
        let mut out = Vec::new();
        csv(&runs(), &choice("loss>0 b", &[]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let want = "run,metric,step,tokens,time,value\n\"a, \"\"b\"\" \",train/loss,1,,1.5,1\n";
        assert!(text.starts_with(want), "{text}");
        assert_eq!(text.lines().count(), 7);
        let mut out = Vec::new();
        csv(&runs(), &choice("!a", &["lr"]), &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\n'=b,lr,1,,1.5,0.0001\n"));
    }
}
