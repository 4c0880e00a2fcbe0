//! Every setting.

use super::value::{Kind, Value};
use super::{Rules, suggest};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// `section.name`.
    pub key: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// As text; empty if it is not set by default.
    pub default: &'static str,
    /// A value to show where nothing is set by default.
    pub example: &'static str,
    /// What it is for.
    pub about: &'static str,
}

impl Setting {
    /// `ui`.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// `theme`.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The variable that sets it, as `BIT_AXON_UI_THEME`.
    pub fn env_name(&self) -> String {
        format!("BIT_AXON_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// The value if the rules allow it too.
    pub(super) fn checked(&self, value: Option<Value>, rules: &Rules<'_>) -> Result<Option<Value>, String> {
        match &value {
            // Paths have defaults that depend on the environment.
            None if !self.default.is_empty() => Err(format!("is empty: it must be {}", self.kind.allowed())),
            Some(Value::Text(theme)) if self.key == "ui.theme" && !rules.themes.is_empty() => {
                if rules.themes.contains(theme) {
                    return Ok(value);
                }
                let hint = suggest::hint(theme, rules.themes.iter().map(String::as_str));
                Err(format!("there is no theme `{theme}`{hint}: there are {}", rules.themes.join(", ")))
            }
            _ => Ok(value),
        }
    }
}

/// The setting of this key.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The sections and what they are about, in the order of the file.
pub(super) const SECTIONS: [(&str, &str); 7] = [
    ("model", "The model that is opened, and how it computes."),
    ("sampling", "How tokens are chosen."),
    ("ui", "The screen."),
    ("heat", "Temperatures: degrees Celsius."),
    ("memory", "What may be kept in memory."),
    ("paths", "Where things are kept."),
    ("keys", "Keys: an action and its keys, as `quit = [\"ctrl-q\", \"f10\"]`; no keys unbind it."),
];

macro_rules! settings {
    ($($key:literal $kind:expr, $default:literal $example:literal $about:literal)*) => {
        /// All of them, in the order of the file.
        pub static SETTINGS: &[Setting] = &[$(
            Setting { key: $key, kind: $kind, default: $default, example: $example, about: $about },
        )*];
    };
}

settings! {
    "model.default" Kind::Text, "" "models/mine" "The model to open when none is named; the built-in one if not set"
    "model.threads" Kind::Whole(1, 4096), "" "8" "Threads; all cores if not set"
    "model.exact" Kind::Switch, "false" "" "Compute in 32-bit floats instead of the fast arithmetic"

    "sampling.temperature" Kind::Number(0.0, 100.0), "0.7" "" "How freely to choose; 0 always takes the most likely token"
    "sampling.top_k" Kind::Whole(0, 1 << 32), "0" "" "Keep the K most likely tokens; 0 keeps all"
    "sampling.top_p" Kind::Number(0.001, 1.0), "0.95" "" "Keep the fewest tokens whose probabilities sum to this; 1 keeps all"
    "sampling.min_p" Kind::Number(0.0, 1.0), "0" "" "Drop tokens less likely than this share of the most likely one"
    "sampling.repetition_penalty" Kind::Number(0.01, 100.0), "1" "" "Make recent tokens less likely; 1 changes nothing"
    "sampling.repetition_window" Kind::Whole(0, 1 << 32), "256" "" "How many recent tokens that looks at"
    "sampling.seed" Kind::Whole(0, u64::MAX), "" "42" "The same seed gives the same text; a fresh one each time if not set"
    "sampling.max_tokens" Kind::Whole(1, 1 << 32), "1024" "" "End an answer after so many tokens"
    "sampling.system" Kind::Text, "" "Answer briefly." "What the model is told before a new conversation begins"

    "ui.theme" Kind::Text, "dark" "" "The theme: a built-in one, or a file of the themes folder without its ending"
    "ui.colours" Kind::Choice(&["auto", "truecolor", "256", "16", "none"]), "auto" "" "How many colours to use; auto asks the terminal and NO_COLOR"
    "ui.ascii" Kind::Switch, "false" "" "Draw with ASCII only, for fonts without block characters"
    "ui.slow_link" Kind::Choice(&["auto", "on", "off"]), "auto" "" "Send less to the terminal; auto does so when it stalls"
    "ui.mouse" Kind::Switch, "false" "" "Take the mouse, which then no longer selects text"
    "ui.text_fps" Kind::Number(1.0, 30.0), "30" "" "Frames a second while text streams, at most"
    "ui.figures_fps" Kind::Number(0.1, 4.0), "4" "" "Frames a second of heatmaps and figures, at most"
    "ui.chat_percent" Kind::Whole(20, 80), "62" "" "Width of the chat beside the other panes, in percent"
    "ui.hidden" Kind::Choices(&["routing", "heat", "memory"]), "[]" "" "Panes that are not shown"
    "ui.resume" Kind::Switch, "false" "" "Go on with the newest session at start"

    "heat.sensor" Kind::Sensor, "auto" "" "Where temperatures come from. A file or command gives degrees, or thousandths as whole numbers of 1000 and more"
    "heat.interval" Kind::Number(0.1, 3600.0), "1" "" "Seconds between readings"
    "heat.pause" Kind::Number(75.0, 150.0), "85" "" "Training waits from here on; above 75, where it takes smaller batches"
    "heat.stop" Kind::Number(75.0, 150.0), "95" "" "Training saves and stops from here on"

    "memory.rewind" Kind::Size, "256MiB" "" "What may be kept to go back to earlier tokens without reading them again"
    "memory.kv" Kind::Choice(&["f16", "q8"]), "f16" "" "How keys and values are kept; q8 takes half the memory"

    "paths.sessions" Kind::Path, "" "/home/me/chats" "Saved conversations"
    "paths.themes" Kind::Path, "" "/home/me/themes" "Themes of your own"
}
