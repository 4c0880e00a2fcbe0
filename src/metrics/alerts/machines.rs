//! The state machines: each is given values or times, and says when its mind changes.

use super::{Verdict, short, with_metric};
use crate::metrics::show;

/// Finite values in a row after which a metric is well again.
const WELL_AGAIN: u32 = 50;

/// NaN or infinity.
#[derive(Debug, Clone, Default)]
pub(super) struct NotFinite {
    raised: bool,
    finite: u32,
}

impl NotFinite {
    pub(super) fn push(&mut self, metric: &str, value: f64) -> Verdict {
        if value.is_finite() {
            self.finite += 1;
            if self.raised && self.finite >= WELL_AGAIN {
                self.raised = false;
                return Verdict::Cleared;
            }
            return Verdict::Same;
        }
        self.finite = 0;
        if std::mem::replace(&mut self.raised, true) {
            return Verdict::Same;
        }
        with_metric(metric, if value.is_nan() { "is NaN" } else { "is infinite" })
    }
}

/// A mean that follows the newest values.
#[derive(Debug, Clone, Copy, Default)]
struct Follow {
    mean: f64,
    weight: f64,
}

impl Follow {
    fn push(&mut self, value: f64, share: f64) -> f64 {
        // Divided by the weight so that it does not begin at nought.
        self.mean += (value - self.mean) * share;
        self.weight += (1.0 - self.weight) * share;
        self.mean / self.weight
    }
}

/// Points before which nothing is said.
const WARM_UP: u32 = 20;
/// Points in a row that must agree.
const AGREE: u32 = 10;

/// The loss rises well above the best that it was, for long enough to be no mere noise.
#[derive(Debug, Clone, Default)]
pub(super) struct Divergence {
    level: Follow,
    noise: Follow,
    best: Option<(f64, f64)>,
    seen: u32,
    above: u32,
    raised: bool,
}

impl Divergence {
    pub(super) fn push(&mut self, metric: &str, value: f64) -> Verdict {
        if !value.is_finite() {
            return Verdict::Same;
        }
        self.seen += 1;
        let level = self.level.push(value, 0.1);
        let noise = self.noise.push((value - level).abs(), 0.05);
        if self.seen < WARM_UP {
            return Verdict::Same;
        }
        let (best, quiet) = *self.best.get_or_insert((level, noise));
        if level < best {
            self.best = Some((level, noise));
        }
        let high = best + 0.3 * best.abs() + 4.0 * quiet;
        self.above = if level > high { self.above + 1 } else { 0 };
        if !self.raised && self.above >= AGREE {
            self.raised = true;
            return with_metric(metric, format!("rose to {} from {}", short(level), short(best)));
        }
        if self.raised && level < best + 0.1 * best.abs() + quiet {
            self.raised = false;
            return Verdict::Cleared;
        }
        Verdict::Same
    }
}

/// Points that a plateau has at least.
const PLATEAU: u32 = 500;

/// The loss has not improved by half a percent for a third of the run.
#[derive(Debug, Clone, Default)]
pub(super) struct Plateau {
    level: Follow,
    best: Option<f64>,
    seen: u32,
    improved: u32,
    raised: bool,
}

impl Plateau {
    pub(super) fn push(&mut self, metric: &str, value: f64) -> Verdict {
        if !value.is_finite() {
            return Verdict::Same;
        }
        self.seen += 1;
        let level = self.level.push(value, 0.02);
        let best = *self.best.get_or_insert(level);
        if level < best - 0.005 * best.abs() {
            (self.best, self.improved) = (Some(level), self.seen);
            if std::mem::take(&mut self.raised) {
                return Verdict::Cleared;
            }
        }
        let flat = self.seen - self.improved;
        if !self.raised && flat >= PLATEAU.max(self.seen / 3) {
            self.raised = true;
            return with_metric(metric, format!("has stayed near {} for {flat} points", short(best)));
        }
        Verdict::Same
    }
}

/// Work in a second falls below 60% of what it usually is.
#[derive(Debug, Clone, Default)]
pub(super) struct Slow {
    newest: Follow,
    usual: Follow,
    seen: u32,
    below: u32,
    raised: bool,
}

impl Slow {
    pub(super) fn push(&mut self, metric: &str, value: f64) -> Verdict {
        if !value.is_finite() || value <= 0.0 {
            return Verdict::Same;
        }
        self.seen += 1;
        let newest = self.newest.push(value, 0.2);
        // While it is slow, slow must not become the usual.
        let usual = if self.raised || self.below > 0 {
            self.usual.mean / self.usual.weight.max(f64::MIN_POSITIVE)
        } else {
            self.usual.push(value, 0.02)
        };
        if self.seen < WARM_UP {
            return Verdict::Same;
        }
        self.below = if newest < 0.6 * usual { self.below + 1 } else { 0 };
        if !self.raised && self.below >= AGREE {
            self.raised = true;
            return with_metric(metric, format!("fell to {} from {}", short(newest), short(usual)));
        }
        if self.raised && newest > 0.8 * usual {
            self.raised = false;
            return Verdict::Cleared;
        }
        Verdict::Same
    }
}

/// No silence shorter than this is worth a word, in seconds.
const PAUSE: f64 = 20.0;
/// Usual intervals that make a silence.
const SILENT: f64 = 10.0;

/// No line for ten times the usual interval.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence {
    rows: usize,
    heard: Option<f64>,
    interval: Follow,
    raised: bool,
}

impl Silence {
    /// Begins with the interval at which lines came before anyone watched.
    pub(super) fn expect(&mut self, interval: f64) {
        self.interval.push(interval, 0.2);
    }

    pub(super) fn look(&mut self, rows: usize, heard: Option<f64>, now: f64, ended: bool) -> Verdict {
        let clear = |raised: &mut bool| if std::mem::take(raised) { Verdict::Cleared } else { Verdict::Same };
        if ended {
            return clear(&mut self.raised);
        }
        let Some(heard) = heard else { return Verdict::Same };
        if rows > self.rows {
            if let Some(before) = self.heard {
                self.interval.push((heard - before).max(0.0) / (rows - self.rows) as f64, 0.2);
            }
            (self.rows, self.heard) = (rows, Some(heard));
            return clear(&mut self.raised);
        }
        // What never grew while it was watched may simply be over.
        if self.interval.weight == 0.0 {
            return Verdict::Same;
        }
        let usual = self.interval.mean / self.interval.weight;
        let quiet = now - heard;
        if !self.raised && quiet > (SILENT * usual).max(PAUSE) {
            self.raised = true;
            let usual = if usual > 0.0 { format!(", usually every {}", seconds(usual)) } else { String::new() };
            return Verdict::Raised(format!("no line for {}{usual}", show::duration(quiet)));
        }
        Verdict::Same
    }
}

fn seconds(s: f64) -> String {
    if s < 1.0 { "second or sooner".into() } else { show::duration(s) }
}

/// Bytes below which a disk is nearly full, whatever its size.
const LITTLE: u64 = 2 << 30;

/// The disk that holds a run is nearly full.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    raised: bool,
}

impl Disk {
    /// Takes what is free of how much; gives words when it becomes too little.
    pub fn look(&mut self, free: u64, total: u64) -> Option<String> {
        let little = LITTLE.min(total / 5).max(total / 50);
        if free > little + little / 2 {
            self.raised = false;
        }
        if free >= little || std::mem::replace(&mut self.raised, true) {
            return None;
        }
        Some(format!("only {:.1} GiB of the disk are free", free as f64 / f64::from(1 << 30)))
    }

    /// True from the word on until there is room again.
    pub fn is_raised(&self) -> bool {
        self.raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Raised(_))
    }

    fn noise(i: u32) -> f64 {
        f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24) - 0.5
    }

    #[test]
    fn nan_is_said_once_and_forgotten_after_fifty_numbers() {
        let mut machine = NotFinite::default();
        assert_eq!(machine.push("loss", 1.0), Verdict::Same);
        assert_eq!(machine.push("loss", f64::INFINITY), Verdict::Raised("loss is infinite".into()));
        assert_eq!(machine.push("loss", f64::NAN), Verdict::Same);
        let verdicts: Vec<_> = (0..WELL_AGAIN).map(|_| machine.push("loss", 1.0)).collect();
        assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Cleared).count(), 1);
        assert!(raised(&machine.push("loss", f64::NAN)));
    }

    #[test]
    fn a_noisy_falling_loss_does_not_diverge_and_a_rising_one_does() {
        let mut machine = Divergence::default();
        for i in 0..2000 {
            let loss = 1.0 + 3.0 * (-f64::from(i) / 300.0).exp() + 0.8 * noise(i);
            assert_eq!(machine.push("loss", loss), Verdict::Same, "{i}");
        }
        // One spike is no divergence.
        assert_eq!(machine.push("loss", 9.0), Verdict::Same);
        for i in 0..100 {
            assert!(!raised(&machine.push("loss", 1.0 + 0.8 * noise(i))));
        }
        let verdicts: Vec<_> = (0..100).map(|i| machine.push("loss", 1.0 + f64::from(i) * 0.2)).collect();
        assert_eq!(verdicts.iter().filter(|v| raised(v)).count(), 1);
        let verdicts: Vec<_> = (0..200).map(|_| machine.push("loss", 0.9)).collect();
        assert!(verdicts.contains(&Verdict::Cleared));
    }

    #[test]
    fn a_plateau_takes_a_third_of_the_run() {
        let mut machine = Plateau::default();
        for i in 0..3000 {
            let verdict = machine.push("loss", 4.0 - f64::from(i) * 0.001);
            assert_eq!(verdict, Verdict::Same, "{i}");
        }
        let flat: Vec<_> = (0..2500).map(|i| machine.push("loss", 1.0 + 0.01 * noise(i))).collect();
        let at = flat.iter().position(raised).unwrap();
        assert!((1000..2000).contains(&at), "{at}");
        assert!((0..300).map(|_| machine.push("loss", 0.8)).any(|v| v == Verdict::Cleared));
    }

    #[test]
    fn slowness_is_said_once_and_stays_while_it_is_slow() {
        let mut machine = Slow::default();
        for i in 0..100 {
            assert_eq!(machine.push("tok_s", 100.0 + 20.0 * noise(i)), Verdict::Same);
        }
        let slow: Vec<_> = (0..1000).map(|i| machine.push("tok_s", 40.0 + 5.0 * noise(i))).collect();
        assert_eq!(slow.iter().filter(|v| **v != Verdict::Same).count(), 1);
        assert!((0..50).map(|_| machine.push("tok_s", 100.0)).any(|v| v == Verdict::Cleared));
    }

    #[test]
    fn silence_is_ten_usual_intervals() {
        let mut machine = Silence::default();
        for i in 0..20 {
            assert_eq!(machine.look(i, Some(i as f64 * 5.0), i as f64 * 5.0, false), Verdict::Same);
        }
        assert_eq!(machine.look(19, Some(95.0), 140.0, false), Verdict::Same);
        let verdict = machine.look(19, Some(95.0), 150.0, false);
        assert_eq!(verdict, Verdict::Raised("no line for 55s, usually every 5s".into()));
        assert_eq!(machine.look(19, Some(95.0), 1e6, false), Verdict::Same);
        assert_eq!(machine.look(20, Some(1e6), 1e6, false), Verdict::Cleared);
        let mut ended = Silence::default();
        ended.look(5, Some(1.0), 1.0, false);
        assert_eq!(ended.look(5, Some(1.0), 1e6, true), Verdict::Same);
        assert_eq!(Silence::default().look(0, None, 1e6, false), Verdict::Same);
        // A log that is there already says nothing of what is to come, unless its lines have times.
        let mut old = Silence::default();
        old.look(5, Some(1.0), 1e6, false);
        assert_eq!(old.look(5, Some(1.0), 1e6, false), Verdict::Same);
        old.expect(1.0);
        assert!(raised(&old.look(5, Some(1.0), 1e6, false)));
    }

    #[test]
    fn a_full_disk_is_said_once_until_there_is_room() {
        let gib = 1u64 << 30;
        let mut disk = Disk::default();
        assert_eq!(disk.look(100 * gib, 500 * gib), None);
        assert!(disk.look(gib, 500 * gib).is_some_and(|words| words.contains("1.0 GiB")));
        assert_eq!(disk.look(gib, 500 * gib), None);
        assert!(disk.is_raised());
        assert_eq!(disk.look(100 * gib, 500 * gib), None);
        assert!(disk.look(gib, 500 * gib).is_some());
        // Small disks have smaller limits, and an empty answer is no disk.
        assert_eq!(Disk::default().look(gib, 2 * gib), None);
        assert_eq!(Disk::default().look(0, 0), None);
    }
}
