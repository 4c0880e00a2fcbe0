//! Which model `run` opens, and how.

use anyhow::Result;
use clap::Args;

use crate::cli::adapter_arg::AdapterArg;
use crate::cli::open::{self, Compute};
use crate::cli::{built_in, model_arg};
use crate::config::Settings;
use crate::engine::Loaded;

/// Which model, and how it computes.
#[derive(Debug, Clone, Default, Args)]
pub struct OpenArgs {
    #[arg(long, short, help = model_arg::HELP, long_help = format!("{}; the built-in one if not given", model_arg::HELP))]
    model: Option<String>,
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    compute: Compute,
}

impl OpenArgs {
    /// From now on what is not given comes from the settings.
    pub(super) fn fill(&mut self, settings: &Settings) {
        // An adapter brings its model along.
        let default = settings.model.default.as_ref().filter(|_| !self.adapter.is_given());
        self.model = self.model.take().or(default.cloned());
        self.compute.fill(settings);
    }
}

/// Opens the model that is meant.
pub fn open(args: &OpenArgs) -> Result<Loaded> {
    let options = args.compute.options();
    let adapter = args.adapter.open()?;
    if args.model.is_none() && adapter.is_none() {
        return built_in::loaded(&options);
    }
    open::loaded(open::files_with(args.model.as_deref(), adapter)?, &options)
}
