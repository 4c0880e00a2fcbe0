//! A training run: what was logged, line by line.

use std::collections::{HashMap, VecDeque};

use super::alerts::Alert;
use super::column::Column;
use super::names;
use super::series::Series;

/// Lines of the console that are kept.
const CONSOLE: usize = 1000;
/// Characters of such a line.
const CONSOLE_LINE: usize = 2000;
/// Metrics of a run.
const MOST_SERIES: usize = 50_000;
/// Events of a run that are kept.
const MOST_EVENTS: usize = 10_000;
/// Settings of a run.
const MOST_SETTINGS: usize = 2000;
/// Faults that are kept in words.
const MOST_FAULTS: usize = 20;
/// Times that an axis may go back before it counts as being in no order.
const MOST_BREAKS: usize = 256;

/// What is drawn along the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// The step that was logged, or the number of the line.
    Step,
    /// Tokens that were trained on.
    Tokens,
    /// Seconds since 1970.
    Time,
    /// Seconds since the first line.
    Relative,
}

impl Axis {
    /// All, in the order in which keys go through them.
    pub const ALL: [Axis; 4] = [Axis::Step, Axis::Tokens, Axis::Time, Axis::Relative];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Step => "step",
            Axis::Tokens => "tokens",
            Axis::Time => "time",
            Axis::Relative => "relative time",
        }
    }
}

/// Where on the axes a line lies, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Row {
    /// Its step.
    pub step: Option<f64>,
    /// Tokens until then.
    pub tokens: Option<f64>,
    /// Seconds since 1970.
    pub time: Option<f64>,
}

/// A metric of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// Something that happened at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// The step.
    pub step: f64,
    /// Seconds since 1970; NaN if it is not known.
    pub time: f64,
    /// What: one word.
    pub kind: String,
    /// What there is to say of it.
    pub text: String,
    /// Its fields, where the log names them.
    pub fields: Vec<(String, String)>,
}

impl Happened {
    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum State {
    /// It may go on.
    #[default]
    Open,
    /// It said that it is done.
    Finished,
    /// It said that it failed: why.
    Failed(String),
}

/// One of step, tokens and time, for each row.
#[derive(Debug, Clone, Default)]
struct Scale {
    column: Column,
    known: bool,
    /// Rows at which it goes back.
    breaks: Vec<u32>,
    least: f64,
    greatest: f64,
    first: f64,
    last: f64,
}

impl Scale {
    fn push(&mut self, x: f64) {
        let row = self.column.len();
        if x.is_finite() {
            if self.known {
                (self.least, self.greatest) = (self.least.min(x), self.greatest.max(x));
                if x < self.last && self.breaks.len() <= MOST_BREAKS {
                    self.breaks.push(row as u32);
                }
            } else {
                // What came before has no place of its own: it stands where the first does.
                *self = Self { known: true, least: x, greatest: x, first: x, ..Self::default() };
                (0..row).for_each(|_| self.column.push(x));
            }
            self.last = x;
        }
        if self.known {
            self.column.push(self.last);
        } else {
            self.column.push(f64::NAN);
        }
    }
}

/// A training run and all its points.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// The kind of log that it is read from.
    pub format: &'static str,
    /// Where it is read from.
    pub source: String,
    /// How far it is.
    pub state: State,
    /// Steps that it shall make in all, if it says so.
    pub goal: Option<f64>,
    /// When something was last read of it, in seconds since 1970; none if it was all there when it was opened.
    pub heard: Option<f64>,
    /// What was found to be wrong with it.
    pub alerts: Vec<Alert>,
    settings: Vec<(String, String)>,
    step: Scale,
    tokens: Scale,
    time: Scale,
    /// Some line named its step.
    has_steps: bool,
    rows: usize,
    series: Vec<Series>,
    by_name: HashMap<Box<str>, SeriesId>,
    happened: Vec<Happened>,
    console: VecDeque<String>,
    console_lines: u64,
    faults: Vec<String>,
    fault_count: u64,
    version: u64,
    restarting: bool,
}

impl Run {
    /// A run of which nothing is known yet.
    pub fn new(name: impl Into<String>, format: &'static str) -> Self {
        Self { name: name.into(), format, ..Self::default() }
    }

    /// The metric of this name, which is made if there is none; none if there are too many.
    pub fn series_id(&mut self, name: &str) -> Option<SeriesId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        if self.series.len() >= MOST_SERIES {
            self.fault(|| format!("more than {MOST_SERIES} metrics: the rest is left out"));
            return None;
        }
        let id = SeriesId(self.series.len() as u32);
        self.series.push(Series::new(name.to_owned()));
        self.by_name.insert(name.into(), id);
        Some(id)
    }

    /// Adds what a line says. A line of the step of the one before it goes on with that row, if it says
    /// something new.
    pub fn add(&mut self, row: Row, points: &[(SeriesId, f64)]) {
        if self.restarting {
            self.restarting = false;
            if row.step.is_some_and(|step| step <= self.step.last) {
                self.clear();
            }
        }
        self.version += 1;
        self.has_steps |= row.step.is_some();
        let continues = self.rows > 0
            && row.step.is_some_and(|step| step == self.step.last)
            && row.tokens.is_none_or(|tokens| !self.tokens.known || tokens == self.tokens.last);
        let newest = (self.rows as u32).wrapping_sub(1);
        let taken =
            |(id, _): &(SeriesId, f64)| self.series.get(id.0 as usize).is_none_or(|s| s.last_row() == Some(newest));
        if !continues || points.iter().any(taken) {
            self.new_row(row);
        }
        let newest = self.rows as u32 - 1;
        for (id, value) in points {
            if let Some(series) = self.series.get_mut(id.0 as usize)
                && series.last_row() != Some(newest)
            {
                series.push(newest, *value);
            }
        }
    }

    fn new_row(&mut self, row: Row) {
        let next = || if self.has_steps && self.rows > 0 { self.step.last } else { self.step.last + 1.0 };
        let step = row.step.filter(|step| step.is_finite()).unwrap_or_else(next);
        self.step.push(step);
        self.tokens.push(row.tokens.unwrap_or(f64::NAN));
        self.time.push(row.time.unwrap_or(f64::NAN));
        self.rows += 1;
    }

    /// What is read next comes from the beginning of a file again: if it begins with a step that was seen,
    /// everything read so far is void.
    pub fn expect_restart(&mut self) {
        self.restarting = self.rows > 0;
    }

    /// Forgets all points; name, settings and console stay.
    pub fn clear(&mut self) {
        (self.step, self.tokens, self.time) = Default::default();
        (self.rows, self.has_steps, self.restarting) = (0, false, false);
        self.series.iter_mut().for_each(Series::clear);
        self.happened.clear();
        self.state = State::Open;
        self.version += 1;
    }

    /// Keeps a line of the console.
    pub fn say(&mut self, line: &str) {
        if self.console.len() == CONSOLE {
            self.console.pop_front();
        }
        let short = line.char_indices().nth(CONSOLE_LINE).map_or(line, |(end, _)| &line[..end]);
        self.console.push_back(short.to_owned());
        self.console_lines += 1;
        self.version += 1;
    }

    /// Keeps an event at the newest step, unless it says its own.
    pub fn happen(&mut self, step: Option<f64>, time: Option<f64>, kind: &str, text: String) {
        self.happen_with(step, time, kind, text, Vec::new());
    }

    /// The same of an event whose fields have names.
    pub fn happen_with(
        &mut self,
        step: Option<f64>,
        time: Option<f64>,
        kind: &str,
        text: String,
        fields: Vec<(String, String)>,
    ) {
        if self.happened.len() >= MOST_EVENTS {
            // The newest say how the run is now.
            self.happened.drain(..MOST_EVENTS / 2);
        }
        let (step, time) = (step.unwrap_or(self.step.last), time.unwrap_or(f64::NAN));
        self.happened.push(Happened { step, time, kind: kind.to_owned(), text, fields });
        self.version += 1;
    }

    /// Keeps a setting; a later one of the same name takes its place.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some((_, old)) = self.settings.iter_mut().find(|(known, _)| known == name) {
            *old = value;
        } else if self.settings.len() < MOST_SETTINGS {
            self.settings.push((name.to_owned(), value));
        }
        self.version += 1;
    }

    /// Notes that something could not be read.
    pub fn fault(&mut self, what: impl FnOnce() -> String) {
        self.fault_count += 1;
        if self.faults.len() < MOST_FAULTS {
            let what = what();
            if !self.faults.contains(&what) {
                self.faults.push(what);
                self.version += 1;
            }
        }
    }

    /// Grows whenever something changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Lines that were logged.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Points of all metrics.
    pub fn points(&self) -> usize {
        self.series.iter().map(Series::len).sum()
    }

    /// All metrics, in the order in which they appeared.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// A metric.
    pub fn get(&self, id: SeriesId) -> Option<&Series> {
        self.series.get(id.0 as usize)
    }

    /// The metric of exactly this name.
    pub fn named(&self, name: &str) -> Option<&Series> {
        self.by_name.get(name).and_then(|id| self.get(*id))
    }

    /// Settings, in the order in which they were said.
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// A setting; its name may also be the last part of a longer one.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let exact = self.settings.iter().find(|(known, _)| known == name);
        let part = |known: &str| known.rsplit(['.', '/']).next().is_some_and(|last| last == name);
        exact.or_else(|| self.settings.iter().find(|(known, _)| part(known))).map(|(_, value)| value.as_str())
    }

    /// Events, oldest first.
    pub fn happened(&self) -> &[Happened] {
        &self.happened
    }

    /// The newest lines of the console.
    pub fn console(&self) -> &VecDeque<String> {
        &self.console
    }

    /// Lines of the console, those forgotten included.
    pub fn console_lines(&self) -> u64 {
        self.console_lines
    }

    /// What could not be read: the first in words, and how many in all.
    pub fn faults(&self) -> (&[String], u64) {
        (&self.faults, self.fault_count)
    }

    /// True if the lines say where on this axis they lie.
    pub fn has(&self, axis: Axis) -> bool {
        match axis {
            Axis::Step => self.rows > 0,
            Axis::Tokens => self.tokens.known,
            Axis::Time | Axis::Relative => self.time.known,
        }
    }

    fn scale(&self, axis: Axis) -> &Scale {
        match axis {
            Axis::Step => &self.step,
            Axis::Tokens => &self.tokens,
            Axis::Time | Axis::Relative => &self.time,
        }
    }

    /// The axis goes back so often that the number of the row is drawn instead.
    fn in_no_order(&self, axis: Axis) -> bool {
        self.scale(axis).breaks.len() > MOST_BREAKS
    }

    /// Where a row lies; its number where it does not say.
    #[inline]
    pub fn x(&self, axis: Axis, row: usize) -> f64 {
        let scale = self.scale(axis);
        if !scale.known || self.in_no_order(axis) {
            return row as f64;
        }
        let x = scale.column.get(row);
        if axis == Axis::Relative { x - scale.first } else { x }
    }

    /// Turns rows, in their order, into places on an axis.
    pub(super) fn places(&self, axis: Axis, rows: &mut Vec<f64>) {
        let scale = self.scale(axis);
        let (Some(first), Some(last)) = (rows.first().copied(), rows.last().copied()) else { return };
        if !scale.known || self.in_no_order(axis) {
            return;
        }
        if last - first == (rows.len() - 1) as f64 {
            // Every row has a point: no need to look for each.
            rows.clear();
            scale.column.read(first as usize, last as usize + 1, rows);
        } else {
            rows.iter_mut().for_each(|row| *row = scale.column.get(*row as usize));
        }
        if axis == Axis::Relative {
            rows.iter_mut().for_each(|x| *x -= scale.first);
        }
    }

    /// The smallest and the largest place on an axis.
    pub fn extent(&self, axis: Axis) -> Option<(f64, f64)> {
        let scale = self.scale(axis);
        if self.rows == 0 {
            return None;
        }
        if !scale.known || self.in_no_order(axis) {
            return Some((0.0, (self.rows - 1) as f64));
        }
        let from = if axis == Axis::Relative { scale.first } else { 0.0 };
        Some((scale.least - from, scale.greatest - from))
    }

    /// Rows at which an axis begins anew, as it does when a run goes on from an older checkpoint.
    pub(super) fn breaks(&self, axis: Axis) -> &[u32] {
        if self.in_no_order(axis) { &[] } else { &self.scale(axis).breaks }
    }

    /// The newest step.
    pub fn last_step(&self) -> Option<f64> {
        (self.rows > 0).then_some(self.step.last)
    }

    /// The step of the newest point of the metric that people look at first: how far the run is. Other metrics may
    /// have been logged for all of it, at no step in particular.
    pub fn reached(&self) -> Option<f64> {
        let first = self.series.iter().filter(|s| !s.is_empty()).min_by_key(|s| names::rank(s.name()))?;
        Some(self.x(Axis::Step, first.row(first.len() - 1)))
    }

    /// When the newest line was logged, if lines say so.
    pub fn last_time(&self) -> Option<f64> {
        self.time.known.then_some(self.time.last)
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let scales = [&self.step, &self.tokens, &self.time].map(|scale| scale.column.bytes());
        scales.iter().sum::<usize>() + self.series.iter().map(Series::bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
