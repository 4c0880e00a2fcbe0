//! JSON files that are rewritten as a whole: a list of objects, or an object that holds one, as the
//! `trainer_state.json` of Hugging Face's trainer does.

use super::json::{Broken, Cursor, Next, Scalar, unescape};
use super::object::Objects;
use super::parser::Parser;
use crate::metrics::{Run, State};

/// Lists that hold the history of a run.
const HISTORIES: [&[u8]; 5] = [b"log_history", b"history", b"metrics", b"logs", b"training_history"];

/// Reads such a file, from its beginning each time.
#[derive(Debug, Default)]
pub(super) struct WholeJson;

impl Parser for WholeJson {
    fn feed(&mut self, bytes: &[u8], _now: Option<f64>, run: &mut Run) {
        if Cursor::new(bytes).skip() == Err(Broken) {
            // It may be half written: what was read before stays until it is whole again.
            if run.rows() == 0 {
                run.fault(|| "the file is no whole JSON (yet)".into());
            }
            return;
        }
        run.clear();
        // The whole is sound, so what fails now is a shape that holds no run.
        let _ = file(bytes, run);
        if run.rows() == 0 {
            run.fault(|| "the file holds no list of objects with numbers".into());
        }
    }

    fn is_whole(&self) -> bool {
        true
    }
}

fn file(bytes: &[u8], run: &mut Run) -> Result<(), Broken> {
    let mut cursor = Cursor::new(bytes);
    let mut objects = Objects::default();
    if cursor.take(b'[') {
        return list(&mut cursor, &mut objects, run);
    }
    if !cursor.take(b'{') || cursor.take(b'}') {
        return Err(Broken);
    }
    let (mut done, mut goal) = (None, None);
    loop {
        if !cursor.take(b'"') {
            return Err(Broken);
        }
        let key = cursor.text()?;
        if !cursor.take(b':') {
            return Err(Broken);
        }
        if HISTORIES.contains(&key) && cursor.take(b'[') {
            list(&mut cursor, &mut objects, run)?;
        } else {
            let name = unescape(key);
            cursor.leaves(&mut name.clone(), &mut |path, scalar| match scalar {
                Scalar::Number(x) => {
                    match path {
                        "global_step" => done = Some(x),
                        "max_steps" => goal = Some(x),
                        _ => {}
                    }
                    run.set(path, x.to_string());
                }
                Scalar::Text(raw) => run.set(path, unescape(raw)),
                Scalar::Bool(is) => run.set(path, is.to_string()),
                Scalar::Null => {}
            })?;
        }
        if !cursor.take(b',') {
            break;
        }
    }
    run.goal = goal.filter(|goal| *goal > 0.0);
    if run.goal.is_some() && done >= run.goal {
        run.state = State::Finished;
    }
    Ok(())
}

/// The elements of a list whose bracket was taken.
fn list(cursor: &mut Cursor<'_>, objects: &mut Objects, run: &mut Run) -> Result<(), Broken> {
    if cursor.take(b']') {
        return Ok(());
    }
    for number in 1u64.. {
        cursor.skip_blanks();
        if cursor.bytes.get(cursor.at) == Some(&b'{') {
            objects.take(cursor, Some(number as f64), run)?;
        } else if let Next::Scalar(Scalar::Number(x)) = cursor.next()? {
            // A list of bare numbers is a metric too.
            if let Some(id) = run.series_id("value") {
                run.add(crate::metrics::Row { step: Some(number as f64), ..Default::default() }, &[(id, x)]);
            }
        } else {
            return Err(Broken);
        }
        if !cursor.take(b',') {
            break;
        }
    }
    if cursor.take(b']') { Ok(()) } else { Err(Broken) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parser::check::{points, read};
    use super::*;

    #[test]
    fn a_trainer_state_and_a_list() {
        let state = br#"{"best_metric": null, "epoch": 0.5, "global_step": 20, "is_world_process_zero": true,
            "log_history": [{"epoch": 0.25, "grad_norm": 1.5, "loss": 2.5, "step": 10},
                            {"eval_loss": 2.0, "step": 10}, {"loss": 1.5, "step": 20}],
            "max_steps": 20, "stateful_callbacks": {"TrainerControl": {"args": {"should_log": false}}}}"#;
        let run = read(&mut WholeJson, state, 1);
        assert_eq!(points(&run), ["epoch 10:0.25", "grad_norm 10:1.5", "loss 10:2.5 20:1.5", "eval_loss 10:2"]);
        assert_eq!((run.goal, &run.state), (Some(20.0), &State::Finished));
        assert_eq!(run.setting("epoch"), Some("0.5"));
        let list = br#"[{"step": 1, "loss": 2.0, "grad_norm": 0.5}, {"step": 2, "loss": 1.0}]"#;
        assert_eq!(points(&read(&mut WholeJson, list, 1)), ["loss 1:2 2:1", "grad_norm 1:0.5"]);
    }

    #[test]
    fn a_half_written_file_keeps_what_was_read() {
        let mut run = read(&mut WholeJson, br#"[{"step": 1, "loss": 2.0}]"#, 1);
        WholeJson.feed(br#"[{"step": 1, "loss": 2.0}, {"step": 2, "#, None, &mut run);
        assert_eq!(points(&run), ["loss 1:2"]);
        WholeJson.feed(br#"[{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]"#, None, &mut run);
        assert_eq!(points(&run), ["loss 1:2 2:1"]);
        assert_eq!(read(&mut WholeJson, b"{\"a\": 1}", 1).faults().1, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_breaks_it(text in r#"[\[{]{0,2}("log_history":)?[{}\[\]":,0-9.e a]{0,60}"#) {
            read(&mut WholeJson, text.as_bytes(), 1);
        }
    }
}
