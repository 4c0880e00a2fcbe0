//! The form that starts a run.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::super::text::{clean, cut, width, wrap};
use super::super::theme::Theme;
use super::super::{popup, put};
use crate::app::training::{Field, FieldKind, Form, FormState};

/// Columns of the names.
const NAMES: usize = 18;
/// Rows of what is wrong with a field.
const ERROR_ROWS: usize = 3;

pub(in super::super) fn draw(form: &Form, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let wide = area.width.saturating_sub(if area.width > 60 { 8 } else { 0 }).min(96);
    let room = usize::from(wide.saturating_sub(4));
    let (lines, at, cursor) = lines(form, theme, room);
    let wanted = lines.len() as u16 + 4;
    let title = "start a training run: esc closes";
    let inner = popup(theme, title, (wide, wanted.min(area.height)), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let rows = usize::from(inner.height.saturating_sub(2)).max(1);
    // What is wrong with the chosen line is seen with it.
    let top = (at + 1 + ERROR_ROWS).min(lines.len()).saturating_sub(rows).min(at);
    for (row, line) in lines.iter().skip(top).take(rows).enumerate() {
        put(frame, inner, row as u16, line);
    }
    if let Some(column) = cursor {
        let x = inner.x + (column as u16).min(inner.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: inner.y + (at - top) as u16 });
    }
    let about = match form.fields.get(form.at) {
        Some(Field { kind: FieldKind::Choice(_), about, .. }) => format!("‹ › {about}"),
        Some(field) => field.about.clone(),
        None => match form.state {
            FormState::Planned(_) => "enter begins; the run goes on when this window is closed".into(),
            _ => "enter checks what is filled in, and says what would be done".into(),
        },
    };
    put(frame, inner, inner.height.saturating_sub(1), &Line::styled(cut(&about, room), theme.dim));
}

/// All lines, the place of the chosen one, and the column of the cursor in it.
fn lines(form: &Form, theme: &Theme, room: usize) -> (Vec<Line<'static>>, usize, Option<usize>) {
    let (mut lines, mut at, mut cursor) = (Vec::new(), 0, None);
    let names = NAMES.min(room / 2);
    for (i, field) in form.fields.iter().enumerate() {
        let chosen = i == form.at;
        let style = if chosen { theme.selection } else { theme.text };
        let space = room.saturating_sub(names + 1);
        let value = clean(&field.value).into_owned();
        let value = match (&field.kind, value.is_empty()) {
            (FieldKind::Choice(_), _) => format!("‹ {value} ›"),
            // The end is what is being typed.
            _ if width(&value) >= space => {
                let mut end = value;
                while width(&end) >= space.saturating_sub(1) && !end.is_empty() {
                    end.remove(0);
                }
                format!("…{end}")
            }
            _ => value,
        };
        if chosen {
            at = lines.len();
            cursor = (!matches!(field.kind, FieldKind::Choice(_))).then(|| names + width(&value));
        }
        let pad = " ".repeat(space.saturating_sub(width(&value)));
        lines.push(Line::from(vec![
            Span::styled(format!("{:<names$}", cut(field.name, names)), if chosen { theme.focus } else { theme.dim }),
            Span::styled(value + &pad, style),
        ]));
        lines.extend(wrong(field.error.as_deref(), theme, room));
    }
    let words = match &form.state {
        FormState::Filling => "check, and say what would be done",
        FormState::Checking => "checking…",
        FormState::Planned(_) => "begin",
        FormState::Starting => "it begins…",
    };
    if form.at >= form.fields.len() {
        at = lines.len() + 1;
    }
    lines.push(Line::default());
    let style = if form.at >= form.fields.len() { theme.selection } else { theme.accent };
    lines.push(Line::styled(format!(" {words} "), style));
    lines.extend(wrong(form.error.as_deref(), theme, room));
    if let FormState::Planned(plan) = &form.state {
        // The parameters of each kind are more than anyone wants to read here.
        for line in plan.lines().filter(|line| !line.starts_with(' ')) {
            lines.push(Line::styled(cut(&clean(line), room), theme.text));
        }
        at = at.min(lines.len() - 1);
    }
    (lines, at, cursor)
}

fn wrong(error: Option<&str>, theme: &Theme, room: usize) -> Vec<Line<'static>> {
    let Some(error) = error else { return Vec::new() };
    let text = clean(error).replace('\n', " ");
    let indent = [Span::raw("  ")];
    wrap(&[(text, theme.bad)], room, &indent, &indent).into_iter().take(ERROR_ROWS).collect()
}
