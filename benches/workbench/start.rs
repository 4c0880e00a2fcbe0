//! From the start of the program to what can be seen and used, on the built-in model.

use std::time::Instant;

use super::pty;
use super::table::{Table, ms, percentile};

const STARTS: usize = 15;

pub(super) fn measure(table: &mut Table) {
    let (mut first, mut usable) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut pty = pty::start(&[] as &[&str]).spawn();
        pty.until("the first frame", |screen| screen.contents().contains(" bit-axon "));
        first.push(ms(begun.elapsed()));
        pty.ready();
        usable.push(ms(begun.elapsed()));
        pty.keys("<ctrl-q>");
        pty.ends();
    }
    for (what, times, limit) in [("first frame", &mut first, 100.0), ("usable prompt", &mut usable, 400.0)] {
        let (median, most) = (percentile(times, 0.5), percentile(times, 1.0));
        table.row(
            &format!("start to {what}, built-in model, {STARTS} starts"),
            format!("median {median:.0} ms, at most {most:.0} ms"),
            &format!("{limit:.0} ms"),
            most < limit,
        );
    }
}
