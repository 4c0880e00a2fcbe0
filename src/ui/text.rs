//! Text for cells: made harmless, measured, cut and wrapped.

use std::borrow::Cow;

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text with everything that a terminal would obey shown instead: controls as their pictures,
/// marks that turn the direction of writing by their numbers, tabs as spaces. Line ends stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !obeyed(c) => shown.push(c),
            '\t' => shown.push_str("    "),
            c if c < ' ' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\x7f' => shown.push('\u{2421}'),
            c => shown.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// Text on one line: cleaned, line ends shown too.
pub fn one_line(text: &str) -> String {
    clean(text).replace('\n', "⏎")
}

/// At most `columns` of the text; an ellipsis says that there was more.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let w = width(grapheme);
        if used + w > columns.saturating_sub(1) {
            break;
        }
        kept.push_str(grapheme);
        used += w;
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// A piece of text in one style.
pub type Piece = (String, Style);

/// Lays pieces out in lines of at most `columns`, at words where there are any. `first` stands
/// before the first line, `rest` before the others; both count.
pub fn wrap(pieces: &[Piece], columns: usize, first: &[Span<'static>], rest: &[Span<'static>]) -> Vec<Line<'static>> {
    let mut wrapper =
        Wrapper { lines: Vec::new(), line: Vec::new(), word: Vec::new(), prefix: 0, used: 0, room: 0, columns, rest };
    wrapper.begin(first);
    for (text, style) in pieces {
        for part in text.split_word_bounds() {
            wrapper.part(part, *style);
        }
    }
    wrapper.end_word();
    if wrapper.used > 0 || wrapper.lines.is_empty() {
        wrapper.begin(&[]);
    }
    wrapper.lines
}

struct Wrapper<'a> {
    lines: Vec<Line<'static>>,
    line: Vec<Span<'static>>,
    /// What must stay together: a word with the marks around it, in as many styles as it has.
    word: Vec<Piece>,
    /// Spans of the line that are its prefix.
    prefix: usize,
    /// Columns used behind the prefix, of how many.
    used: usize,
    room: usize,
    columns: usize,
    rest: &'a [Span<'static>],
}

impl Wrapper<'_> {
    /// Ends the line that is there, if there is one, and begins another.
    fn begin(&mut self, prefix: &[Span<'static>]) {
        if self.room > 0 {
            self.lines.push(Line::from(std::mem::take(&mut self.line)));
        }
        self.line = prefix.to_vec();
        let taken: usize = prefix.iter().map(|span| width(&span.content)).sum();
        (self.prefix, self.used, self.room) = (prefix.len(), 0, self.columns.saturating_sub(taken).max(1));
    }

    fn next(&mut self) {
        self.begin(self.rest);
    }

    /// Takes a word, a mark or a blank.
    fn part(&mut self, part: &str, style: Style) {
        let blank = part.chars().all(char::is_whitespace);
        if blank || self.may_break_before(part) {
            self.end_word();
        }
        let w = width(part);
        if part == "\n" {
            self.next();
        } else if !blank {
            self.word.push((part.to_owned(), style));
        } else if self.used + w > self.room {
            self.next();
        } else if self.used > 0 || self.lines.is_empty() {
            // A line that was broken begins with a word.
            self.put(part, w, style);
        }
    }

    /// Whether a line may end between the word so far and this: beside wide letters, and behind a hyphen or slash
    /// within a word, but never before a mark that closes.
    fn may_break_before(&self, part: &str) -> bool {
        const CLOSES: &str = "。、，．！？：；」』）】》…";
        let Some((first, _)) = self.word.first() else { return false };
        let (Some(before), Some(next)) = (self.word.last().and_then(|(t, _)| t.chars().last()), part.chars().next())
        else {
            return false;
        };
        let wide = |letter: char| letter.width().is_some_and(|w| w > 1);
        let joint = matches!(before, '-' | '/') && first.starts_with(char::is_alphanumeric);
        (wide(before) || wide(next) || joint && next.is_alphanumeric()) && !CLOSES.contains(next)
    }

    /// Puts the word onto the line, or onto the next; one that is longer than a line is broken.
    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        let w: usize = word.iter().map(|(text, _)| width(text)).sum();
        if self.used + w > self.room && w <= self.room && self.used > 0 {
            self.next();
        }
        let fits = self.used + w <= self.room;
        for (text, style) in &word {
            if fits {
                self.put(text, width(text), *style);
                continue;
            }
            for grapheme in text.graphemes(true) {
                let w = width(grapheme);
                if self.used + w > self.room && self.used > 0 {
                    self.next();
                }
                self.put(grapheme, w, *style);
            }
        }
    }

    fn put(&mut self, text: &str, w: usize, style: Style) {
        self.used += w;
        let prefix = self.prefix;
        let own = self.line.len() > prefix;
        match self.line.last_mut() {
            Some(last) if own && last.style == style => last.content.to_mut().push_str(text),
            _ => self.line.push(Span::styled(text.to_owned(), style)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn controls_are_shown() {
        assert_eq!(clean("a\x1b[2J\tb\x7f\n"), "a␛[2J    b␡\n");
        assert_eq!(clean("txt\u{202e}exe"), "txt\\u{202e}exe");
        assert_eq!(one_line("a\nb"), "a⏎b");
    }

    #[test]
    fn wide_text_is_cut_by_columns() {
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("漢字", 4), "漢字");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn words_are_kept_together_and_long_ones_broken() {
        let style = Style::default();
        let lines = wrap(&[("one two three abcdefghijk".into(), style)], 8, &[], &[]);
        assert_eq!(plain(&lines), ["one two ", "three ab", "cdefghij", "k"]);
        let mark = [Span::raw("- ")];
        let gap = [Span::raw("  ")];
        let lines = wrap(&[("漢字漢字 ok".into(), style)], 6, &mark, &gap);
        assert_eq!(plain(&lines), ["- 漢字", "  漢字", "  ok"]);
        // Marks stay with their words, in whatever style, and long words end at hyphens.
        let strong = Style::default().bold();
        let lines = wrap(&[("a deep (".into(), style), ("hole".into(), strong), ("). At".into(), style)], 12, &[], &[]);
        assert_eq!(plain(&lines), ["a deep ", "(hole). At"]);
        let lines = wrap(&[("of sliding-window, --slow-link 漢字。".into(), style)], 13, &[], &[]);
        assert_eq!(plain(&lines), ["of sliding-", "window, ", "--slow-link ", "漢字。"]);
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_letter_is_lost(text in "[a-z漢é👩 \\n]{0,80}", columns in 2usize..20) {
            let lines = plain(&wrap(&[(text.clone(), Style::default())], columns, &[], &[]));
            for line in &lines {
                prop_assert!(width(line) <= columns, "{line:?}");
            }
            let letters = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
