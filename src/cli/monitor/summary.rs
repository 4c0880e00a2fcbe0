//! Runs as a table, and their metrics as lines of bars.

use std::io::{BufWriter, Write};
use std::sync::PoisonError;

use anyhow::Result;

use crate::cli::output::{self, Stream, Style, paint, safe};
use crate::metrics::alerts::Alert;
use crate::metrics::show::{duration, number, sparkline};
use crate::metrics::{Axis, Run, Series, State, View, names, reduce};
use crate::monitor::Shared;
use crate::monitor::export::Choice;

/// Metrics of a run that are shown unless they were asked for by name.
const MOST: usize = 16;
/// Columns of a curve.
const CURVE: usize = 40;

/// Prints the runs that are meant.
pub(super) fn print(runs: &[Shared], choice: &Choice) -> Result<()> {
    let mut out = BufWriter::new(output::stdout());
    let mut shown = 0;
    for run in runs {
        let run = run.lock().unwrap_or_else(PoisonError::into_inner);
        if !choice.takes(&run) {
            continue;
        }
        if shown > 0 {
            writeln!(out)?;
        }
        shown += 1;
        print_run(&run, choice, &mut out)?;
    }
    if shown == 0 {
        writeln!(out, "No run fulfils the filter; there are {}.", runs.len())?;
    }
    Ok(out.flush()?)
}

fn print_run(run: &Run, choice: &Choice, out: &mut impl Write) -> Result<()> {
    let steps = match (run.reached(), run.goal) {
        (Some(step), Some(goal)) => format!("step {} of {}", number(step), number(goal)),
        (Some(step), None) => format!("step {}", number(step)),
        (None, _) => "nothing logged".into(),
    };
    let took = run.extent(Axis::Relative).filter(|_| run.has(Axis::Time)).map(|(from, to)| to - from);
    let took =
        took.filter(|seconds| *seconds > 0.0).map_or(String::new(), |seconds| format!(" in {}", duration(seconds)));
    let state = match &run.state {
        State::Open => String::new(),
        State::Finished => ", finished".into(),
        State::Failed(why) => format!(", failed: {}", safe(why)),
    };
    let name = paint(Stream::Out, Style::Bold, &safe(&run.name));
    let what = paint(Stream::Out, Style::Dim, &format!("{}: {steps}{took}{state}", run.format));
    writeln!(out, "{name}  {what}")?;
    let all = choice.series(run);
    let most = if choice.metrics.is_empty() { MOST } else { usize::MAX };
    let shown = &all[..all.len().min(most)];
    let width = shown.iter().map(|s| safe(s.name()).chars().count()).max().unwrap_or(0).clamp(6, 32);
    for (i, series) in shown.iter().enumerate() {
        if i == 0 {
            let head = format!("  {:width$}  {:>10}  {:>10}  {:>9}", "metric", "last", "best", "at");
            writeln!(out, "{}", paint(Stream::Out, Style::Dim, &head))?;
        }
        writeln!(out, "{}", line(run, series, choice.axis, width))?;
    }
    if all.len() > shown.len() {
        writeln!(out, "  and {} more: --metric NAME shows them", all.len() - shown.len())?;
    }
    let alert = |alert: &&Alert| alert.active;
    for alert in run.alerts.iter().filter(alert) {
        let words = format!("  {}: {} (step {})", alert.kind.name(), safe(&alert.text), number(alert.step));
        writeln!(out, "{}", paint(Stream::Out, Style::Error, &words))?;
    }
    let (faults, count) = run.faults();
    for fault in faults.iter().take(3) {
        writeln!(out, "{}", paint(Stream::Out, Style::Dim, &format!("  not read: {}", safe(fault))))?;
    }
    if count > 3 {
        writeln!(out, "{}", paint(Stream::Out, Style::Dim, &format!("  not read: {count} places in all")))?;
    }
    Ok(())
}

fn line(run: &Run, series: &Series, axis: Axis, width: usize) -> String {
    let best = if names::more_is_better(series.name()) { series.greatest() } else { series.least() };
    let at = best.map_or(String::new(), |(_, at)| number(run.x(axis, series.row(at))));
    let best = best.map_or("-".into(), |(best, _)| number(best));
    let mut dots = Vec::new();
    if let Some((from, to)) = run.extent(axis) {
        // Few points stand side by side, so that no blanks are between them.
        let columns = CURVE.min(series.len());
        reduce(run, series, View { axis, from, to, columns }, &mut dots);
    }
    let curve = sparkline(&dots, !output::colours(Stream::Out) && is_plain());
    let name: String = safe(series.name()).chars().take(width).collect();
    format!("  {name:width$}  {:>10}  {best:>10}  {at:>9}  {curve}", number(series.last()))
}

/// True where only ASCII can be shown.
fn is_plain() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| matches!(locale.as_str(), "C" | "POSIX"))
}
