//! The help: made from the table of actions and the keys that hold now.

use ratatui::text::{Line, Span};

use super::text::{cut, width, wrap};
use super::theme::Theme;
use crate::app::action::{ACTIONS, Context};
use crate::app::keymap::Keymap;

/// Every action with its keys, by where they hold.
pub(super) fn lines(keymap: &Keymap, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let keys_width = if columns < 60 { 12 } else { 22 };
    let mut lines = Vec::new();
    for context in Context::ALL {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let name = match context {
            Context::Everywhere => "Everywhere".to_owned(),
            Context::List => "In lists".to_owned(),
            Context::Replay => "In a recording that is played".to_owned(),
            other => format!("In the {}", other.name()),
        };
        lines.push(Line::styled(name, theme.heading));
        for info in ACTIONS.iter().filter(|info| info.context == context) {
            let mut keys: Vec<String> = keymap.keys(info.action).map(|key| key.to_string()).collect();
            if keys.is_empty() {
                if context != Context::Everywhere {
                    continue;
                }
                keys.push(format!("/{}", info.name));
            }
            let keys = cut(&keys.join(" "), keys_width);
            let gap = " ".repeat(keys_width - width(&keys) + 2);
            let about = [(info.about.to_owned(), theme.text)];
            let below = [Span::raw(" ".repeat(keys_width + 2))];
            lines.extend(wrap(&about, columns, &[Span::styled(keys + &gap, theme.user)], &below));
        }
    }
    lines
}
