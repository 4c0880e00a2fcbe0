//! A run: steps, and all that happens between them.
//!
//! ```text
//! run.rs       the order of things: steps, evaluation, checkpoints, the end
//! step.rs      one step: batches, waiting, the update
//! aside.rs     what is asked for meanwhile: evaluation, samples, controls, saving
//! ```

use anyhow::{Context, Result};

use super::checkpoint::{self, Best, Identity, Mean, Output, State};
use super::control::Controls;
use super::cooling::Cooler;
use super::data::{Encoder, Feed, Place, Unit};
use super::folder::RunFolder;
use super::metrics::Metrics;
use super::settings::{Method, Settings};
use super::surroundings::Surroundings;
use crate::backend::learn::{Learner, Objective, RouterLosses};
use crate::protocol::{Ending, Happening, TrainEvent, TrainLine, TrainStep};
use crate::telemetry::BatchPlan;

/// All that a run is made of.
pub struct Job {
    /// What shall be done.
    pub settings: Settings,
    /// Where it is kept.
    pub folder: RunFolder,
    /// What learns. Its parameters are those of a beginning.
    pub learner: Box<dyn Learner>,
    /// How what is trained is written.
    pub output: Output,
    /// Name of the base model, for people.
    pub model: String,
    /// What the run rests on.
    pub identity: Identity,
    /// Turns a question into tokens.
    pub encoder: Encoder,
    /// What the newest weights are asked each time that held-out loss is due.
    pub question: Option<String>,
    /// The data, from a place on.
    pub feed: Box<dyn FnOnce(Place) -> Result<Feed>>,
    /// Data that is held out; none where nothing is measured.
    pub held: Vec<Unit>,
    /// Time and temperature.
    pub surroundings: Box<dyn Surroundings>,
    /// What is asked while it goes.
    pub controls: Controls,
    /// True once it shall end at once, with a checkpoint of what is done.
    pub interrupted: Box<dyn Fn() -> bool>,
    /// The checkpoint to go on from.
    pub from: Option<(std::path::PathBuf, State)>,
    /// The command that goes on with it after it has ended early, for people.
    pub go_on: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why.
    pub ending: Ending,
    /// Steps that are done.
    pub step: u64,
    /// The temperature that ended it.
    pub celsius: Option<f32>,
    /// The checkpoint with the lowest loss.
    pub best: Option<Best>,
}

/// Trains until all steps are done or something ends it. `observer` hears every line of the metrics as it is written.
pub fn run(job: Job, observer: &mut dyn FnMut(&TrainLine)) -> Result<Outcome> {
    let Job { settings, folder, mut learner, output, model, identity, encoder, question, feed, held, go_on, .. } = job;
    let state = match &job.from {
        Some((path, state)) => {
            checkpoint::restore(path, &mut *learner, &output)?;
            Some(state)
        }
        None => None,
    };
    let place = state.map_or_else(Place::default, |state| state.place);
    let whole = BatchPlan { batch: settings.batch_size, accumulation: settings.grad_accum_steps };
    let (ceiling, halvings) = state.map_or((None, 0), |state| (state.ceiling, state.halvings));
    let mut run = Run {
        metrics: Metrics::open(&folder, state.map_or(0, |state| state.metrics_bytes))?,
        cooler: Cooler::new(settings.heat_limits()?, whole, ceiling, halvings),
        feed: feed(place)?,
        step: state.map_or(0, |state| state.step),
        place,
        tokens: state.map_or(0, |state| state.tokens),
        recent: state.map_or_else(Mean::default, |state| state.recent),
        best: state.and_then(|state| state.best),
        measured: None,
        saved: state.map(|state| state.step),
        save_wanted: false,
        paused: false,
        ending: None,
        settings,
        folder,
        go_on,
        learner,
        output,
        identity,
        encoder,
        question,
        held,
        surroundings: job.surroundings,
        controls: job.controls,
        interrupted: job.interrupted,
        observer,
    };
    let start = Happening::Start {
        max_steps: run.settings.max_steps,
        model,
        method: run.settings.method().to_string(),
        adapter: run.settings.adapter().to_string(),
        trained: run.learner.parameters().iter().map(|p| p.shape.iter().product::<usize>() as u64).sum(),
        backend: run.learner.name(),
        resumed: job.from.is_some(),
    };
    run.happened(start)?;
    if let Some((_, state)) = &job.from {
        run.compare_backends(&state.backend)?;
    }
    let ended = run.steps();
    run.end(ended)
}

/// A run that goes.
pub(super) struct Run<'a> {
    pub(super) settings: Settings,
    pub(super) folder: RunFolder,
    go_on: String,
    pub(super) learner: Box<dyn Learner>,
    pub(super) output: Output,
    pub(super) identity: Identity,
    pub(super) encoder: Encoder,
    /// What is asked each time: what someone asked last.
    pub(super) question: Option<String>,
    pub(super) feed: Feed,
    pub(super) held: Vec<Unit>,
    pub(super) surroundings: Box<dyn Surroundings>,
    pub(super) controls: Controls,
    pub(super) interrupted: Box<dyn Fn() -> bool>,
    pub(super) metrics: Metrics,
    pub(super) cooler: Cooler,
    pub(super) observer: &'a mut dyn FnMut(&TrainLine),
    /// Steps that are done.
    pub(super) step: u64,
    /// The place in the data after the last of them.
    pub(super) place: Place,
    /// Tokens read, padding included.
    pub(super) tokens: u64,
    /// Losses since the last checkpoint.
    pub(super) recent: Mean,
    pub(super) best: Option<Best>,
    /// The newest loss of held-out data, and the steps that were done then.
    pub(super) measured: Option<(u64, f64)>,
    /// Steps that were done when the last checkpoint was saved.
    pub(super) saved: Option<u64>,
    /// Someone asked for a checkpoint.
    pub(super) save_wanted: bool,
    /// Someone asked it to wait.
    pub(super) paused: bool,
    /// Something asked it to end.
    pub(super) ending: Option<Ending>,
}

impl Run<'_> {
    /// Makes steps until the last, or until something ends the run.
    fn steps(&mut self) -> Result<Ending> {
        while self.step < self.settings.max_steps {
            if let Some(ending) = self.one_step()? {
                return Ok(ending);
            }
            let last = self.step == self.settings.max_steps;
            let due = |every: u64| last || self.step.is_multiple_of(every);
            let (measure, save) = (due(self.settings.eval_every), due(self.settings.save_every));
            if measure && !self.held.is_empty() {
                self.evaluate()?;
            }
            if measure {
                self.sample()?;
            }
            if save || std::mem::take(&mut self.save_wanted) {
                self.save(true)?;
            }
        }
        Ok(Ending::Finished)
    }

    /// Saves what is done, and says why it ends.
    fn end(mut self, ended: Result<Ending>) -> Result<Outcome> {
        self.learner.discard();
        let ended = ended.and_then(|ending| Ok((ending, self.close(ending)?)));
        let (ending, message) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let message = format!("{error:#}");
                // The disk may be what failed: the error says more than the lack of a line.
                let _ = self.happened(Happening::Stop { reason: Ending::Failed, message });
                return Err(error).with_context(|| self.where_it_failed());
            }
        };
        self.happened(Happening::Stop { reason: ending, message })?;
        self.metrics.sync()?;
        let celsius = self.cooler.celsius().filter(|_| ending == Ending::Heat);
        Ok(Outcome { ending, step: self.step, celsius, best: self.best })
    }

    fn close(&mut self, ending: Ending) -> Result<String> {
        if self.saved != Some(self.step) && self.step > 0 {
            self.save(false)?;
        }
        let at = format!("after step {} of {}", self.step, self.settings.max_steps);
        Ok(match ending {
            Ending::Finished => {
                let path = self.write_output()?;
                format!("done: {} steps; written to {}", self.step, path.display())
            }
            Ending::Heat => format!(
                "stopped {at} at {:.0} °C (the limit is {:.0} °C), and saved; let the machine cool, then go on with: \
                 {}",
                self.cooler.celsius().unwrap_or_default(),
                self.settings.temp_stop,
                self.go_on
            ),
            _ => format!("stopped {at}, and saved; go on with: {}", self.go_on),
        })
    }

    fn where_it_failed(&self) -> String {
        let step = self.step;
        match self.saved {
            Some(saved) => format!(
                "training stopped after step {step}; the newest whole checkpoint is of step {saved}, and {} goes on \
                 from it",
                self.go_on
            ),
            None => format!("training stopped after step {step}, before the first checkpoint"),
        }
    }

    /// Writes an event, and tells it.
    pub(super) fn happened(&mut self, what: Happening) -> Result<()> {
        let line = TrainLine::Event(TrainEvent { what, step: self.step, time: self.surroundings.date() });
        self.write(&line)
    }

    /// Says so if something else computes from now on.
    fn compare_backends(&mut self, before: &str) -> Result<()> {
        let now = self.learner.name();
        if before.is_empty() || before == now {
            return Ok(());
        }
        self.warn(format!(
            "the checkpoint was made by {before}, and {now} goes on: it adds up in another order, so that losses will \
             be close to what they would have been, and not the same to the last bit"
        ))
    }

    pub(super) fn warn(&mut self, message: String) -> Result<()> {
        self.happened(Happening::Warning { message })
    }

    pub(super) fn stepped(&mut self, step: TrainStep) -> Result<()> {
        self.write(&TrainLine::Step(step))
    }

    fn write(&mut self, line: &TrainLine) -> Result<()> {
        self.metrics.write(line)?;
        (self.observer)(line);
        Ok(())
    }

    pub(super) fn objective(&self) -> Objective {
        match self.settings.method() {
            Method::Orpo => Objective::Preference { beta: self.settings.beta },
            Method::Sft | Method::Pretrain => Objective::Tokens,
        }
    }

    /// Routers have losses of their own where they are trained.
    pub(super) fn router(&self) -> RouterLosses {
        use super::settings::Adapter;
        match self.settings.adapter() == Adapter::Full || self.settings.method() == Method::Pretrain {
            true => RouterLosses { balance: self.settings.router_balance, z: self.settings.router_z },
            false => RouterLosses::default(),
        }
    }
}
