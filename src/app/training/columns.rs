//! The columns of the table of runs, and its order.

use std::cmp::Ordering;

use super::{Entry, Training};

/// Settings that have columns.
const MOST: usize = 60;

/// By what the table is sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// The order in which runs were found.
    Found,
    /// Name.
    Name,
    /// Newest value of the first metric.
    Last,
    /// Best value of it.
    Best,
    /// Newest step.
    Step,
    /// Seconds from the first line to the newest.
    Took,
    /// A setting.
    Setting(String),
}

impl Sort {
    /// Those that every table has.
    pub const ALWAYS: [Sort; 6] = [Sort::Found, Sort::Name, Sort::Last, Sort::Best, Sort::Step, Sort::Took];

    /// What the column is called.
    pub fn name(&self) -> &str {
        match self {
            Sort::Found => "found",
            Sort::Name => "name",
            Sort::Step => "step",
            Sort::Last => "last",
            Sort::Best => "best",
            Sort::Took => "took",
            Sort::Setting(name) => name,
        }
    }

    /// The column of this name.
    pub(super) fn named(name: &str) -> Self {
        let always = Self::ALWAYS.into_iter().find(|sort| sort.name() == name);
        always.unwrap_or_else(|| Sort::Setting(name.to_owned()))
    }

    fn order(&self, x: &Entry, y: &Entry) -> Ordering {
        let (x, y) = (&x.line, &y.line);
        match self {
            Sort::Found => Ordering::Equal,
            Sort::Name => x.name.cmp(&y.name),
            Sort::Step => numbers(x.step, y.step),
            Sort::Last => numbers(x.last, y.last),
            Sort::Best => numbers(x.best, y.best),
            Sort::Took => numbers(x.took, y.took),
            Sort::Setting(name) => match (x.setting(name), y.setting(name)) {
                (Some(a), Some(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
                    (Ok(a), Ok(b)) => numbers(Some(a), Some(b)),
                    // Numbers before words.
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(_), Err(_)) => a.cmp(b),
                },
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        }
    }

    /// True if a run has nothing in this column: it comes last, whichever way the table is sorted.
    fn lacks(&self, entry: &Entry) -> bool {
        let none = |x: Option<f64>| x.is_none_or(f64::is_nan);
        match self {
            Sort::Found | Sort::Name => false,
            Sort::Step => none(entry.line.step),
            Sort::Last => none(entry.line.last),
            Sort::Best => none(entry.line.best),
            Sort::Took => none(entry.line.took),
            Sort::Setting(name) => entry.line.setting(name).is_none(),
        }
    }
}

fn numbers(a: Option<f64>, b: Option<f64>) -> Ordering {
    let number = |x: Option<f64>| x.unwrap_or(f64::NAN);
    number(a).total_cmp(&number(b))
}

impl super::TableLine {
    /// The value of a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Training {
    /// Settings that have columns: those in which runs of the table differ; of one run alone, all.
    pub fn setting_columns(&self) -> Vec<&str> {
        let runs = || self.table.iter().map(|at| &self.entries[*at].line).filter(|line| line.format != super::MACHINE);
        let alone = runs().count() == 1;
        let mut names: Vec<&str> = Vec::new();
        for (name, value) in runs().flat_map(|line| &line.settings) {
            let differs = || alone || runs().any(|line| line.setting(name) != Some(value.as_str()));
            if names.len() < MOST && !names.contains(&name.as_str()) && differs() {
                names.push(name);
            }
        }
        names
    }

    /// Sorts by the next column.
    pub(super) fn sort_by_next(&mut self) {
        let settings = self.setting_columns().into_iter().map(|name| Sort::Setting(name.to_owned()));
        let all: Vec<Sort> = Sort::ALWAYS.into_iter().chain(settings).collect();
        let next = all.iter().position(|sort| *sort == self.sort.0).map_or(0, |at| (at + 1) % all.len());
        self.sort.0 = all[next].clone();
        self.sort_table();
    }

    pub(super) fn sort_table(&mut self) {
        let chosen = self.chosen();
        let mut table: Vec<usize> = (0..self.entries.len()).filter(|at| self.entries[*at].taken).collect();
        let (sort, backwards) = &self.sort;
        table.sort_by(|a, b| {
            let (x, y) = (&self.entries[*a], &self.entries[*b]);
            let order = sort.order(x, y).then(a.cmp(b));
            let order = if *backwards { order.reverse() } else { order };
            y.pinned.cmp(&x.pinned).then(sort.lacks(x).cmp(&sort.lacks(y))).then(order)
        });
        // The cursor stays on its run.
        let place = chosen.and_then(|chosen| table.iter().position(|at| *at == chosen));
        self.at = place.unwrap_or(self.at).min(table.len().saturating_sub(1));
        self.table = table;
    }
}
