//! Bytes: what the model holds, the process, the machine, and what longer contexts would need.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::format::{bar, bytes, count, level};
use super::text::width;
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::state::{App, Pane};
use crate::protocol::LayerMemory;

const NAME: usize = 8;
const NUMBER: usize = 9;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "memory", app.focus == Pane::Memory && app.overlay.is_none(), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(opened) = app.opened() else {
        put(frame, inner, 0, &Line::styled("No model is open.", theme.dim));
        return;
    };
    if app.replay.as_ref().is_some_and(|replay| !replay.has_state()) {
        return unrecorded(app, theme, inner, frame);
    }
    let memory = &app.shown.snapshot.memory;
    corner(&format!("{} in all", bytes(memory.total())), theme.dim, area, frame);
    let columns = usize::from(inner.width).saturating_sub(NAME + NUMBER + 2);
    let kv: u64 = memory.layers.iter().map(|l| l.kv).sum();
    let ssm: u64 = memory.layers.iter().map(|l| l.ssm).sum();
    let all = memory.total().max(1);
    let row = |name: &str, value: u64, of: u64| {
        let (filled, rest) = bar(value as f64 / of.max(1) as f64, columns);
        Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), theme.dim),
            Span::styled(format!("{:>NUMBER$}  ", bytes(value)), theme.text),
            Span::styled(filled, theme.meter),
            Span::styled(rest, theme.meter_back),
        ])
    };
    let mut lines = vec![
        row("weights", memory.weights, all),
        row("keys+val", kv, all),
        rings(&memory.layers, theme, columns),
        row("ssm", ssm, all),
        row("rewind", memory.rewind, memory.rewind_budget),
        row("scratch", memory.scratch, all),
    ];
    if let Some(device) = &memory.device {
        let more = format!("  peak {}, cached {}", bytes(device.peak), bytes(device.cache));
        lines.push(Line::from(vec![
            Span::styled(format!("{:<NAME$}", "mlx"), theme.dim),
            Span::styled(format!("{:>NUMBER$}", bytes(device.active)), theme.text),
            Span::styled(more, theme.dim),
        ]));
    }
    if let Some(machine) = &app.shown.machine {
        lines.push(row("process", machine.process, machine.total));
        lines.push(row("machine", machine.used, machine.total));
    }
    if !opened.needs.is_empty() {
        lines.extend(needs(&opened.needs, opened.budget, theme, usize::from(inner.width)));
    }
    // What is least wanted leaves first.
    for unwanted in [5, 2, 4, 3, 2] {
        if lines.len() > usize::from(inner.height) && unwanted < lines.len() {
            lines.remove(unwanted);
        }
    }
    for (at, line) in lines.iter().enumerate() {
        put(frame, inner, at as u16, line);
    }
}

/// What longer contexts would need, on one line if there is room.
fn needs(needs: &[(usize, u64)], budget: u64, theme: &Theme, columns: usize) -> Vec<Line<'static>> {
    let needs: Vec<(String, String, bool)> = needs
        .iter()
        .map(|(context, need)| {
            let short = bytes(*need).replace("iB", "").replace(' ', "");
            (format!("{} ", count_k(*context)), short, budget > 0 && *need > budget)
        })
        .collect();
    let words: usize = needs.iter().map(|(context, need, _)| width(context) + width(need)).sum();
    // In line with the figures above, else as close together as can be read.
    let roomy = NAME + 1 + words + 2 * needs.len() <= columns + 2;
    let (name, gap) = if roomy { (NAME + 1, 2) } else { (6, 1) };
    let mut lines = vec![Line::styled(format!("{:<name$}", "needs"), theme.dim)];
    let mut used = name;
    for (context, need, over) in needs {
        let wide = width(&context) + width(&need);
        if used + wide > columns && used > name {
            lines.push(Line::raw(" ".repeat(name)));
            used = name;
        }
        used += wide + gap;
        if let Some(line) = lines.last_mut() {
            line.spans.push(Span::styled(context, theme.dim));
            line.spans.push(Span::styled(need, if over { theme.bad } else { theme.text }));
            line.spans.push(Span::raw(" ".repeat(gap)));
        }
    }
    lines
}

/// A recording without the engine's state: what it says of process and machine, if anything.
fn unrecorded(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    put(frame, area, 0, &Line::styled("No memory figures are recorded up to here.", theme.dim));
    let Some(machine) = &app.shown.machine else { return };
    for (row, (name, value)) in [("process", machine.process), ("machine", machine.used)].into_iter().enumerate() {
        let line = Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), theme.dim),
            Span::styled(format!("{:>NUMBER$}", bytes(value)), theme.text),
        ]);
        put(frame, area, row as u16 + 1, &line);
    }
}

fn count_k(n: usize) -> String {
    if n.is_multiple_of(1024) { format!("{}K", n / 1024) } else { count(n) }
}

/// How far each layer's ring of keys and values is filled, a column a layer.
fn rings(layers: &[LayerMemory], theme: &Theme, columns: usize) -> Line<'static> {
    let attention: Vec<&LayerMemory> = layers.iter().filter(|l| l.kv_window > 0).collect();
    let fill = |l: &LayerMemory| l.kv_filled as f64 / l.kv_window.max(1) as f64;
    let columns_of: String = attention.iter().take(columns).map(|l| level(fill(l))).collect();
    let (filled, window) = attention.first().map_or((0, 0), |l| (l.kv_filled, l.kv_window));
    let words = format!("{} of {}", count(filled), count(window));
    Line::from(vec![
        Span::styled(format!("{:<NAME$}", " rings"), theme.dim),
        Span::styled(format!("{words:>NUMBER$}  "), theme.dim),
        Span::styled(columns_of, theme.meter),
    ])
}
