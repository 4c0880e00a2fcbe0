//! `bench`: what this machine can do, and how near the model comes to it.

mod machine;
mod model;
mod report;
mod subject;
mod training;

use anyhow::Result;
use clap::Args;

use super::{open, output};

/// Measure this machine, and how near a model comes to it
///
/// First the machine: the rate at which memory is read, of f32 matrix products and of int8 dot
/// products, with the threads that will run the model. Then the model: decoding (tokens a second, the
/// bytes of weights that each reads, and which part of the memory's rate that is), reading prompts of
/// 128 to 4096 tokens, memory at each context length, what the routing tap costs, and how long it takes
/// to keep a state and to return to an earlier token. Machines are noisy: each figure is a median, and
/// shares are taken between neighbours in time.
///
/// A few minutes for a large model, seconds for a small one; --long goes on to the full context.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[arg(long, help = super::model_arg::HELP)]
    model: String,
    /// Measure training instead: tokens a second and memory with adapters and, for small models, of all
    /// parameters
    #[arg(long, conflicts_with = "long")]
    train: bool,
    /// Go on to contexts of up to 64K tokens (a quarter of an hour for 3b on two cores)
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    compute: open::Compute,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon bench --model models/small
  bit-axon bench --model models/3b --json > bench.json
  bit-axon bench --model models/3b --long --kv q8
  bit-axon bench --model models/small --train
  BIT_AXON_SIMD=avx2 bit-axon bench --model models/small";

/// Runs the command.
pub fn run(args: BenchArgs) -> Result<()> {
    let options = args.compute.options();
    let opening = std::time::Instant::now();
    let files = open::files(&args.model)?;
    if args.train {
        return training::run(files, &options, args.json);
    }
    let mut subject = subject::Subject::open(&files, &options)?;
    let first_token_s = model::first_token(subject.backend(), opening)?;
    let bench = model::Bench { subject, long: args.long, quiet: args.json };
    let report = bench.measure(&files.name, first_token_s)?;
    if args.json { output::json_line(&report) } else { Ok(()) }
}
