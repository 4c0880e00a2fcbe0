//! Lines of our own run folders that say what happened: `{"event": "pause", "reason": "heat", ...}`.

use super::json::{Broken, Cursor, Scalar, unescape};
use crate::metrics::{Row, Run, State};

/// Fields of an evaluation that are no metrics.
const ABOUT_EVALUATIONS: [&str; 2] = ["units", "seconds"];

/// Takes the object that begins at `begin`.
pub(super) fn take(cursor: &mut Cursor<'_>, begin: usize, run: &mut Run) -> Result<(), Broken> {
    cursor.at = begin;
    let (mut step, mut time, mut kind) = (None, None, String::new());
    let mut numbers: Vec<(String, f64)> = Vec::new();
    let mut words: Vec<(String, String)> = Vec::new();
    cursor.leaves(&mut String::new(), &mut |path, scalar| match (path, scalar) {
        ("step", Scalar::Number(x)) => step = Some(x),
        ("time", Scalar::Number(x)) => time = Some(x),
        ("event", Scalar::Text(raw)) => kind = unescape(raw),
        (path, Scalar::Number(x)) => numbers.push((path.to_owned(), x)),
        (path, Scalar::Text(raw)) => words.push((path.to_owned(), unescape(raw))),
        (path, Scalar::Bool(is)) => words.push((path.to_owned(), is.to_string())),
        (_, Scalar::Null) => {}
    })?;
    let word = |name: &str| words.iter().find(|(known, _)| known == name).map(|(_, word)| word.clone());
    match kind.as_str() {
        "start" => {
            run.state = State::Open;
            for (name, value) in &words {
                run.set(name, value.clone());
            }
            for (name, value) in &numbers {
                run.set(name, value.to_string());
                if name == "max_steps" {
                    run.goal = Some(*value);
                }
            }
        }
        "stop" => {
            run.state = match word("reason").as_deref() {
                Some("failed") => State::Failed(word("message").unwrap_or_default()),
                _ => State::Finished,
            };
        }
        // What is measured while no step is made belongs to the curves too.
        "pause" | "resume" | "batch" => {
            if kind == "resume" {
                run.state = State::Open;
            }
            let celsius = numbers.iter().find(|(name, _)| name == "temp_c").map(|(_, x)| *x);
            if let (Some(celsius), Some(id)) = (celsius, celsius.and_then(|_| run.series_id("temp_c"))) {
                run.add(Row { step, time, tokens: None }, &[(id, celsius)]);
            }
        }
        "evaluation" => {
            let points: Vec<_> = numbers
                .iter()
                .filter(|(name, _)| !ABOUT_EVALUATIONS.contains(&name.as_str()))
                .filter_map(|(name, value)| Some((run.series_id(&format!("val_{name}"))?, *value)))
                .collect();
            if !points.is_empty() {
                run.add(Row { step, time, tokens: None }, &points);
            }
        }
        _ => {}
    }
    let said = words.iter().map(|(name, word)| format!("{name} {word}"));
    let said = said.chain(numbers.iter().map(|(name, x)| format!("{name} {}", crate::metrics::show::number(*x))));
    let text = said.collect::<Vec<_>>().join(", ");
    // That something is begun matters only until it is done.
    if kind != "busy" {
        run.say(&format!("{kind}: {text}").replace('\n', " "));
    }
    words.extend(numbers.into_iter().map(|(name, x)| (name, crate::metrics::show::number(x))));
    run.happen_with(step, time, &kind, text, words);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str]) -> Run {
        let mut run = Run::new("a", "bit-axon");
        for line in lines {
            take(&mut Cursor::new(line.as_bytes()), 0, &mut run).unwrap();
        }
        run
    }

    #[test]
    fn a_run_of_ours_tells_its_story() {
        let run = run(&[
            r#"{"event":"start","max_steps":100,"model":"small","method":"sft","resumed":false,"step":0,"time":1732171234.5}"#,
            r#"{"event":"pause","reason":"heat","temp_c":88.0,"step":5,"time":1732171235.5}"#,
            r#"{"event":"evaluation","loss":2.5,"units":100.0,"accuracy":0.5,"seconds":1.5,"step":6,"time":1732171236.5}"#,
            r#"{"event":"stop","reason":"failed","message":"loss is NaN","step":7,"time":1732171237.5}"#,
        ]);
        assert_eq!((run.setting("model"), run.goal), (Some("small"), Some(100.0)));
        assert_eq!(run.named("val_loss").unwrap().last(), 2.5);
        assert_eq!(run.named("val_accuracy").unwrap().last(), 0.5);
        assert!(run.named("val_units").is_none());
        assert_eq!(run.state, State::Failed("loss is NaN".into()));
        let kinds: Vec<_> = run.happened().iter().map(|h| (h.kind.as_str(), h.step)).collect();
        assert_eq!(kinds, [("start", 0.0), ("pause", 5.0), ("evaluation", 6.0), ("stop", 7.0)]);
        assert_eq!(run.happened()[1].text, "reason heat, temp_c 88");
        assert_eq!((run.happened()[1].field("reason"), run.named("temp_c").unwrap().last()), (Some("heat"), 88.0));
    }
}
