//! From options and files to a run that can begin: every mistake is found before anything is computed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::open::{self, Files};
use super::super::{Usage, interrupt, output};
use super::{learner, new_folder, open_folder};
use crate::model::template::ChatTemplate;
use crate::protocol::{SensorState, TrainControl};
use crate::telemetry::SamplerOptions;
use crate::train::checkpoint::{self, Identity, State};
use crate::train::data::{Encoder, Fed, Feed, Part, Place, Shape, Source, Unit, Units};
use crate::train::folder::settings_path;
use crate::train::settings::{Given, Method, Settings};
use crate::train::{Controls, Job, World};

/// How long a sensor that is required may take to answer.
const SENSOR_PATIENCE_S: f64 = 5.0;

/// How long one that is not may take before the first step is made without it.
const SENSOR_HEAD_START_S: f64 = 0.3;

/// Everything that was asked for, opened and checked.
pub(in crate::cli) struct Setup {
    pub(super) settings: Settings,
    pub(super) resume: bool,
    pub(super) files: Files,
    pub(super) source: Source,
    pub(super) part: Part,
    pub(super) encoder: Encoder,
    pub(super) output_dir: PathBuf,
    /// The command that goes on with it.
    pub(in crate::cli) go_on: String,
}

impl Setup {
    pub(in crate::cli) fn new(given: Given, config: Option<&Path>, resume: bool) -> Result<Self> {
        let (mut settings, saved, chosen) = layered(given, config, resume)?;
        let Some(model) = settings.model.clone() else {
            return Err(Usage("--model is missing: which model shall be trained?".into()).into());
        };
        let Some(data) = settings.data.clone() else {
            return Err(Usage("DATA is missing: which file of examples shall be learned from?".into()).into());
        };
        let mut files = open::files(&model)?;
        files.require_tokenizer()?;
        let mut source = open_source(&data)?;
        adopt(&mut settings, &mut source, chosen)?;
        settings.check()?;
        let spec = files.config.spec();
        ensure!(
            settings.max_seq_len <= spec.max_seq_len,
            "--max-seq-len {} is longer than the model's context of {} tokens",
            settings.max_seq_len,
            spec.max_seq_len
        );
        learner::check(&settings)?;
        learner::computing(&files, &settings)?;
        if let Some(saved) = &saved {
            refuse_changes(saved, &settings)?;
        }
        let tokenizer = files.tokenizer.take().context("the tokenizer is gone")?;
        let template = std::mem::replace(&mut files.template, ChatTemplate::chatml());
        let encoder = Encoder::new(Arc::new(tokenizer), Arc::new(template), spec.vocab, settings.method())?;
        let part = match Part::held(source.count(), settings.val_split) {
            0 => Part::All,
            held => Part::Trained { held },
        };
        let name = format!("{}-{}", stem(&data), settings.adapter());
        let output_dir = settings.output_dir.clone().unwrap_or_else(|| new_folder(&name));
        let go_on = format!("bit-axon train --resume --output-dir {}", output_dir.display());
        Ok(Self { settings, resume, files, source, part, encoder, output_dir, go_on })
    }

    /// All that a run is made of, and what a person should hear before it begins.
    pub(super) fn job(mut self, asked: Option<Receiver<TrainControl>>) -> Result<(Job, Vec<String>)> {
        let mut notes = Vec::new();
        let folder = open_folder(&self.output_dir, self.resume)?;
        checkpoint::tidy(&folder.checkpoints())?;
        let identity = Identity {
            base: learner::fingerprint(&self.files.checkpoint),
            data: self.source.fingerprint(),
            encoder: self.encoder.fingerprint()?,
        };
        let from = match self.resume {
            true => self.checkpoint(&folder, identity, &mut notes)?,
            false => None,
        };
        let settings = &mut self.settings;
        settings.output_dir = Some(std::path::absolute(folder.path())?);
        // Whoever goes on with the run may stand in another folder.
        for path in [&mut settings.data, &mut settings.val_data].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        if let Some(model) = settings.model.as_mut().filter(|model| Path::new(&**model).exists()) {
            *model = std::path::absolute(&*model)?.display().to_string();
        }
        (settings.method, settings.adapter) = (Some(settings.method()), Some(settings.adapter()));
        folder.write_settings(settings)?;
        let question = match &self.settings.sample_prompt {
            Some(question) => Some(question.clone()),
            None => self.source.question(self.settings.method())?,
        };
        let held = self.held()?;
        let surroundings = self.world()?;
        let Self { settings, files, source, part, encoder, go_on, .. } = self;
        let output = learner::output(&files, &settings)?;
        let model = files.name.clone();
        let learner = learner::open(files, &settings)?;
        let (shape, for_feed) = (Shape::of(&settings), encoder.clone());
        let feed = move |place: Place| {
            let units = Units::new(source, part, for_feed, shape, true, place)?;
            Feed::start(units).context("cannot start the thread that reads the data")
        };
        let job = Job {
            controls: Controls::open(&folder, asked)?,
            settings,
            folder,
            learner,
            output,
            model,
            identity,
            encoder,
            question: question.filter(|question| !question.trim().is_empty()),
            feed: Box::new(feed),
            held,
            surroundings: Box::new(surroundings),
            interrupted: Box::new(|| interrupt::check().is_err()),
            from,
            go_on,
        };
        Ok((job, notes))
    }

    /// The checkpoint to go on from, if it belongs to the same model and data.
    fn checkpoint(
        &self,
        folder: &crate::train::RunFolder,
        identity: Identity,
        notes: &mut Vec<String>,
    ) -> Result<Option<(PathBuf, State)>> {
        let found = checkpoint::newest_whole(&folder.checkpoints(), &mut |said| notes.push(said))?;
        let Some((path, state)) = found else {
            notes.push(format!("{} has no whole checkpoint: the run begins anew", folder.path().display()));
            return Ok(None);
        };
        let data = self.source.path().display();
        for (same, what) in [
            (state.identity.base == identity.base, "the weights of the model are others than those".to_owned()),
            (state.identity.data == identity.data, format!("{data} is not the data")),
            (state.identity.encoder == identity.encoder, "the tokenizer or chat template are not those".to_owned()),
        ] {
            ensure!(same, "{what} that {} was trained with: it cannot be gone on with", path.display());
        }
        Ok(Some((path, state)))
    }

    /// Data that is held out, as units.
    fn held(&self) -> Result<Vec<Unit>> {
        let shape = Shape::of(&self.settings);
        let (source, part) = match (&self.settings.val_data, self.part) {
            (Some(path), _) => (open_source(path)?, Part::All),
            (None, Part::Trained { held }) => (self.source.again()?, Part::Held { held }),
            _ => return Ok(Vec::new()),
        };
        let name = source.path().display().to_string();
        let mut units = Units::new(source, part, self.encoder.clone(), shape, false, Place::default())?;
        let mut held = Vec::new();
        while held.len() < self.settings.val_sequences {
            match units.take()? {
                Fed::Unit(unit) => held.push(unit),
                Fed::Bad { line, why } => output::note(format!("{name}:{line}: skipped: {why}")),
                Fed::Epoch(_) => break,
            }
        }
        Ok(held)
    }

    /// The sensor, once it answered where it must.
    fn world(&self) -> Result<World> {
        let interval = Duration::from_secs_f64(self.settings.temp_poll_interval);
        let options = SamplerOptions { sensor: self.settings.sensor.clone(), interval };
        let mut world = World::start(options).context("cannot start the thread that reads the temperature")?;
        let required = self.settings.require_sensor;
        let state = world.first_answer(if required { SENSOR_PATIENCE_S } else { SENSOR_HEAD_START_S });
        if required && state.celsius().is_none() {
            let why = match state {
                SensorState::Waiting => format!("it has not answered for {SENSOR_PATIENCE_S} s"),
                SensorState::Problem { source, problem } => format!("{source} {problem}"),
                SensorState::NoSensor { reason } => reason,
                SensorState::Reading { source, .. } => format!("{source} gives no temperature"),
            };
            bail!("--require-sensor wants a temperature, and there is none: {why}");
        }
        Ok(world)
    }
}

/// What the user chose, of the settings that prepared data may bring along.
struct Chosen {
    length: bool,
    isolate: bool,
}

/// Defaults, then those of the run that is gone on with, then the file, then options.
fn layered(given: Given, config: Option<&Path>, resume: bool) -> Result<(Settings, Option<Settings>, Chosen)> {
    let config = config.map(Settings::read_given).transpose()?.unwrap_or_default();
    let folder = given.output_dir.clone().or_else(|| config.output_dir.clone());
    let mut settings = Settings::default();
    let mut saved = None;
    if resume {
        let Some(folder) = folder else {
            return Err(Usage("--resume needs --output-dir: the run folder to go on with".into()).into());
        };
        let file = settings_path(&folder);
        if file.exists() {
            Settings::read_given(&file)?.apply(&mut settings);
            saved = Some(settings.clone());
        }
    }
    let chosen = |pick: fn(&Given) -> bool| pick(&given) || pick(&config);
    let chosen = Chosen {
        length: saved.is_some() || chosen(|g| g.max_seq_len.is_some()),
        isolate: saved.is_some() || chosen(|g| g.isolate.is_some()),
    };
    config.apply(&mut settings);
    given.apply(&mut settings);
    Ok((settings, saved, chosen))
}

/// Looks at the data for what was left open.
fn adopt(settings: &mut Settings, source: &mut Source, chosen: Chosen) -> Result<()> {
    let found = source.method()?;
    let path = source.path().display();
    if let Source::Prepared(prepared) = &*source {
        let about = prepared.about();
        if !chosen.length {
            settings.max_seq_len = about.max_seq_len;
        }
        if !chosen.isolate {
            settings.isolate = about.isolate;
        }
    }
    match settings.method {
        None => settings.method = Some(found),
        Some(Method::Orpo) if found != Method::Orpo => {
            bail!("{path} holds no preferences (`prompt`, `chosen`, `rejected`), which --method orpo needs")
        }
        Some(method) if found == Method::Orpo && method != Method::Orpo => {
            bail!("{path} holds preferences (`chosen`, `rejected`): train on them with --method orpo, not {method}")
        }
        Some(_) => {}
    }
    Ok(())
}

/// Settings that a run cannot change on its way.
fn refuse_changes(saved: &Settings, now: &Settings) -> Result<()> {
    let fixed = |settings: &Settings| {
        [
            ("method", settings.method().to_string()),
            ("adapter", settings.adapter().to_string()),
            ("lora-rank", settings.lora_rank.to_string()),
            ("lora-experts", settings.lora_experts.to_string()),
            ("max-seq-len", settings.max_seq_len.to_string()),
            ("isolate", settings.isolate.to_string()),
            ("over-long", settings.over_long.to_string()),
            ("val-split", settings.val_split.to_string()),
            ("fake-quant", settings.fake_quant.map_or_else(|| "off".into(), |format| format.to_string())),
            ("seed", settings.seed.to_string()),
        ]
    };
    for ((name, before), (_, after)) in fixed(saved).into_iter().zip(fixed(now)) {
        ensure!(
            before == after,
            "the run was begun with --{name} {before}, and cannot go on with {after}: leave the option away, or begin \
             another run"
        );
    }
    Ok(())
}

/// Opens data, telling how far a long search for its lines is.
fn open_source(path: &Path) -> Result<Source> {
    let begun = Instant::now();
    let mut told = Duration::ZERO;
    Source::open(path, &mut |done, total| {
        interrupt::check()?;
        let passed = begun.elapsed();
        if passed - told > Duration::from_secs(2) {
            told = passed;
            output::note(format!("reading {}: {}%", path.display(), 100 * done / total.max(1)));
        }
        Ok(())
    })
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned())
}
