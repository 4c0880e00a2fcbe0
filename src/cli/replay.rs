//! `replay`: a recording in the panes of the workbench, without a model.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use tokio::sync::oneshot;

use super::Usage;
use super::look::{self, Look};
use super::settings::{self, Own};
use crate::app::App;
use crate::app::replay::{Place, Start, parse_speed};
use crate::run::store::MemoryStore;
use crate::run::{self, Setup};
use crate::session::{self, Store};
use crate::term;

/// Play a session or a trace in the workbench, without a model
///
/// Shows what happened as it happened: the chat token by token, the routing of every layer, heat and
/// memory as far as they were recorded. It plays at its own pace or in steps, forwards and backwards;
/// answers can be walked token by token, compared and searched. Space plays and stops, arrows step by
/// token, `[` and `]` by message, < and > change the speed, 0 to 9 go to that tenth, L loops; F1 shows all
/// keys. Nothing is written to the file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A session file, the output of `bit-axon trace`, or the ID of a saved session (`latest`)
    file: String,
    /// Play this many times as fast as it was made: 1/16 (0.0625) to 64
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_speed)]
    speed: f64,
    /// Wait at the beginning for a key
    #[arg(long)]
    paused: bool,
    /// Begin here: 120 for the 120th token, 40% or 1:30 for a time, start or end
    #[arg(long, value_name = "PLACE", value_parser = |text: &str| text.parse::<Place>())]
    from: Option<Place>,
    /// Begin again at the end
    #[arg(long = "loop")]
    looped: bool,
    /// Look for IDs in this folder
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    look: Look,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon replay sessions/pico-chat.jsonl
  bit-axon replay latest --speed 4
  bit-axon replay tour.jsonl --paused --from 40%
  bit-axon trace --model models/mine --file story.txt > story.trace.jsonl
  bit-axon replay story.trace.jsonl --loop

Without a terminal, use `bit-axon sessions show FILE` for the text of a session, `bit-axon sessions export FILE` for
all of it; a trace is JSON lines already.";

/// Reads the recording and plays it.
pub fn run(mut args: ReplayArgs) -> Result<()> {
    let Own { mut settings, themes, .. } = settings::load()?;
    args.look.fill(&mut settings);
    let ui = &settings.ui;
    let theme = themes.theme(&ui.theme, run::color_depth(&ui.colours), ui.ascii);
    let theme = theme.map_err(|why| Usage(format!("{why:#}")))?;
    let store = args.folder.map_or_else(Store::of_the_user, |folder| Ok(Store::new(folder)));
    let path = super::sessions::file_or_session(store, &args.file)?;
    let recording = session::replay::load(&path)?;
    let (messages, tokens) = session::replay::size(&recording);
    ensure!(messages + tokens > 0, "there is nothing to play in {}: no message was saved in it", path.display());
    if !term::is_there() {
        let instead = "a recording is played on a terminal, for its screen and its keys; without one `bit-axon sessions \
                       show FILE` prints the text of a session and `bit-axon sessions export FILE --format json \
                       --tokens` all of it (a trace is JSON lines already)";
        return Err(Usage(instead.into()).into());
    }
    let start = Start { speed: Some(args.speed), paused: args.paused, from: args.from, looped: args.looped };
    let mut app = App::replaying(recording, start);
    look::dress(&mut app, &settings, &themes)?;
    // Nobody sends facts of a model: there is none.
    let (_, facts) = oneshot::channel();
    run::run(Setup {
        app,
        theme,
        themes,
        frame: Duration::from_secs_f64(1.0 / settings.ui.text_fps),
        opening: None,
        facts,
        store: Box::new(MemoryStore::default()),
        mouse: settings.ui.mouse,
        slow_link: settings.ui.slow_link,
        sensors: None,
        watched: None,
        trainer: None,
        first: Vec::new(),
    })?;
    Ok(())
}
