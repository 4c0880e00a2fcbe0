//! Whatever a model, a file or a user says, a terminal obeys none of it. What is sent is checked byte
//! by byte when the terminal is dropped.

use super::{Model, pty, recital};

/// Codes that would clear the screen, change its title, ask it questions, write to the clipboard,
/// switch its character set, turn the direction of writing.
const HOSTILE: &str = "\x1b[2J\x1b]0;owned\x07 \x1b]52;c;b3duZWQ=\x07 \u{9b}31m \x1bP$q\x1b\\ \x1b[6n\x05\x0e\x7f\x08\x08 \
    \u{202e}txet \u{2066}x\u{2069} \u{200f}\u{61c} \r\x0b\x0c\x1bc \u{85}\u{2028} \x1b[?1049l end";

#[test]
fn what_a_model_says_is_shown_and_not_obeyed() {
    let text = format!(
        "{HOSTILE}\n\n```\n{HOSTILE} code\n```\n\n| {HOSTILE} cell | b |\n|---|---|\n| 1 | 2 |\n\n# {HOSTILE} head"
    );
    let model = Model::saying(&text);
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>").sees("␛[2J").sees("head").sees(" tok ");
    pty.keys("<ctrl-t>").sees("1 of").keys("<right><right><right>").sees("4 of 102").keys("<esc>").loses("4 of 102");
    pty.keys("<ctrl-f>owned").sees("╭ search").keys("<esc>").loses("╭ search");
    pty.keys("<f3>").sees("entropy").keys("<f4>").sees("╭ sessions").keys("<f2>").sees("␛[2J").keys("<ctrl-q>");
    assert!(pty.ends().success());
    assert!(!String::from_utf8_lossy(&pty.raw).contains("\x1b]0;"));
}

#[test]
fn what_is_pasted_typed_and_named_is_shown_and_not_obeyed() {
    let model = Model::counting(30);
    let mut pty = model.chat().spawn();
    pty.ready();
    // The end of a paste cannot be part of it.
    pty.send(format!("\x1b[200~{HOSTILE}\x1b[201~").as_bytes()).sees("end").keys("<enter>").sees("w29");
    pty.send(format!("\x1b[200~/rename {}\x1b[201~", HOSTILE.replace('\r', "")).as_bytes()).keys("<enter>");
    pty.keys("<f4>").sees("╭ sessions").keys("<f2>").sees("w29");
    pty.send("/theme \u{9b}\u{202e}x".as_bytes()).keys("<enter>").sees("There is no theme").keys("<ctrl-c>");
    pty.send("/\u{202e}x".as_bytes()).keys("<enter>").sees("There is no /").keys("<ctrl-c>").keys("<ctrl-q>");
    assert!(pty.ends().success());
}

#[test]
fn a_file_name_is_shown_and_not_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m\x1b[2J\u{202e}\x07\u{9b}x\ny");
    recital::write(&path, recital::SMALL, &recital::counting(10));
    let mut pty = pty::start(&["chat"]).arg(&path).spawn();
    pty.ready().sees("m␛[2J").keys("go<enter>").sees("w9").keys("<ctrl-q>");
    assert!(pty.ends().success());
    // One that cannot be opened is named in an error.
    std::fs::write(path.join("model.safetensors"), b"no").unwrap();
    let mut pty = pty::start(&["chat"]).arg(&path).spawn();
    pty.sees("model.safetensors").keys("<ctrl-q>");
    pty.ends();
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    // Random weights say any bytes at all.
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("small");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_bit-axon"))
        .args(["init", "--preset", "small", "--format", "affine4", "--out"])
        .arg(&model)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut pty = pty::start(&["chat"]).arg(&model).spawn();
    pty.ready().keys("/max-tokens 400<enter>").sees("max-tokens: 400").keys("/temperature 2<enter>").sees("2.00");
    // It may end its answer by itself.
    pty.keys("go<enter>")
        .sees(" tok/s · first")
        .keys("<ctrl-t>")
        .sees("1 of")
        .keys("www")
        .keys("<f3>")
        .sees("entropy")
        .keys("<ctrl-q>");
    assert!(pty.ends().success());
}
