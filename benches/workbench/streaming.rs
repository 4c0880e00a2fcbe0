//! What streaming at 30 tokens a second costs, and what an idle screen costs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::processor::{between, computes, times};
use super::pty::{Pty, Pumped};
use super::table::{Table, percentile};

/// How long is measured.
const SECONDS: usize = 10;

/// Prose, lists and code that never repeat, long enough for the measurement.
pub(super) fn text() -> String {
    let mut text = String::new();
    for i in 0..60 {
        text.push_str(&format!(
            "The ring of layer {i} keeps the last **{}** keys; what is older is overwritten in `slot {i}`, and \
             nothing else in the state grows while the answer becomes longer and longer.\n\n1. first point of \
             {i}: it is taken once\n2. second point of {i}: it is never copied\n\n```rust\nfn slot_{i}(position: \
             usize) -> usize {{\n    position % {} // the oldest\n}}\n```\n\n",
            64 + i,
            64 + i
        ));
    }
    text
}

/// Bytes of each second while the program goes on by itself.
fn seconds(pty: &mut Pty) -> Vec<f64> {
    (0..SECONDS)
        .map(|_| {
            let before = pty.raw.len();
            pty.pump_for(Duration::from_secs(1));
            (pty.raw.len() - before) as f64
        })
        .collect()
}

pub(super) fn measure(table: &mut Table, model: &Path, slow_link: bool) {
    let mut start = super::chat(model).arg("--max-speed").arg("30");
    if slow_link {
        start = start.arg("--slow-link");
    }
    let mut pty = start.spawn();
    pty.ready().keys("Tell me about rings<enter>").sees("❯ you");
    // Until the pane is full and scrolls, which is the dearer part.
    pty.sees("1. first point of 2");
    let begun = times(pty.pid());
    let mut bytes = seconds(&mut pty);
    let ended = times(pty.pid());
    let (mean, worst) = (bytes.iter().sum::<f64>() / SECONDS as f64, percentile(&mut bytes, 0.95));
    let (what, limit) = if slow_link { ("--slow-link", 3000.0) } else { ("all panes", 8000.0) };
    table.row(
        &format!("bytes a second at 30 tokens a second, {what}"),
        format!("{mean:.0} (95 % of seconds: {worst:.0})"),
        &format!("{limit:.0}"),
        mean <= limit,
    );
    let share = |names: &dyn Fn(&str) -> bool| between(&begun, &ended, names) / (SECONDS as f64 * 10.0);
    let (ui, engine) = (share(&|name| !computes(name)), share(&computes));
    let what =
        format!("the screen's share of a core at 30 tokens a second{}", if slow_link { ", --slow-link" } else { "" });
    table.row(&what, format!("{ui:.2} % (the model's: {engine:.2} %)"), "4 %", ui < 4.0);
    pty.keys("<ctrl-q>");
    pty.ends();
}

pub(super) fn idle(table: &mut Table, model: &Path) {
    let mut pty = super::chat(model).spawn();
    pty.ready().keys("/max-tokens 200<enter>").sees("max-tokens: 200").keys("go<enter>").sees("200 tok");
    // The notice goes after some seconds, and the answer's last figures come.
    pty.loses("max-tokens: 200").pump_for(Duration::from_secs(3));
    let (before, begun, at) = (pty.raw.len(), times(pty.pid()), Instant::now());
    pty.pump_for(Duration::from_secs(SECONDS as u64));
    let seconds = at.elapsed().as_secs_f64();
    let bytes = (pty.raw.len() - before) as f64 / seconds;
    let share = between(&begun, &times(pty.pid()), |_| true) / (seconds * 10.0);
    table.row("bytes a second while idle", format!("{bytes:.0}"), "100", bytes < 100.0);
    table.row("share of a core while idle, all threads", format!("{share:.3} %"), "0.5 %", share < 0.5);
    assert_ne!(pty.pump(Duration::ZERO), Pumped::Closed);
    pty.keys("<ctrl-q>");
    pty.ends();
}
