//! Going on as if nothing had happened.

use super::*;
use crate::protocol::{Ending, Happening};

#[test]
fn a_run_stopped_after_any_step_goes_on_bit_for_bit() {
    let whole = tempfile::tempdir().unwrap();
    let rig = Rig::new(whole.path());
    let want = rig.folder();
    rig.start().unwrap();
    for after in 1..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut rig = Rig::new(dir.path());
        rig.interrupt_after = after;
        let folder = rig.folder();
        let (outcome, _) = rig.start().unwrap();
        assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, after));
        assert_eq!(checkpoints(&folder)[0], after);
        let (outcome, seen) = Rig::new(dir.path()).resume().unwrap();
        assert_eq!((outcome.ending, outcome.step), (Ending::Finished, 12));
        assert!(matches!(events(&seen)[0].what, Happening::Start { resumed: true, .. }));
        assert_eq!(course(&folder), course(&want), "stopped after step {after}");
        assert_eq!(adapter(&folder), adapter(&want), "stopped after step {after}");
        let epochs = |folder: &Path| {
            let is = |event: &TrainEvent| matches!(event.what, Happening::Epoch { .. });
            events(&lines(folder)).into_iter().filter(is).count()
        };
        assert_eq!(epochs(&folder), epochs(&want), "stopped after step {after}");
    }
}

#[test]
fn a_finished_run_has_nothing_to_go_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(dir.path());
    let folder = rig.folder();
    rig.start().unwrap();
    let before = (course(&folder), adapter(&folder));
    let (outcome, seen) = Rig::new(dir.path()).resume().unwrap();
    assert_eq!((outcome.ending, steps(&seen).len()), (Ending::Finished, 0));
    assert_eq!((course(&folder), adapter(&folder)), before);
    // More steps can be asked of it.
    let mut more = Rig::new(dir.path());
    more.settings.max_steps = 15;
    assert_eq!(more.resume().unwrap().0.step, 15);
}

#[test]
fn without_a_checkpoint_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (outcome, seen) = Rig::new(dir.path()).resume().unwrap();
    assert_eq!((outcome.step, steps(&seen).len()), (12, 12));
}

#[test]
fn it_is_said_when_something_else_computes_than_before() {
    let warnings = |seen: &[TrainLine]| -> Vec<String> {
        let message =
            |event: TrainEvent| if let Happening::Warning { message } = event.what { Some(message) } else { None };
        events(seen).into_iter().filter_map(message).filter(|message| message.contains("was made by")).collect()
    };
    for (before, said) in [("cpu avx512", true), ("", false), ("the same", false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut rig = Rig::new(dir.path());
        rig.interrupt_after = 5;
        let file = rig.folder().join("checkpoints/step-00000005/state.json");
        rig.start().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut state: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["backend"], "bigram");
        if before != "the same" {
            state["backend"] = before.into();
        }
        std::fs::write(&file, state.to_string()).unwrap();
        let told = warnings(&Rig::new(dir.path()).resume().unwrap().1);
        assert_eq!(told.len(), usize::from(said), "{told:?}");
        assert!(told.iter().all(|told| told.contains("made by cpu avx512, and bigram goes on")), "{told:?}");
    }
}
