//! One step of the optimiser: batches, what happens between them, and the update.

use anyhow::{Result, bail};

use super::data::{Fed, Place, Unit};
use super::run::Run;
use super::schedule::{dropout_seed, learning_rate};
use crate::backend::learn::{Losses, Sequence, Update};
use crate::protocol::{Ending, Happening, HeatPhase, PairMetrics, Reason, TrainStep};

/// Seconds between looks at the temperature while a run waits.
const WAIT_S: f64 = 0.5;

/// Rows that are named when a loss is no number.
const NAMED_ROWS: usize = 12;

impl Run<'_> {
    /// Makes a step, unless something ends the run: what was computed of it is forgotten then.
    pub(super) fn one_step(&mut self) -> Result<Option<Ending>> {
        let (wanted, step) = (self.settings.step_units(), self.step + 1);
        let mut work = Work { after: self.place, ..Work::default() };
        while work.done < wanted {
            if let Some(ending) = self.between()? {
                return Ok(Some(ending));
            }
            let units = self.next_units(self.cooler.plan().batch.min(wanted - work.done))?;
            let sequences: Vec<Sequence> = units.iter().flat_map(|unit| unit.sequences.iter().cloned()).collect();
            let begun = self.surroundings.now();
            let seed = dropout_seed(self.settings.seed, step);
            let (objective, router) = (self.objective(), self.router());
            let losses = self.learner.accumulate(&sequences, objective, router, seed, &*self.interrupted)?;
            work.seconds += self.surroundings.now() - begun;
            let Some(losses) = losses else { return Ok(Some(Ending::Interrupted)) };
            if !(losses.loss.is_finite() && losses.router.is_finite()) {
                bail!("the loss of step {step} is not a number; {}", self.named(units.iter().flat_map(|u| &u.rows)));
            }
            work.done += units.len();
            work.after = units.last().map_or(work.after, |unit| unit.after);
            work.rows.extend(units.iter().flat_map(|unit| &unit.rows));
            work.losses.add(&losses);
        }
        self.update(step, work)?;
        Ok(None)
    }

    fn update(&mut self, step: u64, work: Work) -> Result<()> {
        let rate = learning_rate(&self.settings, step);
        let limit = self.settings.max_grad_norm;
        let update = Update {
            units: work.losses.units,
            learning_rate: rate as f32,
            max_grad_norm: if limit > 0.0 { limit as f32 } else { f32::INFINITY },
            weight_decay: self.settings.weight_decay as f32,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            step,
        };
        let begun = self.surroundings.now();
        let norm = self.learner.step(&update)?;
        let seconds = work.seconds + self.surroundings.now() - begun;
        if !norm.is_finite() {
            bail!("the gradients of step {step} are not numbers; {}", self.named(work.rows.iter()));
        }
        let losses = work.losses;
        let loss = losses.loss / losses.units.max(1.0);
        self.step = step;
        self.place = work.after;
        self.tokens += losses.tokens;
        self.recent.add(loss);
        let router = self.router();
        let trained_router = router.balance > 0.0 || router.z > 0.0;
        let plan = self.cooler.plan();
        let telemetry = self.surroundings.telemetry();
        self.stepped(TrainStep {
            step,
            loss,
            lr: rate,
            grad_norm: norm,
            tok_s: if seconds > 0.0 { losses.tokens as f64 / seconds } else { 0.0 },
            batch: plan.batch,
            accum: plan.accumulation,
            temp_c: self.cooler.celsius(),
            phase: self.cooler.phase(),
            time: self.surroundings.date(),
            epoch: self.place.epoch,
            tokens: self.tokens,
            memory: telemetry.machine.memory.map(|memory| memory.process),
            router_loss: trained_router.then(|| losses.router / losses.units.max(1.0)),
            pairs: pair_metrics(&losses),
            experts: losses.experts.iter().map(|counts| shares(counts)).collect(),
        })
    }

    /// What comes between two batches: what someone asks for, and what the temperature does. Waits as long as either
    /// wants.
    pub(super) fn between(&mut self) -> Result<Option<Ending>> {
        let mut waiting: Option<(f64, Reason)> = None;
        loop {
            self.hear()?;
            self.feel()?;
            let reason = match (self.cooler.phase(), self.paused) {
                _ if (self.interrupted)() => return Ok(Some(Ending::Interrupted)),
                (Some(HeatPhase::Stop), _) => return Ok(Some(Ending::Heat)),
                _ if self.ending.is_some() => return Ok(self.ending.take()),
                (Some(HeatPhase::Pause), _) => Reason::Heat,
                (_, true) => Reason::Asked,
                (_, false) => {
                    let Some((since, reason)) = waiting else { return Ok(None) };
                    let (seconds, temp_c) = (self.surroundings.now() - since, self.cooler.celsius());
                    self.happened(Happening::Resume { reason, seconds, temp_c })?;
                    return Ok(None);
                }
            };
            if waiting.is_none() {
                waiting = Some((self.surroundings.now(), reason));
                self.happened(Happening::Pause { reason, temp_c: self.cooler.celsius() })?;
            }
            if std::mem::take(&mut self.save_wanted) && self.saved != Some(self.step) {
                self.save(false)?;
            }
            self.surroundings.sleep(WAIT_S);
        }
    }

    /// Looks at the temperature, and says what it changes.
    fn feel(&mut self) -> Result<()> {
        let telemetry = self.surroundings.telemetry();
        if let Some(said) = self.cooler.observe(self.surroundings.now(), &telemetry) {
            self.warn(said)?;
        }
        if let Some(trouble) = self.cooler.trouble()
            && self.settings.require_sensor
            && self.cooler.phase().is_none()
        {
            bail!("{trouble}, and --require-sensor wants one");
        }
        if let Some((plan, reason)) = self.cooler.changed() {
            let temp_c = self.cooler.celsius();
            self.happened(Happening::Batch { batch: plan.batch, accum: plan.accumulation, reason, temp_c })?;
        }
        Ok(())
    }

    fn next_units(&mut self, count: usize) -> Result<Vec<Unit>> {
        let mut units = Vec::with_capacity(count);
        while units.len() < count {
            match self.feed.take()? {
                Fed::Unit(unit) => units.push(unit),
                Fed::Bad { line, why } => self.warn(format!("line {line} of the data is skipped: {why}"))?,
                Fed::Epoch(Place { epoch, counts, .. }) => self.happened(Happening::Epoch {
                    epochs: epoch,
                    examples: counts.examples,
                    over_long: counts.over_long,
                    bad: counts.bad,
                })?,
            }
        }
        Ok(units)
    }

    /// The examples that something went wrong with.
    fn named<'r>(&self, rows: impl Iterator<Item = &'r u64>) -> String {
        let mut rows: Vec<u64> = rows.map(|row| row + 1).collect();
        rows.sort_unstable();
        rows.dedup();
        let named: Vec<String> = rows.iter().take(NAMED_ROWS).map(u64::to_string).collect();
        let more = rows.len().saturating_sub(NAMED_ROWS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let data = self.settings.data.as_ref().map_or_else(|| "the data".into(), |path| path.display().to_string());
        format!(
            "it read lines {}{more} of {data}. Look at them, or go on with a lower --learning-rate",
            named.join(", ")
        )
    }
}

/// What was computed of a step.
#[derive(Default)]
struct Work {
    losses: Losses,
    /// Units.
    done: usize,
    /// The place after them.
    after: Place,
    rows: Vec<u64>,
    /// Time that computing took.
    seconds: f64,
}

/// Means over pairs; none for other losses.
pub(super) fn pair_metrics(losses: &Losses) -> Option<PairMetrics> {
    let sums = losses.preference;
    if sums == Default::default() || losses.units <= 0.0 {
        return None;
    }
    let (chosen, rejected) = (sums.chosen / losses.units, sums.rejected / losses.units);
    Some(PairMetrics {
        nll: sums.nll / losses.units,
        odds_loss: sums.odds / losses.units,
        logp_chosen: chosen,
        logp_rejected: rejected,
        margin: chosen - rejected,
        accuracy: sums.wins / losses.units,
    })
}

fn shares(counts: &[u64]) -> Vec<f32> {
    let total = counts.iter().sum::<u64>().max(1) as f32;
    // Four digits are more than anyone sees.
    counts.iter().map(|count| (*count as f32 / total * 1e4).round() / 1e4).collect()
}
