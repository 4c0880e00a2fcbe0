//! Keys by name: `ctrl-p`, `alt-enter`, `shift-up`, `f1`, `?`, `space`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui_textarea::Input;

/// One press of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Which.
    pub code: KeyCode,
    /// With the control key.
    pub ctrl: bool,
    /// With the alt key, which terminals send as escape before the key.
    pub alt: bool,
    /// With the shift key; never set for characters, which are capital instead.
    pub shift: bool,
}

impl Key {
    /// A key alone.
    pub const fn plain(code: KeyCode) -> Self {
        Self { code, ctrl: false, alt: false, shift: false }
    }

    /// What the terminal reported; none for what is no press.
    pub fn from_event(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let has = |modifier| event.modifiers.contains(modifier);
        let (ctrl, alt) = (has(KeyModifiers::CONTROL), has(KeyModifiers::ALT));
        let shift = has(KeyModifiers::SHIFT) && !matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab);
        let code = match event.code {
            // With control, terminals send no case.
            KeyCode::Char(c) if ctrl => KeyCode::Char(c.to_ascii_lowercase()),
            code => code,
        };
        Some(Self { code, ctrl, alt, shift })
    }

    /// The character that this key types, if it types one.
    pub fn typed(self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if !self.ctrl && !self.alt => Some(c),
            _ => None,
        }
    }

    /// The same for the text editor.
    pub fn input(self) -> Input {
        let mut modifiers = KeyModifiers::empty();
        modifiers.set(KeyModifiers::CONTROL, self.ctrl);
        modifiers.set(KeyModifiers::ALT, self.alt);
        modifiers.set(KeyModifiers::SHIFT, self.shift);
        KeyEvent::new(self.code, modifiers).into()
    }

    /// Why a terminal without special protocols cannot send this key, if it cannot.
    pub fn unsendable(self) -> Option<&'static str> {
        match self.code {
            KeyCode::Char('i') if self.ctrl => Some("it is the same as tab"),
            KeyCode::Char('m') if self.ctrl => Some("it is the same as enter"),
            KeyCode::Char('[') if self.ctrl => Some("it is the same as esc"),
            KeyCode::Char('[' | 'O') if self.alt => Some("it begins the codes of other keys"),
            KeyCode::Char(c) if self.ctrl && !c.is_ascii_lowercase() && c != ' ' => {
                Some("only letters and space can be sent with ctrl")
            }
            KeyCode::Enter | KeyCode::Tab | KeyCode::Esc | KeyCode::Backspace if self.ctrl || self.shift => {
                Some("terminals send it without ctrl and shift")
            }
            _ => None,
        }
    }
}

const NAMES: [(KeyCode, &str); 16] = [
    (KeyCode::Enter, "enter"),
    (KeyCode::Esc, "esc"),
    (KeyCode::Tab, "tab"),
    (KeyCode::BackTab, "shift-tab"),
    (KeyCode::Backspace, "backspace"),
    (KeyCode::Delete, "delete"),
    (KeyCode::Insert, "insert"),
    (KeyCode::Home, "home"),
    (KeyCode::End, "end"),
    (KeyCode::PageUp, "pageup"),
    (KeyCode::PageDown, "pagedown"),
    (KeyCode::Up, "up"),
    (KeyCode::Down, "down"),
    (KeyCode::Left, "left"),
    (KeyCode::Right, "right"),
    (KeyCode::Char(' '), "space"),
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (on, name) in [(self.ctrl, "ctrl-"), (self.alt, "alt-"), (self.shift, "shift-")] {
            if on {
                f.write_str(name)?;
            }
        }
        if let Some((_, name)) = NAMES.iter().find(|(code, _)| *code == self.code) {
            return f.write_str(name);
        }
        match self.code {
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(n) => write!(f, "f{n}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut ctrl, mut alt, mut shift) = (false, false, false);
        let mut rest = text;
        loop {
            if let Some((code, _)) = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(rest)) {
                return Ok(Self { code: *code, ctrl, alt, shift });
            }
            let lower = rest.to_ascii_lowercase();
            let Some((prefix, _)) = lower.split_once('-').filter(|(_, after)| !after.is_empty()) else { break };
            match prefix {
                "ctrl" => ctrl = true,
                "alt" => alt = true,
                "shift" => shift = true,
                _ => break,
            }
            rest = &rest[prefix.len() + 1..];
        }
        let mut chars = rest.chars();
        let code = match (chars.next(), chars.as_str()) {
            (Some(c), "") if shift && c.is_alphabetic() => {
                shift = false;
                KeyCode::Char(c.to_uppercase().next().unwrap_or(c))
            }
            (Some(c), "") if ctrl => KeyCode::Char(c.to_ascii_lowercase()),
            (Some(c), "") if !c.is_control() => KeyCode::Char(c),
            (Some('f' | 'F'), number) => match number.parse() {
                Ok(n @ 1..=12) => KeyCode::F(n),
                _ => return Err(format!("`{text}` is no key: function keys are f1 to f12")),
            },
            _ => {
                return Err(format!(
                    "`{text}` is no key: write it as `ctrl-p`, `alt-enter`, `shift-up`, `f1`, `pageup` or `?`"
                ));
            }
        };
        Ok(Self { code, ctrl, alt, shift })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for name in ["ctrl-p", "alt-enter", "shift-up", "f12", "?", "space", "shift-tab", "alt--", "-", "G", "alt-<"] {
            assert_eq!(name.parse::<Key>().unwrap().to_string(), name);
        }
        assert_eq!("shift-g".parse::<Key>().unwrap().to_string(), "G");
        for bad in ["", "ctrl-", "f13", "hyper-x", "enterr", "\x1b"] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_that_a_plain_terminal_cannot_send_are_known() {
        for bad in ["ctrl-i", "ctrl-m", "shift-enter", "ctrl-enter", "ctrl-=", "alt-["] {
            assert!(bad.parse::<Key>().unwrap().unsendable().is_some(), "{bad}");
        }
        for good in ["ctrl-j", "alt-enter", "shift-up", "tab", "shift-tab", "alt-left"] {
            assert!(good.parse::<Key>().unwrap().unsendable().is_none(), "{good}");
        }
    }
}
