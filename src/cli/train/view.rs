//! A run in the workbench's view of training runs: the run on a thread of its own, the screen on this one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use super::conclude;
use super::setup::Setup as Run;
use super::watch::Watch;
use crate::app::App;
use crate::app::state::View;
use crate::app::training::Side;
use crate::cli::look;
use crate::cli::settings::{self, Own};
use crate::cli::{Usage, interrupt, output};
use crate::engine;
use crate::metrics::Axis;
use crate::monitor::{Format, Options, Watch as Reader};
use crate::run::store::MemoryStore;
use crate::run::{self, Setup, Trainer, Watched};
use crate::train::Outcome;

/// Trains, and shows it until it ends or the user leaves; then lines follow.
pub(super) fn show(setup: Run) -> Result<()> {
    let own = settings::load()?;
    interrupt::catch();
    let watch = Arc::new(Mutex::new(Watch::silent(&setup.settings)));
    let (begun, beginning) = mpsc::channel();
    let (controls, asked) = mpsc::channel();
    let (end, ended) = oneshot::channel::<()>();
    let over = Arc::new(AtomicBool::new(false));
    let (lines, ended_now) = (watch.clone(), over.clone());
    let name = setup.files.name.clone();
    let work = move || -> Result<Outcome> {
        // Nobody is told anything while this is dropped with the thread: that is how its end is known.
        let _end = end;
        let (job, notes) = setup.job(Some(asked))?;
        let mut beginning = Some((begun, job.folder.path().to_owned(), job.folder.metrics(), notes));
        let result = crate::train::run(job, &mut |line| {
            guard(&lines).show(line);
            // What there is to read is that of this run from its first line on.
            if let Some((begun, folder, metrics, notes)) = beginning.take() {
                let _ = begun.send((folder, metrics, notes));
            }
        });
        ended_now.store(true, Ordering::Release);
        result
    };
    let trainer = thread::Builder::new().name("train".into()).spawn(work).context("cannot start the training")?;
    let Ok((folder, metrics, notes)) = beginning.recv() else {
        return join(trainer).map(drop);
    };
    notes.into_iter().for_each(output::note);
    let shown = workbench(
        own,
        &name,
        &folder,
        &metrics,
        run::Own { folder: folder.clone(), controls, interrupt: interrupt::raise, ended },
    );
    // The screen's handlers of signals are still there: from here on Ctrl-C has its usual meaning.
    if interrupt::came() {
        interrupt::end_next()
    } else {
        interrupt::catch()
    }
    if let Err(error) = &shown {
        output::note(format!("the view ended ({error:#}); the training goes on"));
    }
    if !over.load(Ordering::Acquire) && !interrupt::came() {
        let folder = folder.display();
        output::note("the view is closed and the training goes on; Ctrl-C saves and ends");
        output::note(format!("`bit-axon monitor {folder}` shows it, `bit-axon` and F5 steer it"));
    }
    guard(&watch).speak();
    let result = join(trainer);
    guard(&watch).end();
    conclude(&result?, &folder)
}

fn guard(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(trainer: thread::JoinHandle<Result<Outcome>>) -> Result<Outcome> {
    // What it said of its panic was printed by then.
    trainer.join().unwrap_or_else(|_| Err(anyhow!("the training broke off; `bit-axon train --resume` goes on")))
}

fn workbench(own: Own, name: &str, folder: &Path, metrics: &Path, trainer: run::Own) -> Result<()> {
    let Own { settings, themes, .. } = own;
    let ui = &settings.ui;
    let theme = themes.theme(&ui.theme, run::color_depth(&ui.colours), ui.ascii);
    let theme = theme.map_err(|why| Usage(format!("{why:#}")))?;
    let options = Options { format: Some(Format::BitAxon), ..Options::default() };
    let watch = Reader::open(&[metrics.to_owned()], &options)?;
    // The model is being trained; the chat says so if someone goes there.
    let opening = engine::spawn(|| Err(anyhow!("this window trains; `bit-axon chat` opens a model to talk with")));
    let (_, facts) = oneshot::channel();
    let mut app = App::new("no model");
    app.view = View::Training;
    look::dress_training(&mut app, &settings, &themes)?;
    let t = &mut app.training;
    t.source = format!("{name} in {}", folder.display());
    (t.steering.allowed, t.steering.own) = (true, Some(folder.display().to_string()));
    // Everything on one axis of time, pauses included; the noise of single steps behind a smoothed curve.
    (t.axis, t.smoothing, t.side) = (Axis::Relative, SMOOTHING, Side::Run);
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
        // The trainer itself feels the temperature, and its metrics say it.
        sensors: None,
        watched: Some(Watched { watch, on_alert: None, folder: folder.to_owned(), layout: None }),
        trainer: Some(Trainer { runs: PathBuf::from(super::form::RUNS), own: Some(trainer) }),
        first: Vec::new(),
    })
    .map(drop)
}

/// Columns over which curves are smoothed at first.
const SMOOTHING: u32 = 4;
