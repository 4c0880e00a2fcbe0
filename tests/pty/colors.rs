//! As many colours as the terminal has, and as many kinds of characters.

use super::{Model, pty};

/// The codes that set colours, as they were sent.
fn colors(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let codes = text.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    let mut found = Vec::new();
    for code in codes {
        let mut numbers = code.split(';');
        while let Some(number) = numbers.next() {
            match number.parse::<u8>() {
                Ok(38 | 48) => {
                    let kind = numbers.next().unwrap_or_default();
                    numbers.nth(if kind == "5" { 0 } else { 2 });
                    found.push(format!("38;{kind}"));
                }
                Ok(30..=37 | 40..=47 | 90..=97 | 100..=107) => found.push("named".into()),
                _ => {}
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn shown(start: pty::Start) -> Vec<u8> {
    let mut pty = start.spawn();
    pty.ready().keys("go<enter>").sees("let x").sees(" tok ").keys("/mute 1<enter>").sees("routing altered");
    pty.keys("<f3>").sees("entropy").keys("<f1>").sees("Show the keys").keys("<esc>");
    pty.loses("Show the keys").keys("<ctrl-q>");
    assert!(pty.ends().success());
    std::mem::take(&mut pty.raw)
}

#[test]
fn colors_are_those_that_the_terminal_has() {
    let model = Model::saying("Some **words** and `code`:\n\n```rust\nlet x = \"text\"; // said\n```\n\n- one\n- two");
    assert_eq!(colors(&shown(model.chat())), ["38;2"]);
    assert_eq!(colors(&shown(model.chat().env("COLORTERM", ""))), ["38;5"]);
    assert_eq!(colors(&shown(model.chat().env("COLORTERM", "").env("TERM", "xterm"))), ["named"]);
    assert_eq!(colors(&shown(model.chat().env("NO_COLOR", "1"))), [""; 0]);
    assert_eq!(colors(&shown(model.chat().arg("--no-color"))), [""; 0]);
}

#[test]
fn ascii_is_ascii() {
    let model = Model::saying(
        "let x be a box\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n---\n\n1. done",
    );
    let raw = shown(model.chat().arg("--ascii"));
    let other: String = String::from_utf8_lossy(&raw).chars().filter(|c| !c.is_ascii()).collect();
    assert_eq!(other, "");
}
