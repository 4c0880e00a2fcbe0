//! From a key to its letter on the screen while the model keeps every core busy.

use std::path::Path;
use std::time::{Duration, Instant};

use super::processor::{between, computes, times};
use super::table::{Table, ms, percentile};

/// Keys that are pressed; half of them take a letter away again.
const KEYS: usize = 300;

pub(super) fn measure(table: &mut Table, model: &Path) {
    let mut pty = super::chat(model).spawn();
    pty.ready().keys("go<enter>").sees("w200");
    let begun = times(pty.pid());
    let at = Instant::now();
    let mut waits = Vec::new();
    for i in 0..KEYS {
        // Not in step with the frames.
        pty.pump_for(Duration::from_millis(20 + (i * 7919 % 53) as u64));
        let letter = char::from(b'a' + (i / 2 % 26) as u8);
        let (key, wanted) = if i % 2 == 0 { (letter.to_string(), letter) } else { ("<backspace>".to_owned(), 'A') };
        let pressed = Instant::now();
        // The prompt's first cell: two columns from the left, two rows above the status line. Empty, it
        // holds the beginning of a hint.
        pty.keys(&key)
            .until("the echo", |screen| screen.cell(33, 2).is_some_and(|cell| cell.contents().starts_with(wanted)));
        waits.push(ms(pressed.elapsed()));
    }
    let seconds = at.elapsed().as_secs_f64();
    let ended = times(pty.pid());
    let (median, most) = (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99));
    let row = format!("key to echo while the model computes, 99th percentile of {KEYS}");
    table.row(&row, format!("{most:.1} ms (median {median:.1})"), "50 ms", most < 50.0);
    let cores = between(&begun, &ended, computes) / (seconds * 1e3);
    table.note("cores that the model kept busy meanwhile", &format!("{cores:.2}"));
    assert!(pty.text().contains(" tok/s"), "the answer ended too early");
    pty.keys("<esc>").sees("■ stopped").keys("<ctrl-q>");
    pty.ends();
}
