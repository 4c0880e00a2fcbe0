//! What a run does beside its steps: it hears what is asked, measures held-out loss, answers, saves.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::checkpoint::{self, Best, Mean, State};
use super::metrics::Metrics;
use super::run::Run;
use super::step::pair_metrics;
use crate::backend::Logits;
use crate::backend::learn::{Losses, Sequence};
use crate::model::checkpoint::StagedFolder;
use crate::model::template::Tail;
use crate::protocol::{Ending, Happening, Message, Role, TokenId, TrainControl, TrainEvent, TrainLine, Work};
use crate::train::settings::{Adapter, Method};

/// The longest answer to a question.
const LONGEST_ANSWER: usize = 512;
/// The longest one to what is asked each time.
const SAMPLE: usize = 96;

impl Run<'_> {
    /// Does what was asked, or notes it for when it can be done.
    pub(super) fn hear(&mut self) -> Result<()> {
        for asked in self.controls.heard() {
            match asked {
                Err(error) => self.warn(format!("{error:#}"))?,
                Ok(TrainControl::Pause) => self.paused = true,
                Ok(TrainControl::Resume) => self.paused = false,
                Ok(TrainControl::Checkpoint) => self.save_wanted = true,
                Ok(TrainControl::BatchCeiling { batch }) => self.cooler.set_ceiling(batch),
                Ok(TrainControl::Stop) => self.ending = Some(Ending::Asked),
                Ok(TrainControl::Sample { prompt, max_tokens }) => self.ask(prompt, max_tokens)?,
            }
        }
        Ok(())
    }

    /// Asks what is asked each time.
    pub(super) fn sample(&mut self) -> Result<()> {
        match self.question.clone() {
            Some(question) if !(self.interrupted)() => self.ask(question, SAMPLE),
            _ => Ok(()),
        }
    }

    /// Asks the newest weights, from now on each time: whoever asks wants to see how the answer changes.
    fn ask(&mut self, prompt: String, max_tokens: usize) -> Result<()> {
        self.happened(Happening::Busy { with: Work::Answering })?;
        // That a question has no answer is no reason to end; nor has it one the next time.
        match self.answer(&prompt, max_tokens) {
            Ok((text, tokens)) => {
                self.question = Some(prompt.clone());
                self.happened(Happening::Sample { prompt, text, tokens })
            }
            Err(error) => {
                self.question = self.question.take().filter(|question| *question != prompt);
                self.warn(format!("the question could not be answered: {error:#}"))
            }
        }
    }

    /// The likeliest answer of the newest weights.
    fn answer(&self, prompt: &str, max_tokens: usize) -> Result<(String, usize)> {
        let (tokenizer, template) = (self.encoder.tokenizer(), self.encoder.template());
        // Who learns texts does not answer but goes on.
        let prompt = match self.settings.method() {
            Method::Pretrain => tokenizer.encode(prompt)?,
            _ => {
                let question = Message { role: Role::User, content: prompt.into() };
                template.encode(tokenizer, &[question], Tail::Reply)?
            }
        };
        ensure!(!prompt.is_empty(), "it is empty");
        let mut model = self.learner.model()?;
        ensure!(prompt.len() < model.spec().max_seq_len, "it is longer than the model's context");
        let room = (model.spec().max_seq_len - prompt.len()).min(max_tokens).min(LONGEST_ANSWER);
        let mut read: &[TokenId] = &prompt;
        let mut answer: Vec<TokenId> = Vec::new();
        let chunk = model.chunk().max(1);
        let mut next;
        while answer.len() < room && !(self.interrupted)() {
            let (now, later) = read.split_at(chunk.min(read.len()));
            if !later.is_empty() {
                model.forward(now, Logits::None, None)?;
                read = later;
                continue;
            }
            let logits = model.forward(now, Logits::Last, None)?;
            let best = logits.iter().enumerate().filter(|(token, _)| tokenizer.has(*token as TokenId));
            let best = best.max_by(|a, b| a.1.total_cmp(b.1)).context("the model gave no logits")?;
            next = [best.0 as TokenId];
            if tokenizer.end_tokens().contains(&next[0]) {
                break;
            }
            answer.push(next[0]);
            read = &next;
        }
        Ok((tokenizer.decode(&answer), answer.len()))
    }

    /// Measures the loss of what is held out; none if it was interrupted.
    pub(super) fn evaluate(&mut self) -> Result<Option<f64>> {
        let begun = self.surroundings.now();
        self.happened(Happening::Busy { with: Work::Evaluating })?;
        let mut all = Losses::default();
        let objective = self.objective();
        for units in self.held.chunks(self.cooler.plan().batch) {
            if (self.interrupted)() {
                break;
            }
            let sequences: Vec<Sequence> = units.iter().flat_map(|unit| unit.sequences.iter().cloned()).collect();
            all.add(&self.learner.evaluate(&sequences, objective)?);
        }
        if (self.interrupted)() {
            // A part of it must not be compared with the whole.
            return Ok(None);
        }
        let loss = all.loss / all.units.max(1.0);
        ensure!(loss.is_finite(), "the loss of the held-out data is not a number after step {}", self.step);
        let seconds = self.surroundings.now() - begun;
        self.happened(Happening::Evaluation { loss, units: all.units, pairs: pair_metrics(&all), seconds })?;
        self.measured = Some((self.step, loss));
        Ok(Some(loss))
    }

    /// Saves a checkpoint. `ranked` ones may be the best: held-out loss is measured for them if need be.
    pub(super) fn save(&mut self, ranked: bool) -> Result<()> {
        let begun = self.surroundings.now();
        self.happened(Happening::Busy { with: Work::Saving })?;
        let fresh = self.measured.filter(|(step, _)| *step > self.saved.unwrap_or(0));
        let loss = match fresh {
            _ if self.held.is_empty() => self.recent.get(),
            Some((_, loss)) => Some(loss),
            None if ranked => self.evaluate()?,
            None => None,
        };
        let better = |loss: &f64| self.best.is_none_or(|best| *loss < best.loss);
        let best = loss.filter(better).map(|loss| Best { step: self.step, loss });
        let mut state = State {
            version: 0,
            step: self.step,
            place: self.place,
            seed: self.settings.seed,
            tokens: self.tokens,
            recent: Mean::default(),
            loss,
            best: best.or(self.best),
            halvings: self.cooler.halvings(),
            ceiling: self.cooler.ceiling(),
            metrics_bytes: 0,
            identity: self.identity,
            backend: self.learner.name(),
            files: Vec::new(),
        };
        self.metrics.sync()?;
        // The line that tells of the checkpoint belongs to what is kept with it, though it is written after it.
        let what = Happening::Checkpoint {
            path: format!("checkpoints/{}", checkpoint::folder_name(self.step)),
            loss,
            best: best.is_some(),
            seconds: self.surroundings.now() - begun,
        };
        let line = TrainLine::Event(TrainEvent { what, step: self.step, time: self.surroundings.date() });
        state.metrics_bytes = self.metrics.bytes() + Metrics::line(&line)?.len() as u64;
        self.save_state(state)?;
        self.metrics.write(&line)?;
        (self.observer)(&line);
        self.best = best.or(self.best);
        self.recent = Mean::default();
        self.saved = Some(self.step);
        checkpoint::prune(&self.folder.checkpoints(), self.best.map(|best| best.step), None)
    }

    /// A full disk is tried once more, without the older checkpoints.
    fn save_state(&mut self, mut state: State) -> Result<()> {
        let folder = self.folder.checkpoints();
        let Err(error) = checkpoint::save(&folder, &*self.learner, &self.output, state.clone()) else {
            return Ok(());
        };
        let full = error.chain().any(|cause| {
            let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
        });
        if !full || checkpoint::list(&folder)?.len() < 2 {
            return Err(error);
        }
        let before = self.metrics.bytes();
        self.warn(format!("{error:#}: removing older checkpoints, and trying once more"))?;
        state.metrics_bytes += self.metrics.bytes() - before;
        checkpoint::prune(&folder, self.best.map(|best| best.step), Some(1))?;
        checkpoint::save(&folder, &*self.learner, &self.output, state)
    }

    /// Writes what came of the run: an adapter, or a model.
    pub(super) fn write_output(&mut self) -> Result<PathBuf> {
        let name = if self.settings.adapter() == Adapter::Full { "model" } else { "adapter" };
        let path = self.folder.path().join(name);
        let staged = StagedFolder::begin(&path, true)?;
        let file = staged.create(&self.output.weights)?;
        checkpoint::write_weights(file, &*self.learner, &self.output)
            .with_context(|| format!("cannot write {}", path.display()))?;
        for (name, contents) in &self.output.beside {
            staged.put(name, contents)?;
        }
        staged.finish()?;
        Ok(path)
    }
}
