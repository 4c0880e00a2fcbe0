//! How much power is drawn.

use std::path::{Path, PathBuf};

use super::{entries, line, number};

/// Watts that a single machine can draw; more is a counter that jumped.
const MOST: f64 = 10_000.0;

/// The best measure of power that can be read, usually without root: the processor's energy counters,
/// then the chip that gives the temperature, then an emptying battery.
pub(super) enum Power {
    /// Energy counters of the processor's packages.
    Rapl(Vec<Counter>),
    /// A chip's own power, in millionths of a watt.
    Chip(PathBuf),
    /// The batteries.
    Battery(Vec<PathBuf>),
}

/// A counter in millionths of a joule.
pub(super) struct Counter {
    file: PathBuf,
    /// After this it begins at 0 again.
    range: Option<i64>,
    last: Option<(f64, i64)>,
}

impl Power {
    pub(super) fn find(sysfs: &Path, chip: &Path) -> Option<Self> {
        let counters: Vec<Counter> = entries(&sysfs.join("class/powercap"), "intel-rapl:")
            .into_iter()
            .filter(|zone| line(&zone.join("name")).is_some_and(|name| name.starts_with("package")))
            // Most systems let only root read it.
            .filter(|zone| number(&zone.join("energy_uj")).is_some())
            .map(|zone| Counter {
                range: number(&zone.join("max_energy_range_uj")),
                file: zone.join("energy_uj"),
                last: None,
            })
            .collect();
        if !counters.is_empty() {
            return Some(Self::Rapl(counters));
        }
        let own = ["power1_average", "power1_input"]
            .map(|name| chip.join(name))
            .into_iter()
            .find(|file| number(file).is_some());
        if let Some(file) = own {
            return Some(Self::Chip(file));
        }
        let batteries: Vec<PathBuf> = super::supply::batteries(sysfs);
        (!batteries.is_empty()).then_some(Self::Battery(batteries))
    }

    /// What is measured.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Rapl(_) => "processor",
            Self::Chip(_) => "chip",
            Self::Battery(_) => "whole machine, on battery",
        }
    }

    /// Watts; none if they are not known (yet).
    pub(super) fn read(&mut self, now_s: f64) -> Option<f32> {
        let watts = match self {
            // Each counter has to be read even if one of them fails.
            Self::Rapl(counters) => {
                let each: Vec<Option<f64>> = counters.iter_mut().map(|counter| counter.watts(now_s)).collect();
                each.into_iter().sum::<Option<f64>>()?
            }
            Self::Chip(file) => number(file)? as f64 / 1e6,
            Self::Battery(folders) => folders.iter().filter_map(|folder| drain(folder)).reduce(|a, b| a + b)?,
        };
        (0.0..=MOST).contains(&watts).then_some(watts as f32)
    }
}

impl Counter {
    /// The mean since the last reading.
    fn watts(&mut self, now_s: f64) -> Option<f64> {
        let energy = number(&self.file)?;
        let (then_s, before) = self.last.replace((now_s, energy))?;
        let mut spent = energy - before;
        if spent < 0 {
            spent += self.range?;
        }
        let passed = now_s - then_s;
        (passed > 0.0 && spent >= 0).then(|| spent as f64 / 1e6 / passed)
    }
}

/// Watts that an emptying battery gives.
fn drain(battery: &Path) -> Option<f64> {
    if line(&battery.join("status"))? != "Discharging" {
        return None;
    }
    let read = |name: &str| number(&battery.join(name)).map(|value| value.unsigned_abs() as f64);
    let from_current = || Some(read("current_now")? * read("voltage_now")? / 1e12);
    read("power_now").map(|micro| micro / 1e6).or_else(from_current)
}
