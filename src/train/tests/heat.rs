//! Heat, as the sensor gives it, through a whole run.

use super::*;
use crate::protocol::{Ending, Happening, HeatPhase, Reason};

/// The temperature while the run is at each step: how many steps are done is told by the observer's lines.
fn hot_run(temperatures: &'static [f32]) -> (Outcome, Vec<TrainLine>, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    (rig.settings.batch_size, rig.settings.grad_accum_steps) = (4, 1);
    rig.settings.max_steps = 40;
    let folder = rig.folder();
    let metrics = folder.join("metrics.jsonl");
    // Two steps at each temperature; one at which it waits holds for some looks.
    let mut waited = 0;
    let mut at = 0;
    let mut since = 0;
    rig.celsius = Box::new(move |_| {
        let done = std::fs::read_to_string(&metrics).map_or(0, |text| text.matches("\"loss\":").count());
        let celsius = temperatures[at];
        waited += usize::from(celsius >= 85.0);
        if at + 1 < temperatures.len() && (done >= since + 2 || waited >= 5) {
            (at, since, waited) = (at + 1, done, 0);
        }
        Some(temperatures[at])
    });
    let (outcome, seen) = rig.start().unwrap();
    (outcome, seen, folder, dir)
}

#[test]
fn it_slows_down_waits_recovers_and_stops() {
    let (outcome, seen, folder, _dir) = hot_run(&[60.0, 78.0, 88.0, 70.0, 97.0]);
    assert_eq!((outcome.ending, outcome.celsius), (Ending::Heat, Some(97.0)));
    let course = steps(&seen);
    let phases: Vec<_> = course.iter().map(|step| (step.phase.unwrap(), step.batch, step.accum)).collect();
    let hot = phases.iter().position(|(phase, ..)| *phase == HeatPhase::Reduce).unwrap();
    assert!(phases[..hot].iter().all(|step| *step == (HeatPhase::Normal, 4, 1)), "{phases:?}");
    let cool = hot + phases[hot..].iter().position(|(phase, ..)| *phase == HeatPhase::Normal).unwrap();
    assert!(phases[hot..cool].iter().all(|step| *step == (HeatPhase::Reduce, 2, 2)), "{phases:?}");
    assert!(phases[cool..].iter().all(|step| *step == (HeatPhase::Normal, 4, 1)), "{phases:?}");
    // As many examples a step, whatever the batch.
    assert!(course.windows(2).all(|pair| pair[1].tokens - pair[0].tokens == 4 * 24));
    let said: Vec<String> = events(&seen)
        .iter()
        .filter_map(|event| match &event.what {
            Happening::Batch { batch, accum, reason: Reason::Heat, temp_c } => {
                Some(format!("{batch}x{accum} at {}", temp_c.unwrap()))
            }
            Happening::Pause { reason: Reason::Heat, temp_c } => Some(format!("waits at {}", temp_c.unwrap())),
            Happening::Resume { reason: Reason::Heat, temp_c, .. } => Some(format!("goes on at {}", temp_c.unwrap())),
            Happening::Stop { reason: Ending::Heat, message } => Some(message.clone()),
            _ => None,
        })
        .collect();
    let want = ["2x2 at 78", "waits at 88", "4x1 at 70", "goes on at 70", "2x2 at 97"];
    assert_eq!(said[..5], want);
    let message = &said[5];
    assert!(message.contains("97 °C") && message.contains("bit-axon train --resume"), "{message}");
    assert_eq!(checkpoints(&folder)[0], outcome.step);
    // Within a step of the temperature that ended it.
    assert_eq!(course.len() as u64, outcome.step);
}

#[test]
fn it_goes_on_once_it_is_cool_with_the_same_examples() {
    let (outcome, _, folder, dir) = hot_run(&[60.0, 97.0]);
    let mut rig = Rig::new(dir.path());
    (rig.settings.batch_size, rig.settings.grad_accum_steps, rig.settings.max_steps) = (4, 1, 40);
    rig.resume().unwrap();
    let cool = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(cool.path());
    (rig.settings.batch_size, rig.settings.grad_accum_steps, rig.settings.max_steps) = (4, 1, 40);
    let want = rig.folder();
    rig.start().unwrap();
    assert!(outcome.step > 0 && outcome.step < 40);
    let (hot, cool) = (course(&folder), course(&want));
    assert_eq!(hot.len(), cool.len());
    for (a, b) in hot.iter().zip(&cool) {
        assert!(a.step == b.step && a.tokens == b.tokens && (a.loss - b.loss).abs() < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn a_required_sensor_that_is_gone_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.settings.require_sensor = true;
    let mut looks = 0;
    rig.celsius = Box::new(move |_| {
        looks += 1;
        (looks < 6).then_some(50.0)
    });
    rig.settings.max_steps = 1000;
    let said = format!("{:#}", rig.start().unwrap_err());
    assert!(said.contains("--require-sensor"), "{said}");
}
