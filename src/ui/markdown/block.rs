//! One finished piece of Markdown that is no fenced code: paragraphs, headings, lists, quotes, tables.

use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::ui::text::{Piece, width, wrap};
use crate::ui::theme::Theme;

/// Lays out the text in lines of at most `columns`, behind `indent` columns.
pub(super) fn render(text: &str, columns: usize, indent: usize, theme: &Theme) -> Vec<Line<'static>> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer {
        theme,
        columns,
        lines: Vec::new(),
        pieces: Vec::new(),
        styles: vec![theme.text],
        lists: Vec::new(),
        margin: if indent > 0 { vec![Span::raw(" ".repeat(indent))] } else { Vec::new() },
        written: 0,
        item: None,
        table: None,
        link: None,
    };
    for event in Parser::new_ext(text, options) {
        writer.event(event);
    }
    writer.flush();
    writer.lines
}

struct Writer<'a> {
    theme: &'a Theme,
    columns: usize,
    lines: Vec<Line<'static>>,
    /// Text of the paragraph that is being read.
    pieces: Vec<Piece>,
    styles: Vec<Style>,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    /// What stands before every line: indents and quote marks.
    margin: Vec<Span<'static>>,
    /// Spans of the margin of what was written last.
    written: usize,
    /// The mark before the first line of an item.
    item: Option<String>,
    table: Option<Table>,
    link: Option<String>,
}

#[derive(Default)]
struct Table {
    /// Cells, each with its text in pieces.
    rows: Vec<Vec<Vec<Piece>>>,
    alignments: Vec<Alignment>,
    /// Rows before the rule.
    head: usize,
}

impl Writer<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text, None),
            Event::Code(code) => self.text(&code, Some(self.theme.code)),
            Event::InlineMath(math) | Event::DisplayMath(math) => self.text(&math, Some(self.theme.code)),
            Event::FootnoteReference(name) => self.text(&format!("[{name}]"), None),
            // Who ends a line in a chat means it: a verse, a list without marks, a prompt of several lines.
            Event::SoftBreak | Event::HardBreak => self.text("\n", None),
            Event::Rule => {
                let rule = "─".repeat(self.columns.min(40));
                self.lines.push(Line::styled(rule, self.theme.faint));
            }
            Event::TaskListMarker(done) => self.item = Some(if done { "☑ " } else { "☐ " }.into()),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        let style = *self.styles.last().unwrap_or(&self.theme.text);
        match tag {
            Tag::Heading { level, .. } => {
                self.flush();
                let mark = if level == HeadingLevel::H1 { "# " } else { "" };
                self.styles.push(self.theme.heading);
                self.text(mark, None);
            }
            Tag::Emphasis => self.styles.push(style.patch(self.theme.emphasis)),
            Tag::Strong => self.styles.push(style.patch(self.theme.strong)),
            Tag::Strikethrough => self.styles.push(style.patch(self.theme.dim)),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.styles.push(style.patch(self.theme.link));
                self.link = Some(dest_url.to_string());
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.margin.push(Span::styled("▎ ", self.theme.faint));
                self.styles.push(self.theme.quote);
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => if self.lists.len() > 1 { "◦ " } else { "• " }.into(),
                };
                self.margin.push(Span::raw(" ".repeat(width(&mark))));
                self.item = Some(mark);
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.styles.push(self.theme.code);
            }
            Tag::Table(alignments) => self.table = Some(Table { alignments, ..Table::default() }),
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(Vec::new());
                }
            }
            Tag::Paragraph if !self.lines.is_empty() && self.item.is_none() => {
                self.flush();
                // Between a quote and what it quotes itself, the inner one has not begun yet.
                self.lines.push(Line::from(self.margin[..self.written.min(self.margin.len())].to_vec()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.flush(),
            TagEnd::Heading(_) | TagEnd::CodeBlock => {
                self.flush();
                self.styles.pop();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => drop(self.styles.pop()),
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                let shown: String = self.pieces.last().map(|(text, _)| text.clone()).unwrap_or_default();
                if let Some(link) = self.link.take().filter(|link| *link != shown && !link.is_empty()) {
                    self.text(&format!(" ({link})"), Some(self.theme.dim));
                }
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.styles.pop();
                self.margin.pop();
            }
            TagEnd::Item => {
                self.flush();
                if let Some(mark) = self.item.take() {
                    // An item without text.
                    self.pieces.push((mark, self.theme.text));
                    self.margin.pop();
                    self.flush();
                } else {
                    self.margin.pop();
                }
            }
            TagEnd::List(_) => drop(self.lists.pop()),
            TagEnd::TableHead => {
                if let Some(table) = &mut self.table {
                    table.head = table.rows.len();
                }
            }
            TagEnd::Table => self.write_table(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, style: Option<Style>) {
        let style = style.unwrap_or(*self.styles.last().unwrap_or(&self.theme.text));
        let cell = self.table.as_mut().and_then(|t| t.rows.last_mut()).and_then(|row| row.last_mut());
        cell.unwrap_or(&mut self.pieces).push((text.to_owned(), style));
    }

    /// Writes the paragraph that was read.
    fn flush(&mut self) {
        if self.pieces.is_empty() {
            return;
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        if let Some((last, _)) = pieces.last_mut() {
            last.truncate(last.trim_end_matches('\n').len());
        }
        let mut first = self.margin.clone();
        if let Some(mark) = self.item.take() {
            first.pop();
            first.push(Span::styled(mark, self.theme.accent));
        }
        self.lines.extend(wrap(&pieces, self.columns, &first, &self.margin));
        self.written = self.margin.len();
    }

    /// Columns as wide as their widest cell; where that is too wide, the cells of the widest are wrapped.
    fn write_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        let count = table.rows.iter().map(Vec::len).max().unwrap_or(0);
        let wide = |cell: &[Piece]| cell.iter().map(|(text, _)| width(text)).sum::<usize>();
        let mut widths = vec![1usize; count];
        for row in &table.rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(wide(cell));
            }
        }
        let taken: usize = self.margin.iter().map(|span| width(&span.content)).sum();
        let room = self.columns.saturating_sub(taken + 3 * count.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let Some(widest) = widths.iter_mut().max().filter(|w| **w > 2) else { break };
            *widest -= 1;
        }
        for (at, row) in table.rows.iter().enumerate() {
            self.write_row(row, &widths, &table.alignments, at < table.head);
            if at + 1 == table.head {
                let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                let mut spans = self.margin.clone();
                spans.push(Span::styled(rule.join("─┼─"), self.theme.faint));
                self.lines.push(Line::from(spans));
            }
        }
    }

    fn write_row(&mut self, row: &[Vec<Piece>], widths: &[usize], alignments: &[Alignment], head: bool) {
        let cell = |(i, w): (usize, &usize)| {
            let mut pieces = row.get(i).cloned().unwrap_or_default();
            if head {
                pieces.iter_mut().for_each(|(_, style)| *style = style.patch(self.theme.strong));
            }
            wrap(&pieces, *w, &[], &[])
        };
        let cells: Vec<Vec<Line<'static>>> = widths.iter().enumerate().map(cell).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut spans = self.margin.clone();
            for (i, (cell, w)) in cells.iter().zip(widths).enumerate() {
                let text = cell.get(line).cloned().unwrap_or_default();
                // A blank at which the line was broken is not part of what is aligned.
                let seen = width(text.to_string().trim_end());
                let gap = w.saturating_sub(seen);
                let before = match alignments.get(i) {
                    Some(Alignment::Right) => gap,
                    Some(Alignment::Center) => gap / 2,
                    _ => 0,
                };
                let after = w.saturating_sub(before + text.width());
                if i > 0 {
                    spans.push(Span::styled(" │ ", self.theme.faint));
                }
                spans.push(Span::raw(" ".repeat(before)));
                spans.extend(text.spans);
                spans.push(Span::raw(" ".repeat(after)));
            }
            self.lines.push(Line::from(spans));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::theme::Depth;

    fn shown(text: &str, columns: usize) -> Vec<String> {
        let theme = Theme::built_in("dark", Depth::True, false).unwrap();
        render(text, columns, 0, &theme).iter().map(|line| line.to_string().trim_end().to_owned()).collect()
    }

    #[test]
    fn tables_are_aligned_and_nothing_of_a_cell_is_lost() {
        let table = "| name | n | says |\n|:--|--:|:-:|\n| 漢字 | 1.5 | `a` |\n| b | 12.25 | one two three |";
        let wide = [
            "name │     n │     says",
            "─────┼───────┼──────────────",
            "漢字 │   1.5 │       a",
            "b    │ 12.25 │ one two three",
        ];
        assert_eq!(shown(table, 40), wide);
        let narrow = [
            "name │     n │   says",
            "─────┼───────┼─────────",
            "漢字 │   1.5 │    a",
            "b    │ 12.25 │ one two",
            "     │       │  three",
        ];
        assert_eq!(shown(table, 23), narrow);
    }

    #[test]
    fn a_quote_in_a_quote_begins_after_the_outer_one() {
        assert_eq!(shown("> a\n>> b\n>\n> c", 20), ["▎ a", "▎", "▎ ▎ b", "▎", "▎ c"]);
    }

    #[test]
    fn lines_end_where_they_were_ended() {
        assert_eq!(shown("one\ntwo\n- a\n  b", 20), ["one", "two", "• a", "  b"]);
    }
}
