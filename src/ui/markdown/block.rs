//! One finished piece of Markdown that is no fenced code: paragraphs, headings, lists, quotes, tables.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::ui::text::{Piece, cut, width, wrap};
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
    /// The mark before the first line of an item.
    item: Option<String>,
    table: Option<Table>,
    link: Option<String>,
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
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
            Event::SoftBreak => self.text(" ", None),
            Event::HardBreak => self.text("\n", None),
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
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
                    row.push(String::new());
                }
            }
            Tag::Paragraph if !self.lines.is_empty() && self.item.is_none() => {
                self.flush();
                self.lines.push(Line::from(self.margin.clone()));
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
        if let Some(cell) = self.table.as_mut().and_then(|t| t.rows.last_mut()).and_then(|row| row.last_mut()) {
            cell.push_str(text);
            return;
        }
        let style = style.unwrap_or(*self.styles.last().unwrap_or(&self.theme.text));
        self.pieces.push((text.to_owned(), style));
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
    }

    /// Columns as wide as their widest cell; where that is too wide, the widest are cut.
    fn write_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        let count = table.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![1usize; count];
        for row in &table.rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(width(cell));
            }
        }
        let room = self.columns.saturating_sub(3 * count.saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let Some(widest) = widths.iter_mut().max().filter(|w| **w > 1) else { break };
            *widest -= 1;
        }
        for (at, row) in table.rows.iter().enumerate() {
            let style = if at < table.head { self.theme.strong } else { self.theme.text };
            let mut spans = self.margin.clone();
            for (i, w) in widths.iter().enumerate() {
                let cell = cut(row.get(i).map_or("", String::as_str), *w);
                let gap = " ".repeat(w - width(&cell).min(*w));
                if i > 0 {
                    spans.push(Span::styled(" │ ", self.theme.faint));
                }
                spans.push(Span::styled(cell + &gap, style));
            }
            self.lines.push(Line::from(spans));
            if at + 1 == table.head {
                let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                let mut spans = self.margin.clone();
                spans.push(Span::styled(rule.join("─┼─"), self.theme.faint));
                self.lines.push(Line::from(spans));
            }
        }
    }
}
