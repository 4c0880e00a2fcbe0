//! The token view: the answer in the colours of its probabilities, and what else each token could
//! have been.
//!
//! ```text
//! ┌ tokens ──────────────────────────────┐
//! │ the answer, token by token           │
//! ├──────────────────────────────────────┤
//! │ ▸ the token      0.71 ▇▇▇▇▇▇▇        │
//! │   an alternative 0.12 ▇              │   with its routing, where there is room
//! └──────────────────────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::format::{bar, share};
use super::routing_view::visible;
use super::text::{Piece, clean, cut, width, wrap};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::chat::TokenRecord;
use crate::app::state::{App, Pane, TokenWalk};

/// Rows of the lower part, rule included.
const LOWER: u16 = 12;
/// Tokens laid out before the cursor's: about a screen; an answer may have tens of thousands.
const BEFORE: usize = 600;
const AFTER: usize = 600;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "tokens", app.focus == Pane::Chat && app.overlay.is_none(), area, frame);
    let Some(walk) = app.walk else { return };
    let Some(node) = app.chat.node(walk.node) else { return };
    corner(&format!("{} of {}", walk.at + 1, node.tokens.len()), theme.dim, area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let lower = LOWER.min(inner.height / 2);
    let upper = Rect { height: inner.height - lower, ..inner };
    answer(theme, &node.tokens, walk, upper, frame);
    let rule = "─".repeat(usize::from(inner.width));
    put(frame, inner, upper.height, &Line::styled(rule, theme.faint));
    let lower = Rect { y: upper.bottom() + 1, height: lower.saturating_sub(1), ..inner };
    if let Some(token) = node.tokens.get(walk.at) {
        let taken_over = walk.at < node.taken_over;
        alternatives(theme, token, walk, taken_over, lower, frame);
    }
}

/// The answer around the cursor, which stands in the middle of long ones.
fn answer(theme: &Theme, tokens: &[TokenRecord], walk: TokenWalk, area: Rect, frame: &mut Frame<'_>) {
    let from = walk.at.saturating_sub(BEFORE);
    let to = (walk.at + AFTER).min(tokens.len());
    let columns = usize::from(area.width);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut lines = Vec::new();
    let mut cursor_row = 0;
    for (at, token) in tokens.iter().enumerate().take(to).skip(from) {
        let style = theme.probability(token.logprob.exp());
        if at == walk.at {
            // The row of the cursor: that on which what stands before it ends.
            cursor_row = wrap(&pieces, columns, &[], &[]).len().saturating_sub(1);
            let shown =
                if token.text.trim().is_empty() { visible(&token.text) } else { clean(&token.text).into_owned() };
            let shown = if shown.is_empty() { "∅".into() } else { shown };
            pieces.push((shown, style.add_modifier(Modifier::REVERSED)));
            if token.text.ends_with('\n') {
                pieces.push(("\n".into(), style));
            }
        } else {
            pieces.push((clean(&token.text).into_owned(), style));
        }
    }
    lines.extend(wrap(&pieces, columns, &[], &[]));
    let rows = usize::from(area.height);
    let top = cursor_row.saturating_sub(rows / 2).min(lines.len().saturating_sub(rows));
    for (row, line) in lines.iter().skip(top).take(rows).enumerate() {
        put(frame, area, row as u16, line);
    }
}

/// The token and its alternatives; at the right, where there is room, the experts it took.
fn alternatives(
    theme: &Theme,
    token: &TokenRecord,
    walk: TokenWalk,
    taken_over: bool,
    area: Rect,
    frame: &mut Frame<'_>,
) {
    let routing = if area.width >= 76 && !token.routing.is_empty() { 30 } else { 0 };
    let columns = usize::from(area.width - routing);
    let itself = (token.text.as_str(), token.logprob);
    let all = std::iter::once(itself).chain(token.alternatives.iter().map(|a| (a.text.as_str(), a.logprob)));
    let rows = usize::from(area.height.saturating_sub(1));
    let top = walk.alternative.saturating_sub(rows.saturating_sub(1));
    for (row, (at, (text, logprob))) in all.enumerate().skip(top).take(rows).enumerate() {
        let p = logprob.exp();
        let chosen = at == walk.alternative;
        let mark = if chosen { "❯ " } else { "  " };
        let name = cut(&visible(text), 18);
        let gap = " ".repeat(18 - width(&name).min(18));
        let (filled, rest) = bar(f64::from(p), columns.saturating_sub(32).min(30));
        let style = if chosen { theme.selection } else { theme.text };
        let line = Line::from(vec![
            Span::styled(mark, theme.accent),
            Span::styled(name + &gap, style),
            Span::styled(format!(" {:>6.2}% ", p * 100.0), theme.probability(p)),
            Span::styled(filled, theme.meter),
            Span::styled(rest, theme.meter_back),
            Span::styled(if at == 0 { " taken" } else { "" }, theme.dim),
        ]);
        put(frame, area, row as u16, &line);
    }
    let words =
        if taken_over { "taken over from the answer that was forked" } else { "enter forks here with the chosen one" };
    put(frame, area, area.height.saturating_sub(1), &Line::styled(cut(words, columns), theme.dim));
    let side = Rect { x: area.right() - routing, width: routing, ..area };
    for (row, layer) in token.routing.iter().enumerate().take(usize::from(side.height)) {
        let experts: Vec<String> = layer
            .experts
            .iter()
            .zip(&layer.weights)
            .map(|(expert, weight)| format!("{expert} {}", share(f64::from(*weight))))
            .collect();
        let line = Line::from(vec![
            Span::styled(format!("L{:<3}", layer.layer), theme.dim),
            Span::styled(experts.join("  "), theme.text),
            Span::styled(
                layer.shared_gate.map_or(String::new(), |g| format!("  s {}", share(f64::from(g)))),
                theme.dim,
            ),
        ]);
        put(frame, side, row as u16, &line);
    }
}
