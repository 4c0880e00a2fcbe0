//! How a command that runs a model is told which one, and how to run it.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

/// Which model, and how it computes.
#[derive(Debug, Clone, Default, Args)]
pub struct OpenArgs {
    /// The built-in model if not given; else a folder, a .safetensors file, or a hub name such as owner/name
    #[arg(long, short)]
    pub model: Option<String>,
    /// Use exact arithmetic, in 32-bit floats, instead of the fast one
    #[arg(long)]
    pub exact: bool,
    /// How many threads to use; all cores if not given
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// How keys and values are kept: q8 takes half the memory of f16 (exact arithmetic keeps f32)
    #[arg(long, value_name = "FORMAT", conflicts_with = "exact")]
    pub kv: Option<Kv>,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kv {
    /// 16-bit floats.
    F16,
    /// 8-bit integers with scales.
    Q8,
}
