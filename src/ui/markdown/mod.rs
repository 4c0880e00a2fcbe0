//! Markdown that grows: what is finished is laid out once, only its tail again.
//!
//! The text is cut into blocks by its lines: at blank lines, before list items and headings, at
//! fences. A block that another one follows can change no more. Fenced code is laid out line by line.

mod block;
mod highlight;

use ratatui::text::{Line, Span};

use super::text::{clean, wrap};
use super::theme::Theme;
use highlight::{Inside, Language};

/// A block longer than this ends, whatever follows: a text without line ends would else be laid out
/// again and again.
const LONGEST: usize = 4096;

/// A text, laid out as far as it came.
#[derive(Debug, Default)]
pub struct Rendered {
    lines: Vec<Line<'static>>,
    columns: usize,
    /// Bytes of the text that are laid out.
    length: usize,
    /// What is finished: bytes, lines, and where they leave off.
    done: Done,
}

#[derive(Debug, Clone, Default)]
struct Done {
    bytes: usize,
    lines: usize,
    place: Place,
}

/// Where in the text one is.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Inside of a fence.
    fence: Option<Fence>,
    /// A blank line came since the last block.
    gap: bool,
    /// The last block at the margin was a list.
    in_list: bool,
    /// Something was laid out.
    begun: bool,
}

#[derive(Debug, Clone)]
struct Fence {
    mark: String,
    indent: usize,
    language: Option<Language>,
    inside: Inside,
}

impl Rendered {
    /// Lays out `text`, which is the text of before or has grown from it, in lines of at most `columns`.
    pub fn update(&mut self, text: &str, columns: usize, theme: &Theme) -> &[Line<'static>] {
        if columns != self.columns || text.len() < self.length {
            *self = Self { columns, ..Self::default() };
        }
        if text.len() > self.length || self.length == 0 {
            self.length = text.len();
            self.lines.truncate(self.done.lines);
            self.grow(text, theme);
        }
        &self.lines
    }

    fn grow(&mut self, text: &str, theme: &Theme) {
        let mut place = self.done.place.clone();
        // The block that is being read begins here.
        let mut start = self.done.bytes;
        let mut at = start;
        for line in text[at..].split_inclusive('\n') {
            let whole = line.ends_with('\n');
            let bare = line.trim_end_matches(['\n', '\r']);
            let next = at + line.len();
            if let Some(fence) = &mut place.fence {
                if is_fence_end(bare, &fence.mark) {
                    place.fence = None;
                    (place.gap, place.begun) = (true, true);
                } else {
                    self.code_line(bare, fence, theme);
                }
                start = next;
                if whole {
                    self.finished(start, &place);
                }
            } else if let Some(fence) = fence_start(bare) {
                self.block(&text[start..at], &mut place, theme);
                self.fence_head(bare, &fence, &mut place, theme);
                place.fence = Some(fence);
                start = next;
                if whole {
                    self.finished(start, &place);
                }
            } else if bare.trim().is_empty() {
                self.block(&text[start..at], &mut place, theme);
                place.gap = place.begun;
                start = next;
                if whole {
                    self.finished(start, &place);
                }
            } else if start < at && whole && begins_block(bare, &text[start..at]) {
                self.block(&text[start..at], &mut place, theme);
                start = at;
                self.finished(start, &place);
            }
            at = next;
            while at - start > LONGEST {
                let most = text.floor_char_boundary(start + LONGEST);
                let end = text[start..most].rfind([' ', '\n']).map_or(most, |space| start + space + 1);
                self.block(&text[start..end], &mut place, theme);
                start = end;
                self.finished(start, &place);
            }
        }
        let mut tail = place;
        self.block(&text[start..], &mut tail, theme);
    }

    /// What was laid out so far will not change.
    fn finished(&mut self, bytes: usize, place: &Place) {
        self.done = Done { bytes, lines: self.lines.len(), place: place.clone() };
    }

    fn gap(&mut self, place: &mut Place) {
        if place.gap && place.begun {
            self.lines.push(Line::default());
        }
        (place.gap, place.begun) = (false, true);
    }

    fn block(&mut self, text: &str, place: &mut Place, theme: &Theme) {
        if text.trim().is_empty() {
            return;
        }
        self.gap(place);
        let indent = text.len() - text.trim_start_matches(' ').len();
        if indent == 0 {
            place.in_list = is_item(text);
        }
        // What is indented below a list belongs to it; taken by itself it would be code.
        if place.in_list && indent >= 2 {
            let bare: Vec<&str> = text.split('\n').map(|l| &l[leading_spaces(l).min(indent)..]).collect();
            self.lines.extend(block::render(&clean(&bare.join("\n")), self.columns, indent.min(12), theme));
        } else {
            self.lines.extend(block::render(&clean(text), self.columns, 0, theme));
        }
        if text.trim_start().starts_with('#') {
            place.gap = true;
        }
    }

    fn fence_head(&mut self, bare: &str, fence: &Fence, place: &mut Place, theme: &Theme) {
        place.gap = place.begun;
        self.gap(place);
        let label = clean(bare.trim().trim_start_matches(['`', '~'])).trim().to_owned();
        if !label.is_empty() {
            let margin = Span::styled(" ".repeat(fence.indent.min(12)) + "▏", theme.faint);
            self.lines.push(Line::from(vec![margin, Span::styled(label, theme.dim)]));
        }
    }

    fn code_line(&mut self, bare: &str, fence: &mut Fence, theme: &Theme) {
        let code = clean(&bare[leading_spaces(bare).min(fence.indent)..]).into_owned();
        let (pieces, inside) = highlight::line(&code, fence.language, fence.inside, theme);
        fence.inside = inside;
        let margin = [Span::styled(" ".repeat(fence.indent.min(12)) + "▏ ", theme.faint)];
        self.lines.extend(wrap(&pieces, self.columns, &margin, &margin));
    }
}

fn leading_spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn fence_start(line: &str) -> Option<Fence> {
    let bare = line.trim_start_matches(' ');
    let first = bare.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let mark: String = bare.chars().take_while(|c| *c == first).collect();
    let label = &bare[mark.len()..];
    // Code in a line of text may use three backticks too.
    if mark.len() < 3 || (first == '`' && label.contains('`')) {
        return None;
    }
    Some(Fence { indent: line.len() - bare.len(), language: highlight::language(label), inside: Inside::Code, mark })
}

fn is_fence_end(line: &str, mark: &str) -> bool {
    let bare = line.trim();
    bare.starts_with(mark) && bare.chars().all(|c| mark.starts_with(c))
}

/// True if the line is an item of a list at the margin.
fn is_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let after = &line[digits..];
    match digits {
        0 => ["- ", "* ", "+ "].iter().any(|mark| after.starts_with(mark)),
        1..=9 => after.starts_with(". ") || after.starts_with(") "),
        _ => false,
    }
}

/// True if a block begins with this line, although no blank line stands before it.
fn begins_block(line: &str, before: &str) -> bool {
    let hashes = line.bytes().take_while(|b| *b == b'#').count();
    let heading = |line: &str, hashes: usize| (1..=6).contains(&hashes) && line[hashes..].starts_with(' ');
    let above = before.bytes().take_while(|b| *b == b'#').count();
    heading(line, hashes) || heading(before, above) || (is_item(line) && (is_item(before) || before.starts_with(' ')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text::width;
    use super::super::theme::Depth;
    use super::*;

    fn theme() -> Theme {
        Theme::built_in("dark", Depth::True, false).unwrap()
    }

    fn at_once(text: &str, columns: usize) -> Vec<Line<'static>> {
        Rendered::default().update(text, columns, &theme()).to_vec()
    }

    const SAMPLE: &str = "# Title\nText with **bold**, `code` and a [link](http://x.y).\n\n1. one\n2. two\n   more\n\n   \
        para\n- a\n  - b\n\n```rust\nfn main() {\n    let x = \"漢字\"; // é\n}\n```\nafter\n\n> quoted\n\n\
        | a | b |\n|---|---|\n| 1 | 2 |\n\nend\x1b[2J";

    #[test]
    fn blocks_are_laid_out() {
        let shown: Vec<String> = at_once(SAMPLE, 40).iter().map(|l| l.to_string().trim_end().to_owned()).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn growing_gives_the_same_as_all_at_once() {
        for columns in [7, 20, 60] {
            let mut growing = Rendered::default();
            for (at, c) in SAMPLE.char_indices() {
                let _ = growing.update(&SAMPLE[..at + c.len_utf8()], columns, &theme());
            }
            assert_eq!(growing.update(SAMPLE, columns, &theme()), at_once(SAMPLE, columns));
        }
    }

    #[test]
    fn what_is_finished_is_not_laid_out_again() {
        let mut text = String::new();
        let mut rendered = Rendered::default();
        for i in 0..2000 {
            text.push_str(match i % 7 {
                0 => "\n\nparagraph ",
                1 => "\n- item ",
                2 => "\n```py\nx = 1\n```\n",
                _ => "word word ",
            });
            let _ = rendered.update(&text, 40, &theme());
            assert!(text.len() - rendered.done.bytes < 200, "the tail is short");
        }
        let endless = "x".repeat(3 * LONGEST);
        let _ = rendered.update(&(text + &endless), 40, &theme());
        assert!(rendered.length - rendered.done.bytes <= LONGEST);
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(text in "[-#>*`~|_ \\[\\]()!<a1.\n\t漢👩\u{301}\u{1b}]{0,120}", columns in 3usize..30) {
            for line in at_once(&text, columns) {
                prop_assert!(!line.to_string().contains(char::is_control));
                prop_assert!(columns < 24 || width(&line.to_string()) <= columns, "{line:?}");
            }
        }

        #[test]
        fn growing_never_breaks_it(text in "[-#>*` a1.\n]{0,80}") {
            let mut growing = Rendered::default();
            for at in 0..=text.len() {
                let _ = growing.update(&text[..at], 20, &theme());
            }
            let plain = |lines: &[Line<'_>]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!(plain(growing.update(&text, 20, &theme())), plain(&at_once(&text, 20)));
        }
    }
}
