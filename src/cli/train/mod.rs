//! `train`: fine-tuning, preference training, and training from nothing.

mod describe_plan;
pub(super) mod form;
mod learner;
mod setup;
mod view;
mod watch;

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

pub(super) use self::setup::Setup;
use self::watch::Watch;
use super::{interrupt, output};
use crate::backend::adapted::begin_with;
use crate::model::adapter::Adapter;
use crate::protocol::Ending;
use crate::train::settings::Given;
use crate::train::{Outcome, RunFolder};

/// Train a model, or an adapter for one
///
/// DATA is a file with one JSON object a line, or a file from `bit-axon prepare`. Each line is a chat
/// ("messages", or "conversations" as ShareGPT has them), a task ("instruction", "input", "output"), a
/// preference ("prompt", "chosen", "rejected") or a "text". Loss falls on what the assistant says; of a
/// text, on all of it. Examples are packed into sequences of one length; nothing is dropped without a word.
///
/// Everything is kept in a run folder: the settings, metrics.jsonl, a log, checkpoints, and in the end the
/// adapter or the model. A run that was stopped, killed or struck by a full disk goes on with --resume as if
/// nothing had happened. Every option may also stand in a TOML file, with _ for -, as `max_steps = 500`.
///
/// In a terminal the run is shown as it goes: curves, what it does, what it answers, and keys to let it wait,
/// save, answer or end (F1 lists them). Ctrl-Q closes that view, and lines follow.
///
/// A hot machine is spared: from 75 °C on batches are halved (a step still averages over as many examples),
/// from --temp-pause on it waits, and from --temp-stop on it saves and ends with exit code 75. Ctrl-C saves
/// and ends; a second one ends at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// The file of examples
    #[arg(value_name = "DATA", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// A TOML file of settings; options win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the newest whole checkpoint of --output-dir; begin if there is none
    #[arg(long)]
    resume: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// Print lines instead of opening the view, as without a terminal
    #[arg(long, conflicts_with = "plan")]
    plain: bool,
    #[command(flatten)]
    given: Given,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon train chats.jsonl --model models/mine --plan
  bit-axon train chats.jsonl --model models/mine --max-steps 500 --val-split 0.05
  bit-axon train pairs.jsonl --model models/mine --method orpo --learning-rate 5e-5
  bit-axon train text.jsonl --model models/new --method pretrain --max-seq-len 256 --batch-size 8
  bit-axon train --config run.toml --output-dir runs/second
  bit-axon train --resume --output-dir runs/second

Exit codes: 0 done, 75 too hot (saved: --resume goes on), 130 stopped by Ctrl-C (saved).";

/// Plans, or trains.
pub fn run(args: TrainArgs) -> Result<()> {
    let mut given = args.given;
    given.data = given.data.or(args.file);
    let setup = Setup::new(given, args.config.as_deref(), args.resume)?;
    if args.plan {
        return Ok(output::line(plan(setup)?)?);
    }
    if !args.plain && crate::term::is_there() {
        return view::show(setup);
    }
    interrupt::catch();
    train(setup, None).map(|_| ())
}

/// What a run would do.
pub(super) fn plan(setup: Setup) -> Result<String> {
    describe_plan::text(setup)
}

/// Trains, telling of it; from the values of an adapter, if there is one. An error if heat or Ctrl-C ended it.
pub(super) fn train(setup: Setup, begin: Option<&Adapter>) -> Result<Ending> {
    let (mut job, notes) = setup.job(None)?;
    for note in notes {
        output::note(note);
    }
    if let Some(adapter) = begin {
        begin_with(&mut *job.learner, adapter)?;
    }
    let mut watch = Watch::new(&job.settings);
    let folder = job.folder.path().to_owned();
    let result = crate::train::run(job, &mut |line| watch.show(line));
    watch.end();
    let outcome = result?;
    conclude(&outcome, &folder)?;
    Ok(outcome.ending)
}

fn conclude(outcome: &Outcome, folder: &std::path::Path) -> Result<()> {
    match outcome.ending {
        // The newest weights are written; the best may have been others.
        Ending::Finished => {
            if let Some(best) = outcome.best.filter(|best| best.step != outcome.step) {
                output::note(format!(
                    "the lowest loss, {:.4}, was that of {}",
                    best.loss,
                    folder.join("checkpoints").join(crate::train::checkpoint::folder_name(best.step)).display()
                ));
            }
            Ok(())
        }
        Ending::Heat => Err(TooHot.into()),
        Ending::Interrupted => Err(interrupt::Interrupted.into()),
        Ending::Asked | Ending::Failed => Ok(()),
    }
}

/// The machine was too hot: all is saved and said, and the exit code is 75.
#[derive(Debug)]
pub struct TooHot;

impl TooHot {
    /// `EX_TEMPFAIL`: try again later.
    pub const EXIT_CODE: u8 = 75;
}

impl fmt::Display for TooHot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by heat")
    }
}

impl std::error::Error for TooHot {}

/// A folder under `runs` that no run has used.
fn new_folder(name: &str) -> PathBuf {
    let runs = PathBuf::from(form::RUNS);
    let free = |path: &PathBuf| !path.exists();
    let first = runs.join(name);
    if free(&first) {
        return first;
    }
    (2u32..).map(|n| runs.join(format!("{name}-{n}"))).find(free).unwrap_or(first)
}

/// The folder, locked, if it may be used.
fn open_folder(path: &std::path::Path, resume: bool) -> Result<RunFolder> {
    if !resume && crate::train::folder::holds_run(path) {
        anyhow::bail!(
            "{} already holds a run: go on with it (--resume), or choose another --output-dir",
            path.display()
        );
    }
    RunFolder::open(path)
}
