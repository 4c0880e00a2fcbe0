//! A process that is killed at any moment.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::train::fingerprint::mix;

const CHILD: &str = "BIT_AXON_TEST_TRAIN_IN";
const STEPS: u64 = 120;

fn rig(dir: &Path) -> Rig {
    let mut rig = Rig::new(dir);
    (rig.settings.max_steps, rig.settings.save_every, rig.settings.eval_every) = (STEPS, 3, 7);
    rig.settings.learning_rate = 0.01;
    rig
}

/// Not a test of its own: what the processes that are killed do.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let mut rig = rig(Path::new(&dir));
    rig.delay = Duration::from_micros(500);
    rig.resume().unwrap();
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "train::tests::killed::the_process_that_is_killed"])
        .env(CHILD, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn losses_are_those_of_a_run_that_was_never_killed() {
    let whole = tempfile::tempdir().unwrap();
    rig(whole.path()).start().unwrap();
    let want = rig(whole.path()).folder();
    let dir = tempfile::tempdir().unwrap();
    let folder = rig(dir.path()).folder();
    let mut kills = 0;
    loop {
        let mut child = spawn(dir.path());
        // At a moment that nobody chose: so long after it began, somewhere in a step, a save or an evaluation.
        let patience = Duration::from_micros(5_000 + mix(kills) % 40_000);
        let begun = std::time::Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if kills < 30 && begun.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
    }
    assert!(kills > 3, "it was killed {kills} times only");
    assert_eq!(course(&folder), course(&want));
    assert_eq!(adapter(&folder), adapter(&want));
}
