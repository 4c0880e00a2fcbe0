//! `sessions export --routing`: which experts a session or a trace took, without a screen.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::app::export::{Format, Sheet};
use crate::app::replay::{Place, Start};
use crate::app::state::Measure;
use crate::cli::output;
use crate::session::{self, Store};
use crate::whole;

#[derive(Debug, Args)]
pub(super) struct Routing {
    /// Write how the tokens loaded the experts of every layer: csv has a row for each expert, jsonl a line for each
    /// layer with the pairs of experts chosen together, svg is the heatmap. A file that is there is not overwritten
    #[arg(long, value_name = "FORMAT")]
    routing: Option<Kind>,
    /// With --routing: this answer alone, by its number in `--format json`
    #[arg(long, value_name = "N", requires = "routing", conflicts_with = "format")]
    message: Option<usize>,
    /// With --routing svg: colour by how often experts were chosen, not by their mean weights
    #[arg(long, requires = "routing", conflicts_with = "format")]
    choices: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Rows
    Csv,
    /// JSON lines
    Jsonl,
    /// A picture
    Svg,
}

impl Routing {
    pub(super) fn export(&self, store: Result<Store>, id: &str, out: Option<&Path>) -> Result<()> {
        let path = super::file_or_session(store, id)?;
        let recording = session::replay::load(&path)?;
        recording.notes.iter().for_each(output::note);
        let mut app =
            App::replaying(recording, Start { paused: true, from: Some(Place::Share(1.0)), ..Start::default() });
        if self.choices {
            app.look.measure = Measure::Choices;
        }
        let sheet = match self.message {
            None => Sheet::of_session(&app),
            Some(message) => Sheet::of_answer(&app, message)
                .with_context(|| format!("message {message} of {} is no answer with tokens", path.display()))?,
        };
        ensure!(!sheet.is_empty(), "{} holds no routing", path.display());
        let text = sheet.write(match self.routing {
            Some(Kind::Svg) => Format::Svg,
            Some(Kind::Jsonl) => Format::Jsonl,
            _ => Format::Csv,
        });
        let Some(out) = out else { return Ok(output::foreign(&text)?) };
        if !whole::write_new(out, text.as_bytes())? {
            bail!("{} is there already and stays as it is: say another name", out.display());
        }
        Ok(())
    }
}
