//! Training in a window: a run that is shown as it goes, and one that outlives the window.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::pty::{self, Pty};
use super::small;

/// A run that never ends by itself, on few tokens.
const ENDLESS: [&str; 10] = [
    "--max-steps=1000000",
    "--max-seq-len=48",
    "--batch-size=2",
    "--grad-accum-steps=1",
    "--threads=1",
    "--sensor=none",
    "--save-every=100000",
    "--val-split=0.1",
    "--eval-every=100000",
    "--output-dir=runs/own",
];

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    small::model(&place.path().join("model"), 1, 24);
    let row = |i: usize| format!("{{\"instruction\": \"say {}\", \"output\": \"{} it is\"}}\n", i % 7, i % 7);
    fs::write(place.path().join("data.jsonl"), (0..40).map(row).collect::<String>()).unwrap();
    place
}

fn program(place: &Path, arguments: &[&str]) -> pty::Start {
    pty::start(arguments).within(place)
}

fn metrics(folder: &Path) -> String {
    fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default()
}

/// The newest step of a run.
fn steps(folder: &Path) -> usize {
    metrics(folder).lines().filter(|line| line.contains("\"grad_norm\"")).count()
}

/// Waits for something outside of the screen, which is drawn meanwhile.
fn until(pty: &mut Pty, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + pty::DEADLINE * 2;
    while !done() {
        assert!(Instant::now() < deadline, "waiting for {what}: it never came. The screen:\n{}", pty.text());
        pty.pump(Duration::from_millis(20));
    }
}

fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("checkpoints")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| !path.to_string_lossy().contains("unfinished")).collect()
}

#[test]
fn a_run_is_paused_asked_saved_and_ended_in_its_own_window() {
    let place = place();
    let run = place.path().join("runs/own");
    let mut pty = program(place.path(), &["train", "data.jsonl", "--model=model"]).args(&ENDLESS).spawn();
    pty.taken_over().sees("● training").sees("loss").sees("grad_norm").sees("P pause");
    until(&mut pty, "five steps", || steps(&run) >= 5);
    pty.keys("P").sees("paused by hand");
    let paused = steps(&run);
    pty.keys("A").sees("ask the newest weights").keys("say 3<enter>").sees("❯ say 3").sees("paused by hand");
    assert_eq!(steps(&run), paused);
    assert!(metrics(&run).contains("\"event\":\"sample\""));
    pty.keys("C");
    until(&mut pty, "a checkpoint", || metrics(&run).contains("\"event\":\"checkpoint\""));
    pty.sees("saved checkpoints/step-");
    assert_eq!(checkpoints(&run).len(), 1);
    pty.keys("<").keys("P").sees("● training").sees("batch 1 x 2");
    until(&mut pty, "more steps", || steps(&run) > paused + 5);
    pty.keys("Q").sees("Q once more").keys("Q");
    assert!(pty.ends().success());
    pty.given_back();
    // What it has to say at its end stands where lines are left.
    pty.sees("and saved; go on with: bit-axon train --resume");
    let last = steps(&run);
    assert!(checkpoints(&run).iter().any(|path| path.ends_with(format!("step-{last:08}"))), "{:?}", checkpoints(&run));
}

#[test]
fn the_view_is_closed_and_lines_follow_until_ctrl_c() {
    let place = place();
    let run = place.path().join("runs/own");
    let mut pty = program(place.path(), &["train", "data.jsonl", "--model=model"]).args(&ENDLESS).spawn();
    // Progress renews its line by codes that the workbench never sends.
    pty.checked = false;
    pty.taken_over().sees("● training").keys("<ctrl-q>");
    pty.given_back().sees("the training goes on").sees("step ");
    let then = steps(&run);
    until(&mut pty, "more steps", || steps(&run) > then + 2);
    pty.keys("<ctrl-c>");
    assert_eq!(pty.ends().code(), Some(130));
    pty.sees("and saved");
}

#[test]
fn ctrl_c_and_a_closed_terminal_save_and_end() {
    let place = place();
    let run = place.path().join("runs/own");
    let start = || program(place.path(), &["train", "data.jsonl", "--model=model", "--resume"]).args(&ENDLESS).spawn();
    let mut pty = start();
    pty.taken_over().sees("● training");
    until(&mut pty, "three steps", || steps(&run) >= 3);
    pty.keys("<ctrl-c>");
    assert_eq!(pty.ends().code(), Some(130));
    pty.given_back();
    let saved = steps(&run);
    assert!(checkpoints(&run).iter().any(|path| path.ends_with(format!("step-{saved:08}"))));
    let mut pty = start();
    pty.taken_over().sees("● training");
    until(&mut pty, "more steps", || steps(&run) > saved + 2);
    pty.close();
    assert_eq!(pty.ends_unheard().code(), Some(130));
    let saved = steps(&run);
    assert!(checkpoints(&run).iter().any(|path| path.ends_with(format!("step-{saved:08}"))));
}

#[test]
fn without_the_view_there_are_lines() {
    let place = place();
    let few = ["--plain", "--max-steps=3"];
    let mut pty =
        program(place.path(), &["train", "data.jsonl", "--model=model"]).args(&ENDLESS[1..]).args(&few).spawn();
    pty.checked = false;
    assert!(pty.ends().success());
    assert!(!pty.raw.windows(8).any(|part| part == b"\x1b[?1049h"), "the view was opened");
    pty.sees("done: 3 steps");
}

#[test]
fn a_run_from_the_form_outlives_its_window_and_is_found_again() {
    let place = place();
    let run = place.path().join("runs/data-dora");
    let mut pty = program(place.path(), &["chat", "model"]).spawn();
    pty.ready().keys("/train<enter>").sees("start a training run");
    // What is wrong is said in its place, first by the form, then by the trainer.
    pty.keys("<up><enter>").sees("this must be filled in").keys("none.jsonl<up><enter>").sees("cannot read none.jsonl");
    pty.keys("<ctrl-u>data.jsonl");
    // max-steps and max-seq-len.
    pty.keys("<tab><tab><tab><tab>1000000<tab><tab><tab>48").sees("1000000");
    pty.keys("<tab><tab><tab><tab><enter>").sees("runs/data-dora").sees("begin").keys("<enter>");
    pty.sees("● training").sees("runs/data-dora");
    until(&mut pty, "a step", || steps(&run) >= 1);
    let pid: i32 = fs::read_to_string(run.join("lock")).unwrap().trim().parse().unwrap();
    let _ends = Ends(pid);
    assert_ne!(pid, pty.pid().as_raw_nonzero().get());
    pty.close();
    pty.ends_unheard();
    let then = steps(&run);
    let mut pty = program(place.path(), &["chat", "model"]).spawn();
    pty.sees("Training goes on in runs/data-dora").ready();
    until(&mut pty, "steps without a window", || steps(&run) > then);
    pty.keys("<f5>").sees("● training").sees("P pause").keys("P").sees("paused by hand").keys("QQ").sees("● stopped");
    let gone = || !Path::new(&format!("/proc/{pid}")).exists() || metrics(&run).contains("\"event\":\"stop\"");
    until(&mut pty, "its end", gone);
    let last = steps(&run);
    assert!(checkpoints(&run).iter().any(|path| path.ends_with(format!("step-{last:08}"))));
    pty.keys("<ctrl-q>");
    assert!(pty.ends().success());
    // Whoever only watches changes nothing.
    let mut pty = program(place.path(), &["monitor", "runs/data-dora"]).spawn();
    pty.sees("data-dora").keys("P").sees("This view only watches").keys("<ctrl-q>");
    assert!(pty.ends().success());
}

/// A process that must not outlive the test.
struct Ends(i32);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.0) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
