//! `pipeline`: from a model and data to a trained, merged, quantised and measured model, in one go.

mod recipe;
mod record;
mod report;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Args;
use toml::{Table, Value};

use self::recipe::{Quantised, Recipe, absolute, merge_tables, read, set};
use self::record::{Done, Record, Stage};
use self::stages::Pipeline;
use super::train::{self, Setup};
use super::{Usage, interrupt, output};
use crate::whole;

/// Train on answers and preferences, merge, quantise and evaluate, with one report
///
/// The stages: SFT on --sft, ORPO on --orpo (which goes on with the adapter that SFT made), merging the adapter
/// into the base, storing the result in 4 bits, and measuring loss, and how often preferred answers win, on --eval:
/// of the base, after each training, merged and quantised. What has no data is left out. Each stage has a folder in
/// --out, and report.md there tells it all.
///
/// A pipeline that was stopped (Ctrl-C, heat, a crash) goes on with --resume: stages that are done are not done
/// again, and training goes on from its newest checkpoint. Settings of the stages come from a TOML file (--config)
/// or from --set; those of its tables sft and orpo are the options of `bit-axon train`, with _ for -.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PipelineArgs {
    #[arg(long, help = super::model_arg::HELP)]
    model: Option<String>,
    /// Examples to train on
    #[arg(long, value_name = "FILE")]
    sft: Option<PathBuf>,
    /// Preferences to train on afterwards
    #[arg(long, value_name = "FILE")]
    orpo: Option<PathBuf>,
    /// Examples or preferences to measure on, never trained on; may be given several times
    #[arg(long, value_name = "FILE")]
    eval: Vec<PathBuf>,
    /// How the result is stored [default: affine4]
    #[arg(long, value_enum)]
    format: Option<Quantised>,
    /// A setting of a stage, as sft.max_steps=300; may be given several times
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
    /// A TOML file of settings; options win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the pipeline
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the pipeline that is in --out
    #[arg(long)]
    resume: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    backend: super::open::BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon pipeline --model models/mine --sft chats.jsonl --eval held-out.jsonl --out pipelines/first
  bit-axon pipeline --model models/mine --sft chats.jsonl --orpo pairs.jsonl --eval held-out.jsonl \\
    --set sft.max_steps=500 --set orpo.learning_rate=2e-5 --format nf4 --out pipelines/second --plan
  bit-axon pipeline --config pipeline.toml --out pipelines/third
  bit-axon pipeline --resume --out pipelines/third

A file for --config:
  model = \"models/mine\"
  eval = [\"held-out.jsonl\", \"held-out-pairs.jsonl\"]
  [sft]
  data = \"chats.jsonl\"
  max_steps = 500
  [orpo]
  data = \"pairs.jsonl\"
  max_steps = 200
  learning_rate = 2e-5
  [merge]
  format = \"f16\"
  [quantize]
  format = \"affine4\"
  group_size = 64

Exit codes: 0 done, 75 too hot (saved: --resume goes on), 130 stopped by Ctrl-C (saved).";

/// What holds for a pipeline, in its folder.
const SETTINGS: &str = "pipeline.toml";

/// Plans, or does all that is not done.
pub fn run(args: PipelineArgs) -> Result<()> {
    let kept = args.out.join(SETTINGS);
    let table = args.settings(&kept)?;
    let pipeline = Pipeline { recipe: Recipe::new(&table)?, folder: args.out, backend: args.backend };
    pipeline.check()?;
    let mut record = Record::open(&pipeline.folder)?;
    if args.plan {
        return plan(&pipeline, &record);
    }
    interrupt::catch();
    // Both trainings, before the first of them takes hours.
    for stage in pipeline.stages().into_iter().filter(|stage| trains(*stage) && record.get(*stage).is_none()) {
        if can_be_set_up(&pipeline, stage) {
            Setup::new(pipeline.training(stage)?, None, false)?;
        }
    }
    std::fs::create_dir_all(&pipeline.folder)?;
    whole::write(&kept, toml::to_string(&table)?.as_bytes())?;
    let stages = pipeline.stages();
    for (i, stage) in stages.iter().copied().enumerate() {
        let title = format!("stage {} of {}, {stage}", i + 1, stages.len());
        if record.get(stage).is_some() {
            output::note(format!("{title}: done before"));
            continue;
        }
        interrupt::check()?;
        output::note(format!("{title}: {}", pipeline.folder.join(stage.folder()).display()));
        let began = Instant::now();
        let (figures, seconds) = pipeline.run(stage).inspect_err(|_| {
            output::note(format!("go on with: {}", pipeline.go_on()));
        })?;
        let seconds = seconds.unwrap_or_else(|| began.elapsed().as_secs_f64());
        record.add(Done { stage, seconds, figures })?;
    }
    let report = pipeline.folder.join("report.md");
    let text = report::text(&pipeline.folder, &pipeline.recipe, record.all(), &pipeline.result());
    whole::write(&report, text.as_bytes())?;
    Ok(output::line(output::safe(&format!("{}\n{}", pipeline.result().display(), report.display())))?)
}

impl PipelineArgs {
    /// Everything that was asked for: kept from before, in the file, as options.
    fn settings(&self, kept: &Path) -> Result<Table> {
        let mut table = Table::new();
        let before = kept.is_file().then(|| read(kept)).transpose()?;
        if let Some(path) = &self.config {
            merge_tables(&mut table, read(path)?);
        }
        let text = |path: &Path| -> Result<Value> {
            let text = path.to_str().ok_or_else(|| Usage(format!("{} is not text", path.display())))?;
            Ok(Value::from(text))
        };
        if let Some(model) = &self.model {
            table.insert("model".into(), Value::from(model.as_str()));
        }
        if !self.eval.is_empty() {
            table.insert("eval".into(), Value::Array(self.eval.iter().map(|path| text(path)).collect::<Result<_>>()?));
        }
        for (stage, data) in [("sft", &self.sft), ("orpo", &self.orpo)] {
            let Some(data) = data else { continue };
            let over = Table::from_iter([("data".to_owned(), text(data)?)]);
            merge_tables(&mut table, Table::from_iter([(stage.to_owned(), Value::Table(over))]));
        }
        if let Some(format) = self.format {
            use clap::ValueEnum;
            let name = format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            merge_tables(&mut table, toml::from_str(&format!("quantize.format = \"{name}\""))?);
        }
        self.set.iter().try_for_each(|setting| set(&mut table, setting))?;
        absolute(&mut table)?;
        let Some(mut before) = before else {
            if self.resume && !self.plan {
                output::note(format!("{} holds no pipeline: it begins anew", self.out.display()));
            }
            return Ok(table);
        };
        ensure!(
            self.resume || self.plan,
            "{} already holds a pipeline: go on with it (--resume), or choose another --out",
            self.out.display()
        );
        let same = before.clone();
        merge_tables(&mut before, table);
        let started = !Record::open(&self.out)?.all().is_empty() || holds_a_run(&self.out);
        if before != same && started {
            bail!(
                "the pipeline in {} was begun with other settings (see {}): leave the options away to go on with it, \
                 or choose another --out",
                self.out.display(),
                kept.display()
            );
        }
        Ok(before)
    }
}

fn holds_a_run(folder: &Path) -> bool {
    [Stage::Sft, Stage::Orpo].iter().any(|stage| crate::train::folder::holds_run(&folder.join(stage.folder())))
}

fn trains(stage: Stage) -> bool {
    matches!(stage, Stage::Sft | Stage::Orpo)
}

/// False for a training on a model that an earlier stage has yet to make.
fn can_be_set_up(pipeline: &Pipeline, stage: Stage) -> bool {
    let chained = stage == Stage::Orpo && pipeline.recipe.sft.is_some() && pipeline.recipe.whole();
    !chained
}

/// Says what would be done.
fn plan(pipeline: &Pipeline, record: &Record) -> Result<()> {
    let stages = pipeline.stages();
    for (i, stage) in stages.iter().copied().enumerate() {
        let done = if record.get(stage).is_some() { " (done)" } else { "" };
        let folder = pipeline.folder.join(stage.folder());
        let title = format!("{} of {}  {stage}{done}: {}", i + 1, stages.len(), folder.display());
        output::line(output::safe(&title))?;
        if trains(stage) && can_be_set_up(pipeline, stage) {
            let setup = Setup::new(pipeline.training(stage)?, None, false)?;
            for line in train::plan(setup)?.lines() {
                output::line(format!("        {line}"))?;
            }
        }
    }
    let folder = &pipeline.folder;
    let last = format!("then {} and {}", pipeline.result().display(), folder.join("report.md").display());
    Ok(output::line(output::safe(&last))?)
}
