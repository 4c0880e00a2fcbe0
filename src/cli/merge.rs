//! `merge`: an adapter and its base become one model.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::eval::{Limits, Report, measure};
use super::init::write_with_copies;
use super::open::{self, BackendArg, Files};
use super::progress::bytes;
use super::quantize::copy_companions;
use super::{adapter_arg, interrupt, output};
use crate::model::checkpoint::{ErrorSums, Format, StagedFolder, Store};
use crate::model::merge::{Merged, plan};
use crate::model::quant;

/// Merge an adapter into its base: one model, that needs no adapter
///
/// Writes a new model whose matrices are those of the base with what was trained added to them (LoRA), and each row
/// brought to the length that was trained (DoRA). config.json and the tokenizer go along. Each tensor keeps the
/// format that the base stores it in, unless --format says another: into a 4-bit base the adapter is merged by
/// quantising the changed matrices anew, which costs some of what was learned; --format f16 costs nothing, and
/// memory. What the adapter does not change is copied as it is. The model is read and written in pieces.
///
/// With --data the loss is measured three times: of the base, of the base with the adapter as it was trained, and
/// of what was written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    /// A run folder, a checkpoint in one, or an adapter's file
    #[arg(value_name = "ADAPTER")]
    adapter: PathBuf,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The base, if it is not where it was when the adapter was trained
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// How weights are stored; each as in the base if not given
    #[arg(long, value_enum)]
    format: Option<MergedFormat>,
    /// Inputs that share a scale, with a 4-bit --format
    #[arg(long, value_name = "N", default_value = "64", value_parser = ["32", "64", "128"])]
    group_size: String,
    /// Measure the loss over these examples, before and after
    #[arg(long, value_name = "FILE.jsonl")]
    data: Option<PathBuf>,
    /// How many threads measure; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    backend: BackendArg,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// Replace a model that is already in the folder
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon merge runs/chats-dora --out models/mine
  bit-axon merge runs/chats-dora --out models/mine --data held-out.jsonl
  bit-axon merge runs/chats-dora --format affine4 --out models/mine-4bit
  bit-axon merge runs/chats-dora/checkpoints/step-00000500 --out models/mine-500
  bit-axon merge adapters.safetensors --model models/base --format f16 --out models/mine";

/// How a merged model is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MergedFormat {
    /// 32-bit floats
    F32,
    /// 16-bit floats for matrices
    F16,
    /// 4 bits, in even steps, as MLX has them
    Affine4,
    /// 4 bits from the NormalFloat codebook
    Nf4,
}

impl From<MergedFormat> for Format {
    fn from(format: MergedFormat) -> Self {
        match format {
            MergedFormat::F32 => Format::F32,
            MergedFormat::F16 => Format::F16,
            MergedFormat::Affine4 => Format::Affine4,
            MergedFormat::Nf4 => Format::Nf4,
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    adapter: PathBuf,
    kind: String,
    base: String,
    out: PathBuf,
    /// Matrices that changed, and tensors that were copied.
    merged: usize,
    copied: usize,
    bytes: u64,
    seconds: f64,
    /// How far what is stored is from what was computed: relative, and the largest.
    rounding: f64,
    rounding_largest: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Losses>,
}

/// Losses over the data.
#[derive(Debug, Serialize)]
struct Losses {
    base: Report,
    adapted: Report,
    merged: Report,
}

/// Merges, and tells what changed.
pub fn run(args: MergeArgs) -> Result<()> {
    let began = Instant::now();
    let group: usize = args.group_size.parse()?;
    quant::check_group(group)?;
    let mut files = open::files_with(args.model.as_deref(), Some(adapter_arg::open(&args.adapter)?))?;
    if args.data.is_some() {
        files.require_tokenizer()?;
    }
    interrupt::catch();
    let written = merge(&files, args.format.map(|format| (format.into(), group)), &args.out, args.force)?;
    let seconds = began.elapsed().as_secs_f64();
    let options = open::options(true, args.threads, args.backend);
    let loss = match &args.data {
        None => None,
        Some(data) => {
            let limits = Limits::default();
            let adapted = measure(&files, &options, data, limits)?;
            let merged = measure(&open::files(&args.out.to_string_lossy())?, &options, data, limits)?;
            let adapter = files.adapter.take();
            let base = measure(&files, &options, data, limits)?;
            files.adapter = adapter;
            Some(Losses { base, adapted, merged })
        }
    };
    let Some(adapter) = &files.adapter else { anyhow::bail!("the adapter is gone") };
    let summary = Summary {
        adapter: adapter.path().to_owned(),
        kind: adapter.to_string(),
        base: files.checkpoint.path().display().to_string(),
        out: args.out,
        merged: written.merged,
        copied: written.copied,
        bytes: written.bytes,
        seconds,
        rounding: written.rounding.relative(),
        rounding_largest: written.rounding.largest(),
        loss,
    };
    if args.json { output::json_line(&summary) } else { Ok(output::line(output::safe(&summary.text()))?) }
}

/// What `merge` wrote.
pub(super) struct Written {
    /// Tensors that the adapter changed.
    pub(super) merged: usize,
    /// Tensors that were copied byte for byte.
    pub(super) copied: usize,
    pub(super) bytes: u64,
    /// Of what is stored against what was computed.
    pub(super) rounding: ErrorSums,
}

/// Writes the merged model of files that have an adapter.
pub(super) fn merge(files: &Files, format: Option<(Format, usize)>, out: &Path, force: bool) -> Result<Written> {
    let Some(adapter) = &files.adapter else { anyhow::bail!("there is no adapter to merge") };
    let (spec, base) = (files.config.spec(), &*files.checkpoint);
    let plan = plan(base, &spec, adapter, format)?;
    if let Some((format @ (Format::Affine4 | Format::Nf4), group)) = format {
        ensure!(
            plan.jobs.iter().any(|job| !matches!(job.store, Store::Dense(_))),
            "no matrix of this model has inputs in multiples of {group}: nothing can be stored in {format}"
        );
    }
    let copies: Vec<_> = plan.copies.iter().filter_map(|name| base.info(name)).collect();
    let folder = StagedFolder::begin(out, force)?;
    copy_companions(base.folder(), &folder)?;
    let source = Merged::new(base, &spec, adapter)?;
    let mut rounding = ErrorSums::default();
    let bytes = write_with_copies(&folder, out, &source, &plan.jobs, &copies, |_, sums| rounding.merge(&sums))?;
    folder.finish()?;
    let merged = plan.jobs.iter().filter(|job| adapter.of(&job.tensor).is_some()).count();
    Ok(Written { merged, copied: copies.len(), bytes, rounding })
}

impl Summary {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "{label:<12}{value}");
        };
        line("adapter", format!("{} ({})", self.adapter.display(), self.kind));
        line("base", self.base.clone());
        line("merged", format!("{} tensors changed, {} copied as they were", self.merged, self.copied));
        if self.rounding > 0.0 {
            let (relative, largest) = (100.0 * self.rounding, self.rounding_largest);
            line("rounding", format!("{relative:.3}% of what was computed, at most {largest:.2e}"));
        }
        if let Some(loss) = &self.loss {
            line("loss", format!("{} over {} tokens", Losses::describe(&loss.base, None), loss.base.tokens));
            line("  adapted", Losses::describe(&loss.adapted, Some(&loss.base)));
            line("  merged", Losses::describe(&loss.merged, Some(&loss.adapted)));
        }
        let _ = write!(text, "\n{}: {} in {:.1} s", self.out.display(), bytes(self.bytes), self.seconds);
        text
    }
}

impl Losses {
    fn describe(report: &Report, before: Option<&Report>) -> String {
        let mut text = format!("{:.4}", report.loss);
        if let Some(before) = before {
            let _ = write!(text, " ({:+.4})", report.loss - before.loss);
        }
        if let Some(preferred) = report.preferred {
            let _ = write!(text, ", the chosen answer preferred in {:.1}%", 100.0 * preferred);
        }
        text
    }
}
