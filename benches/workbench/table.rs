//! What was measured, line by line.

use std::time::Duration;

/// The table that is printed.
pub(super) struct Table {
    filter: String,
    missed: usize,
}

impl Table {
    pub(super) fn new(filter: String) -> Self {
        println!("| what | measured | target | |\n|---|---|---|---|");
        Self { filter, missed: 0 }
    }

    /// Runs a measurement, unless others were asked for.
    pub(super) fn run(&mut self, name: &str, measure: impl FnOnce(&mut Self)) {
        if name.contains(&self.filter) {
            measure(self);
        }
    }

    pub(super) fn row(&mut self, what: &str, measured: String, target: &str, met: bool) {
        println!("| {what} | {measured} | {target} | {} |", if met { "met" } else { "MISSED" });
        self.missed += usize::from(!met);
    }

    /// A line that has no target.
    pub(super) fn note(&mut self, what: &str, measured: &str) {
        println!("| {what} | {measured} | | |");
    }

    pub(super) fn all_met(&self) -> bool {
        self.missed == 0
    }
}

/// The value that this share of them does not exceed.
pub(super) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (share * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
