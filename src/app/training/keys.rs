//! What keys do in the view of training runs.

use crossterm::event::KeyCode;

use super::super::action::Action;
use super::super::key::Key;
use super::super::msg::Effect;
use super::super::state::App;
use super::layout::SMOOTHEST;
use super::{COLOURS, Side, Training, form, steer};
use crate::metrics::Axis;

/// What is being typed, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Which runs are seen.
    Runs,
    /// Which metrics.
    Metrics,
}

/// Columns in which the crosshair moves: the window has a hundred.
const COLUMNS: f64 = 100.0;

/// Does what an action asks for; none if it is none of this view.
pub(in super::super) fn act(app: &mut App, action: Action) -> Option<Vec<Effect>> {
    use Action::*;
    if let Some(effects) = steer::act(app, action) {
        app.dirty = true;
        return Some(effects);
    }
    let t = &mut app.training;
    match action {
        RunUp => t.at = t.at.saturating_sub(1),
        RunDown => t.at = (t.at + 1).min(t.table.len().saturating_sub(1)),
        ChartNext => t.step_chart(1),
        ChartBefore => t.step_chart(-1),
        ChartLarge => t.large = !t.large && !t.charts.is_empty(),
        CrossLeft => t.move_cross(-1.0),
        CrossRight => t.move_cross(1.0),
        CrossBack => t.move_cross(-10.0),
        CrossOn => t.move_cross(10.0),
        ZoomIn => t.zoom(0.5),
        ZoomOut => t.zoom(2.0),
        PanLeft => t.pan(-0.25),
        PanRight => t.pan(0.25),
        ZoomAll => (t.window, t.cross) = (None, None),
        NextAxis => t.next_axis(),
        LogScale => t.log = !t.log,
        Smoother => t.smoothing = (t.smoothing * 2).clamp(1, SMOOTHEST),
        Rougher => t.smoothing /= 2,
        RunHide => t.with_chosen(|entry| entry.hidden = !entry.hidden),
        RunOnly => t.only(),
        RunPin => t.with_chosen(|entry| entry.pinned = !entry.pinned),
        RunColour => t.with_chosen(|entry| entry.colour = (entry.colour + 1) % COLOURS),
        SortNext => t.sort_by_next(),
        SortBackwards => {
            t.sort.1 = !t.sort.1;
            t.sort_table();
        }
        ChartFront => t.keep_in_front(),
        ChartJoin => {
            let words = t.join();
            words.into_iter().for_each(|words| app.say(words));
        }
        RunGrid => t.grid = !t.grid,
        RunTable => t.columns = !t.columns,
        FilterRuns => t.input = Some(Input::Runs),
        FilterMetrics => t.input = Some(Input::Metrics),
        ShowConsole => t.show(Side::Console),
        ShowAlerts => t.show(Side::Alerts),
        ShowExperts => t.show(Side::Experts),
        ShowRun => t.show(Side::Run),
        ExpertLayer => t.layer += 1,
        RunNew => return Some(form::open(app)),
        _ => return None,
    }
    app.dirty = true;
    Some(Vec::new())
}

/// Takes a key while a filter is typed; false if none is.
pub(in super::super) fn typed(app: &mut App, key: Key) -> bool {
    let Some(input) = app.training.input else { return false };
    let t = &mut app.training;
    let text = match input {
        Input::Runs => &mut t.run_filter,
        Input::Metrics => &mut t.metric_filter,
    };
    match (key.code, key.typed()) {
        (KeyCode::Enter | KeyCode::Esc, _) => t.input = None,
        (KeyCode::Backspace, _) => drop(text.pop()),
        (KeyCode::Char('u'), None) if key.ctrl => text.clear(),
        (_, Some(c)) => text.push(c),
        _ => return false,
    }
    // While a word is half typed it may be no filter: the one before stays.
    match t.run_filter.parse() {
        Ok(filter) => t.filter = filter,
        Err(why) if t.input.is_none() => app.say(why),
        Err(_) => {}
    }
    app.training.refresh();
    app.dirty = true;
    true
}

impl Training {
    fn step_chart(&mut self, by: isize) {
        let count = self.charts.len().max(1) as isize;
        self.chart = (self.chart as isize + by).rem_euclid(count) as usize;
    }

    fn with_chosen(&mut self, change: impl FnOnce(&mut super::Entry)) {
        if let Some(entry) = self.chosen().and_then(|at| self.entries.get_mut(at)) {
            change(entry);
            self.refresh();
        }
    }

    /// Shows the chosen run alone, or all again.
    fn only(&mut self) {
        let Some(chosen) = self.chosen() else { return };
        let alone = self.entries.iter().enumerate().all(|(at, entry)| entry.hidden != (at == chosen));
        for (at, entry) in self.entries.iter_mut().enumerate() {
            entry.hidden = !alone && at != chosen;
        }
        self.refresh();
    }

    fn show(&mut self, side: Side) {
        self.side = if self.side == side { Side::Runs } else { side };
    }

    fn next_axis(&mut self) {
        let at = Axis::ALL.iter().position(|axis| *axis == self.axis).unwrap_or(0);
        self.axis = Axis::ALL[(at + 1) % Axis::ALL.len()];
        (self.window, self.cross) = (None, None);
        self.refresh();
    }

    fn move_cross(&mut self, columns: f64) {
        let (from, to) = self.view();
        let step = (to - from) / COLUMNS;
        self.cross = Some(match self.cross {
            // It enters where the newest points are.
            None => to,
            Some(x) => x + columns * step,
        });
        let Some(x) = self.cross else { return };
        let (first, last) = self.whole();
        let x = x.clamp(first.min(from), last.max(to));
        self.cross = Some(x);
        // What leaves the window takes it along.
        if x < from || x > to {
            let by = if x < from { x - from } else { x - to };
            self.window = Some((from + by, to + by));
        }
    }

    /// Shows a part of what is seen, or more; the crosshair stays where it is, or else the newest end does.
    fn zoom(&mut self, factor: f64) {
        let (from, to) = self.view();
        let (first, last) = self.whole();
        let width = ((to - from) * factor).min(last - first).max((last - first) * 1e-6);
        let share = self.cross.filter(|x| (from..=to).contains(x)).map_or(1.0, |x| (x - from) / (to - from));
        let anchor = from + (to - from) * share;
        let begin = (anchor - width * share).clamp(first, (last - width).max(first));
        self.window = (width < last - first).then_some((begin, begin + width));
    }

    fn pan(&mut self, by: f64) {
        let Some((from, to)) = self.window else { return };
        let (first, last) = self.whole();
        let width = to - from;
        let begin = (from + width * by).clamp(first, (last - width).max(first));
        self.window = Some((begin, begin + width));
    }
}
