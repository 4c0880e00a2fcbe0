//! What was found.

/// What is known of one thing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It is there: what it is.
    There(String),
    /// It is not: why, and what to do.
    Missing(String),
}

/// Everything that was found, in order.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(&'static str, &'static str, Verdict)>);

impl Findings {
    pub(super) fn there(&mut self, area: &'static str, name: &'static str, value: impl Into<String>) {
        self.0.push((area, name, Verdict::There(value.into())));
    }

    pub(super) fn missing(&mut self, area: &'static str, name: &'static str, why: impl Into<String>) {
        self.0.push((area, name, Verdict::Missing(why.into())));
    }

    /// Area, name and verdict of each.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &Verdict)> {
        self.0.iter().map(|(area, name, verdict)| (*area, *name, verdict))
    }
}
