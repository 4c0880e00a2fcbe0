//! What a person should be told of a run without having to look: state machines that are given points and times.

mod machines;

use super::names::{self, Kind};
use super::run::{Axis, Run, State};
use super::show;
use machines::{Divergence, NotFinite, Plateau, Silence, Slow};

pub use machines::Disk;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertKind {
    /// A metric is NaN or infinite.
    NotFinite,
    /// The loss grows.
    Divergence,
    /// The loss has not fallen for long.
    Plateau,
    /// Nothing is heard any more.
    Silence,
    /// It does less in a second than it did.
    Slow,
    /// The disk is nearly full.
    Disk,
}

impl AlertKind {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            AlertKind::NotFinite => "not finite",
            AlertKind::Divergence => "diverges",
            AlertKind::Plateau => "plateau",
            AlertKind::Silence => "silent",
            AlertKind::Slow => "slow",
            AlertKind::Disk => "disk",
        }
    }
}

/// Something that is wrong, or was.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What.
    pub kind: AlertKind,
    /// In words.
    pub text: String,
    /// The step at which it was found.
    pub step: f64,
    /// It still is.
    pub active: bool,
}

/// A change of what a state machine thinks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Same,
    Raised(String),
    Cleared,
}

/// A run that was silent for longer when it is first looked at is over, in seconds.
const DAY: f64 = 86_400.0;
/// Metrics of a run that are watched for NaN and infinity.
const WATCHED: usize = 256;

/// Watches one run.
#[derive(Debug, Clone, Default)]
pub struct Watcher {
    /// Points of each metric that were looked at, and the state of what watches it.
    metrics: Vec<Metric>,
    silence: Silence,
    rows: usize,
    looked: bool,
}

#[derive(Debug, Clone)]
struct Metric {
    seen: usize,
    odd: NotFinite,
    divergence: Option<Divergence>,
    plateau: Option<Plateau>,
    slow: Option<Slow>,
}

impl Metric {
    fn new(name: &str) -> Self {
        let kind = names::kind(name);
        let loss = matches!(kind, Kind::Loss);
        Self {
            seen: 0,
            odd: NotFinite::default(),
            divergence: (loss || kind == Kind::HeldOut).then(Divergence::default),
            plateau: loss.then(Plateau::default),
            slow: (kind == Kind::Throughput).then(Slow::default),
        }
    }
}

impl Watcher {
    /// Looks at what is new in a run; gives what was raised just now. `now` is in seconds since 1970.
    pub fn look(&mut self, run: &mut Run, now: f64) -> Vec<Alert> {
        if run.rows() < self.rows {
            // It began anew: so do we.
            *self = Self::default();
            run.alerts.clear();
        }
        self.rows = run.rows();
        let mut verdicts = Vec::new();
        for (i, series) in run.series().iter().take(WATCHED).enumerate() {
            if self.metrics.len() == i {
                self.metrics.push(Metric::new(series.name()));
            }
            let metric = &mut self.metrics[i];
            let new = metric.seen..series.len();
            metric.seen = series.len();
            let step = |at: usize| run.x(Axis::Step, series.row(at));
            let name = series.name();
            let (odd, odd_count) = series.odd();
            let follows = metric.divergence.is_some() || metric.plateau.is_some() || metric.slow.is_some();
            if !new.is_empty() && (odd_count > 0 || follows) {
                for at in new {
                    let value = series.value(at);
                    let mut put = |kind, verdict: Verdict| {
                        if verdict != Verdict::Same {
                            verdicts.push((kind, name.to_owned(), step(at), verdict));
                        }
                    };
                    if odd.first().is_some_and(|first| at >= *first as usize) {
                        put(AlertKind::NotFinite, metric.odd.push(name, value));
                    }
                    if let Some(machine) = &mut metric.divergence {
                        put(AlertKind::Divergence, machine.push(name, value));
                    }
                    if let Some(machine) = &mut metric.plateau {
                        put(AlertKind::Plateau, machine.push(name, value));
                    }
                    if let Some(machine) = &mut metric.slow {
                        put(AlertKind::Slow, machine.push(name, value));
                    }
                }
            }
        }
        let step = run.last_step().unwrap_or(0.0);
        let heard = run.heard.or(run.last_time());
        if !std::mem::replace(&mut self.looked, true)
            && let Some((from, to)) = run.extent(Axis::Relative).filter(|_| run.has(Axis::Time) && run.rows() > 1)
            && heard.is_some_and(|heard| now - heard < DAY)
        {
            self.silence.expect((to - from) / (run.rows() - 1) as f64);
        }
        let silence = self.silence.look(run.rows(), heard, now, run.state != State::Open || waits(run));
        if silence != Verdict::Same {
            verdicts.push((AlertKind::Silence, String::new(), step, silence));
        }
        let before: Vec<bool> = run.alerts.iter().map(|alert| alert.active).collect();
        for (kind, metric, step, verdict) in verdicts {
            apply(run, kind, &metric, step, verdict);
        }
        let raised = |(i, alert): (usize, &Alert)| alert.active && !before.get(i).copied().unwrap_or(false);
        run.alerts.iter().enumerate().filter(|pair| raised(*pair)).map(|(_, alert)| alert.clone()).collect()
    }
}

/// Most alerts of a run that are kept.
const KEPT: usize = 200;

fn apply(run: &mut Run, kind: AlertKind, metric: &str, step: f64, verdict: Verdict) {
    let same = |alert: &&mut Alert| alert.kind == kind && alert.active && alert.text.starts_with(metric);
    match verdict {
        Verdict::Same => {}
        Verdict::Cleared => {
            if let Some(alert) = run.alerts.iter_mut().find(same) {
                alert.active = false;
            }
        }
        Verdict::Raised(text) if run.alerts.len() < KEPT => {
            run.alerts.push(Alert { kind, text, step, active: true });
        }
        Verdict::Raised(_) => {}
    }
}

fn with_metric(metric: &str, what: impl std::fmt::Display) -> Verdict {
    Verdict::Raised(format!("{metric} {what}"))
}

fn short(x: f64) -> String {
    show::number(x)
}

/// The run said that it waits, or that something takes a while in which it has nothing to say.
fn waits(run: &Run) -> bool {
    let happened = run.happened();
    let goes = |kind: &str| matches!(kind, "pause" | "resume" | "start" | "stop");
    happened.last().is_some_and(|last| last.kind == "busy")
        || happened.iter().rev().find(|event| goes(&event.kind)).is_some_and(|event| event.kind == "pause")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Row;

    fn look(run: &mut Run, watcher: &mut Watcher, now: f64) -> Vec<AlertKind> {
        watcher.look(run, now).into_iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn a_run_is_watched_as_it_grows_and_begins_anew() {
        let mut run = Run::new("a", "test");
        let (loss, rate) = (run.series_id("loss").unwrap(), run.series_id("tok_s").unwrap());
        let mut watcher = Watcher::default();
        let row = |step: usize| Row { step: Some(step as f64), time: Some(step as f64), ..Row::default() };
        for step in 0..300 {
            run.add(row(step), &[(loss, 3.0 - step as f64 / 200.0), (rate, 100.0)]);
            assert_eq!(look(&mut run, &mut watcher, step as f64), []);
        }
        run.add(row(300), &[(loss, f64::NAN), (rate, 100.0)]);
        assert_eq!(look(&mut run, &mut watcher, 300.0), [AlertKind::NotFinite]);
        assert_eq!(run.alerts[0].text, "loss is NaN");
        assert_eq!(look(&mut run, &mut watcher, 301.0), []);
        assert_eq!(look(&mut run, &mut watcher, 400.0), [AlertKind::Silence]);
        assert!(run.alerts[1].text.contains("100s") || run.alerts[1].text.contains("1m40s"), "{}", run.alerts[1].text);
        run.add(row(301), &[(loss, 1.5), (rate, 100.0)]);
        assert_eq!(look(&mut run, &mut watcher, 401.0), []);
        assert!(!run.alerts[1].active);
        // Whoever said that it waits is not silent.
        run.happen(None, Some(401.0), "pause", String::new());
        assert_eq!(look(&mut run, &mut watcher, 900.0), []);
        run.happen(None, Some(901.0), "resume", String::new());
        assert_eq!(look(&mut run, &mut watcher, 901.0), [AlertKind::Silence]);
        run.clear();
        run.add(row(0), &[(loss, 1.5), (rate, 100.0)]);
        assert_eq!(look(&mut run, &mut watcher, 402.0), []);
        assert_eq!(run.alerts, []);
    }
}
