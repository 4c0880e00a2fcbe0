//! Which model `run` opens, and how.

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::backend::cpu::{KvFormat, Options};
use crate::cli::{model_arg, open};
use crate::engine::Loaded;
use crate::model::checkpoint::{Format, StagedFolder, plan_new, write_tensors};
use crate::model::config::Config;
use crate::model::init::RandomWeights;
use crate::model::tokenizer::byte_level;

/// Which model, and how it computes.
#[derive(Debug, Clone, Default, Args)]
pub struct OpenArgs {
    #[arg(long, short, help = model_arg::HELP, long_help = format!("{}; the built-in one if not given", model_arg::HELP))]
    pub(in crate::cli) model: Option<String>,
    /// Use exact arithmetic, in 32-bit floats, instead of the fast one
    #[arg(long)]
    pub(in crate::cli) exact: bool,
    /// How many threads to use; all cores if not given
    #[arg(long, value_name = "N")]
    pub(in crate::cli) threads: Option<NonZeroUsize>,
    /// How keys and values are kept: q8 takes half the memory of f16 (exact arithmetic keeps f32)
    #[arg(long, value_name = "FORMAT", conflicts_with = "exact")]
    pub(in crate::cli) kv: Option<Kv>,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kv {
    /// 16-bit floats
    F16,
    /// 8-bit integers with scales
    Q8,
}

/// Opens the model that is meant.
pub fn open(args: &OpenArgs) -> Result<Loaded> {
    let kv = args.kv.map(|kv| match kv {
        Kv::F16 => KvFormat::F16,
        Kv::Q8 => KvFormat::Q8,
    });
    let options = Options { kv, ..open::options(args.exact, args.threads) };
    match &args.model {
        Some(model) => open::loaded(open::files(model)?, &options),
        None => built_in(&options).context("cannot make the built-in model"),
    }
}

/// Until a trained model is part of the program: a small one with random weights, always the same.
///
/// It is written and opened like any other. Its files are mapped and no longer needed by name, so
/// the folder goes when this returns.
fn built_in(options: &Options) -> Result<Loaded> {
    let folder = tempfile::tempdir().context("cannot make a folder for it")?;
    let out = folder.path().join("built-in");
    let config = Config::preset("small")?;
    let staged = StagedFolder::begin(&out, false)?;
    staged.put("config.json", serde_json::to_string(&config)?.as_bytes())?;
    staged.put("tokenizer.json", byte_level::tokenizer_json().as_bytes())?;
    staged.put("tokenizer_config.json", byte_level::config_json().as_bytes())?;
    let jobs = plan_new(&config.spec(), Format::Affine4, 64)?;
    let file = BufWriter::new(staged.create("model.safetensors")?);
    let weights = RandomWeights::new(&config.spec(), 0);
    write_tensors(file, &weights, &jobs, 1, &mut |_, _, _| Ok(()))?.flush()?;
    staged.finish()?;
    let path = out.to_str().context("the folder for temporary files has no readable name")?;
    let mut loaded = open::loaded(open::files(path)?, options)?;
    loaded.info.name = "built-in model, random weights (it says nothing sensible)".into();
    Ok(loaded)
}
