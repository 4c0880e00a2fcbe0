//! What a run says, in a line for people.

use crate::protocol::{Ending, Happening, PairMetrics, Reason, TrainEvent, TrainLine, TrainStep, Work};

/// One line. Texts of models and files are as they came: whoever prints it makes it safe.
pub fn describe(line: &TrainLine) -> String {
    match line {
        TrainLine::Step(step) => step_text(step),
        TrainLine::Event(event) => event_text(event),
    }
}

fn degrees(celsius: Option<f32>) -> String {
    celsius.map_or_else(String::new, |c| format!("  {c:.0} °C"))
}

fn step_text(s: &TrainStep) -> String {
    let mut text = format!(
        "step {}  loss {:.4}  lr {:.2e}  norm {:.3}  {:.0} tok/s  batch {}x{}{}",
        s.step,
        s.loss,
        s.lr,
        s.grad_norm,
        s.tok_s,
        s.batch,
        s.accum,
        degrees(s.temp_c)
    );
    if let Some(pairs) = &s.pairs {
        text.push_str(&pair_text(pairs));
    }
    text
}

fn pair_text(pairs: &PairMetrics) -> String {
    format!("  margin {:+.4}  chosen wins {:.0}%", pairs.margin, 100.0 * pairs.accuracy)
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Heat => "heat",
        Reason::Asked => "asked to",
    }
}

fn event_text(event: &TrainEvent) -> String {
    let step = event.step;
    match &event.what {
        Happening::Start { max_steps, model, method, adapter, trained, backend, resumed } => {
            let begin = if *resumed { format!("goes on from step {step}") } else { "starts".into() };
            format!("{begin}: {method}, {adapter} on {model}, {trained} values, {max_steps} steps, {backend}")
        }
        Happening::Pause { reason, temp_c } => format!("waits ({}){}", why(*reason), degrees(*temp_c)),
        Happening::Resume { seconds, temp_c, .. } => format!("goes on after {seconds:.0} s{}", degrees(*temp_c)),
        Happening::Batch { batch, accum, reason, temp_c } => {
            format!("batch is {batch}, {accum} a step ({}){}", why(*reason), degrees(*temp_c))
        }
        Happening::Checkpoint { path, loss, best, .. } => {
            let loss = loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
            format!("saved {path}{loss}{}", if *best { ", the best so far" } else { "" })
        }
        Happening::Evaluation { loss, pairs, seconds, .. } => {
            let pairs = pairs.as_ref().map_or_else(String::new, pair_text);
            format!("step {step}  held-out loss {loss:.4}{pairs}  ({seconds:.1} s)")
        }
        Happening::Epoch { epochs, examples, over_long, bad } => {
            let times = if *epochs == 1 { "once".into() } else { format!("{epochs} times") };
            let mut text = format!("the data was read {times}: {examples} examples");
            for (count, what) in [(over_long, "longer than a sequence"), (bad, "bad lines skipped")] {
                if *count > 0 {
                    text.push_str(&format!(", {count} {what}"));
                }
            }
            text
        }
        Happening::Busy { with } => match with {
            Work::Evaluating => "measures held-out loss".into(),
            Work::Saving => "saves".into(),
            Work::Answering => "answers".into(),
        },
        // A tab moves the cursor: in a line that is renewed it would leave remains.
        Happening::Sample { prompt, text, .. } => format!("asked: {prompt}\nanswered: {text}").replace('\t', "    "),
        Happening::Warning { message } => format!("warning: {message}"),
        Happening::Stop { reason, message } => match reason {
            Ending::Failed => format!("failed: {message}"),
            _ => message.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_well() {
        let step = TrainStep {
            step: 12,
            loss: 2.34567,
            lr: 1e-4,
            grad_norm: 0.5,
            tok_s: 310.4,
            batch: 4,
            accum: 8,
            temp_c: Some(78.2),
            ..TrainStep::default()
        };
        let text = describe(&TrainLine::Step(step));
        assert_eq!(text, "step 12  loss 2.3457  lr 1.00e-4  norm 0.500  310 tok/s  batch 4x8  78 °C");
        let event = |what| describe(&TrainLine::Event(TrainEvent { what, step: 7, time: 0.0 }));
        assert_eq!(event(Happening::Pause { reason: Reason::Heat, temp_c: Some(88.0) }), "waits (heat)  88 °C");
        let (prompt, text) = ("say\t3".into(), "a\tb".into());
        let sample = Happening::Sample { prompt, text, tokens: 2 };
        assert_eq!(event(sample), "asked: say    3\nanswered: a    b");
        let epoch = Happening::Epoch { epochs: 1, examples: 5, over_long: 2, bad: 0 };
        assert_eq!(event(epoch), "the data was read once: 5 examples, 2 longer than a sequence");
    }
}
