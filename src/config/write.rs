//! The settings as TOML, for people.

use std::fmt::Write;

use super::schema::SECTIONS;
use super::{Binding, Config, KnownAction, Origin, Rules, SETTINGS};

/// Columns for the text of a comment.
const WIDTH: usize = 96;

/// A line of what holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// TOML; a comment for what is not set.
    pub text: String,
    /// Who said so; none for lines that say nothing, as headings.
    pub origin: Option<Origin>,
}

impl Config {
    /// All settings, and all keys that are known, as lines of TOML with their origins.
    pub fn shown(&self, rules: &Rules<'_>) -> Vec<Shown> {
        let mut lines = Vec::new();
        for (section, _) in SECTIONS {
            if !lines.is_empty() {
                lines.push(Shown { text: String::new(), origin: None });
            }
            lines.push(Shown { text: format!("[{section}]"), origin: None });
            for setting in SETTINGS.iter().filter(|setting| setting.section() == section) {
                let text = match self.get(setting.key) {
                    Some(value) => format!("{} = {}", setting.name(), value.to_toml()),
                    None => format!("# {} is not set", setting.name()),
                };
                lines.push(Shown { text, origin: Some(self.origin(setting.key)) });
            }
            if section == "keys" {
                let keys = self.effective_keys(&rules.actions).into_iter();
                lines.extend(
                    keys.map(|binding| Shown {
                        text: line(&binding.action, &binding.keys),
                        origin: Some(binding.origin),
                    }),
                );
            }
        }
        lines
    }

    /// What the file says of keys, and the usual keys of the actions that it does not name: those that
    /// it gives to others of the same context are taken from them.
    pub fn effective_keys(&self, actions: &[KnownAction]) -> Vec<Binding> {
        let mut keys: Vec<Binding> = actions
            .iter()
            .map(|action| Binding { action: action.name.clone(), keys: action.keys.clone(), origin: Origin::Default })
            .collect();
        let context = |name: &str| actions.iter().find(|action| action.name == name).map(|action| &action.context);
        for binding in self.bindings() {
            for usual in keys.iter_mut().filter(|known| context(&known.action) == context(&binding.action)) {
                usual.keys.retain(|key| !binding.keys.contains(key));
            }
        }
        for binding in self.bindings() {
            match keys.iter_mut().find(|known| known.action == binding.action) {
                Some(known) => *known = binding.clone(),
                None => keys.push(binding.clone()),
            }
        }
        keys
    }
}

/// A file to begin with: every setting, commented out, with what it is for and what is allowed.
pub fn template(rules: &Rules<'_>) -> String {
    let mut text = String::from(
        "# Settings of bit-axon. Remove the # before a line to change it.\n\
         # `bit-axon config` shows what holds, and where it comes from.\n",
    );
    // Writing to a String cannot fail.
    for (section, about) in SECTIONS {
        let _ = writeln!(text, "\n# {about}\n[{section}]");
        for setting in SETTINGS.iter().filter(|setting| setting.section() == section) {
            let _ = writeln!(text, "\n{}", comment(&format!("{}: {}.", setting.about, setting.kind.allowed())));
            let shown = if setting.default.is_empty() { setting.example } else { setting.default };
            let value = setting.kind.read(shown).ok().flatten().map(|value| value.to_toml());
            let _ = writeln!(text, "#{} = {}", setting.name(), value.unwrap_or_default());
        }
        if section == "keys" {
            for action in &rules.actions {
                let _ = writeln!(text, "\n{}", comment(&format!("{}.", action.about)));
                let _ = writeln!(text, "#{}", line(&action.name, &action.keys));
            }
        }
    }
    text
}

fn line(action: &str, keys: &[String]) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let keys: Vec<String> = keys.iter().map(|key| text(key)).collect();
    let bare = action.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') && !action.is_empty();
    format!("{} = [{}]", if bare { action.to_owned() } else { text(action) }, keys.join(", "))
}

/// The text as lines of comment.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n")
}
