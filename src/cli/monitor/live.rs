//! The runs in the workbench, as they grow.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;

use crate::app::App;
use crate::app::state::View;
use crate::cli::Usage;
use crate::cli::look;
use crate::cli::settings::{self, Own};
use crate::config::Places;
use crate::engine;
use crate::metrics::Axis;
use crate::monitor::Watch;
use crate::run::layouts;
use crate::run::store::MemoryStore;
use crate::run::{self, Sensors, Setup, Watched};
use crate::term;

/// What the command line says of the view.
pub(super) struct Wishes {
    pub(super) paths: Vec<PathBuf>,
    pub(super) filter: Option<String>,
    pub(super) metric: Option<String>,
    pub(super) axis: Option<Axis>,
    /// Without what was arranged before.
    pub(super) fresh: bool,
    pub(super) on_alert: Option<String>,
}

/// Refuses where there is no screen, before anything is read. Where a log comes through standard input, keys come
/// from the terminal itself.
pub(super) fn check(piped: bool) -> Result<()> {
    let behind_a_pipe = || io::stdout().is_terminal() && File::open("/dev/tty").is_ok();
    let there = if piped { behind_a_pipe() } else { term::is_there() };
    if there {
        return Ok(());
    }
    let instead =
        "the live view needs a terminal; without one use --once for a summary, --once --json for programs, or --export";
    Err(Usage(instead.into()).into())
}

/// Shows the runs until the user leaves.
pub(super) fn show(watch: Watch, wishes: Wishes) -> Result<()> {
    let Own { settings, themes, .. } = settings::load()?;
    let ui = &settings.ui;
    let theme = themes.theme(&ui.theme, run::color_depth(&ui.colours), ui.ascii);
    let theme = theme.map_err(|why| Usage(format!("{why:#}")))?;
    // Nothing is asked of a model here; the chat says so if someone goes there.
    let opening = engine::spawn(|| Err(anyhow!("monitor opens no model; `bit-axon chat` does")));
    let (_, facts) = oneshot::channel();
    let mut app = App::new("no model");
    app.view = View::Training;
    look::dress_training(&mut app, &settings, &themes)?;
    let names: Vec<String> = wishes.paths.iter().map(|path| path.display().to_string()).collect();
    app.training.source = names.join(", ");
    let layout = layout(&wishes.paths);
    let arranged = layout.as_deref().filter(|_| !wishes.fresh).and_then(layouts::read);
    arranged.into_iter().for_each(|text| app.training.wear(&text));
    // What the command line says counts more.
    app.training.axis = wishes.axis.unwrap_or(app.training.axis);
    let runs = wishes.filter.unwrap_or_else(|| app.training.run_filter.clone());
    let metrics = wishes.metric.unwrap_or_else(|| app.training.metric_filter.clone());
    app.training.wish(&runs, &metrics).map_err(Usage)?;
    let folder = wishes.paths.iter().find(|path| path.exists()).map_or(Path::new("."), PathBuf::as_path).to_owned();
    run::run(Setup {
        app,
        theme,
        themes,
        frame: Duration::from_secs_f64(1.0 / settings.ui.text_fps),
        opening: Some(opening),
        facts,
        store: Box::new(MemoryStore::default()),
        mouse: settings.ui.mouse,
        slow_link: settings.ui.slow_link,
        sensors: Some(Sensors {
            sensor: settings.heat.sensor,
            interval: settings.heat.interval,
            limits: settings.heat.limits,
        }),
        watched: Some(Watched { watch, on_alert: wishes.on_alert, folder, layout }),
        trainer: None,
        first: Vec::new(),
    })
    .map(drop)
}

/// The file that keeps how these are looked at, beside the sessions of the user; none where there is no home.
fn layout(paths: &[PathBuf]) -> Option<PathBuf> {
    let sessions = Places::new(&|name| std::env::var_os(name)).sessions?;
    Some(layouts::file(&sessions.with_file_name("monitor"), paths))
}
