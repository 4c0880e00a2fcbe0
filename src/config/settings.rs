//! The settings as types.

use std::path::PathBuf;
use std::time::Duration;

use super::{Binding, Config, Mistake, Mistakes, Value};
use crate::protocol::{HeatLimits, Sampling, SensorChoice};

/// What the program reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[model]`
    pub model: ModelSettings,
    /// `[sampling]`
    pub sampling: SamplingSettings,
    /// `[ui]`
    pub ui: UiSettings,
    /// `[heat]`
    pub heat: HeatSettings,
    /// `[memory]`
    pub memory: MemorySettings,
    /// `[paths]`
    pub paths: PathSettings,
    /// `[keys]`
    pub keys: Vec<Binding>,
}

/// Which model is opened, and how it computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// The model to open when none is named; none is the built-in one.
    pub default: Option<String>,
    /// Threads; none takes all cores.
    pub threads: Option<usize>,
    /// Exact arithmetic.
    pub exact: bool,
}

/// How answers are made.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingSettings {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The longest answer.
    pub max_tokens: usize,
    /// What the model is told first.
    pub system: Option<String>,
}

/// The screen.
#[derive(Debug, Clone, PartialEq)]
pub struct UiSettings {
    /// Name of the theme.
    pub theme: String,
    /// `auto`, `truecolor`, `256`, `16` or `none`.
    pub colours: String,
    /// ASCII only.
    pub ascii: bool,
    /// Send less.
    pub slow_link: SlowLink,
    /// Take the mouse.
    pub mouse: bool,
    /// Frames a second while text streams, at most.
    pub text_fps: f64,
    /// Frames a second of heatmaps and figures, at most.
    pub figures_fps: f64,
    /// Width of the chat, in percent.
    pub chat_percent: u16,
    /// Panes that are not shown: `routing`, `heat`, `memory`.
    pub hidden: Vec<String>,
    /// Go on with the newest session at start.
    pub resume: bool,
}

/// Whether to send less to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowLink {
    /// When it stalls.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Temperatures.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatSettings {
    /// Where they come from.
    pub sensor: SensorChoice,
    /// Time between readings.
    pub interval: Duration,
    /// From where on training waits and stops.
    pub limits: HeatLimits,
}

/// What may be kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes kept to go back to earlier tokens.
    pub rewind: usize,
    /// `f16` or `q8`.
    pub kv: String,
}

/// Where things are kept; none where there is no home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSettings {
    /// Saved conversations.
    pub sessions: Option<PathBuf>,
    /// Themes of the user.
    pub themes: Option<PathBuf>,
}

impl Config {
    /// The settings as types, once settings that must suit each other do.
    pub fn settings(&self) -> Result<Settings, Mistakes> {
        let (pause, stop) = (self.number("heat.pause") as f32, self.number("heat.stop") as f32);
        let limits = HeatLimits::new(pause, stop).map_err(|problem| {
            // Whoever changed one of them is to blame; both did if both did.
            let origins = ["heat.pause", "heat.stop"].map(|key| self.origin(key));
            let said: Vec<String> =
                origins.iter().filter(|o| **o != super::Origin::Default).map(ToString::to_string).collect();
            Mistakes(vec![Mistake { place: said.join(" and "), key: Some("heat".into()), problem }])
        })?;
        Ok(Settings {
            model: ModelSettings {
                default: self.text("model.default"),
                threads: self.whole("model.threads").map(size),
                exact: self.is_on("model.exact"),
            },
            sampling: SamplingSettings {
                sampling: Sampling {
                    temperature: self.number("sampling.temperature") as f32,
                    top_k: self.whole("sampling.top_k").map_or(0, size),
                    top_p: self.number("sampling.top_p") as f32,
                    min_p: self.number("sampling.min_p") as f32,
                    repetition_penalty: self.number("sampling.repetition_penalty") as f32,
                    repetition_window: self.whole("sampling.repetition_window").map_or(0, size),
                    seed: self.whole("sampling.seed"),
                },
                max_tokens: self.whole("sampling.max_tokens").map_or(1, size),
                system: self.text("sampling.system"),
            },
            ui: UiSettings {
                theme: self.text("ui.theme").unwrap_or_default(),
                colours: self.text("ui.colours").unwrap_or_default(),
                ascii: self.is_on("ui.ascii"),
                slow_link: match self.text("ui.slow_link").as_deref() {
                    Some("on") => SlowLink::On,
                    Some("off") => SlowLink::Off,
                    _ => SlowLink::Auto,
                },
                mouse: self.is_on("ui.mouse"),
                text_fps: self.number("ui.text_fps"),
                figures_fps: self.number("ui.figures_fps"),
                chat_percent: self.whole("ui.chat_percent").and_then(|n| u16::try_from(n).ok()).unwrap_or(62),
                hidden: match self.get("ui.hidden") {
                    Some(Value::List(panes)) => panes.clone(),
                    _ => Vec::new(),
                },
                resume: self.is_on("ui.resume"),
            },
            heat: HeatSettings {
                sensor: match self.get("heat.sensor") {
                    Some(Value::Sensor(sensor)) => sensor.clone(),
                    _ => SensorChoice::Auto,
                },
                interval: Duration::from_secs_f64(self.number("heat.interval")),
                limits,
            },
            memory: MemorySettings {
                rewind: match self.get("memory.rewind") {
                    Some(Value::Size(bytes)) => size(*bytes),
                    _ => 0,
                },
                kv: self.text("memory.kv").unwrap_or_default(),
            },
            paths: PathSettings { sessions: self.path("paths.sessions"), themes: self.path("paths.themes") },
            keys: self.bindings().to_vec(),
        })
    }

    // Every setting has the kind that the table gives it, so the other arms never run.

    fn is_on(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Switch(true)))
    }

    fn number(&self, key: &str) -> f64 {
        match self.get(key) {
            Some(Value::Number(number)) => *number,
            _ => 0.0,
        }
    }

    fn whole(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// A path, with `~` at its beginning replaced by the home folder.
    fn path(&self, key: &str) -> Option<PathBuf> {
        match self.get(key) {
            Some(Value::Path(path)) => Some(match (path.strip_prefix("~"), &self.home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path.clone(),
            }),
            _ => None,
        }
    }
}

/// More than memory can hold is as good as all of it.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
