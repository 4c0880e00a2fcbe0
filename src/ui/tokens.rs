//! The token view: the answer in the colours of its probabilities, and what else each token could
//! have been.
//!
//! ```text
//! ┌ tokens ──────────────────────────────┐
//! │ the answer, token by token           │
//! ├──────────────────────────────────────┤
//! │ ▸ the token      0.71 ▇▇▇▇▇▇▇        │
//! │   an alternative 0.12 ▇              │   or its experts in every layer; both where there is room
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
use crate::protocol::LayerRouting;

/// Rows of the lower part, rule included.
const LOWER: u16 = 12;
/// Tokens laid out before the cursor's: about a screen; an answer may have tens of thousands.
const BEFORE: usize = 600;
const AFTER: usize = 600;
/// Columns of an alternative without its bar, and of a layer's experts beside it.
const ALTERNATIVE: u16 = 46;
const SIDE: u16 = 30;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "tokens", app.focus == Pane::Chat && app.overlay.is_none(), area, frame);
    let Some(walk) = app.walk else { return };
    let Some(node) = app.chat.node(walk.node) else { return };
    corner(&format!("{} of {}", walk.at + 1, node.tokens.len()), theme.dim, area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let lower = LOWER.min((inner.height / 2).max(5)).min(inner.height.saturating_sub(1));
    let upper = Rect { height: inner.height - lower, ..inner };
    answer(theme, &node.tokens, walk, upper, frame);
    put(frame, inner, upper.height, &legend(theme, usize::from(inner.width)));
    let lower = Rect { y: upper.bottom() + 1, height: lower.saturating_sub(1), ..inner };
    if let Some(token) = node.tokens.get(walk.at) {
        // A recording cannot be forked.
        let forks = app.replay.is_none().then_some(walk.at < node.taken_over);
        match walk.experts {
            None => alternatives(theme, token, walk, forks, lower, frame),
            Some(from) => experts_alone(theme, token, from, lower, frame),
        }
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
    forks: Option<bool>,
    area: Rect,
    frame: &mut Frame<'_>,
) {
    let side = if area.width >= SIDE + ALTERNATIVE && !token.routing.is_empty() {
        area.width.saturating_sub(ALTERNATIVE + 40).max(SIDE)
    } else {
        0
    };
    let columns = usize::from(area.width - side);
    let itself = (token.text.as_str(), token.logprob);
    let all = std::iter::once(itself).chain(token.alternatives.iter().map(|a| (a.text.as_str(), a.logprob)));
    let rows = usize::from(area.height - hint_rows(area));
    let top = walk.alternative.saturating_sub(rows.saturating_sub(1));
    for (row, (at, (text, logprob))) in all.enumerate().skip(top).take(rows).enumerate() {
        let p = logprob.exp();
        let chosen = at == walk.alternative;
        let mark = if chosen { "❯ " } else { "  " };
        let name = cut(&visible(text), 18);
        let gap = " ".repeat(18 - width(&name).min(18));
        // A trace does not say how likely its tokens were.
        let known = !p.is_nan();
        let percent = if known { format!(" {:>6.2}% ", p * 100.0) } else { "       ? ".to_owned() };
        let (filled, rest) = bar(if known { f64::from(p) } else { 0.0 }, columns.saturating_sub(35).min(30));
        let style = if chosen { theme.selection } else { theme.text };
        let line = Line::from(vec![
            Span::styled(mark, theme.accent),
            Span::styled(name + &gap, style),
            Span::styled(percent, theme.probability(p)),
            Span::styled(filled, theme.meter),
            Span::styled(rest, theme.meter_back),
            Span::styled(if at == 0 { " taken" } else { "" }, theme.dim),
        ]);
        put(frame, Rect { width: columns as u16, ..area }, row as u16, &line);
    }
    let words = match (forks, side > 0 || token.routing.is_empty()) {
        (Some(true), _) => "taken over from the answer that was forked",
        (Some(false), true) => "enter forks here with the chosen one",
        (Some(false), false) if columns < 54 => "enter forks here, e lists the experts",
        (Some(false), false) => "enter forks here with the chosen one, e lists the experts",
        (None, true) => "",
        (None, false) => "e lists the experts",
    };
    hint(theme, words, Rect { width: columns as u16, ..area }, frame);
    let side = Rect { x: area.right() - side, width: side, ..area };
    experts(theme, token, 0, side, frame);
}

/// The experts of the token in every layer from `from` on, column after column.
fn experts(theme: &Theme, token: &TokenRecord, from: usize, area: Rect, frame: &mut Frame<'_>) {
    let words = |layer: &LayerRouting| {
        let chosen = layer.experts.iter().zip(&layer.weights);
        let chosen: Vec<String> = chosen.map(|(e, weight)| format!("{e} {}", share(f64::from(*weight)))).collect();
        let gate = layer.shared_gate.map_or(String::new(), |g| format!("  s {}", share(f64::from(g))));
        (format!("L{:<3}", layer.layer), chosen.join("  "), gate)
    };
    let all: Vec<(String, String, String)> = token.routing.iter().skip(from).map(words).collect();
    let wide = all.iter().map(|(l, c, g)| width(l) + width(c) + width(g)).max().unwrap_or(0) + 3;
    let rows = usize::from(area.height).max(1);
    for (at, (layer, chosen, gate)) in all.into_iter().enumerate() {
        let x = (at / rows * wide) as u16;
        // A column that does not fit as a whole is left out, but for the first.
        if at >= rows && usize::from(x) + wide > usize::from(area.width) + 3 {
            break;
        }
        let line = Line::from(vec![
            Span::styled(layer, theme.dim),
            Span::styled(chosen, theme.text),
            Span::styled(gate, theme.dim),
        ]);
        put(frame, Rect { x: area.x + x, width: area.width - x, ..area }, (at % rows) as u16, &line);
    }
}

/// The lower part when experts are asked for: every layer, and what the columns mean.
fn experts_alone(theme: &Theme, token: &TokenRecord, from: usize, area: Rect, frame: &mut Frame<'_>) {
    let list = Rect { height: area.height - hint_rows(area), ..area };
    if token.routing.is_empty() {
        put(frame, list, 0, &Line::styled("No routing is known of this token.", theme.dim));
    }
    experts(theme, token, from, list, frame);
    let words = "expert and weight in each layer, s: shared gate; e lists the alternatives";
    hint(theme, words, area, frame);
}

/// Where there are few rows, what is known of the token has them.
fn hint_rows(area: Rect) -> u16 {
    u16::from(area.height > 5)
}

fn hint(theme: &Theme, words: &str, area: Rect, frame: &mut Frame<'_>) {
    if hint_rows(area) > 0 {
        put(frame, area, area.height - 1, &Line::styled(cut(words, usize::from(area.width)), theme.dim));
    }
}

/// A rule that says what the colours of the answer above it mean.
fn legend(theme: &Theme, columns: usize) -> Line<'static> {
    let mut spans = vec![Span::styled("── ", theme.faint)];
    for (words, p) in [("90% and more", 0.95), ("50%", 0.6), ("20%", 0.3), ("less likely", 0.1)] {
        spans.push(Span::styled(words, theme.probability(p)));
        spans.push(Span::raw("  "));
    }
    spans.pop();
    let used: usize = spans.iter().map(|s| width(&s.content)).sum();
    if used + 3 > columns {
        return Line::styled("─".repeat(columns), theme.faint);
    }
    spans.push(Span::styled(format!(" {}", "─".repeat(columns - used - 1)), theme.faint));
    Line::from(spans)
}
