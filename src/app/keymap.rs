//! Which key does what: the table's keys, changed by the config file.

use super::action::{ACTIONS, Action, Context};
use super::key::Key;

/// Keys bound to actions.
#[derive(Debug, Clone, PartialEq)]
pub struct Keymap {
    bindings: Vec<(Context, Key, Action)>,
}

impl Default for Keymap {
    fn default() -> Self {
        let mut keymap = Self { bindings: Vec::new() };
        for info in ACTIONS {
            for name in info.keys {
                // A test reads every name of the table.
                if let Ok(key) = name.parse() {
                    keymap.bindings.push((info.context, key, info.action));
                }
            }
        }
        keymap
    }
}

impl Keymap {
    /// The usual keys with changes: pairs of an action's name and all its keys; none unbinds it. A key
    /// that is given to one action is taken from others of the same context.
    pub fn with_changes<'a>(changes: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> Result<Self, String> {
        let mut keymap = Self::default();
        let mut given: Vec<(Context, Key, Action)> = Vec::new();
        for (name, keys) in changes {
            let action = Action::named(name).ok_or_else(|| format!("there is no action `{name}`; F1 lists them"))?;
            keymap.bindings.retain(|(_, _, bound)| *bound != action);
            for key in keys {
                let key: Key = key.parse().map_err(|why| format!("{name}: {why}"))?;
                if let Some(why) = key.unsendable() {
                    return Err(format!("{name}: a plain terminal cannot send {key}: {why}"));
                }
                let context = action.info().context;
                if let Some((_, _, other)) = given.iter().find(|(c, k, _)| (*c, *k) == (context, key)) {
                    return Err(format!("{key} is given both to {} and to {name}", other.info().name));
                }
                given.push((context, key, action));
            }
        }
        keymap.bindings.retain(|(c, k, _)| !given.iter().any(|(context, key, _)| (context, key) == (c, k)));
        keymap.bindings.extend(given);
        Ok(keymap)
    }

    /// What a key does where these contexts hold, the most special first.
    pub fn action(&self, contexts: &[Context], key: Key) -> Option<Action> {
        contexts.iter().find_map(|context| {
            let bound = self.bindings.iter().find(|(c, k, _)| c == context && *k == key);
            bound.map(|(_, _, action)| *action)
        })
    }

    /// The keys of an action, in the order in which they were bound.
    pub fn keys(&self, action: Action) -> impl Iterator<Item = Key> {
        self.bindings.iter().filter(move |(_, _, bound)| *bound == action).map(|(_, key, _)| *key)
    }

    /// The first key of an action as people write it: `^P`, `Alt-z`, `F1`.
    pub fn short(&self, action: Action) -> Option<String> {
        let key = self.keys(action).next()?;
        let name = Key { ctrl: false, alt: false, ..key }.to_string();
        let name = if name.len() > 1 { name.to_uppercase() } else { name };
        Some(match (key.ctrl, key.alt) {
            (true, _) => format!("^{}", name.to_uppercase()),
            (_, true) => format!("Alt-{name}"),
            _ => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_keys_can_be_sent_and_do_not_collide() {
        let keymap = Keymap::default();
        assert_eq!(keymap.bindings.len(), ACTIONS.iter().map(|info| info.keys.len()).sum::<usize>());
        for (i, (context, key, action)) in keymap.bindings.iter().enumerate() {
            assert!(key.unsendable().is_none(), "{key} of {}", action.info().name);
            let twice = keymap.bindings[..i].iter().find(|(c, k, _)| (c, k) == (context, key));
            assert!(twice.is_none(), "{key} in {} is bound twice", context.name());
        }
    }

    #[test]
    fn changes_take_keys_from_others_and_mistakes_are_named() {
        let key = |name: &str| name.parse::<Key>().unwrap();
        let keymap = Keymap::with_changes([("quit", vec!["f10"]), ("zoom", vec!["ctrl-p"])]).unwrap();
        assert_eq!(keymap.action(&[Context::Everywhere], key("f10")), Some(Action::Quit));
        assert_eq!(keymap.action(&[Context::Everywhere], key("ctrl-q")), None);
        assert_eq!(keymap.action(&[Context::Everywhere], key("ctrl-p")), Some(Action::Zoom));
        assert_eq!(keymap.keys(Action::Palette).count(), 0);
        let error = |changes: Vec<(&'static str, Vec<&'static str>)>| Keymap::with_changes(changes).unwrap_err();
        assert!(error(vec![("fly", vec![])]).contains("fly"));
        assert!(error(vec![("quit", vec!["ctrl-i"])]).contains("tab"));
        assert!(error(vec![("quit", vec!["f10"]), ("zoom", vec!["f10"])]).contains("both"));
    }
}
