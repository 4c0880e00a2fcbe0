//! A temperature in a file, through all that it asks for.

use super::*;
use std::time::{SystemTime, UNIX_EPOCH};

use bit_axon::protocol::{Ending, HeatPhase, Reason};

#[test]
fn a_machine_that_heats_up_is_spared() {
    let place = Place::new();
    // When each temperature was there, in seconds since 1970.
    let written = std::cell::RefCell::new(Vec::new());
    let celsius = |degrees: u32| {
        place.write("new", &degrees.to_string());
        fs::rename(place.path("new"), place.path("celsius")).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        written.borrow_mut().push((degrees as f32, now));
    };
    celsius(60);
    let sensor = format!("--sensor file:{} --require-sensor --temp-poll-interval 0.1", place.path("celsius").display());
    // Steps that take longer than the sensor needs to be read.
    let args = "--max-seq-len 48 --batch-size 4 --grad-accum-steps 16 --threads 1 --output-dir run";
    let mut child = place.spawn(&format!("train data.jsonl --model model --max-steps 1000000 {args} {sensor}"));
    let wait = |child: &mut Child, what: &str, is: &dyn Fn(&Happening) -> bool| {
        place.until(child, what, |place| place.events("run").iter().any(|event| is(&event.what)));
    };
    let some_steps = |child: &mut Child| {
        let from = place.steps("run").len();
        place.until(child, "two more steps", |place| place.steps("run").len() > from + 2);
    };
    some_steps(&mut child);
    celsius(78);
    wait(&mut child, "half the batch", &|what| {
        matches!(what, Happening::Batch { batch: 2, accum: 32, reason: Reason::Heat, temp_c: Some(78.0) })
    });
    some_steps(&mut child);
    celsius(88);
    wait(&mut child, "a pause", &|what| matches!(what, Happening::Pause { reason: Reason::Heat, temp_c: Some(88.0) }));
    let waiting = place.steps("run").len();
    celsius(70);
    wait(&mut child, "going on", &|what| {
        matches!(what, Happening::Resume { reason: Reason::Heat, temp_c: Some(70.0), .. })
    });
    some_steps(&mut child);
    celsius(97);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(75));
    let events = place.events("run");
    let paused = events.iter().position(|event| matches!(event.what, Happening::Pause { .. })).unwrap();
    let pause = events[paused].step as usize;
    assert!(pause <= waiting && waiting <= pause + 1, "it went on while it should wait");
    let Happening::Stop { reason: Ending::Heat, message } = &events.last().unwrap().what else { panic!("{events:?}") };
    assert!(message.contains("97 °C") && message.contains("--resume"), "{message}");
    let steps = place.steps("run");
    // A step is over as many sequences, at each temperature.
    assert!(steps.windows(2).all(|pair| pair[1].tokens - pair[0].tokens == 4 * 16 * 48));
    for phase in [HeatPhase::Normal, HeatPhase::Reduce] {
        assert!(steps.iter().any(|step| step.phase == Some(phase)), "{phase}");
    }
    let last = steps.last().unwrap();
    assert_eq!((last.batch, last.temp_c), (4, Some(70.0)));
    assert!(place.checkpoints("run").last().unwrap().ends_with(&format!("{:08}", last.step)));
    // Everything within a step: between a temperature and what it asks for, at most one more step ended.
    let temperatures: Vec<(f32, f64)> = written.borrow()[1..].to_vec();
    for (degrees, since) in temperatures {
        let answer = events.iter().find(|event| match &event.what {
            Happening::Batch { temp_c, .. } | Happening::Pause { temp_c, .. } | Happening::Resume { temp_c, .. } => {
                *temp_c == Some(degrees)
            }
            Happening::Stop { reason, .. } => *reason == Ending::Heat && degrees == 97.0,
            _ => false,
        });
        let at = answer.unwrap_or_else(|| panic!("nothing came of {degrees} degrees: {events:?}")).time;
        // The file is read ten times a second.
        let late = steps.iter().filter(|step| step.time > since + 0.25 && step.time < at).count();
        assert!(late <= 1, "{late} steps ended between {degrees} degrees and the answer");
    }
    // What a step says of its temperature is what its batch is.
    let halved = |step: &TrainStep| (step.batch, step.accum) == (2, 32);
    assert!(steps.iter().all(|step| halved(step) == (step.temp_c >= Some(75.0))), "{steps:?}");
    // Cool again, it goes on.
    celsius(50);
    let more = last.step + 2;
    place.works(&format!("train --resume --output-dir run --max-steps {more}"));
    assert_eq!(place.steps("run").len() as u64, more);
}

#[test]
fn no_sensor_is_said_or_refused() {
    let place = Place::new();
    let said = place.output(&format!("train data.jsonl --model model --max-steps 2 --output-dir a {SHORT}"));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("heat is not watched"), "{said}");
    let said = place.fails(1, &format!("train data.jsonl --model model --require-sensor --output-dir b {SHORT}"));
    assert!(said.contains("--require-sensor"), "{said}");
    let said = place.fails(1, &format!("train data.jsonl --model model --temp-pause 70 {SHORT}"));
    assert!(said.contains("75 < pause < stop"), "{said}");
}
