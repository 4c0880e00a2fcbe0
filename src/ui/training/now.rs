//! What the chosen run does now: its state, how far it is, and what it answered.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::text::{clean, cut, width, wrap};
use super::super::theme::Theme;
use super::super::{corner, pane, put};
use crate::app::state::App;
use crate::app::training::{Answer, Doing, Live};
use crate::metrics::show::{duration, number};

/// Events that are shown at most, where answers want room too.
const NEWS: usize = 6;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let t = &app.training;
    let inner = pane(theme, "run", false, area, frame);
    let Some(live) = t.live() else {
        let words = " The chosen run is none of `bit-axon train`: its log does not say what it does now.";
        return put(frame, inner, 0, &Line::styled(cut(words, usize::from(inner.width)), theme.dim));
    };
    corner(&clean(&live.folder), theme.dim, area, frame);
    let room = usize::from(inner.width).saturating_sub(2);
    let mut lines = head(live, theme, room);
    let rows = usize::from(inner.height);
    let mut answers = Vec::new();
    for answer in live.answers.iter().rev() {
        let more = said(answer, theme, room);
        // The newest is shown as far as there is room, older ones only whole.
        if !answers.is_empty() && lines.len() + answers.len() + more.len() + 2 > rows {
            break;
        }
        answers.extend(more);
    }
    let free = rows.saturating_sub(lines.len() + answers.len());
    let news = free.min(if answers.is_empty() { rows } else { NEWS });
    for (step, words) in live.news.iter().rev().take(news) {
        let words = format!("{:>6}  {}", number(*step), clean(words).replace('\n', " "));
        lines.push(Line::styled(cut(&words, room), theme.dim));
    }
    lines.extend(answers);
    for (row, line) in lines.iter().enumerate() {
        let row = row as u16;
        put(frame, Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }, row, line);
    }
}

/// How a state looks.
pub(super) fn style(theme: &Theme, live: &Live) -> Style {
    match live.doing {
        Doing::Training | Doing::Evaluating | Doing::Saving | Doing::Answering => theme.good,
        Doing::Hot | Doing::Gone => theme.bad,
        Doing::Paused | Doing::Starting => theme.warn,
        Doing::Ended(_) => theme.accent,
    }
}

fn head(live: &Live, theme: &Theme, room: usize) -> Vec<Line<'static>> {
    let (step, goal) = live.steps;
    let mut lines = Vec::new();
    let mark = if live.doing.waits() { "‖ " } else { "● " };
    let words = live.doing.words().to_owned();
    let far = if goal > 0.0 {
        format!("  step {} of {}, {:.0}%", number(step), number(goal), (live.share() * 100.0).floor())
    } else {
        format!("  step {}", number(step))
    };
    let far = cut(&far, room.saturating_sub(width(&words) + 2));
    let state = style(theme, live);
    lines.push(Line::from(vec![Span::styled(mark, state), Span::styled(words, state), Span::styled(far, theme.text)]));
    if room >= 12 && goal > 0.0 {
        let done = (live.share() * room as f64) as usize;
        lines.push(Line::from(vec![
            Span::styled("━".repeat(done), theme.accent),
            Span::styled("─".repeat(room - done), theme.faint),
        ]));
    }
    let mut figures = Vec::new();
    if let Some(left) = live.left {
        figures.push(format!("{} left", duration(left)));
    }
    if let Some(rate) = live.rate {
        figures.push(format!("{} tok/s", number(rate.round())));
    }
    if let Some((batch, accum)) = live.batch {
        figures.push(format!("batch {batch} x {accum}"));
    }
    if let Some(celsius) = live.celsius {
        figures.push(format!("{celsius:.0} °C"));
    }
    if let Some(memory) = live.memory {
        figures.push(super::super::format::bytes(memory as u64));
    }
    // As many on a line as there is room for.
    let mut line = String::new();
    for figure in figures {
        if !line.is_empty() && width(&line) + width(&figure) + 3 > room {
            lines.push(Line::styled(std::mem::take(&mut line), theme.text));
        }
        if !line.is_empty() {
            line.push_str(" · ");
        }
        line.push_str(&figure);
    }
    if !line.is_empty() {
        lines.push(Line::styled(line, theme.text));
    }
    lines
}

fn said(answer: &Answer, theme: &Theme, room: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    let prompt = clean(&answer.prompt).replace('\n', " ");
    let step = format!("  step {}", number(answer.step));
    let prompt = cut(&prompt, room.saturating_sub(2 + width(&step)).max(8));
    lines.push(Line::from(vec![
        Span::styled("❯ ", theme.user),
        Span::styled(prompt, theme.user),
        Span::styled(step, theme.dim),
    ]));
    let text = clean(&answer.text).into_owned();
    if text.trim().is_empty() {
        lines.push(Line::styled("(it says nothing)", theme.dim));
        return lines;
    }
    lines.extend(wrap(&[(text.trim().to_owned(), theme.text)], room, &[], &[]));
    lines
}
