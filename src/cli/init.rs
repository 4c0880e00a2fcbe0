//! `init`: a new model with random weights.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::progress::{Progress, bytes, count};
use super::{interrupt, output};
use crate::model::checkpoint::{self, ErrorSums, Format, Job, Source, StagedFolder, TensorInfo, plan_new};
use crate::model::config::{Config, PRESETS};
use crate::model::init::RandomWeights;
use crate::model::tensors::parameters;
use crate::model::tokenizer::{Tokenizer, byte_level};

/// Make a new model with random weights
///
/// Writes a folder with config.json, model.safetensors and a tokenizer: a model that can be run,
/// measured and trained at once, though it has learned nothing yet. The same seed gives the same
/// weights. Nothing is left behind if it fails or is stopped.
///
/// Presets: `small` (7.6 M parameters) for trying things out, `medium` (1.5 B), `3b` (3.2 B, 1.5 B of
/// them for each token), `python-0.1` (5.8 B, the defaults of the public Python code).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Shape of the model
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS))]
    preset: String,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How weights are stored
    #[arg(long, value_enum, default_value = "f32")]
    format: FormatArg,
    /// Seed of the random weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A tokenizer.json to use (and the files beside it), instead of one token for each byte
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Replace a model that is already in the folder
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon init --preset small --out models/small
  bit-axon init --preset 3b --format affine4 --out models/3b
  bit-axon init --preset medium --format f16 --tokenizer tokenizer.json --out models/mine

Sizes of 3b: f32 12.9 GB, f16 6.4 GB, affine4 1.9 GB, nf4 1.8 GB.";

/// How weights are stored.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArg {
    /// 32-bit floats
    F32,
    /// 16-bit floats for matrices
    F16,
    /// 4 bits a weight, a scale and a bias for every 64
    Affine4,
    /// 4 bits a weight from the NormalFloat codebook, a scale for every 64
    Nf4,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::F32 => Format::F32,
            FormatArg::F16 => Format::F16,
            FormatArg::Affine4 => Format::Affine4,
            FormatArg::Nf4 => Format::Nf4,
        }
    }
}

/// Inputs that share a scale in new models.
pub(super) const GROUP: usize = 64;

/// Writes the model.
pub fn run(args: InitArgs) -> Result<()> {
    let config = Config::preset(&args.preset)?;
    let (spec, format) = (config.spec(), Format::from(args.format));
    let tokenizer = tokenizer_files(args.tokenizer.as_deref(), config.vocab_size)?;

    interrupt::catch();
    let folder = StagedFolder::begin(&args.out, args.force)?;
    folder.put("config.json", format!("{}\n", serde_json::to_string_pretty(&config)?).as_bytes())?;
    for (name, contents) in &tokenizer {
        folder.put(name, contents)?;
    }
    let jobs = plan_new(&spec, format, GROUP)?;
    let written = write_weights(&folder, &args.out, &RandomWeights::new(&spec, args.seed), &jobs, |_, _| {})?;
    folder.finish()?;

    let (total, active) = parameters(&spec);
    output::line(format_args!(
        "{}: {} in {format}, {} parameters ({} for each token), {}",
        output::safe(&args.out.display().to_string()),
        args.preset,
        count(total),
        count(active),
        bytes(written)
    ))?;
    Ok(())
}

/// Names and contents of the tokenizer's files: those given, once they were found to fit the model,
/// or new ones.
pub(super) fn tokenizer_files(given: Option<&Path>, vocabulary: usize) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(given) = given else {
        let files =
            [("tokenizer.json", byte_level::tokenizer_json()), ("tokenizer_config.json", byte_level::config_json())];
        return Ok(files.map(|(name, text)| (name.to_owned(), text.into_bytes())).into());
    };
    let file = if given.is_dir() { given.join("tokenizer.json") } else { given.to_owned() };
    let fits = |tokenizer: Tokenizer| tokenizer.check_fits(vocabulary);
    Tokenizer::open(&file)
        .and_then(fits)
        .with_context(|| format!("the tokenizer {} cannot be used with this preset", file.display()))?;
    let mut files = vec![("tokenizer.json".to_owned(), read(&file)?)];
    for name in COMPANIONS.iter().filter(|name| **name != "tokenizer.json") {
        let beside = file.with_file_name(name);
        if beside.is_file() {
            files.push(((*name).to_owned(), read(&beside)?));
        }
    }
    Ok(files)
}

/// Files that belong to a model beside its weights and its config.json.
pub(super) const COMPANIONS: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
];

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes model.safetensors with all threads, showing how far it is and stopping at Ctrl-C. `done`
/// is told the error of each piece. Gives the bytes written.
pub(super) fn write_weights(
    folder: &StagedFolder,
    out: &Path,
    source: &dyn Source,
    jobs: &[Job],
    mut done: impl FnMut(&Job, ErrorSums),
) -> Result<u64> {
    write_with_copies(folder, out, source, jobs, &[], |job, sums| job.map_or((), |job| done(job, sums)))
}

/// The same, with tensors that are copied as they are.
pub(super) fn write_with_copies(
    folder: &StagedFolder,
    out: &Path,
    source: &dyn Source,
    jobs: &[Job],
    copies: &[TensorInfo<'_>],
    mut done: impl FnMut(Option<&Job>, ErrorSums),
) -> Result<u64> {
    const NAME: &str = "model.safetensors";
    let copied: u64 = copies.iter().map(|t| t.data.len() as u64).sum();
    let total = copied + jobs.iter().map(Job::bytes).sum::<u64>();
    let mut progress = Progress::new(Some(total));
    progress.begin(NAME, 0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let file = BufWriter::new(folder.create(NAME)?);
    let result = checkpoint::write_with_copies(file, source, jobs, copies, threads, &mut |job, bytes, error| {
        interrupt::check()?;
        progress.add(bytes);
        done(job, error);
        Ok(())
    });
    progress.clear();
    let written = result.and_then(|mut file| Ok(file.flush()?));
    written.with_context(|| format!("cannot write {}; nothing was left there", out.join(NAME).display()))?;
    Ok(total)
}
