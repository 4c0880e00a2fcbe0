//! `download`: a model from the Hugging Face hub.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::hub::{RepoId, Settings, fetch};
use super::output;

/// Download a model from the Hugging Face hub
///
/// Fetches the weights (*.safetensors), settings (*.json), tokenizer and chat template of a model
/// into the cache that the hub's Python tools share, and prints the folder they are in. A download
/// that was broken off goes on where it stopped; every file is checked when it is complete.
///
/// HF_ENDPOINT names another hub, HF_HOME or HF_HUB_CACHE another cache, HF_TOKEN (or the file that
/// `hf auth login` writes) opens gated models, and HF_HUB_OFFLINE=1 forbids the network.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DownloadArgs {
    /// Name of the model on the hub: owner/name
    #[arg(value_name = "REPO")]
    repo: RepoId,
    /// Put plain files into this folder instead of the shared cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A branch, a tag or a commit
    #[arg(long, value_name = "R", default_value = "main")]
    revision: String,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon download owner/name
  bit-axon download owner/name --out models/name
  bit-axon download owner/name --revision v1.0
  HF_ENDPOINT=https://hub.example.org bit-axon download owner/name
  bit-axon run \"Hello\" --model owner/name      Downloads it too, if it must";

/// Downloads, and prints the folder.
pub fn run(args: DownloadArgs) -> Result<()> {
    let settings = Settings::from_env()?;
    let folder = fetch::download(&settings, &args.repo, &args.revision, args.out.as_deref())
        .with_context(|| format!("cannot download {}", args.repo))?;
    Ok(output::line(output::safe(&folder.display().to_string()))?)
}
