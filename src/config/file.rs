//! The file: where it is, and what is wrong with it.

use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::de::{DeTable, DeValue};

use super::schema::{SECTIONS, SETTINGS, setting};
use super::value::type_name;
use super::{Binding, Config, Mistake, Origin, Rules, suggest};

/// No settings are longer: it would be another file by mistake.
const LONGEST: u64 = 1 << 20;

/// Where things are, by the rules of XDG on every system, and by our own variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// The file of the settings; none if there is no home.
    pub config: Option<PathBuf>,
    /// `BIT_AXON_CONFIG` named it, so it has to be there.
    pub config_is_named: bool,
    /// Saved conversations.
    pub sessions: Option<PathBuf>,
    /// Themes of the user.
    pub themes: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
}

impl Places {
    /// From the environment: `BIT_AXON_CONFIG`, `BIT_AXON_HOME`, `XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `HOME`.
    pub fn new(env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // XDG: paths that are not absolute do not count.
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let below_home = |xdg: &str, usual: &str| {
            path("BIT_AXON_HOME")
                .or_else(|| absolute(xdg).map(|path| path.join("bit-axon")))
                .or_else(|| home.as_ref().map(|home| home.join(usual).join("bit-axon")))
        };
        let folder = below_home("XDG_CONFIG_HOME", ".config");
        let named = path("BIT_AXON_CONFIG");
        Self {
            config_is_named: named.is_some(),
            config: named.or_else(|| Some(folder.as_ref()?.join("config.toml"))),
            sessions: below_home("XDG_STATE_HOME", ".local/state").map(|path| path.join("sessions")),
            themes: folder.map(|path| path.join("themes")),
            home,
        }
    }

    /// The default of a setting that depends on the environment.
    pub(super) fn default_of(&self, key: &str) -> Option<String> {
        let path = match key {
            "paths.sessions" => self.sessions.as_ref(),
            "paths.themes" => self.themes.as_ref(),
            _ => None,
        };
        Some(path?.to_str()?.to_owned())
    }
}

/// The text of the file; none if it is not there, unless it has to be.
pub(super) fn read(path: &Path, must: bool) -> Result<Option<String>, String> {
    let about = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !must => return Ok(None),
        Err(e) => return Err(format!("cannot be read: {e}{}", if must { " (BIT_AXON_CONFIG names it)" } else { "" })),
        Ok(about) => about,
    };
    if !about.is_file() {
        return Err("is no plain file".into());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err("is longer than 1 MiB, so it holds no settings".into());
    }
    String::from_utf8(bytes).map(Some).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        format!("is not UTF-8 text (line {line})")
    })
}

/// Puts what the file says into the settings, and what is wrong with it to the mistakes.
pub(super) fn apply(config: &mut Config, path: &Path, text: &str, rules: &Rules<'_>, mistakes: &mut Vec<Mistake>) {
    let mut reader = Reader { config, path, text, rules, wrong: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.wrong(error.span().unwrap_or(0..0), None, format!("this is not TOML: {}", error.message()));
    }
    // What follows a broken line may be read wrongly: one cause, one message.
    if errors.is_empty() {
        reader.sections(table.get_ref());
    }
    // In the order of the file; its tables come in that of the alphabet.
    let mut wrong = reader.wrong;
    wrong.sort_by_key(|(at, _)| *at);
    mistakes.extend(wrong.into_iter().map(|(_, mistake)| mistake));
}

struct Reader<'a, 'r> {
    config: &'a mut Config,
    path: &'a Path,
    text: &'a str,
    rules: &'a Rules<'r>,
    /// Where in the text, and what.
    wrong: Vec<(usize, Mistake)>,
}

impl Reader<'_, '_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        Origin::File { path: self.path.to_owned(), line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    }

    fn wrong(&mut self, span: Range<usize>, key: Option<String>, problem: String) {
        let place = self.origin(&span).to_string();
        self.wrong.push((span.start, Mistake { place, key, problem }));
    }

    fn sections(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let section: &str = name.get_ref();
            let known = SECTIONS.iter().any(|(known, _)| *known == section);
            match value.get_ref() {
                DeValue::Table(table) if section == "keys" => self.keys(table),
                DeValue::Table(table) if known => self.settings(section, table),
                _ if known => {
                    let problem = format!("is {}: it is a section, written as [{section}]", type_name(value.get_ref()));
                    self.wrong(name.span(), Some(section.into()), problem);
                }
                DeValue::Table(_) => {
                    let sections = SECTIONS.map(|(name, _)| name);
                    let hint = suggest::hint(section, sections.into_iter());
                    let problem = format!("there is no such section{hint}: there are {}", sections.join(", "));
                    self.wrong(name.span(), Some(section.into()), problem);
                }
                _ => {
                    let problem = match SETTINGS.iter().find(|setting| setting.name() == section) {
                        Some(setting) => format!("it belongs into the section [{}]", setting.section()),
                        None => "settings belong into sections, as [ui]".into(),
                    };
                    self.wrong(name.span(), Some(section.into()), problem);
                }
            }
        }
    }

    fn settings(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{section}.{}", name.get_ref());
            let Some(setting) = setting(&key) else {
                let problem = unknown(section, name.get_ref());
                self.wrong(name.span(), Some(key), problem);
                continue;
            };
            let read = setting.kind.read_toml(value.get_ref());
            match read.and_then(|value| setting.checked(value, self.rules)) {
                // An empty text is a setting that is not set.
                Ok(value) => {
                    let origin = self.origin(&name.span());
                    self.config.put(setting, value, origin);
                }
                Err(problem) => self.wrong(value.span(), Some(key), problem),
            }
        }
    }

    fn keys(&mut self, table: &DeTable<'_>) {
        // Where each key is given, and to what.
        let mut given = Vec::new();
        for (name, value) in table {
            let (action, key) = (name.get_ref().to_string(), format!("keys.{}", name.get_ref()));
            let actions = &self.rules.actions;
            if !actions.is_empty() && !actions.iter().any(|known| known.name == action) {
                let hint = suggest::hint(&action, actions.iter().map(|known| known.name.as_str()));
                self.wrong(name.span(), Some(key), format!("there is no such action{hint}"));
                continue;
            }
            const FORM: &str = "it must be a key or a list of keys, as \"ctrl-p\" or [\"ctrl-p\", \"f1\"]";
            let items: Vec<_> = match value.get_ref() {
                DeValue::String(_) => vec![value],
                DeValue::Array(items) => items.iter().collect(),
                other => {
                    self.wrong(value.span(), Some(key), format!("is {}: {FORM}", type_name(other)));
                    continue;
                }
            };
            let mut keys = Vec::new();
            for item in items {
                match item.get_ref() {
                    DeValue::String(name) => match (self.rules.key)(&action, name) {
                        Ok(name) => {
                            given.push((item.span(), action.clone(), name.clone()));
                            if !keys.contains(&name) {
                                keys.push(name);
                            }
                        }
                        Err(problem) => self.wrong(item.span(), Some(key.clone()), problem),
                    },
                    other => self.wrong(item.span(), Some(key.clone()), format!("holds {}: {FORM}", type_name(other))),
                }
            }
            let origin = self.origin(&name.span());
            self.config.bindings.push(Binding { action, keys, origin });
        }
        self.given_twice(given);
    }

    /// A key can mean one thing only in one place.
    fn given_twice(&mut self, mut given: Vec<(Range<usize>, String, String)>) {
        given.sort_by_key(|(span, ..)| span.start);
        let rules = self.rules;
        let context = |name: &str| rules.actions.iter().find(|known| known.name == name).map(|known| &known.context);
        for (i, (span, action, key)) in given.iter().enumerate() {
            let clashes = |other: &&(_, String, String)| {
                other.2 == *key
                    && other.1 != *action
                    && context(action).is_some()
                    && context(&other.1) == context(action)
            };
            if let Some((first, other, _)) = given[..i].iter().find(clashes) {
                let line = 1 + self.text.as_bytes()[..first.start].iter().filter(|byte| **byte == b'\n').count();
                let problem = format!("{key} is given to `{other}` on line {line} already");
                self.wrong(span.clone(), Some(format!("keys.{action}")), problem);
            }
        }
    }
}

/// What to say of a setting that is not there.
fn unknown(section: &str, name: &str) -> String {
    let here = || SETTINGS.iter().filter(|setting| setting.section() == section);
    if let Some(there) = SETTINGS.iter().find(|setting| setting.name() == name) {
        return format!("there is no such setting; did you mean `{}`?", there.key);
    }
    if let Some(near) = suggest::nearest(name, here().map(|setting| setting.name())) {
        return format!("there is no such setting; did you mean `{near}`?");
    }
    let names: Vec<&str> = here().map(|setting| setting.name()).collect();
    format!("there is no such setting: [{section}] has {}", names.join(", "))
}
