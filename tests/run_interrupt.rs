//! Ctrl-C during an answer. One test in a program of its own, since signals are for whole programs.
#![cfg(unix)]

mod common;

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bit_axon::cli::interrupt::Interrupted;
use bit_axon::cli::run::{Io, RunArgs, run_with};
use clap::Parser;
use common::{Mock, one_hot};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

/// Says `a` for ever the first time, until Ctrl-C comes after five tokens; later it ends by itself.
fn interrupted() -> Mock {
    let passes = Arc::new(AtomicUsize::new(0));
    Mock::new(move |_| {
        match passes.fetch_add(1, Ordering::Relaxed) {
            5 => {
                // SAFETY: raising a signal touches no memory; its handler only sets a flag.
                unsafe { libc::raise(libc::SIGINT) };
            }
            // Soon after, the answer is given up; the next one is short.
            ..50 => std::thread::sleep(std::time::Duration::from_millis(2)),
            n if n % 2 == 0 => return one_hot(common::IM_END),
            _ => {}
        }
        one_hot(97)
    })
}

fn run(args: &[&str], input: &str) -> (anyhow::Result<()>, String) {
    let mut out = Vec::new();
    let mut io = Io {
        input: &mut Cursor::new(input.as_bytes()),
        input_is_terminal: false,
        out: &mut out,
        out_is_terminal: false,
    };
    let args = Line::parse_from(std::iter::once(&"run").chain(args)).run;
    let load = interrupted().load();
    let done = run_with(&args, move |_| load(), &mut io);
    (done, String::from_utf8(out).unwrap())
}

#[test]
fn ctrl_c_stops_the_answer_and_keeps_it() {
    let (done, out) = run(&["Hi", "-n", "1000000"], "");
    assert!(done.unwrap_err().is::<Interrupted>());
    assert!(out.starts_with("aaaaa") && out.ends_with("a\n"), "{out:?}");

    let (done, out) = run(&["Hi", "-n", "1000000", "--json"], "");
    assert!(done.unwrap_err().is::<Interrupted>());
    assert!(out.lines().last().unwrap().contains("\"cancelled\""), "{out}");

    // A conversation goes on.
    let (done, out) = run(&["--chat", "-n", "2000"], "one\ntwo\n");
    done.unwrap();
    let answers: Vec<&str> = out.lines().collect();
    assert_eq!(answers.len(), 2, "{out}");
    assert!(answers[0].len() >= 5 && answers[0].len() < 2000);
}
