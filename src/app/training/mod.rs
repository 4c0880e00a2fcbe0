//! The view of training runs, without a screen: which runs and charts there are, and how they are looked at.
//!
//! The runs themselves are shared with the threads that read them. What is asked of all of them (which metrics
//! there are, how far the axis goes) is found out when something was read, not when it is drawn.

mod arrange;
mod columns;
pub(super) mod form;
mod keys;
mod layout;
mod live;
pub(super) mod steer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::alerts::Alert;
use crate::metrics::filter::Filter;
use crate::metrics::names::{self, Kind};
use crate::metrics::{Axis, Run, SeriesId, State};

pub use arrange::Arrangement;
pub use columns::Sort;
pub use form::{Field, FieldKind, Form, FormState};
pub use keys::Input;
pub(super) use keys::{act, typed};
pub use live::{Answer, Doing, Live, Pause, folder, place};
pub use steer::Steering;

/// A run that threads are adding to.
pub type Shared = Arc<Mutex<Run>>;

/// All runs that are watched, and how much of their files was read while that still goes on.
#[derive(Debug, Clone)]
pub struct Runs {
    /// In the order in which they were found.
    pub runs: Vec<Shared>,
    /// Bytes that were read, of how many.
    pub loading: Option<(u64, u64)>,
}

impl PartialEq for Runs {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Shared, &Shared)| Arc::ptr_eq(a, b);
        self.runs.len() == other.runs.len()
            && self.runs.iter().zip(&other.runs).all(same)
            && self.loading == other.loading
    }
}

/// The format of the run that says what this machine does.
pub const MACHINE: &str = "machine";

/// Colours that runs take in turn.
pub const COLOURS: usize = 8;

/// A run, and how it is shown.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The run.
    pub run: Shared,
    /// Not drawn.
    pub hidden: bool,
    /// Stays at the top of the table, and is drawn last.
    pub pinned: bool,
    /// Which colour it has.
    pub colour: usize,
    /// What the table shows.
    pub line: TableLine,
    /// The filter takes it.
    pub taken: bool,
    /// What it does now, if it is one of ours.
    pub live: Option<Live>,
    version: u64,
}

/// What the table shows of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TableLine {
    /// Its name.
    pub name: String,
    /// The kind of log.
    pub format: &'static str,
    /// The newest step.
    pub step: Option<f64>,
    /// Steps that it shall make.
    pub goal: Option<f64>,
    /// The newest value of the first metric that has one.
    pub last: Option<f64>,
    /// Its best value.
    pub best: Option<f64>,
    /// How far it is.
    pub state: State,
    /// What is wrong with it now.
    pub alerts: Vec<Alert>,
    /// Settings that differ between the runs.
    pub settings: Vec<(String, String)>,
    /// Seconds from the first line to the newest.
    pub took: Option<f64>,
}

/// A metric, and the runs that have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Its name, common to all trainers.
    pub name: String,
    /// Places among the entries, with what they call it.
    pub curves: Vec<(usize, SeriesId)>,
    /// Other metrics that are drawn into it, with their curves.
    pub more: Vec<(String, Vec<(usize, SeriesId)>)>,
}

/// What stands beside or below the charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The table of runs alone.
    Runs,
    /// And the console of the chosen run.
    Console,
    /// And alerts of all runs.
    Alerts,
    /// And the experts of the chosen run.
    Experts,
    /// And what the chosen run does now, if it is one of ours.
    Run,
}

/// The view of training runs.
#[derive(Debug, Clone)]
pub struct Training {
    /// All runs, in the order in which they were found.
    pub entries: Vec<Entry>,
    /// Places of the entries that the table shows, sorted.
    pub table: Vec<usize>,
    /// All metrics, what people look at first in front.
    pub charts: Vec<Chart>,
    /// The chosen line of the table.
    pub at: usize,
    /// The chosen chart.
    pub chart: usize,
    /// The chosen chart has the whole room.
    pub large: bool,
    /// The chosen metric has a chart for each run, instead of one for all.
    pub grid: bool,
    /// The table has the whole room, with a column for each setting.
    pub columns: bool,
    /// Which charts come first, and which metrics are drawn into others.
    pub plan: Arrangement,
    /// Along the bottom.
    pub axis: Axis,
    /// Values are drawn by their logarithms.
    pub log: bool,
    /// Columns over which curves are smoothed; 0 draws them as they are.
    pub smoothing: u32,
    /// The part of the axis that is seen; none for all of it.
    pub window: Option<(f64, f64)>,
    /// Where the crosshair stands.
    pub cross: Option<f64>,
    /// By what the table is sorted, and whether backwards.
    pub sort: (Sort, bool),
    /// What stands beside the charts.
    pub side: Side,
    /// The layer whose experts are shown.
    pub layer: usize,
    /// What is being typed.
    pub input: Option<Input>,
    /// Runs that are seen: as it was typed.
    pub run_filter: String,
    /// Metrics that are seen: part of their names.
    pub metric_filter: String,
    /// Bytes that were read, of how many, while old lines are still being read.
    pub loading: Option<(u64, u64)>,
    /// What is being watched, for people.
    pub source: String,
    /// Grows whenever something was read: drawings of before are void.
    pub version: u64,
    /// What is asked of runs.
    pub steering: Steering,
    /// The form with which one is started; without fields where that cannot be done.
    pub form: Form,
    /// The folder of a run that is chosen once it is there.
    pub wanted: Option<String>,
    /// Folders in which trainers are at work; none until that is known.
    alive: Option<BTreeSet<String>>,
    remembered: layout::Remembered,
    filter: Filter,
    extent: Option<(f64, f64)>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            table: Vec::new(),
            charts: Vec::new(),
            at: 0,
            chart: 0,
            large: false,
            grid: false,
            columns: false,
            plan: Arrangement::default(),
            axis: Axis::Step,
            log: false,
            smoothing: 0,
            window: None,
            cross: None,
            sort: (Sort::Found, false),
            side: Side::Runs,
            layer: 0,
            input: None,
            run_filter: String::new(),
            metric_filter: String::new(),
            loading: None,
            source: String::new(),
            version: 0,
            steering: Steering::default(),
            form: Form::default(),
            wanted: None,
            alive: None,
            remembered: layout::Remembered::default(),
            filter: Filter::default(),
            extent: None,
        }
    }
}

/// The run itself; one that a reader left in the middle is sound all the same.
pub fn lock(run: &Shared) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Training {
    /// Takes what was read since: all runs, in the order in which they were found.
    pub fn read(&mut self, runs: &[Shared], loading: Option<(u64, u64)>) {
        self.loading = loading;
        self.version += 1;
        for (i, run) in runs.iter().enumerate() {
            if self.entries.get(i).is_none_or(|entry| !Arc::ptr_eq(&entry.run, run)) {
                let entry = Entry {
                    run: run.clone(),
                    hidden: false,
                    pinned: false,
                    colour: i % COLOURS,
                    line: TableLine::default(),
                    taken: true,
                    live: None,
                    version: u64::MAX,
                };
                self.entries.truncate(i);
                self.entries.push(entry);
                self.recall(i);
            }
        }
        self.entries.truncate(runs.len());
        let mut metrics = false;
        for entry in &mut self.entries {
            let run = lock(&entry.run);
            if run.version() != entry.version {
                entry.version = run.version();
                entry.line = line(&run);
                entry.live = Live::of(&run, |folder| self.alive.as_ref().map(|alive| alive.contains(folder)));
                if let Some(live) = &entry.live {
                    self.steering.saw(live);
                }
                metrics = true;
            }
        }
        if metrics {
            self.refresh();
        }
        self.choose_wanted();
    }

    /// Takes the folders in which trainers are at work.
    pub(super) fn living(&mut self, alive: Vec<String>) {
        let alive: BTreeSet<String> = alive.into_iter().collect();
        let first = self.alive.is_none();
        for entry in self.entries.iter_mut().filter(|entry| entry.live.is_some()) {
            entry.live = Live::of(&lock(&entry.run), |folder| Some(alive.contains(folder)));
        }
        self.alive = Some(alive);
        // Whoever comes back wants to see what goes on.
        let goes =
            |entry: &Entry| entry.live.as_ref().filter(|live| live.alive == Some(true)).map(|l| l.folder.clone());
        if first && self.wanted.is_none() {
            self.wanted = self.entries.iter().find_map(goes);
            if self.wanted.is_some() && self.side == Side::Runs && self.steering.allowed {
                self.side = Side::Run;
            }
        }
        self.choose_wanted();
    }

    /// Chooses the run that is waited for, once it is there.
    fn choose_wanted(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let is_wanted = |at: &usize| self.entries[*at].live.as_ref().is_some_and(|live| live.folder == *wanted);
        if let Some(place) = self.table.iter().position(is_wanted) {
            (self.at, self.wanted) = (place, None);
        }
    }

    /// What the chosen run does now, if it is one of ours.
    pub fn live(&self) -> Option<&Live> {
        self.entries[self.chosen()?].live.as_ref()
    }

    /// Begins with filters, as if they had been typed.
    pub fn wish(&mut self, runs: &str, metrics: &str) -> Result<(), String> {
        self.filter = runs.parse()?;
        (self.run_filter, self.metric_filter) = (runs.to_owned(), metrics.to_owned());
        Ok(())
    }

    /// Finds out again what is asked of all runs.
    fn refresh(&mut self) {
        let chosen = self.charts.get(self.chart).map(|chart| chart.name.clone());
        self.charts.clear();
        self.extent = None;
        // There may be thousands.
        let mut places: HashMap<String, usize> = HashMap::new();
        let wanted: Vec<String> = self.metric_filter.split_whitespace().map(names::plain).collect();
        for (i, entry) in self.entries.iter_mut().enumerate() {
            let run = lock(&entry.run);
            // What the machine does has no steps: it belongs to the axis of time.
            entry.taken = if run.format == MACHINE { self.axis == Axis::Time } else { self.filter.takes(&run) };
            if !entry.taken || entry.hidden {
                continue;
            }
            let mut drawn = false;
            for (at, series) in run.series().iter().enumerate().filter(|(_, series)| !series.is_empty()) {
                let common = names::common(series.name());
                let plain = names::plain(series.name());
                let meant = |wanted: &String| common.contains(wanted) || plain.contains(wanted);
                // Those of experts are too many, and have a picture of their own; but who asks for them gets them.
                let shown = if wanted.is_empty() {
                    names::kind(series.name()) != Kind::Expert
                } else {
                    wanted.iter().any(meant)
                };
                if !shown {
                    continue;
                }
                drawn = true;
                let curve = (i, SeriesId(at as u32));
                match places.get(&common) {
                    Some(place) => self.charts[*place].curves.push(curve),
                    None => {
                        places.insert(common.clone(), self.charts.len());
                        self.charts.push(Chart { name: common, curves: vec![curve], more: Vec::new() });
                    }
                }
            }
            if drawn && let Some((from, to)) = run.extent(self.axis) {
                self.extent = Some(self.extent.map_or((from, to), |(f, t)| (f.min(from), t.max(to))));
            }
        }
        self.arrange(chosen);
        self.sort_table();
    }

    /// The place of the chosen run among the entries.
    pub fn chosen(&self) -> Option<usize> {
        self.table.get(self.at).copied()
    }

    /// The part of the axis that is drawn.
    pub fn view(&self) -> (f64, f64) {
        let (from, to) = self.window.or(self.extent).unwrap_or((0.0, 1.0));
        if to > from { (from, to) } else { (from - 0.5, from + 0.5) }
    }

    /// All of the axis.
    pub fn whole(&self) -> (f64, f64) {
        self.extent.unwrap_or((0.0, 1.0))
    }

    /// Alerts that stand now: place of the run, and what.
    pub fn alerts(&self) -> impl Iterator<Item = (usize, &Alert)> {
        let all = self.entries.iter().enumerate();
        all.flat_map(|(i, entry)| entry.line.alerts.iter().map(move |alert| (i, alert)))
    }
}

/// Settings of a run that the table has room for.
const SETTINGS: usize = 40;

fn line(run: &Run) -> TableLine {
    let first = run.series().iter().filter(|s| !s.is_empty()).min_by_key(|s| names::rank(s.name()));
    let best = first.and_then(|s| if names::more_is_better(s.name()) { s.greatest() } else { s.least() });
    TableLine {
        name: run.name.clone(),
        format: run.format,
        step: run.reached(),
        goal: run.goal,
        last: first.map(crate::metrics::Series::last),
        best: best.map(|(best, _)| best),
        state: run.state.clone(),
        alerts: run.alerts.iter().filter(|alert| alert.active).cloned().collect(),
        settings: run.settings().iter().take(SETTINGS).cloned().collect(),
        took: run.extent(Axis::Relative).filter(|_| run.has(Axis::Time)).map(|(from, to)| to - from),
    }
}
