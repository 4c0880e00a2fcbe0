//! What all readers have in common: bytes go in, points and words come out.

use crate::metrics::Run;

/// A reader of one kind of log. It never fails: what it cannot read it notes in the run.
pub(super) trait Parser: Send {
    /// Takes the next bytes. `now` is the time at which they were written, if that was just now.
    fn feed(&mut self, bytes: &[u8], now: Option<f64>, run: &mut Run);

    /// There are no more bytes, at least for now: what has no end yet is taken as it is.
    fn finish(&mut self, _run: &mut Run) {}

    /// True if the file means something only as a whole, and is read anew whenever it changes.
    fn is_whole(&self) -> bool {
        false
    }
}

#[cfg(test)]
pub(super) mod check {
    use super::Parser;
    use crate::metrics::{Axis, Run};

    /// Feeds a parser with pieces of this size.
    pub(crate) fn read(parser: &mut dyn Parser, bytes: &[u8], size: usize) -> Run {
        let mut run = Run::new("test", "test");
        if parser.is_whole() {
            parser.feed(bytes, None, &mut run);
        } else {
            bytes.chunks(size).for_each(|piece| parser.feed(piece, None, &mut run));
        }
        parser.finish(&mut run);
        run
    }

    /// `name step:value step:value`, one a metric.
    pub(crate) fn points(run: &Run) -> Vec<String> {
        let filled = run.series().iter().filter(|s| !s.is_empty());
        filled
            .map(|s| {
                let point = |i| format!(" {}:{}", run.x(Axis::Step, s.row(i)), s.value(i));
                s.name().to_owned() + &(0..s.len()).map(point).collect::<String>()
            })
            .collect()
    }
}
