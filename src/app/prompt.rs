//! The prompt editor and its history.

use ratatui_textarea::{CursorMove, TextArea, WrapMode};

/// Prompts that are kept.
const HISTORY: usize = 1000;

/// What is being written.
#[derive(Debug, Clone)]
pub struct PromptState {
    /// The editor.
    pub area: TextArea<'static>,
    /// Earlier prompts, oldest first.
    pub history: Vec<String>,
    /// Which of them is shown.
    at: Option<usize>,
    /// What was written before going back.
    draft: String,
}

impl Default for PromptState {
    fn default() -> Self {
        Self { area: editor(""), history: Vec::new(), at: None, draft: String::new() }
    }
}

fn editor(text: &str) -> TextArea<'static> {
    let mut area = TextArea::new(text.split('\n').map(str::to_owned).collect());
    area.set_wrap_mode(WrapMode::WordOrGlyph);
    // The terminal's own cursor is used: it costs nothing to move.
    area.set_cursor_style(ratatui::style::Style::default());
    area.set_cursor_line_style(ratatui::style::Style::default());
    area.move_cursor(CursorMove::Bottom);
    area.move_cursor(CursorMove::End);
    area
}

impl PromptState {
    /// What is written.
    pub fn text(&self) -> String {
        self.area.lines().join("\n")
    }

    /// True if nothing is.
    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }

    /// Writes something else.
    pub fn set(&mut self, text: &str) {
        self.area = editor(text);
        self.at = None;
    }

    /// Inserts text: controls other than line ends cannot be typed, and so not be pasted either.
    pub fn paste(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        self.area.insert_str(text.replace(|c: char| c.is_control() && c != '\n', ""));
    }

    /// Puts prompts of earlier times before those of now.
    pub fn recall(&mut self, mut earlier: Vec<String>) {
        earlier.retain(|prompt| !self.history.contains(prompt));
        self.at = self.at.map(|at| at + earlier.len());
        self.history.splice(0..0, earlier);
    }

    /// Keeps a prompt, unless it is the newest already. One that was kept before moves to the end.
    pub fn remember(&mut self, text: &str) -> bool {
        if self.history.last().is_some_and(|last| last == text) {
            return false;
        }
        self.history.retain(|prompt| prompt != text);
        self.history.push(text.to_owned());
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
        true
    }

    /// The prompt before, if the cursor is on the first line. False if the key is the editor's.
    pub fn back(&mut self) -> bool {
        if self.area.screen_cursor().row > 0 {
            return false;
        }
        let before = match self.at {
            None => self.history.len().checked_sub(1),
            Some(at) => at.checked_sub(1),
        };
        if let Some(before) = before {
            if self.at.is_none() {
                self.draft = self.text();
            }
            self.area = editor(&self.history[before]);
            self.at = Some(before);
        }
        true
    }

    /// The next prompt, if the cursor is on the last line and there was a way back.
    pub fn on(&mut self) -> bool {
        let Some(at) = self.at else { return false };
        if self.area.cursor().0 + 1 < self.area.lines().len() {
            return false;
        }
        if at + 1 < self.history.len() {
            self.area = editor(&self.history[at + 1]);
            self.at = Some(at + 1);
        } else {
            let draft = std::mem::take(&mut self.draft);
            self.set(&draft);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_walked_and_the_draft_comes_back() {
        let mut prompt = PromptState::default();
        assert!(prompt.remember("one") && prompt.remember("two") && !prompt.remember("two"));
        prompt.set("draft");
        assert!(prompt.back() && prompt.text() == "two");
        assert!(prompt.back() && prompt.text() == "one");
        assert!(prompt.back() && prompt.text() == "one");
        assert!(prompt.on() && prompt.on() && prompt.text() == "draft");
        assert!(!prompt.on());
    }

    #[test]
    fn prompts_of_earlier_times_stand_before_those_of_now() {
        let mut prompt = PromptState::default();
        prompt.remember("b");
        assert!(prompt.back());
        prompt.recall(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(prompt.history, ["a", "c", "b"]);
        assert!(prompt.back() && prompt.text() == "c");
        assert!(prompt.remember("a") && prompt.history == ["c", "b", "a"]);
    }

    #[test]
    fn pasted_controls_are_dropped() {
        let mut prompt = PromptState::default();
        prompt.paste("a\x1b[2Jb\r\nc\td\x07");
        assert_eq!(prompt.text(), "a[2Jb\nc    d");
    }
}
