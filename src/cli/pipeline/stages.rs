//! The work of each stage. Each leaves a folder that is whole, or is gone on with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::super::eval::{Limits, measure};
use super::super::open::{self, Files};
use super::super::train::{self, Setup};
use super::super::{adapter_arg, interrupt, merge, output, quantize};
use super::recipe::Recipe;
use super::record::{Evaluated, Figures, Stage, Trained};
use crate::backend::Which;
use crate::backend::cpu::Options;
use crate::backend::cpu::learn::FourBits;
use crate::model::checkpoint::{Checkpoint, Dtype, Format, StagedFolder};
use crate::model::tensors::tensors;
use crate::protocol::{Ending, Happening, TrainLine};
use crate::train::folder::holds_run;
use crate::train::settings::{Given, Method};

/// A pipeline's folder and what shall happen in it.
pub(super) struct Pipeline {
    pub(super) folder: PathBuf,
    pub(super) recipe: Recipe,
    /// What trains, unless the stage's own settings say otherwise, and evaluates.
    pub(super) backend: open::BackendArg,
}

impl Pipeline {
    /// The stages that there are, in order.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let recipe = &self.recipe;
        let wanted = |stage: &Stage| match stage {
            Stage::Sft => recipe.sft.is_some(),
            Stage::Orpo => recipe.orpo.is_some(),
            Stage::Merge => !recipe.whole(),
            Stage::Quantize => self.four_bits().is_some(),
            Stage::Evaluate => !recipe.eval.is_empty(),
        };
        [Stage::Sft, Stage::Orpo, Stage::Merge, Stage::Quantize, Stage::Evaluate].into_iter().filter(wanted).collect()
    }

    pub(super) fn four_bits(&self) -> Option<FourBits> {
        self.recipe.quantize.format.map_or(Some(FourBits::Affine4), |format| format.four_bits())
    }

    /// The command that goes on with it after it has ended early.
    pub(super) fn go_on(&self) -> String {
        format!("bit-axon pipeline --resume --out {}", self.folder.display())
    }

    fn at(&self, stage: Stage) -> PathBuf {
        self.folder.join(stage.folder())
    }

    /// The model that all of it makes.
    pub(super) fn result(&self) -> PathBuf {
        if self.four_bits().is_some() { self.at(Stage::Quantize) } else { self.whole() }
    }

    /// The model before it is quantised.
    fn whole(&self) -> PathBuf {
        if self.recipe.whole() { self.at(self.last_training()).join("model") } else { self.at(Stage::Merge) }
    }

    fn last_training(&self) -> Stage {
        if self.recipe.orpo.is_some() { Stage::Orpo } else { Stage::Sft }
    }

    /// What a stage of training is set up with.
    pub(super) fn training(&self, stage: Stage) -> Result<Given> {
        let method = if stage == Stage::Orpo { Method::Orpo } else { Method::Sft };
        let mut given = self.recipe.training(method).context("there is no such training")?;
        given.output_dir = Some(self.at(stage));
        given.backend = given.backend.or(Some(self.backend.which()));
        if stage == Stage::Orpo && self.recipe.sft.is_some() && self.recipe.whole() {
            given.model = Some(self.at(Stage::Sft).join("model").display().to_string());
        }
        Ok(given)
    }

    /// Does the work of a stage. Gives seconds only where they are others than those that passed.
    pub(super) fn run(&self, stage: Stage) -> Result<(Figures, Option<f64>)> {
        match stage {
            Stage::Sft | Stage::Orpo => self.train(stage),
            Stage::Merge => Ok((self.merge()?, None)),
            Stage::Quantize => Ok((self.quantise()?, None)),
            Stage::Evaluate => Ok((self.evaluate()?, None)),
        }
    }

    fn train(&self, stage: Stage) -> Result<(Figures, Option<f64>)> {
        let folder = self.at(stage);
        // Preferences go on with the adapter that answers made; a whole model has been named as the base.
        let begin = (stage == Stage::Orpo && self.recipe.sft.is_some() && !self.recipe.whole())
            .then(|| adapter_arg::open(&self.at(Stage::Sft)))
            .transpose()?;
        let mut setup = Setup::new(self.training(stage)?, None, holds_run(&folder))?;
        setup.go_on = self.go_on();
        if train::train(setup, begin.as_ref())? != Ending::Finished {
            bail!("{stage} was asked to stop before its last step, and the stages after it need it whole");
        }
        let (trained, seconds) = trained(&folder)?;
        Ok((Figures::Trained(trained), Some(seconds)))
    }

    fn merge(&self) -> Result<Figures> {
        let adapter = adapter_arg::open(&self.at(self.last_training()))?;
        let files = open::files_with(Some(&self.recipe.model), Some(adapter))?;
        // Out of 4 bits, so that what was learned is rounded once, by the stage for it.
        let own = is_quantised(&files.checkpoint).then_some(Format::F16);
        let format = self.recipe.merge.format.map(Format::from).or(own);
        let written = merge::merge(&files, format.map(|format| (format, 64)), &self.at(Stage::Merge), true)?;
        let format = format.map_or_else(|| "the base's format".to_owned(), |format| format.to_string());
        Ok(Figures::Written { bytes: written.bytes, format })
    }

    fn quantise(&self) -> Result<Figures> {
        let format = self.four_bits().context("nothing is to be quantised")?;
        let group = self.recipe.quantize.group_size;
        let source = Checkpoint::open(&self.whole())?;
        let summary = quantize::quantise(&source, format.into(), group, &self.at(Stage::Quantize), true)?;
        Ok(Figures::Written { bytes: summary.bytes, format: format!("{} with groups of {group}", summary.format) })
    }

    fn evaluate(&self) -> Result<Figures> {
        let options = open::options(true, None, self.backend);
        let mut models = Vec::new();
        let mut add = |name: String, files: Files| -> Result<()> {
            output::note(format!("evaluate: {name}"));
            models.push(self.evaluated(name, &files, &options)?);
            Ok(())
        };
        add("base".into(), open::files(&self.recipe.model)?)?;
        for stage in self.stages() {
            let folder = self.at(stage);
            let model = |folder: &Path| open::files(&folder.to_string_lossy());
            match stage {
                Stage::Sft | Stage::Orpo if self.recipe.whole() => {
                    add(format!("after {stage}"), model(&folder.join("model"))?)?;
                }
                Stage::Sft | Stage::Orpo => {
                    let adapter = adapter_arg::open(&folder)?;
                    add(format!("after {stage}"), open::files_with(Some(&self.recipe.model), Some(adapter))?)?;
                }
                Stage::Merge => add("merged".into(), model(&folder)?)?,
                Stage::Quantize => add("quantised".into(), model(&folder)?)?,
                Stage::Evaluate => {}
            }
        }
        let staged = StagedFolder::begin(&self.at(Stage::Evaluate), true)?;
        staged.put("results.json", format!("{}\n", serde_json::to_string_pretty(&models)?).as_bytes())?;
        staged.finish()?;
        Ok(Figures::Evaluated { models })
    }

    fn evaluated(&self, name: String, files: &Files, options: &Options) -> Result<Evaluated> {
        let measured = |file: &PathBuf| {
            interrupt::check()?;
            measure(files, options, file, Limits::default())
        };
        let reports = self.recipe.eval.iter().map(measured).collect::<Result<_>>()?;
        Ok(Evaluated { name, bytes: files.checkpoint.bytes(), reports })
    }

    /// Every mistake that can be found before anything is computed.
    pub(super) fn check(&self) -> Result<()> {
        for file in &self.recipe.eval {
            std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        }
        let files = open::files(&self.recipe.model)?;
        let group = self.recipe.quantize.group_size;
        ensure!(
            self.four_bits().is_none() || tensors(&files.config.spec()).iter().any(|t| t.quantised(group)),
            "no matrix of {} has inputs in multiples of {group}, so nothing can be quantised: set --format none",
            self.recipe.model
        );
        let merged = self.recipe.merge.format.map(Format::from);
        ensure!(
            self.four_bits().is_none() || !matches!(merged, Some(Format::Affine4 | Format::Nf4)),
            "[merge] would already store 4 bits, and [quantize] wants floats: leave one of the two formats out"
        );
        let nf4 = matches!(self.four_bits(), Some(FourBits::Nf4)) || matches!(merged, Some(Format::Nf4));
        ensure!(
            !nf4 || self.recipe.eval.is_empty() || self.backend.which() != Which::Mlx,
            "MLX has no products for NF4, so the last stage could not measure what the others made: leave \
             --backend mlx out, or set --format affine4"
        );
        Ok(())
    }
}

fn is_quantised(checkpoint: &Checkpoint) -> bool {
    checkpoint.tensors().any(|t| t.dtype == Dtype::U32)
}

/// What a run's metrics say of it, and the seconds that it computed.
fn trained(folder: &Path) -> Result<(Trained, f64)> {
    let path = folder.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut found = Trained::default();
    let (mut losses, mut wins, mut seconds) = (Vec::new(), Vec::new(), 0.0);
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("{} is damaged", path.display()))? {
            TrainLine::Step(step) => {
                seconds += step.tokens.saturating_sub(found.tokens) as f64 / step.tok_s.max(1e-9);
                (found.steps, found.tokens) = (step.step, step.tokens);
                losses.push(step.loss);
                wins.extend(step.pairs.map(|pairs| pairs.accuracy));
            }
            TrainLine::Event(event) => {
                if let Happening::Evaluation { loss, .. } = event.what {
                    found.held_loss = Some(found.held_loss.map_or(loss, |best: f64| best.min(loss)));
                }
            }
        }
    }
    let tenth = losses.len().div_ceil(10);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    found.first_loss = mean(&losses[..tenth]);
    found.last_loss = mean(&losses[losses.len() - tenth..]);
    found.accuracy = (!wins.is_empty()).then(|| mean(&wins[wins.len().saturating_sub(tenth)..]));
    Ok((found, seconds))
}
