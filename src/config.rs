//! The settings of the user: flags win over the environment, that over the file, that over defaults.
//!
//! ```text
//! schema.rs     every setting: key, kind, default, what it is for
//! value.rs      kinds of values, from text and from TOML
//! file.rs       the file: where it is, what is wrong with it and on which line
//! suggest.rs    did you mean
//! settings.rs   the same as types, for the program
//! write.rs      the same as TOML, for people: what holds, and a file to begin with
//! ```
//!
//! Every value keeps its origin. A mistake names the file, the line, the key and what is allowed; all
//! of them are told at once.

mod file;
mod schema;
mod settings;
mod suggest;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

pub use self::file::Places;
pub use self::schema::{SETTINGS, Setting, setting};
pub use self::settings::{
    HeatSettings, MemorySettings, ModelSettings, PathSettings, SamplingSettings, Settings, SlowLink, UiSettings,
};
pub use self::value::{Kind, Value};
pub use self::write::{Shown, template};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Env(String),
    /// An option of the command line, as `--theme`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A line of the file, a variable or an option; the file alone where no line is to blame.
    pub place: String,
    /// The setting, if it is about one.
    pub key: Option<String>,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Something that keys can be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAction {
    /// Its name in the file.
    pub name: String,
    /// Where its keys have their meaning: one key may mean something else elsewhere.
    pub context: String,
    /// Its keys unless the file says otherwise.
    pub keys: Vec<String>,
    /// What it does.
    pub about: String,
}

/// What this room cannot know by itself: actions, keys and themes.
pub struct Rules<'a> {
    /// The actions; all names are accepted if there is none.
    pub actions: Vec<KnownAction>,
    /// The usual name of a key for an action of this name, or what is wrong with it there.
    pub key: &'a dyn Fn(&str, &str) -> Result<String, String>,
    /// The themes; all names are accepted if there is none.
    pub themes: Vec<String>,
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self { actions: Vec::new(), key: &|_, key| Ok(key.to_owned()), themes: Vec::new() }
    }
}

/// An action with all its keys; none unbinds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name of the action.
    pub action: String,
    /// Its keys.
    pub keys: Vec<String>,
    /// Who said so.
    pub origin: Origin,
}

/// Every setting with its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// By key; none is not set.
    values: BTreeMap<&'static str, (Option<Value>, Origin)>,
    bindings: Vec<Binding>,
    /// The file, whether it is there or not; none if there is no place for one.
    file: Option<PathBuf>,
    file_read: bool,
    home: Option<PathBuf>,
}

impl Config {
    /// The settings of this process: its environment, and the file that this names.
    pub fn load(rules: &Rules<'_>) -> Result<Self, Mistakes> {
        Self::load_from(&|name| std::env::var_os(name), rules)
    }

    /// The same with another environment.
    pub fn load_from(env: &dyn Fn(&str) -> Option<OsString>, rules: &Rules<'_>) -> Result<Self, Mistakes> {
        let places = Places::new(env);
        let mut config = Self::defaults(&places);
        let mut mistakes = Vec::new();
        if let Some(path) = config.file.clone() {
            match file::read(&path, places.config_is_named) {
                Ok(Some(text)) => {
                    config.file_read = true;
                    file::apply(&mut config, &path, &text, rules, &mut mistakes);
                }
                Ok(None) => {}
                Err(problem) => {
                    mistakes.push(Mistake { place: path.display().to_string(), key: None, problem });
                }
            }
        }
        for setting in SETTINGS {
            let name = setting.env_name();
            let Some(text) = env(&name).filter(|text| !text.is_empty()) else { continue };
            let said = text.to_str().ok_or_else(|| "is not UTF-8 text".to_owned());
            match said.and_then(|text| setting.checked(setting.kind.read(text)?, rules)) {
                Ok(value) => config.put(setting, value, Origin::Env(name)),
                Err(problem) => {
                    mistakes.push(Mistake { place: format!("env {name}"), key: Some(setting.key.into()), problem });
                }
            }
        }
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// Nothing but defaults.
    pub fn defaults(places: &Places) -> Self {
        let values = SETTINGS.iter().map(|setting| {
            // A test reads every default.
            let text = places.default_of(setting.key).unwrap_or_else(|| setting.default.to_owned());
            (setting.key, (setting.kind.read(&text).ok().flatten(), Origin::Default))
        });
        Self {
            values: values.collect(),
            bindings: Vec::new(),
            file: places.config.clone(),
            file_read: false,
            home: places.home.clone(),
        }
    }

    /// Takes the word of the command line: the value of `flag`, as text.
    pub fn set(&mut self, key: &str, text: &str, flag: &str, rules: &Rules<'_>) -> Result<(), Mistake> {
        let wrong = |problem| Mistake { place: format!("flag {flag}"), key: Some(key.to_owned()), problem };
        let setting = setting(key).ok_or_else(|| wrong("there is no such setting".into()))?;
        let value = setting.kind.read(text).and_then(|value| setting.checked(value, rules)).map_err(wrong)?;
        self.put(setting, value, Origin::Flag(flag.to_owned()));
        Ok(())
    }

    fn put(&mut self, setting: &Setting, value: Option<Value>, origin: Origin) {
        self.values.insert(setting.key, (value, origin));
    }

    /// The value of a setting; none if it is not set.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)?.0.as_ref()
    }

    /// Who set it.
    pub fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// What the file says of keys.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The file, whether it is there or not; none if there is no place for one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// True if there was a file.
    pub fn file_was_read(&self) -> bool {
        self.file_read
    }
}
