//! Runs from beginning to end, and what may be asked of them.

use super::*;
use crate::protocol::{Ending, Happening, Reason};

#[test]
fn losses_fall_and_everything_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.settings.max_steps = 40;
    let folder = rig.folder();
    let (outcome, seen) = rig.start().unwrap();
    assert_eq!((outcome.ending, outcome.step), (Ending::Finished, 40));
    let text: String = seen.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    assert_eq!(std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap(), text);
    let course = steps(&seen);
    let mean = |steps: &[TrainStep]| steps.iter().map(|s| s.loss).sum::<f64>() / steps.len() as f64;
    assert!(mean(&course[35..]) < 0.7 * mean(&course[..5]), "{:?}", course.iter().map(|s| s.loss).collect::<Vec<_>>());
    assert_eq!(course.iter().map(|s| s.step).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    let first = &course[0];
    assert_eq!((first.batch, first.accum, first.temp_c), (3, 2, Some(50.0)));
    assert_eq!((first.tokens, first.experts[0].len()), (6 * 24, 4));
    assert!(first.lr < course[1].lr && course[30].lr < course[1].lr);
    let events = events(&seen);
    let count = |is: fn(&Happening) -> bool| events.iter().filter(|event| is(&event.what)).count();
    assert_eq!(count(|what| matches!(what, Happening::Evaluation { .. })), 10);
    assert_eq!(count(|what| matches!(what, Happening::Checkpoint { .. })), 10);
    assert!(count(|what| matches!(what, Happening::Epoch { .. })) > 2);
    assert!(matches!(events[0].what, Happening::Start { resumed: false, max_steps: 40, .. }));
    assert!(matches!(events.last().unwrap().what, Happening::Stop { reason: Ending::Finished, .. }));
    assert!(checkpoints(&folder).starts_with(&[40, 36, 32]));
    assert!(checkpoints(&folder).contains(&outcome.best.unwrap().step));
    let log = std::fs::read_to_string(folder.join("train.log")).unwrap();
    assert!(log.contains("starts: sft, dora on bigram") && log.contains("step 40  loss"), "{log}");
    assert!(folder.join("adapter/adapter_config.json").is_file());
    assert!(!adapter(&folder).is_empty());
}

#[test]
fn the_best_checkpoint_outlives_the_newest_three() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    // So fast that it gets worse again.
    (rig.settings.learning_rate, rig.settings.max_steps, rig.settings.save_every) = (2.0, 14, 2);
    rig.settings.eval_every = 100;
    let folder = rig.folder();
    let (outcome, seen) = rig.start().unwrap();
    let saved: Vec<(u64, f64)> = events(&seen)
        .into_iter()
        .filter_map(|event| match event.what {
            Happening::Checkpoint { loss, .. } => Some((event.step, loss.unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(saved.len(), 7);
    let best = saved.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(outcome.best.unwrap().step, best.0);
    let mut want = vec![14, 12, 10];
    if !want.contains(&best.0) {
        want.push(best.0);
    }
    assert_eq!(checkpoints(&folder), want);
}

#[test]
fn without_held_out_data_the_mean_loss_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.settings.val_split = 0.0;
    let (outcome, seen) = rig.start().unwrap();
    let losses: Vec<f64> = steps(&seen).iter().map(|s| s.loss).collect();
    assert_eq!(outcome.best.unwrap().loss, losses[8..].iter().sum::<f64>() / 4.0);
    assert!(!events(&seen).iter().any(|event| matches!(event.what, Happening::Evaluation { .. })));
}

#[test]
fn a_step_is_over_as_many_examples_however_batches_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let course = |batch, accum| {
        let mut rig = Rig::new(dir.path());
        (rig.settings.batch_size, rig.settings.grad_accum_steps) = (batch, accum);
        rig.settings.output_dir = Some(dir.path().join(format!("run-{batch}")));
        let folder = rig.folder();
        rig.start().unwrap();
        steps(&lines(&folder))
    };
    for (a, b) in course(1, 6).iter().zip(course(6, 1)) {
        assert!((a.loss - b.loss).abs() < 1e-5, "{} {}", a.loss, b.loss);
        assert_eq!(a.tokens, b.tokens);
    }
}

#[test]
fn preferences_are_fed_in_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| format!("{{\"prompt\": \"q{i}\", \"chosen\": \"yes {i}\", \"rejected\": \"no {i}\"}}\n");
    std::fs::write(dir.path().join("data.jsonl"), (0..10).map(row).collect::<String>()).unwrap();
    let mut rig = Rig::new(dir.path());
    (rig.settings.method, rig.settings.max_seq_len) = (Some(Method::Orpo), 64);
    let (_, seen) = rig.start().unwrap();
    let course = steps(&seen);
    assert!(course.iter().all(|step| step.pairs.is_some()));
    assert!(course[11].pairs.unwrap().nll < course[0].pairs.unwrap().nll);
}

#[test]
fn what_is_asked_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    let (send, receive) = std::sync::mpsc::channel();
    for control in [TrainControl::BatchCeiling { batch: Some(1) }, TrainControl::Checkpoint] {
        send.send(control).unwrap();
    }
    rig.controls = Some(receive);
    rig.settings.save_every = 1000;
    let folder = rig.folder();
    // Another process asks it to wait, and later to go on and to stop, each time that someone looks at the clock.
    let (mut looks, ask) = (0, folder.clone());
    rig.celsius = Box::new(move |_| {
        looks += 1;
        let control = match looks {
            20 => TrainControl::Pause,
            30 => TrainControl::Resume,
            45 => TrainControl::Sample { prompt: "the cat".into(), max_tokens: 7 },
            50 => TrainControl::Stop,
            _ => return None,
        };
        crate::train::ask(&ask, &control).unwrap();
        None
    });
    let (outcome, seen) = rig.start().unwrap();
    assert_eq!(outcome.ending, Ending::Asked);
    assert!(outcome.step > 1 && outcome.step < 12, "{}", outcome.step);
    let events = events(&seen);
    let find = |is: fn(&Happening) -> bool| events.iter().position(|event| is(&event.what)).unwrap();
    let batch = find(|what| matches!(what, Happening::Batch { batch: 1, accum: 6, reason: Reason::Asked, .. }));
    let sample = find(|what| matches!(what, Happening::Sample { tokens: 1..=7, .. }));
    let saved = find(|what| matches!(what, Happening::Checkpoint { .. }));
    let pause = find(|what| matches!(what, Happening::Pause { reason: Reason::Asked, .. }));
    let resume = find(|what| matches!(what, Happening::Resume { reason: Reason::Asked, .. }));
    assert!(batch < saved && saved < pause && pause + 1 == resume && resume < sample, "{events:?}");
    assert_eq!(events[saved].step, 1);
    assert_eq!(steps(&seen)[0].batch, 1);
    let Happening::Stop { reason: Ending::Asked, message } = &events.last().unwrap().what else { panic!() };
    assert!(message.contains("bit-axon train --resume --output-dir"), "{message}");
    // No sensor is said once.
    let warnings = events.iter().filter(|event| matches!(event.what, Happening::Warning { .. })).count();
    assert_eq!(warnings, 1);
    assert_eq!(checkpoints(&folder)[0], outcome.step);
}

#[test]
fn the_newest_weights_are_asked_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.settings.sample_prompt = Some("the cat".into());
    let folder = rig.folder();
    // Once somebody asks something else, that is what is asked from then on.
    let mut asked = false;
    rig.celsius = Box::new(move |_| {
        let seen = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap_or_default();
        if !asked && seen.contains("\"step\":5,") {
            asked = true;
            let sample = TrainControl::Sample { prompt: "on a mat".into(), max_tokens: 3 };
            crate::train::ask(&folder, &sample).unwrap();
        }
        None
    });
    let (_, seen) = rig.start().unwrap();
    let samples: Vec<_> = events(&seen)
        .into_iter()
        .filter_map(|event| match event.what {
            Happening::Sample { prompt, tokens, .. } => Some((event.step, prompt, tokens > 0)),
            _ => None,
        })
        .collect();
    let (first, other) = ("the cat".to_owned(), "on a mat".to_owned());
    let want = vec![(4, first, true), (5, other.clone(), true), (8, other.clone(), true), (12, other, true)];
    assert_eq!(samples, want);
}

#[test]
fn a_question_without_an_answer_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.settings.sample_prompt = Some("too long a question ".repeat(10_000));
    let (outcome, seen) = rig.start().unwrap();
    assert_eq!(outcome.ending, Ending::Finished);
    let said = events(&seen).into_iter().filter(|event| match &event.what {
        Happening::Warning { message } => message.contains("longer than the model's context"),
        _ => false,
    });
    assert_eq!(said.count(), 1);
}

#[test]
fn bad_lines_are_said_as_the_run_meets_them() {
    let dir = tempfile::tempdir().unwrap();
    let broken = rows().replacen("\n", "\n{\"text\": 1}\n\n", 2);
    std::fs::write(dir.path().join("data.jsonl"), broken).unwrap();
    let mut rig = Rig::new(dir.path());
    (rig.settings.val_split, rig.settings.max_bad_lines) = (0.0, 2);
    let (_, seen) = rig.start().unwrap();
    let mut said: Vec<String> = events(&seen)
        .into_iter()
        .filter_map(|event| if let Happening::Warning { message } = event.what { Some(message) } else { None })
        .collect();
    said.sort();
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with("line 2 of the data is skipped: its `text`"), "{said:?}");
    let mut strict = Rig::new(dir.path());
    (strict.settings.val_split, strict.settings.max_bad_lines) = (0.0, 1);
    let said = format!("{:#}", strict.start().unwrap_err());
    assert!(said.contains("--max-bad-lines"), "{said}");
}
