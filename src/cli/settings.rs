//! The settings of the user, as commands take them: checked against the actions, keys and themes that
//! there are.

use anyhow::Result;

use crate::app::action::{ACTIONS, Action, Context};
use crate::app::key::Key;
use crate::app::keymap::Keymap;
use crate::config::{Config, KnownAction, Places, Rules, Settings};
use crate::run::themes::Themes;
use crate::ui::theme::Depth;

/// The settings that hold.
pub(super) struct Own {
    /// Each with its origin.
    pub(super) config: Config,
    /// The same as types.
    pub(super) settings: Settings,
    /// The built-in themes and those of the user.
    pub(super) themes: Themes,
}

/// Reads them.
pub(super) fn load() -> Result<Own> {
    // Where the user's themes are is itself a setting, so the names of themes are checked afterwards.
    let folder = match Config::load(&rules(Vec::new())).map(|config| config.settings()) {
        Ok(Ok(settings)) => settings.paths.themes,
        _ => Places::new(&|name| std::env::var_os(name)).themes,
    };
    let themes = Themes::new(folder);
    let config = Config::load(&rules(themes.names()))?;
    let settings = config.settings()?;
    Ok(Own { config, settings, themes })
}

impl Own {
    /// What is wrong with themes of the user: the name of the theme, and what.
    pub(super) fn broken_themes(&self) -> Vec<(String, String)> {
        let broken = |name: String| {
            let error = self.themes.theme(&name, Depth::True, false).err()?;
            Some((name, format!("{error:#}")))
        };
        self.themes.own().into_iter().filter_map(broken).collect()
    }
}

/// The usual keys with the user's changes.
pub(super) fn keymap(settings: &Settings) -> Result<Keymap> {
    let keys = settings.keys.iter();
    let changes = keys.map(|binding| (binding.action.as_str(), binding.keys.iter().map(String::as_str).collect()));
    Keymap::with_changes(changes).map_err(anyhow::Error::msg)
}

/// What actions, keys and themes there are; without names of themes any name will do.
pub(super) fn rules(themes: Vec<String>) -> Rules<'static> {
    let usual = |name: &&str| name.parse::<Key>().map_or_else(|_| (*name).to_owned(), |key| key.to_string());
    let actions = ACTIONS.iter().map(|info| KnownAction {
        name: info.name.into(),
        context: info.context.name().into(),
        keys: info.keys.iter().map(usual).collect(),
        about: info.about.into(),
    });
    Rules { actions: actions.collect(), key: &key, themes }
}

/// The usual name of a key, or why this action cannot have it.
fn key(action: &str, name: &str) -> Result<String, String> {
    let key: Key = name.parse()?;
    if let Some(why) = key.unsendable() {
        return Err(format!("a plain terminal cannot send {key}: {why}"));
    }
    let typing = [Context::Everywhere, Context::Prompt, Context::List];
    if let (Some(action), Some(_)) = (Action::named(action), key.typed())
        && typing.contains(&action.info().context)
    {
        return Err(format!("{key} could not be typed any more where this holds; alt-{key} or a function key can"));
    }
    Ok(key.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a file; `F` stands for its name.
    fn mistakes(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let env = |name: &str| (name == "BIT_AXON_CONFIG").then(|| path.clone().into_os_string());
        let themes = Themes::default().names();
        let wrong = Config::load_from(&env, &rules(themes)).unwrap_err().to_string();
        wrong.replace(&path.display().to_string(), "F")
    }

    #[test]
    fn actions_keys_and_themes_are_known() {
        for (text, want) in [
            ("[keys]\nqiut = 'f10'", "F:2: keys.qiut: there is no such action; did you mean `quit`?"),
            ("[keys]\nquit = 'hyper-x'", "F:2: keys.quit: `hyper-x` is no key: write it as `ctrl-p`"),
            (
                "[keys]\n\nquit = ['f10', 'ctrl-i']",
                "F:3: keys.quit: a plain terminal cannot send ctrl-i: it is the same",
            ),
            ("[keys]\nquit = 'q'", "F:2: keys.quit: q could not be typed any more"),
            ("[keys]\nquit = 'f10'\nzoom = 'F10'", "F:3: keys.zoom: f10 is given to `quit` on line 2 already"),
            ("[ui]\ntheme = 'ligth'", "F:2: ui.theme: there is no theme `ligth`; did you mean `light`?"),
        ] {
            let found = mistakes(text);
            assert!(found.contains(want), "{text}\n  gave {found}\n  not  {want}");
        }
    }

    #[test]
    fn the_usual_keys_are_allowed_and_changes_reach_the_keymap() {
        for info in ACTIONS {
            for name in info.keys {
                assert_eq!(key(info.name, name).as_deref(), Ok(*name), "{}", info.name);
            }
        }
        let mut settings = Config::defaults(&Places::default()).settings().unwrap();
        assert_eq!(keymap(&settings).unwrap(), Keymap::default());
        let binding = |action: &str, key: &str| crate::config::Binding {
            action: action.into(),
            keys: vec![key.into()],
            origin: crate::config::Origin::Default,
        };
        // One key may mean one thing in the chat and another in the routing.
        settings.keys = vec![binding("chat-edit", "z"), binding("mute-here", "z"), binding("quit", "f10")];
        let keymap = keymap(&settings).unwrap();
        let does = |context, key: &str| keymap.action(&[context], key.parse().unwrap());
        assert_eq!(does(Context::Chat, "z"), Some(Action::ChatEdit));
        assert_eq!(does(Context::Routing, "z"), Some(Action::MuteHere));
        assert_eq!(does(Context::Everywhere, "f10"), Some(Action::Quit));
        assert_eq!(does(Context::Everywhere, "ctrl-q"), None);
    }
}
