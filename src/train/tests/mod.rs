//! Whole runs with a small learner, in a world made up for them.

mod damage;
mod heat;
mod killed;
mod resume;
mod whole;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use anyhow::Result;

use super::checkpoint::{self, Identity, Output, newest_whole};
use super::control::Controls;
use super::data::{Encoder, Fed, Feed, Part, Place, Shape, Source, Units};
use super::mock::Bigram;
use super::settings::{Adapter, Method, Settings};
use super::surroundings::Surroundings;
use super::{Job, Outcome, RunFolder, run};
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::{Tokenizer, byte_level};
use crate::protocol::{HeatReading, SensorState, Telemetry, TrainControl, TrainEvent, TrainLine, TrainStep};

/// A world in which time passes when someone sleeps or looks at the temperature, which is what the test says.
struct Made {
    now: Cell<f64>,
    celsius: Box<dyn FnMut(f64) -> Option<f32>>,
}

impl Surroundings for Made {
    fn now(&self) -> f64 {
        self.now.get()
    }

    fn date(&self) -> f64 {
        1000.0 + self.now.get()
    }

    fn sleep(&mut self, seconds: f64) {
        self.now.set(self.now.get() + seconds);
    }

    fn telemetry(&mut self) -> Telemetry {
        self.now.set(self.now.get() + 1.0);
        let sensor = match (self.celsius)(self.now.get()) {
            Some(celsius) => {
                let reading = HeatReading { celsius: Some(celsius), ..HeatReading::default() };
                SensorState::Reading { source: "made up".into(), reading }
            }
            None => SensorState::NoSensor { reason: "there is none".into() },
        };
        Telemetry { sensor, ..Telemetry::default() }
    }
}

/// A run that a test can change.
struct Rig {
    settings: Settings,
    poisoned_from: u64,
    delay: std::time::Duration,
    celsius: Box<dyn FnMut(f64) -> Option<f32>>,
    controls: Option<Receiver<TrainControl>>,
    /// Ends the run at once after so many steps.
    interrupt_after: u64,
    warnings: Vec<String>,
}

impl Rig {
    /// A run of 12 steps on a small file.
    fn new(dir: &Path) -> Self {
        let data = dir.join("data.jsonl");
        if !data.exists() {
            std::fs::write(&data, rows()).unwrap();
        }
        let settings = Settings {
            data: Some(data),
            output_dir: Some(dir.join("run")),
            method: Some(Method::Sft),
            adapter: Some(Adapter::Dora),
            max_steps: 12,
            batch_size: 3,
            grad_accum_steps: 2,
            max_seq_len: 24,
            learning_rate: 0.05,
            warmup_steps: Some(2),
            save_every: 4,
            eval_every: 4,
            val_split: 0.2,
            ..Settings::default()
        };
        Self {
            settings,
            poisoned_from: u64::MAX,
            delay: Default::default(),
            celsius: Box::new(|_| Some(50.0)),
            controls: None,
            interrupt_after: u64::MAX,
            warnings: Vec::new(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.settings.output_dir.clone().unwrap()
    }

    fn resume(self) -> Result<(Outcome, Vec<TrainLine>)> {
        self.go(true)
    }

    fn start(self) -> Result<(Outcome, Vec<TrainLine>)> {
        self.go(false)
    }

    fn go(self, resume: bool) -> Result<(Outcome, Vec<TrainLine>)> {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let after = self.interrupt_after;
        let (heard, asked) = (seen.clone(), Rc::new(Cell::new(false)));
        let ask = asked.clone();
        let mut observer = move |line: &TrainLine| {
            if matches!(line, TrainLine::Step(step) if step.step == after) {
                ask.set(true);
            }
            heard.borrow_mut().push(line.clone());
        };
        let outcome = run(self.job(resume, asked)?, &mut observer)?;
        drop(observer);
        Ok((outcome, Rc::into_inner(seen).unwrap().into_inner()))
    }

    fn job(mut self, resume: bool, asked: Rc<Cell<bool>>) -> Result<Job> {
        let folder = RunFolder::open(&self.folder())?;
        checkpoint::tidy(&folder.checkpoints())?;
        let warnings = &mut self.warnings;
        let from = match resume {
            true => newest_whole(&folder.checkpoints(), &mut |said| warnings.push(said))?,
            false => None,
        };
        let tokenizer = Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[])?;
        let template = Arc::new(ChatTemplate::chatml());
        let method = self.settings.method();
        let encoder = Encoder::new(Arc::new(tokenizer), template, Bigram::VOCAB, method)?;
        let path = self.settings.data.clone().unwrap();
        let source = Source::open(&path, &mut |_, _| Ok(()))?;
        let (count, shape) = (source.count(), Shape::of(&self.settings));
        let held = Part::held(count, self.settings.val_split);
        let mut units = Vec::new();
        if held > 0 {
            let mut all =
                Units::new(source.again()?, Part::Held { held }, encoder.clone(), shape, false, Place::default())?;
            while let Fed::Unit(unit) = all.take()? {
                units.push(unit);
            }
        }
        let question = self.settings.sample_prompt.clone();
        let mut learner = Bigram::new();
        (learner.poisoned_from, learner.delay) = (self.poisoned_from, self.delay);
        let for_feed = encoder.clone();
        let feed =
            move |place| Ok(Feed::start(Units::new(source, Part::Trained { held }, for_feed, shape, true, place)?)?);
        Ok(Job {
            controls: Controls::open(&folder, self.controls)?,
            settings: self.settings,
            folder,
            learner: Box::new(learner),
            output: Output {
                weights: "adapters.safetensors".into(),
                metadata: BTreeMap::new(),
                beside: vec![("adapter_config.json".into(), b"{}\n".to_vec())],
            },
            model: "bigram".into(),
            identity: Identity::default(),
            encoder,
            question,
            feed: Box::new(feed),
            held: units,
            surroundings: Box::new(Made { now: Cell::new(0.0), celsius: self.celsius }),
            interrupted: Box::new(move || asked.get()),
            from,
            go_on: "bit-axon train --resume --output-dir RUN".into(),
        })
    }
}

fn rows() -> String {
    let row = |i: usize| match i % 3 {
        0 => format!("{{\"text\": \"the cat sat on mat {i}\"}}\n"),
        1 => format!("{{\"instruction\": \"say {i}\", \"output\": \"it is {i} now\"}}\n"),
        _ => format!("{{\"text\": \"a longer line of words that goes on and on for the sake of {i}\"}}\n"),
    };
    (0..20).map(row).collect()
}

/// What `metrics.jsonl` holds.
fn lines(folder: &Path) -> Vec<TrainLine> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn steps(lines: &[TrainLine]) -> Vec<TrainStep> {
    let step = |line: &TrainLine| if let TrainLine::Step(step) = line { Some(step.clone()) } else { None };
    lines.iter().filter_map(step).collect()
}

fn events(lines: &[TrainLine]) -> Vec<TrainEvent> {
    let event = |line: &TrainLine| if let TrainLine::Event(event) = line { Some(event.clone()) } else { None };
    lines.iter().filter_map(event).collect()
}

/// Steps without what depends on the time.
fn course(folder: &Path) -> Vec<TrainStep> {
    let timeless = |step: TrainStep| TrainStep { time: 0.0, tok_s: 0.0, memory: None, ..step };
    steps(&lines(folder)).into_iter().map(timeless).collect()
}

fn checkpoints(folder: &Path) -> Vec<u64> {
    checkpoint::list(&folder.join("checkpoints")).unwrap().into_iter().map(|(step, _)| step).collect()
}

/// Bytes of the final adapter.
fn adapter(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("adapter/adapters.safetensors")).unwrap()
}
