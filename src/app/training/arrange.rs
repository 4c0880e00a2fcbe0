//! How charts are put together: which come first, and which metrics are drawn into others.

use super::{Chart, Training};
use crate::metrics::names;

/// Charts that are kept in front, and metrics that are drawn into others.
const MOST: usize = 100;

/// What was chosen of charts, by their names: it holds for charts that come later, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrangement {
    /// Charts that come before all others.
    pub front: Vec<String>,
    /// Pairs: a chart, and a metric that is drawn into it.
    pub joined: Vec<(String, String)>,
    /// The metric that is about to be drawn into another chart.
    pub held: Option<String>,
    /// The chart that is chosen as soon as there is one of this name.
    pub wanted: Option<String>,
}

impl Training {
    /// Puts the charts in order, and draws metrics into others; the chosen one stays chosen.
    pub(super) fn arrange(&mut self, chosen: Option<String>) {
        let plan = &mut self.plan;
        let place = |chart: &Chart| plan.front.iter().position(|name| *name == chart.name).unwrap_or(usize::MAX);
        self.charts.sort_by_key(|chart| (place(chart), names::rank(&chart.name)));
        for (into, metric) in &plan.joined {
            let Some(from) = self.charts.iter().find(|chart| chart.name == *metric) else { continue };
            let curves = from.curves.clone();
            if let Some(chart) = self.charts.iter_mut().find(|chart| chart.name == *into) {
                chart.more.push((metric.clone(), curves));
            }
        }
        let named = |name: &String| self.charts.iter().position(|chart| chart.name == *name);
        let wanted = plan.wanted.as_ref().and_then(named);
        if wanted.is_some() {
            plan.wanted = None;
        }
        let place = wanted.or_else(|| chosen.as_ref().and_then(named)).unwrap_or(self.chart);
        self.chart = place.min(self.charts.len().saturating_sub(1));
    }

    /// Keeps the chosen chart before all others, or lets it go.
    pub(super) fn keep_in_front(&mut self) {
        let Some(name) = self.charts.get(self.chart).map(|chart| chart.name.clone()) else { return };
        let front = &mut self.plan.front;
        match front.iter().position(|known| *known == name) {
            Some(at) => drop(front.remove(at)),
            None if front.len() < MOST => front.push(name),
            None => {}
        }
        self.refresh();
    }

    /// First takes hold of the chosen metric, then draws it into the chart that is chosen by then; there again, what
    /// was drawn into that is taken out. Says what happened.
    pub(super) fn join(&mut self) -> Option<String> {
        let name = self.charts.get(self.chart)?.name.clone();
        let joined = &mut self.plan.joined;
        let words = match self.plan.held.take() {
            None if joined.iter().any(|(into, _)| *into == name) => {
                joined.retain(|(into, _)| *into != name);
                format!("{name} stands alone again")
            }
            None => {
                let words = format!("{name} is drawn into the next chart where this key is pressed");
                self.plan.held = Some(name);
                words
            }
            Some(held) if held == name => format!("{held} stays where it is"),
            Some(held) => {
                let pair = (name.clone(), held.clone());
                if !joined.contains(&pair) && joined.len() < MOST {
                    joined.push(pair);
                }
                format!("{held} is drawn into {name} too")
            }
        };
        self.refresh();
        Some(words)
    }
}
