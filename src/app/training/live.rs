//! A run of ours as it is now: what it does, how far it is, when it waited, what it answered.
//!
//! All of it follows from what its log says, and from whether a trainer is at work in its folder.

use crate::metrics::{Axis, Happened, Run};

/// The format of the runs that this program makes.
const OURS: &str = "bit-axon";
/// The file of a run's folder that is read.
const FILE: &str = "metrics.jsonl";
/// Steps over which the rate is measured.
const WINDOW: usize = 50;
/// Answers, pauses and events that are kept.
const MOST: usize = 50;

/// What a run does.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Doing {
    /// It has said nothing yet.
    #[default]
    Starting,
    /// Steps.
    Training,
    /// It waits until it is cooler.
    Hot,
    /// It waits until someone lets it go on.
    Paused,
    /// It measures held-out loss.
    Evaluating,
    /// It saves a checkpoint.
    Saving,
    /// It answers a question.
    Answering,
    /// It ended: how.
    Ended(String),
    /// It ended without a word.
    Gone,
}

impl Doing {
    /// In words.
    pub fn words(&self) -> &str {
        match self {
            Doing::Starting => "starting",
            Doing::Training => "training",
            Doing::Hot => "paused by heat",
            Doing::Paused => "paused by hand",
            Doing::Evaluating => "evaluating",
            Doing::Saving => "saving",
            Doing::Answering => "answering",
            Doing::Ended(how) => how,
            Doing::Gone => "ended without a word",
        }
    }

    /// True while no step is made, though the run goes on.
    pub fn waits(&self) -> bool {
        matches!(self, Doing::Hot | Doing::Paused)
    }
}

/// A time in which a run waited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pause {
    /// The step after which it did.
    pub step: f64,
    /// From when on, in seconds since 1970.
    pub from: f64,
    /// Until when; none if it still waits.
    pub to: Option<f64>,
    /// Because of heat, not because someone asked for it.
    pub heat: bool,
}

/// What the weights answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// After which step.
    pub step: f64,
    /// What they were asked.
    pub prompt: String,
    /// What they said.
    pub text: String,
}

/// A run of ours as it is now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    /// Its folder.
    pub folder: String,
    /// A trainer is at work in it; none if that is not known yet.
    pub alive: Option<bool>,
    /// What it does.
    pub doing: Doing,
    /// The newest step, and how many there shall be.
    pub steps: (f64, f64),
    /// Seconds that the remaining steps take.
    pub left: Option<f64>,
    /// Sequences at once, and how often for a step.
    pub batch: Option<(f64, f64)>,
    /// Tokens a second.
    pub rate: Option<f64>,
    /// The newest temperature.
    pub celsius: Option<f64>,
    /// Bytes of the trainer in memory.
    pub memory: Option<f64>,
    /// When it waited, oldest first.
    pub pauses: Vec<Pause>,
    /// What was asked and answered, oldest first.
    pub answers: Vec<Answer>,
    /// What happened, oldest first: the step, and words.
    pub news: Vec<(f64, String)>,
}

impl Live {
    /// What a run says of itself; none if it is not one of ours. `alive` says of a folder whether a trainer is at work.
    pub fn of(run: &Run, alive: impl Fn(&str) -> Option<bool>) -> Option<Self> {
        let folder = folder(run)?;
        let events = run.happened();
        let mut live = Self { alive: alive(&folder), folder, ..Self::default() };
        events.iter().for_each(|event| live.take(event));
        let last = |name: &str| run.named(name).filter(|series| !series.is_empty()).map(crate::metrics::Series::last);
        live.steps = (run.reached().unwrap_or(0.0), run.goal.unwrap_or(0.0));
        live.batch = last("batch").zip(last("accum"));
        (live.rate, live.celsius, live.memory) = (last("tok_s"), last("temp_c"), last("memory"));
        live.doing = live.doing(run, events);
        live.left = live.left(run, events);
        Some(live)
    }

    fn take(&mut self, event: &Happened) {
        let field = |name: &str| event.field(name).unwrap_or_default();
        let heat = field("reason") == "heat";
        let mut closed = false;
        let said = match event.kind.as_str() {
            "pause" => {
                self.pauses.push(Pause { step: event.step, from: event.time, to: None, heat });
                format!("waits: {}", if heat { "too hot" } else { "asked to" })
            }
            "resume" => {
                closed = true;
                let seconds = field("seconds").parse().unwrap_or(f64::NAN);
                format!("goes on after {}", crate::metrics::show::duration(seconds))
            }
            "start" => {
                closed = true;
                let resumed = field("resumed") == "true";
                let begins = if resumed { "goes on" } else { "begins" };
                format!("{begins}: {}, {} on {}", field("method"), field("adapter"), field("model"))
            }
            "batch" => {
                format!("batch {} x {} ({})", field("batch"), field("accum"), if heat { "heat" } else { "asked" })
            }
            "checkpoint" => {
                let best = if field("best") == "true" { ", the best so far" } else { "" };
                format!("saved {}{best}", field("path"))
            }
            "evaluation" => format!("held-out loss {}", field("loss")),
            "warning" => format!("warning: {}", field("message")),
            "stop" => {
                closed = true;
                field("message").to_owned()
            }
            "sample" => {
                let (prompt, text) = (field("prompt").to_owned(), field("text").to_owned());
                self.answers.push(Answer { step: event.step, prompt, text });
                keep(&mut self.answers);
                return;
            }
            _ => return,
        };
        if closed && let Some(pause) = self.pauses.last_mut().filter(|pause| pause.to.is_none()) {
            pause.to = Some(event.time);
        }
        keep(&mut self.pauses);
        self.news.push((event.step, said));
        keep(&mut self.news);
    }

    fn doing(&self, run: &Run, events: &[Happened]) -> Doing {
        let Some(last) = events.last() else {
            return if self.alive == Some(false) && run.rows() > 0 { Doing::Gone } else { Doing::Starting };
        };
        if last.kind == "stop" {
            return Doing::Ended(ending(last.field("reason").unwrap_or_default()).into());
        }
        if self.alive == Some(false) {
            return Doing::Gone;
        }
        // A step that was made since says that it is done.
        let stepped = newest_time(run).is_some_and(|time| time > last.time);
        if last.kind == "busy" && !stepped {
            return match last.field("with") {
                Some("evaluating") => Doing::Evaluating,
                Some("saving") => Doing::Saving,
                _ => Doing::Answering,
            };
        }
        match self.pauses.last() {
            Some(Pause { to: None, heat, .. }) => {
                if *heat {
                    Doing::Hot
                } else {
                    Doing::Paused
                }
            }
            _ => Doing::Training,
        }
    }

    /// How long the rest takes at the pace of the newest steps since it waited last.
    fn left(&self, run: &Run, events: &[Happened]) -> Option<f64> {
        let (step, goal) = self.steps;
        let loss = run.named("loss").filter(|loss| loss.len() > 1 && run.has(Axis::Time))?;
        if matches!(self.doing, Doing::Ended(_) | Doing::Gone) || goal <= step {
            return None;
        }
        let begun = events.iter().rev().find(|event| matches!(event.kind.as_str(), "resume" | "start"));
        let since = begun.map_or(f64::NEG_INFINITY, |event| event.time);
        let place = |at: usize| (run.x(Axis::Step, loss.row(at)), run.x(Axis::Time, loss.row(at)));
        let newest = place(loss.len() - 1);
        let first = (loss.len().saturating_sub(WINDOW)..loss.len()).map(place).find(|(_, time)| *time >= since)?;
        let each = (newest.1 - first.1) / (newest.0 - first.0);
        (each.is_finite() && each > 0.0).then_some(each * (goal - step))
    }

    /// Share of the steps that are done.
    pub fn share(&self) -> f64 {
        let (step, goal) = self.steps;
        if goal > 0.0 { (step / goal).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The folder of a run of ours.
pub fn folder(run: &Run) -> Option<String> {
    let path = run.source.strip_suffix(FILE).filter(|_| run.format == OURS)?;
    let folder = path.strip_suffix('/').unwrap_or(path);
    Some(if folder.is_empty() { ".".into() } else { folder.into() })
}

fn keep<T>(all: &mut Vec<T>) {
    if all.len() > MOST {
        all.remove(0);
    }
}

fn ending(reason: &str) -> &'static str {
    match reason {
        "finished" => "done",
        "heat" => "stopped by heat",
        "failed" => "failed",
        _ => "stopped",
    }
}

/// When the newest step was made.
fn newest_time(run: &Run) -> Option<f64> {
    let loss = run.named("loss").filter(|loss| !loss.is_empty())?;
    run.has(Axis::Time).then(|| run.x(Axis::Time, loss.row(loss.len() - 1)))
}

/// Where a pause lies on an axis: from where to where. On axes that stand still meanwhile both are the same.
pub fn place(run: &Run, axis: Axis, pause: &Pause) -> Option<(f64, f64)> {
    let now = run.last_time().unwrap_or(pause.from).max(pause.from);
    let (from, to) = (pause.from, pause.to.unwrap_or(now));
    match axis {
        Axis::Step => Some((pause.step, pause.step)),
        Axis::Time => Some((from, to)),
        Axis::Relative => {
            let first = run.has(Axis::Time).then(|| run.x(Axis::Time, 0))?;
            Some((from - first, to - first))
        }
        Axis::Tokens => {
            let (mut low, mut high) = (0, run.rows());
            while low < high {
                let middle = usize::midpoint(low, high);
                if run.x(Axis::Step, middle) < pause.step {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            let row = low.min(run.rows().checked_sub(1)?);
            let at = run.x(Axis::Tokens, row);
            Some((at, at))
        }
    }
}
