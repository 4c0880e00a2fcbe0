//! What a training run says as it goes, and what may be asked of it.
//!
//! Each line of a run's `metrics.jsonl` is a [`TrainLine`]; each line of its `control.jsonl` is a
//! [`TrainControl`].

use serde::{Deserialize, Serialize};

use super::HeatPhase;

/// A line of `metrics.jsonl`: a step, or an event, which has a field `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TrainLine {
    /// Something happened.
    Event(TrainEvent),
    /// The weights moved.
    Step(TrainStep),
}

/// One step of the optimiser.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainStep {
    /// Which one, from 1.
    pub step: u64,
    /// Mean loss of its labels, or pairs; the router's own losses left out.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Tokens a second while it computed, padding included.
    pub tok_s: f64,
    /// Sequences (or pairs) that were computed at once, at its end.
    pub batch: usize,
    /// How many such batches make a step.
    pub accum: usize,
    /// The newest temperature; none without a sensor.
    pub temp_c: Option<f32>,
    /// What the temperature asked for; none if it is not known.
    pub phase: Option<HeatPhase>,
    /// Seconds since 1970.
    pub time: f64,
    /// Passes over the data, from 0.
    #[serde(default)]
    pub epoch: u64,
    /// Tokens read since the run began, padding included.
    #[serde(default)]
    pub tokens: u64,
    /// Bytes of this process in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The router's losses, where they are trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_loss: Option<f64>,
    /// The parts of the loss over pairs.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairMetrics>,
    /// For each MoE layer, in order, each expert's share of what was routed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<Vec<f32>>,
}

/// Means over the pairs of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PairMetrics {
    /// Negative log-probability of the chosen.
    pub nll: f64,
    /// The odds ratio's part of the loss.
    pub odds_loss: f64,
    /// Log-probability of the chosen, a token.
    pub logp_chosen: f64,
    /// Log-probability of the rejected, a token.
    pub logp_rejected: f64,
    /// The first less the second.
    pub margin: f64,
    /// Share of pairs whose chosen answer is the likelier.
    pub accuracy: f64,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainEvent {
    /// What.
    #[serde(flatten)]
    pub what: Happening,
    /// Steps that were done by then.
    pub step: u64,
    /// Seconds since 1970.
    pub time: f64,
}

/// What may happen to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    /// It began, or went on.
    Start {
        /// Steps that it shall make in all.
        max_steps: u64,
        /// Name of the base model.
        model: String,
        /// `sft`, `orpo` or `pretrain`.
        method: String,
        /// `dora`, `lora` or `full`.
        adapter: String,
        /// Values that are trained.
        trained: u64,
        /// What computes.
        backend: String,
        /// It goes on from a checkpoint.
        resumed: bool,
    },
    /// It waits.
    Pause {
        /// Why.
        reason: Reason,
        /// The temperature, where there is a sensor.
        temp_c: Option<f32>,
    },
    /// It goes on.
    Resume {
        /// Why it waited.
        reason: Reason,
        /// How long.
        seconds: f64,
        /// The temperature, where there is a sensor.
        temp_c: Option<f32>,
    },
    /// Batches have another size now; a step averages over as many examples as before.
    Batch {
        /// Sequences (or pairs) at once.
        batch: usize,
        /// How many such batches make a step.
        accum: usize,
        /// Why.
        reason: Reason,
        /// The temperature, where there is a sensor.
        temp_c: Option<f32>,
    },
    /// A checkpoint is on the disk.
    Checkpoint {
        /// Its folder, within that of the run.
        path: String,
        /// What it is ranked by: held-out loss, or mean loss since the one before.
        loss: Option<f64>,
        /// It is the best so far.
        best: bool,
        /// How long saving took.
        seconds: f64,
    },
    /// Loss on data that is held out.
    Evaluation {
        /// Mean loss.
        loss: f64,
        /// Labels, or pairs.
        units: f64,
        /// The parts of the loss over pairs.
        #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
        pairs: Option<PairMetrics>,
        /// How long it took.
        seconds: f64,
    },
    /// All data was read once more.
    Epoch {
        /// Passes over the data that are complete.
        epochs: u64,
        /// Examples read so far.
        examples: u64,
        /// Examples longer than a sequence, in the first pass.
        over_long: u64,
        /// Lines that were skipped as bad.
        bad: u64,
    },
    /// The newest weights were asked something.
    Sample {
        /// What.
        prompt: String,
        /// What they answered.
        text: String,
        /// How many tokens that is.
        tokens: usize,
    },
    /// It begins something that may take a while, in which no step is made.
    Busy {
        /// What.
        with: Work,
    },
    /// Something that a person should know.
    Warning {
        /// In words.
        message: String,
    },
    /// It ended.
    Stop {
        /// Why.
        reason: Ending,
        /// In words.
        message: String,
    },
}

/// Why a run waits, or changes its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The temperature.
    Heat,
    /// Someone asked for it.
    Asked,
}

/// What a run does beside its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It measures the loss of held-out data.
    Evaluating,
    /// It saves a checkpoint.
    Saving,
    /// It answers a question.
    Answering,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All its steps are done.
    Finished,
    /// Someone asked for it.
    Asked,
    /// Ctrl-C, or the system.
    Interrupted,
    /// The temperature.
    Heat,
    /// Something went wrong.
    Failed,
}

/// What may be asked of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainControl {
    /// Wait.
    Pause,
    /// Go on.
    Resume,
    /// Save a checkpoint after this step.
    Checkpoint,
    /// Compute no more sequences at once than this; none takes the limit away.
    BatchCeiling {
        /// At least 1.
        batch: Option<usize>,
    },
    /// Ask the newest weights something.
    Sample {
        /// What a person says.
        prompt: String,
        /// The longest answer.
        max_tokens: usize,
    },
    /// Save and end.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_and_come_back() {
        let step = TrainStep { step: 3, loss: 1.5, pairs: Some(PairMetrics::default()), ..TrainStep::default() };
        let pause = Happening::Pause { reason: Reason::Heat, temp_c: Some(88.0) };
        let happened = |what| TrainLine::Event(TrainEvent { what, step: 3, time: 1.0 });
        let evaluation = Happening::Evaluation { loss: 1.0, units: 2.0, pairs: None, seconds: 0.5 };
        for line in [
            TrainLine::Step(TrainStep { step: 3, loss: 1.5, experts: vec![vec![0.5, 0.5]], ..TrainStep::default() }),
            TrainLine::Step(step),
            happened(pause),
            happened(evaluation),
        ] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<TrainLine>(&text).unwrap(), line, "{text}");
        }
    }

    #[test]
    fn lines_have_the_fields_that_readers_expect() {
        let text = serde_json::to_string(&TrainLine::Step(TrainStep::default())).unwrap();
        for field in ["step", "loss", "lr", "grad_norm", "tok_s", "batch", "accum", "temp_c", "phase", "time"] {
            assert!(text.contains(&format!("\"{field}\":")), "{text}");
        }
        assert!(text.contains("\"temp_c\":null") && !text.contains("nll"), "{text}");
        let pause = Happening::Pause { reason: Reason::Asked, temp_c: None };
        let text = serde_json::to_string(&TrainEvent { what: pause, step: 1, time: 2.5 }).unwrap();
        assert_eq!(text, r#"{"event":"pause","reason":"asked","temp_c":null,"step":1,"time":2.5}"#);
        assert_eq!(
            serde_json::from_str::<TrainControl>(r#"{"do":"batch_ceiling","batch":2}"#).unwrap(),
            TrainControl::BatchCeiling { batch: Some(2) }
        );
        assert!(serde_json::from_str::<TrainControl>(r#"{"do":"explode"}"#).is_err());
    }
}
