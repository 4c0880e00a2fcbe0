//! `quantize`: a model in 4 bits.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::init::{COMPANIONS, read, write_weights};
use super::progress::bytes;
use super::{interrupt, model_arg, output};
use crate::backend::cpu::learn::FourBits;
use crate::model::checkpoint::{Checkpoint, Dtype, ErrorSums, Format, Source, StagedFolder, Store, plan_quantised};
use crate::model::config::Config;
use crate::model::quant;
use crate::model::tensors::{TensorSpec, role};

/// Store a model's matrices in 4 bits
///
/// Reads a model in f32, f16 or bf16 and writes it anew: every matrix whose inputs fill whole groups
/// in 4 bits, the embedding table in f16, the rest as it was; config.json and the tokenizer go along.
/// The model is read and written in pieces, so that it need not fit in memory. Nothing is left
/// behind if it fails or is stopped.
///
/// At the end it tells how far the stored weights are from the original ones, for each kind of
/// tensor: the relative error is the root mean square of the differences, divided by that of the
/// weights.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct QuantizeArgs {
    /// A model in f32, f16 or bf16: a folder, a .safetensors file, or a hub name such as owner/name
    #[arg(value_name = "IN")]
    model: String,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How 4 bits stand for a weight
    #[arg(long, value_enum)]
    format: FourBits,
    /// Inputs that share a scale: fewer are more exact, and take more space
    #[arg(long, value_name = "N", default_value = "64", value_parser = ["32", "64", "128"])]
    group_size: String,
    /// Print the errors as JSON
    #[arg(long)]
    json: bool,
    /// Replace a model that is already in the folder
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon quantize models/mine --format affine4 --out models/mine-4bit
  bit-axon quantize owner/name --format nf4 --group-size 32 --out models/name-nf4
  bit-axon quantize models/mine --format affine4 --out models/mine-4bit --json | jq .kinds";

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    out: PathBuf,
    pub(super) format: String,
    group_size: usize,
    pub(super) bytes: u64,
    seconds: f64,
    kinds: Vec<KindError>,
}

/// Error of all tensors of one kind.
#[derive(Debug, Serialize)]
struct KindError {
    kind: String,
    stored: String,
    tensors: usize,
    values: u64,
    relative_error: f64,
    largest_error: f32,
}

/// Quantises, and tells the errors.
pub fn run(args: QuantizeArgs) -> Result<()> {
    let group: usize = args.group_size.parse()?;
    let checkpoint = Checkpoint::open(&model_arg::resolve(&args.model)?)?;
    interrupt::catch();
    let summary = quantise(&checkpoint, args.format.into(), group, &args.out, args.force)?;
    if args.json { output::json_line(&summary) } else { Ok(output::line(summary.text())?) }
}

/// Writes a model in 4 bits.
pub(super) fn quantise(
    checkpoint: &Checkpoint,
    format: Format,
    group: usize,
    out: &Path,
    force: bool,
) -> Result<Summary> {
    let began = Instant::now();
    quant::check_group(group)?;
    let spec = Config::read(&checkpoint.folder().join("config.json"))?.spec();
    refuse_quantised(checkpoint)?;
    checkpoint.ensure_fits(&spec)?;
    let stored = |t: &TensorSpec| checkpoint.info(&t.name).and_then(|info| info.dtype.float());
    let jobs = plan_quantised(&spec, format, group, stored)?;
    if !jobs.iter().any(|job| !matches!(job.store, Store::Dense(_))) {
        bail!(
            "no matrix of {} has inputs in multiples of {group}: nothing can be quantised",
            checkpoint.path().display()
        );
    }

    let folder = StagedFolder::begin(out, force)?;
    copy_companions(checkpoint.folder(), &folder)?;
    let mut errors: BTreeMap<String, (ErrorSums, BTreeMap<String, Store>)> = BTreeMap::new();
    let source = Forgetful { checkpoint };
    let written = write_weights(&folder, out, &source, &jobs, |job, sums| {
        let (kind, tensors) = errors.entry(role(&job.tensor.name)).or_default();
        kind.merge(&sums);
        tensors.insert(job.tensor.name.clone(), job.store);
    })?;
    folder.finish()?;

    let kinds = errors.into_iter().map(|(kind, (sums, tensors))| KindError {
        kind,
        stored: tensors.values().next().map(Store::to_string).unwrap_or_default(),
        tensors: tensors.len(),
        values: sums.values(),
        relative_error: sums.relative(),
        largest_error: sums.largest(),
    });
    Ok(Summary {
        format: format.to_string(),
        group_size: group,
        bytes: written,
        seconds: began.elapsed().as_secs_f64(),
        // What is stored as it was has no error.
        kinds: kinds.filter(|kind| kind.largest_error > 0.0).collect(),
        out: out.to_owned(),
    })
}

impl Summary {
    fn text(&self) -> String {
        let mut text = format!("{:<28} {:>7}  {:<11} {:>9} {:>14}\n", "kind", "tensors", "stored", "error", "largest");
        for kind in &self.kinds {
            let relative = format!("{:.3}%", 100.0 * kind.relative_error);
            let _ = writeln!(
                text,
                "{:<28} {:>7}  {:<11} {relative:>9} {:>14.3e}",
                kind.kind, kind.tensors, kind.stored, kind.largest_error
            );
        }
        let out = self.out.display().to_string();
        let _ = write!(text, "\n{}: {} in {:.1} s", output::safe(&out), bytes(self.bytes), self.seconds);
        text
    }
}

fn refuse_quantised(checkpoint: &Checkpoint) -> Result<()> {
    let codes = checkpoint.tensors().find(|t| t.dtype == Dtype::U32);
    ensure!(
        codes.is_none(),
        "{} is in 4 bits already (its tensor `{}` holds codes): quantise the model that it was made from",
        checkpoint.path().display(),
        codes.map(|t| crate::model::checkpoint::printable(t.name)).unwrap_or_default()
    );
    Ok(())
}

/// The settings and the tokenizer, byte for byte.
pub(super) fn copy_companions(from: &Path, to: &StagedFolder) -> Result<()> {
    for name in ["config.json"].iter().chain(&COMPANIONS) {
        let path = from.join(name);
        if path.is_file() {
            to.put(name, &read(&path)?)?;
        }
    }
    Ok(())
}

/// A checkpoint that is read once, from front to back: the pages behind need not stay in memory.
struct Forgetful<'a> {
    checkpoint: &'a Checkpoint,
}

impl Source for Forgetful<'_> {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        self.checkpoint.fill(t, first, out);
        self.checkpoint.forget(&t.name);
    }
}
