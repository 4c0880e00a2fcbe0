//! `inspect`: what a model is, how much memory it will need, and what is wrong with it.

mod report;
mod text;

use anyhow::{Result, bail};
use clap::Args;

use super::{model_arg, output};
use crate::model::checkpoint::Checkpoint;
use report::Report;
#[cfg(feature = "hub")]
pub(super) use text::layers;

/// Show what a model is made of, and whether it can be used
///
/// Tells the kinds of layers, the parameters counted from the tensors themselves, how each kind of
/// tensor is stored, its size on disk, and the memory that it will need at 4K, 16K and 64K tokens of
/// context. Says what is missing, unexpected or misshapen; ends with code 1 if the model cannot be
/// used because of it.
///
/// Only the files' headers are read, unless --deep asks for all values to be searched for
/// infinities and NaN.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// A folder, a .safetensors file, or a hub name such as owner/name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// List every tensor with its format and shape
    #[arg(long)]
    tensors: bool,
    /// Read all values and search them for infinities and NaN
    #[arg(long)]
    deep: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon inspect models/small
  bit-axon inspect owner/name --deep
  bit-axon inspect models/3b --json | jq .parameters";

/// Prints the report.
pub fn run(args: InspectArgs) -> Result<()> {
    let checkpoint = Checkpoint::open(&model_arg::resolve(&args.model)?)?;
    let report = Report::of(&checkpoint, args.deep);
    if args.json {
        output::json_line(&report)?;
    } else {
        output::line(output::safe(text::write(&report, args.tensors).trim_end()))?;
    }
    if !report.usable {
        bail!("{} cannot be used: {}", checkpoint.path().display(), report.reason());
    }
    Ok(())
}
