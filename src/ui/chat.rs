//! The conversation: only what is seen is laid out, and what was laid out is kept.

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::format::{count, rate, seconds};
use super::markdown::Rendered;
use super::text::{Piece, clean, width, wrap};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::action::Action;
use crate::app::chat::{End, Node, NodeId};
use crate::app::state::{Anchor, App, Drawn, Model, Pane, Scroll};
use crate::protocol::{FinishReason, Role};

/// Columns left of the text: the mark of the chosen message, and a gap.
const MARGIN: u16 = 2;
/// Lines that are made room for at once while an answer grows.
const STEP: i64 = 4;
/// Messages whose layout is kept: many screens full.
const KEPT: usize = 400;

/// Layouts of messages, by number.
#[derive(Debug, Default)]
pub(super) struct ChatCache {
    columns: usize,
    of: HashMap<NodeId, Rendered>,
}

/// A message as it is drawn: a head, its text, perhaps a foot; a blank line follows.
struct Laid<'a> {
    head: Line<'static>,
    text: &'a [Line<'static>],
    foot: Option<Line<'static>>,
}

impl Laid<'_> {
    fn rows(&self) -> i64 {
        self.text.len() as i64 + 2 + i64::from(self.foot.is_some())
    }

    fn line(&self, row: i64) -> Option<&Line<'static>> {
        let row = usize::try_from(row).ok()?;
        match row {
            0 => Some(&self.head),
            row if row <= self.text.len() => self.text.get(row - 1),
            row if row == self.text.len() + 1 => self.foot.as_ref(),
            _ => None,
        }
    }
}

struct View<'a> {
    app: &'a App,
    theme: &'a Theme,
    cache: &'a mut ChatCache,
}

impl View<'_> {
    fn lay(&mut self, place: usize) -> Laid<'_> {
        let (app, theme) = (self.app, self.theme);
        let id = app.chat.path()[place];
        let node = &app.chat.nodes()[id];
        let columns = self.cache.columns;
        let text = self.cache.of.entry(id).or_default().update(&node.text, columns, theme);
        Laid { head: head(app, theme, id, node, columns), text, foot: foot(app, theme, id, node) }
    }

    fn rows(&mut self, place: usize) -> i64 {
        self.lay(place).rows()
    }

    /// The first line to show, and whether the end is seen then.
    fn top(&mut self, rows: i64) -> (Anchor, bool) {
        let count = self.app.chat.path().len();
        let mut at = match self.app.scroll {
            Scroll::Follow => return (self.follow(rows), true),
            Scroll::At(at) if at.place >= count => return (self.last_screen(rows), true),
            Scroll::At(at) => at,
        };
        while at.line < 0 && at.place > 0 {
            at.place -= 1;
            at.line += self.rows(at.place);
        }
        at.line = at.line.max(0);
        while at.line >= self.rows(at.place) && at.place + 1 < count {
            at.line -= self.rows(at.place);
            at.place += 1;
        }
        let mut below = -at.line;
        for place in at.place..count {
            below += self.rows(place);
            if below > rows {
                return (at, false);
            }
        }
        // The last blank line need not be seen.
        (self.last_screen(rows), true)
    }

    /// The end, as it grows. Moving everything up by a line for each line that is written costs most of
    /// what is sent to the terminal, so several are made room for at once.
    fn follow(&mut self, rows: i64) -> Anchor {
        let exact = self.last_screen(rows);
        let step = if self.app.slow_link { rows / 2 } else { (rows / 7).min(STEP) };
        let held = self.app.drawn.top;
        if self.ahead(exact, held).is_some_and(|lines| lines < step.max(1)) {
            return held;
        }
        let writes = self.app.running.is_some() && exact != Anchor::default();
        if writes { self.down(exact, step - 1) } else { exact }
    }

    /// Lines from one anchor to a later one; none if it is not later.
    fn ahead(&mut self, from: Anchor, to: Anchor) -> Option<i64> {
        if to.place < from.place || to.place >= self.app.chat.path().len() {
            return None;
        }
        let between: i64 = (from.place..to.place).map(|place| self.rows(place)).sum();
        Some(between + to.line - from.line).filter(|lines| *lines >= 0)
    }

    /// So many lines further down, but not beyond the last message.
    fn down(&mut self, mut at: Anchor, lines: i64) -> Anchor {
        at.line += lines.max(0);
        while at.place + 1 < self.app.chat.path().len() && at.line >= self.rows(at.place) {
            at.line -= self.rows(at.place);
            at.place += 1;
        }
        at
    }

    fn last_screen(&mut self, rows: i64) -> Anchor {
        let mut above = 0;
        for place in (0..self.app.chat.path().len()).rev() {
            above += self.rows(place);
            if above >= rows {
                return Anchor { place, line: above - rows };
            }
        }
        Anchor::default()
    }
}

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>, cache: &mut ChatCache) -> Drawn {
    let name = app.chat.name();
    let title =
        if name.is_empty() { "chat".to_owned() } else { super::text::cut(&clean(&name), usize::from(area.width) / 2) };
    let inner = pane(theme, &title, app.focus == Pane::Chat && app.overlay.is_none(), area, frame);
    let columns = usize::from(inner.width.saturating_sub(MARGIN + 1)).max(8);
    if cache.columns != columns || cache.of.len() > KEPT {
        *cache = ChatCache { columns, of: HashMap::new() };
    }
    if app.chat.path().is_empty() {
        welcome(app, theme, inner, frame);
        return Drawn { rows: inner.height, at_end: true, ..Drawn::default() };
    }
    let rows = i64::from(inner.height);
    let mut view = View { app, theme, cache };
    let (top, at_end) = view.top(rows);
    let (mut place, mut line, mut row) = (top.place, top.line, 0u16);
    let mut seen = (top.place + usize::from(top.line > 0), top.place);
    let count_all = app.chat.path().len();
    while row < inner.height && place < count_all {
        let laid = view.lay(place);
        let all = laid.rows();
        while line < all && row < inner.height {
            if app.selected == Some(place) && line + 1 < all {
                frame.buffer_mut().set_string(inner.x, inner.y + row, "▌", theme.focus);
            }
            if let Some(line) = laid.line(line) {
                let body = Rect { x: inner.x + MARGIN, width: inner.width.saturating_sub(MARGIN), ..inner };
                put(frame, body, row, line);
            }
            line += 1;
            row += 1;
        }
        seen.1 = place;
        if line >= all {
            place += 1;
            line = 0;
        }
    }
    if !at_end {
        let below = app.keymap.short(Action::ChatEnd).map_or(String::new(), |key| format!(", {key} goes to the end"));
        corner(&format!("{} of {}{below}", seen.1 + 1, count_all), theme.dim, area, frame);
    }
    Drawn { top, rows: inner.height, at_end, seen: (seen.0, seen.1 + 1), ..Drawn::default() }
}

/// Who says it; at the right, which branch it is and what it took.
fn head(app: &App, theme: &Theme, id: NodeId, node: &Node, columns: usize) -> Line<'static> {
    let (name, style) = match node.role {
        Role::User => ("❯ you".to_owned(), theme.user),
        Role::System => ("system".to_owned(), theme.system),
        Role::Assistant => {
            let model = app.opened().map_or("model", |opened| opened.info.name.as_str());
            (format!("● {}", super::text::cut(&clean(model), 24)), theme.answer)
        }
    };
    let mut left = vec![Span::styled(name, style)];
    if node.alterations.as_ref().is_some_and(|a| !a.is_none()) {
        left.push(Span::styled("  routing altered", theme.warn));
    }
    let mut right = Vec::new();
    if let Some(stats) = &node.stats {
        let speed = stats.decode_rate().map_or(String::new(), |r| format!(" · {} tok/s", rate(r)));
        let made = format!("{} tok{speed} · first {}", count(node.tokens.len()), seconds(stats.first_token_s));
        right.push(Span::styled(made, theme.dim));
    }
    let (siblings, index) = app.chat.siblings(id);
    if siblings.len() > 1 {
        right.push(Span::styled(format!("  ‹ {}/{} ›", index + 1, siblings.len()), theme.accent));
    }
    let taken = |spans: &[Span<'_>]| spans.iter().map(|s| width(&s.content)).sum::<usize>();
    let gap = columns.saturating_sub(taken(&left) + taken(&right));
    if gap < 2 {
        right.drain(..right.len().saturating_sub(usize::from(siblings.len() > 1)));
    }
    let gap = columns.saturating_sub(taken(&left) + taken(&right)).max(1);
    left.push(Span::raw(" ".repeat(gap)));
    left.extend(right);
    Line::from(left)
}

/// How an answer ended, if that is worth a word, or what it waits for.
fn foot(app: &App, theme: &Theme, id: NodeId, node: &Node) -> Option<Line<'static>> {
    let (words, style): (String, Style) = match &node.end {
        Some(End::Done(FinishReason::Cancelled)) => ("■ stopped".into(), theme.dim),
        Some(End::Done(FinishReason::MaxTokens)) => {
            ("■ the longest answer was reached (/max-tokens)".into(), theme.dim)
        }
        Some(End::Done(FinishReason::ContextFull)) => ("■ the context is full".into(), theme.warn),
        Some(End::Failed(why)) => (format!("■ {}", super::text::one_line(why)), theme.bad),
        Some(End::Done(_)) => return None,
        None => {
            let Some(running) = app.running.as_ref().filter(|running| running.node == id) else {
                // What a recording has not come to yet was not cut off.
                let played = app.replay.as_ref().is_some_and(|replay| !replay.transport().at_end);
                let cut_off = node.role == Role::Assistant && !(played && app.chat.last_answer() == Some(id));
                return cut_off.then(|| Line::styled("■ cut off: the program was ended", theme.dim));
            };
            let words = match (running.stopping, running.prefill) {
                (true, _) => "stopping…".to_owned(),
                (false, _) if running.first_token.is_some() => return None,
                (false, Some((_, total))) => format!("reading {} tokens…", count(total)),
                (false, None) => "waiting…".to_owned(),
            };
            (words, theme.dim)
        }
    };
    Some(Line::styled(words, style))
}

/// An empty chat says what can be done.
fn welcome(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let key = |action: Action| app.keymap.short(action).unwrap_or_default();
    let columns = usize::from(area.width).saturating_sub(4);
    let mut lines = vec![Line::styled("bit-axon", theme.accent)];
    match &app.model {
        Model::Opening(what) => lines.push(Line::styled(format!("Opening {}…", clean(what)), theme.dim)),
        Model::Gone(why) => {
            let pieces: [Piece; 1] = [(clean(why).into_owned(), theme.bad)];
            lines.extend(wrap(&pieces, columns, &[], &[]));
        }
        Model::Ready(opened) => {
            let i = &opened.info;
            let moe = i.experts.iter().filter(|e| **e > 0).count();
            let label = if opened.label.is_empty() { String::new() } else { format!(", {}", opened.label) };
            lines.push(Line::styled(format!("{}{label}", clean(&i.name)), theme.strong));
            let (all, used) = (count(i.total_parameters as usize), count(i.active_parameters as usize));
            let layers = format!("{} layers, {moe} with experts", i.layers.len());
            // A trace does not say how large its model was.
            let known = i.total_parameters > 0;
            let parameters = known.then(|| format!("{all} parameters, {used} used for a token")).into_iter();
            let mut size: Vec<String> = parameters.chain([layers]).collect();
            if width(&size.join("; ")) <= columns {
                size = vec![size.join("; ")];
            }
            // Where few lines are seen, the keys are wanted more.
            let size = size.into_iter().filter(|_| area.height > 8);
            lines.extend(size.map(|words| Line::styled(words, theme.dim)));
        }
    }
    if app.sessions.opening.is_some() {
        lines.push(Line::styled("Reading the conversation…", theme.warn));
    }
    lines.push(Line::default());
    if let Some(replay) = &app.replay {
        lines.push(Line::styled("The beginning of a recording.", theme.text));
        lines.push(Line::default());
        for (keys, what) in super::transport::keys_now(app, replay.transport()) {
            lines.push(Line::from(vec![
                Span::styled(format!("{keys:>10}  "), theme.user),
                Span::styled(what, theme.dim),
            ]));
        }
    }
    let asking = app.replay.is_none();
    for (action, what) in [
        (Action::Send, "sends the prompt"),
        (Action::Newline, "begins a new line"),
        (Action::Escape, "stops an answer; what is there stays"),
        (Action::Regenerate, "answers again, as a branch"),
        (Action::Tokens, "walks the answer token by token"),
        (Action::ViewRouting, "shows the experts"),
        (Action::Palette, "finds an action by name"),
        (Action::Help, "shows all keys"),
    ]
    .into_iter()
    .filter(|_| asking)
    {
        let name = Span::styled(format!("{:>9}  ", key(action)), theme.user);
        lines.extend(wrap(&[(what.to_owned(), theme.dim)], columns, &[name], &[Span::raw(" ".repeat(11))]));
    }
    let area = Rect { x: area.x + 2, width: area.width.saturating_sub(4), ..area };
    let y = area.height.saturating_sub(lines.len() as u16) / 3;
    for (row, line) in lines.iter().enumerate() {
        put(frame, area, y + row as u16, line);
    }
}
