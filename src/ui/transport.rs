//! The line that says where a recording is, and what moves it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::text::width;
use super::theme::Theme;
use crate::app::action::Action;
use crate::app::replay::{Replay, Transport};
use crate::app::state::App;

/// Columns of the bar.
const BAR: (usize, usize) = (6, 48);

pub(super) fn draw(app: &App, replay: &Replay, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let at = replay.transport();
    let columns = usize::from(area.width);
    let state = match at {
        Transport { playing: true, .. } => "playing",
        Transport { at_end: true, .. } => "at end",
        _ => "paused",
    };
    let times = format!("{}/{}", clock(at.clock.0), clock(at.clock.1));
    let mut words = vec![(format!(" {state:<7}"), if at.playing { theme.accent } else { theme.warn })];
    words.push((format!(" {times} "), theme.text));
    let mut after = vec![format!("token {}/{}", at.tokens.0, at.tokens.1)];
    after.push(format!("{}×", speed(at.speed)));
    after.push(format!("message {}/{}", at.messages.0, at.messages.1));
    if at.looped {
        after.push("loop".to_owned());
    }
    // The bar gets what is left, and is the last to go.
    let taken: usize = words.iter().map(|(w, _)| width(w)).sum();
    let mut used = taken + BAR.0;
    let after: Vec<String> = after
        .into_iter()
        .take_while(|word| {
            used += width(word) + 2;
            used <= columns
        })
        .collect();
    let after_width: usize = after.iter().map(|word| width(word) + 2).sum();
    let mut keys = Vec::new();
    let mut keys_width = 0;
    for (name, what) in keys_now(app, at) {
        let w = width(&name) + what.len() + 3;
        if taken + BAR.0 * 3 + after_width + keys_width + w > columns {
            break;
        }
        keys.push(Span::styled(format!(" {name}"), theme.user));
        keys.push(Span::styled(format!(" {what} "), theme.dim));
        keys_width += w;
    }
    let bar = columns.saturating_sub(taken + after_width + keys_width).min(BAR.1);
    let mut line: Vec<Span<'_>> = words.into_iter().map(|(word, style)| Span::styled(word, style)).collect();
    if bar >= BAR.0 {
        let share = if at.clock.1 > 0.0 { at.clock.0 / at.clock.1 } else { f64::from(u8::from(at.at_end)) };
        let knob = ((bar - 1) as f64 * share.clamp(0.0, 1.0)).round() as usize;
        line.push(Span::styled("━".repeat(knob), theme.meter));
        line.push(Span::styled("●", theme.accent));
        line.push(Span::styled("─".repeat(bar - 1 - knob), theme.meter_back));
    }
    for word in after {
        line.push(Span::styled(format!("  {word}"), theme.dim));
    }
    put(frame, area, 0, &Line::from(line));
    let right = Rect { x: area.right() - keys_width as u16, width: keys_width as u16, ..area };
    put(frame, right, 0, &Line::from(keys));
}

/// The keys that move it, the most wanted first.
pub(super) fn keys_now(app: &App, at: Transport) -> Vec<(String, &'static str)> {
    // The shortest name of several: there is little room.
    let key =
        |action: Action| app.keymap.keys(action).map(|key| key.to_string()).min_by_key(String::len).unwrap_or_default();
    let both = |a: Action, b: Action| format!("{} {}", key(a), key(b));
    let play = if at.playing { "stop" } else { "play" };
    [
        (key(Action::PlayPause), play),
        (both(Action::StepBack, Action::StepOn), "token"),
        (both(Action::MessageBack, Action::MessageOn), "message"),
        (both(Action::Slower, Action::Faster), "speed"),
        (both(Action::ReplayStart, Action::ReplayEnd), "ends"),
        (key(Action::Loop), "loop"),
    ]
    .into_iter()
    .filter(|(keys, _)| !keys.trim().is_empty())
    .collect()
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// `1`, `0.5`, `16`.
fn speed(speed: f64) -> String {
    let text = format!("{speed:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_speeds_are_short() {
        assert_eq!([clock(0.0), clock(59.9), clock(3601.0)], ["0:00", "0:59", "60:01"]);
        assert_eq!([speed(1.0), speed(0.0625), speed(64.0), speed(10.0)], ["1", "0.0625", "64", "10"]);
    }
}
