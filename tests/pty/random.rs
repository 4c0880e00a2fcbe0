//! Random keys and bytes: it neither hangs nor ends, and the terminal is given back.

use super::Model;

/// Keys that do not leave.
const KEYS: &[&str] = &[
    "<enter>",
    "<tab>",
    "<shift-tab>",
    "<up>",
    "<down>",
    "<left>",
    "<right>",
    "<pageup>",
    "<pagedown>",
    "<home>",
    "<end>",
    "<f1>",
    "<f2>",
    "<f3>",
    "<f4>",
    "<f5>",
    "<f6>",
    "<ctrl-p>",
    "<ctrl-r>",
    "<ctrl-t>",
    "<ctrl-f>",
    "<ctrl-l>",
    "<alt-z>",
    "<alt-h>",
    "<alt-a>",
    "<alt-.>",
    "<alt-,>",
    "<alt-=>",
    "<alt-e>",
    "<alt-left>",
    "<alt-right>",
    "<alt-up>",
    "<alt-n>",
    "<alt-c>",
    "<alt-s>",
    "<alt-u>",
    "<alt-t>",
    "<alt-f>",
    "m",
    "f",
    "s",
    "v",
    "+",
    "k",
    "/",
    "a",
    " ",
    "漢",
    "é",
    "1",
    "<backspace>",
    "<delete>",
    "<alt-enter>",
];

/// Codes that no key sends, whole and cut off.
const NOISE: &[&[u8]] = &[
    b"\x1b[",
    b"\x1b[9999;9999H",
    b"\x1b[200~",
    b"\x1b[201~",
    b"\x1bO",
    b"\xff\xfe",
    b"\xc3",
    b"\x1b[M !!",
    b"\x1b[<0;5;5M",
    b"\x1b[?1;2c",
    b"\x1b]11;rgb:00/00/00\x07",
    b"\x1bP1$r0m\x1b\\",
    b"\x00",
    b"\x1c\x1d\x1e\x1f",
    b"\x1b[I\x1b[O",
    b"\x1b[1;1R",
];

#[test]
fn random_keys_never_break_it() {
    let model = Model::counting(300);
    let mut pty = model.chat().spawn();
    pty.ready();
    let mut seed = 5usize;
    let mut dice = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for _ in 0..3000 {
        match dice(40) {
            0 => drop(pty.resize(1 + dice(220) as u16, 1 + dice(70) as u16)),
            1 => drop(pty.send(NOISE[dice(NOISE.len())])),
            2 => drop(pty.send(b"\x1b").pump(std::time::Duration::from_millis(2))),
            _ => drop(pty.keys(KEYS[dice(KEYS.len())])),
        }
        pty.pump(std::time::Duration::ZERO);
    }
    // The end of a paste, or of whatever else was begun.
    pty.send(b"~\x1b[201~").resize(120, 36);
    pty.keys("<ctrl-l>").sees("bit-axon").keys("<ctrl-q>");
    assert!(pty.ends().success());
    pty.given_back();
}
