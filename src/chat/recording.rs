//! What a recording holds: a session or a trace, as a line of moments.

use super::Change;
use crate::protocol::{EngineSnapshot, Event, HeatReading, MachineMemory, ModelInfo, Token};

/// Something that happened, and that is worth keeping.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The chat changed.
    Change(Change),
    /// The model that answers from here on.
    Model {
        /// The model.
        info: Box<ModelInfo>,
        /// What must be said of it at all times, as `random weights`; empty if nothing.
        label: String,
    },
    /// The engine said something that is no part of the chat: it began to read, it read.
    Engine(Event),
    /// The state of the engine.
    State(Box<EngineSnapshot>),
    /// A reading of the temperature sensor.
    Heat(HeatReading),
    /// Memory of process and machine.
    Machine(MachineMemory),
}

impl What {
    /// What the engine said when this happened. `index` is the number of the token in its answer;
    /// the request bears the number of the answer.
    pub fn event(&self, index: usize) -> Option<Event> {
        match self {
            What::Engine(event) => Some(event.clone()),
            What::Change(Change::Token { id, token: t }) => Some(Event::Token(Token {
                id: *id as u64,
                index,
                token: t.token,
                text: t.text.clone(),
                logprob: t.logprob,
                alternatives: t.alternatives.clone(),
                routing: t.routing.clone(),
            })),
            What::Change(Change::Finish { id, text, end, stats }) => {
                let id = *id as u64;
                Some(match end {
                    super::End::Failed(message) => Event::Failed { id, message: message.clone() },
                    super::End::Done(reason) => {
                        Event::Finished { id, reason: *reason, text: text.clone(), stats: stats.unwrap_or_default() }
                    }
                })
            }
            _ => None,
        }
    }
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Seconds since the beginning of the recording.
    pub at: f64,
    /// What happened.
    pub what: What,
}

/// A session or a trace that can be played.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recording {
    /// What it is called.
    pub title: String,
    /// All that happened, in order.
    pub moments: Vec<Moment>,
    /// What a reader should know: lines that could not be read, and the like.
    pub notes: Vec<String>,
}

impl Recording {
    /// The model that answers first, and what must be said of it.
    pub fn model(&self) -> Option<(&ModelInfo, &str)> {
        self.moments.iter().find_map(|moment| match &moment.what {
            What::Model { info, label } => Some((&**info, label.as_str())),
            _ => None,
        })
    }
}
