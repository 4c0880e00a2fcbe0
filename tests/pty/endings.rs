//! However it ends, the terminal is given back.

use std::time::Duration;

use rustix::process::Signal;

use super::{Model, pty};

#[test]
fn signals_give_the_terminal_back() {
    let model = Model::counting(5000);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut pty = model.chat().arg("--mouse").arg("--max-speed").arg("100").spawn();
        // In the midst of an answer.
        pty.taken_over().ready().keys("go<enter>").sees("w9").signal(signal);
        pty.ends();
        pty.given_back();
    }
}

#[test]
fn a_signal_while_the_model_is_being_opened_ends_it() {
    let mut pty = pty::start(&[] as &[&str]).spawn();
    pty.taken_over().signal(Signal::TERM);
    pty.ends();
    pty.given_back();
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let model = Model::counting(5000);
    let mut pty = model.chat().arg("--max-speed").arg("100").spawn();
    pty.ready().keys("go<enter>").sees("w9").close();
    pty.ends();
}

#[test]
fn a_terminal_that_takes_nothing_more_does_not_keep_it() {
    let model = Model::counting(20_000);
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>");
    // Nobody reads what is drawn: the terminal's buffer fills, as on a dead connection.
    for _ in 0..40 {
        pty.keys("<ctrl-l>");
        std::thread::sleep(Duration::from_millis(20));
    }
    pty.signal(Signal::TERM).ends_unheard();
}

#[test]
fn it_is_stopped_and_continued() {
    let model = Model::counting(60);
    let mut pty = model.chat().spawn();
    pty.taken_over().ready().keys("go<enter>").sees("w59").keys("<ctrl-z>").stops();
    pty.given_back();
    // The terminal has another size when it comes back.
    pty.resize(100, 30).signal(Signal::CONT);
    pty.taken_over().sees("w59").sees(" bit-axon ").keys("still here<enter>").sees("still here");
    // A signal from elsewhere does the same as the key.
    pty.signal(Signal::TSTP).stops();
    pty.given_back().signal(Signal::CONT);
    pty.taken_over().keys("<ctrl-q>");
    assert!(pty.ends().success());
    pty.given_back();
}

#[test]
fn a_shell_has_its_terminal_while_it_is_stopped() {
    let mut pty = pty::start_program("sh").arg("-i").env("PS1", "sh> ").spawn();
    // What a shell writes is its own affair.
    pty.checked = false;
    pty.sees("sh> ");
    pty.send(format!("{}\r", env!("CARGO_BIN_EXE_bit-axon")).as_bytes());
    pty.taken_over().ready().keys("half a prompt").sees("half a prompt").keys("<ctrl-z>");
    pty.given_back().sees("sh> ");
    pty.send(b"echo a$((40 + 2))b\r").sees("a42b").send(b"fg\r");
    pty.taken_over().sees("half a prompt").keys("<ctrl-c>").loses("half a prompt").keys("<ctrl-q>");
    pty.given_back();
    pty.send(b"echo status $?\r").sees("status 0").send(b"exit\r");
    pty.ends();
}

#[test]
fn a_model_that_cannot_be_opened_is_told_within() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), b"not at all").unwrap();
    let mut pty = pty::start(&["chat"]).arg(folder.path()).spawn();
    pty.sees("model.safetensors").keys("<ctrl-q>");
    pty.ends();
    pty.given_back();
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let output = pty::without_terminal(&["chat"]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bit-axon run") && output.stdout.is_empty(), "{said}");
    // Alone, the program shows its commands.
    let output = pty::without_terminal(&[]).unwrap();
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("bit-axon run"));
}

#[test]
fn a_terminal_that_does_not_know_its_size_gets_the_usual_one() {
    let mut pty = pty::start(&[] as &[&str]).size(0, 0).spawn();
    pty.resize(80, 24);
    pty.taken_over().sees("bit-axon").keys("<ctrl-q>");
    assert!(pty.ends().success());
}
