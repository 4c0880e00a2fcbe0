//! A run as lines: events as they come, and how far it is. On a terminal the last line renews itself; elsewhere a
//! line comes now and then.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::super::output;
use super::super::progress::time;
use crate::protocol::{Happening, TrainLine, TrainStep};
use crate::train::describe;
use crate::train::settings::Settings;

/// Steps over which the rate is measured.
const WINDOW: usize = 50;

/// Shows lines as a run writes them.
pub(super) struct Watch {
    terminal: bool,
    max_steps: u64,
    /// Losses and their weights, summed: the newer the more they count.
    smooth: (f64, f64),
    /// Newest steps and when they were done; pauses empty it.
    newest: VecDeque<(u64, Instant)>,
    shown: Option<Instant>,
    /// A line that renews itself stands on the screen.
    open: bool,
    /// What would have been said while something else has the screen; none once lines are printed.
    silent: Option<VecDeque<String>>,
}

/// Lines that are kept while something else has the screen.
const KEPT: usize = 12;

impl Watch {
    pub(super) fn new(settings: &Settings) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            terminal,
            max_steps: settings.max_steps,
            smooth: (0.0, 0.0),
            newest: VecDeque::new(),
            shown: None,
            open: false,
            silent: None,
        }
    }

    /// Prints nothing until it may speak.
    pub(super) fn silent(settings: &Settings) -> Self {
        Self { silent: Some(VecDeque::new()), ..Self::new(settings) }
    }

    /// Says the newest of what was kept, and from now on everything.
    pub(super) fn speak(&mut self) {
        for line in self.silent.take().into_iter().flatten().rev() {
            output::note(line);
        }
    }

    pub(super) fn show(&mut self, line: &TrainLine) {
        match line {
            TrainLine::Step(step) => self.step(step),
            // Of small data that is read hundreds of times, one pass says all.
            TrainLine::Event(event)
                if matches!(event.what, Happening::Epoch { epochs: 2.., .. } | Happening::Busy { .. }) => {}
            TrainLine::Event(event) => {
                self.clear();
                if matches!(event.what, Happening::Resume { .. }) {
                    self.newest.clear();
                }
                match &mut self.silent {
                    Some(kept) => {
                        kept.truncate(KEPT - 1);
                        kept.push_front(describe(line));
                    }
                    None => output::note(describe(line)),
                }
            }
        }
    }

    fn step(&mut self, step: &TrainStep) {
        let now = Instant::now();
        self.smooth = (0.9 * self.smooth.0 + step.loss, 0.9 * self.smooth.1 + 1.0);
        self.newest.push_back((step.step, now));
        if self.newest.len() > WINDOW {
            self.newest.pop_front();
        }
        let pause = Duration::from_millis(if self.terminal { 100 } else { 10_000 });
        if self.silent.is_some() {
            return;
        }
        let last = step.step == self.max_steps;
        if !last && self.shown.is_some_and(|shown| now - shown < pause) {
            return;
        }
        self.shown = Some(now);
        let text = self.text(step);
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.open = true;
        } else {
            output::note(text);
        }
    }

    fn text(&self, step: &TrainStep) -> String {
        let percent = step.step * 100 / self.max_steps.max(1);
        let mut text = format!("step {}/{} {percent}%", step.step, self.max_steps);
        text.push_str(&format!("  loss {:.4}", self.smooth.0 / self.smooth.1));
        text.push_str(&format!("  {:.0} tok/s", step.tok_s));
        if let Some(celsius) = step.temp_c {
            text.push_str(&format!("  {celsius:.0} °C"));
        }
        text.push_str(&format!("  {}x{}", step.batch, step.accum));
        if let (Some(first), Some(newest)) = (self.newest.front(), self.newest.back())
            && newest.0 > first.0
        {
            let each = (newest.1 - first.1).as_secs_f64() / (newest.0 - first.0) as f64;
            text.push_str(&format!("  {} left", time(each * (self.max_steps - step.step) as f64)));
        }
        text
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Leaves the screen as lines are left.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_a_usual_terminal() {
        let mut watch = Watch::new(&Settings { max_steps: 10_000, ..Settings::default() });
        watch.terminal = false;
        let step = TrainStep {
            step: 120,
            loss: 2.34567,
            tok_s: 1234.4,
            batch: 4,
            accum: 8,
            temp_c: Some(78.2),
            ..TrainStep::default()
        };
        watch.smooth = (2.34567, 1.0);
        let then = Instant::now();
        watch.newest = [(20, then), (120, then + Duration::from_secs(200))].into();
        assert_eq!(watch.text(&step), "step 120/10000 1%  loss 2.3457  1234 tok/s  78 °C  4x8  5:29:20 left");
    }
}
