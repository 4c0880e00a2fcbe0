//! Plain data that every room may know: what is asked of the engine, and what it answers.
//!
//! Nothing here computes, waits or reads files. Everything is `serde`, so that a script, a session
//! file and a screen all see the same words.

mod sensing;
mod training;

pub use sensing::{
    HeatLimits, HeatPhase, MachineFigures, PowerSupply, REDUCE_AT, SensorChoice, SensorState, Telemetry,
};
use serde::{Deserialize, Serialize};
pub use training::{Ending, Happening, PairMetrics, Reason, TrainControl, TrainEvent, TrainLine, TrainStep, Work};

/// A token's number in the vocabulary.
pub type TokenId = u32;

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the rules of the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

/// What the model is asked to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// A conversation, put through the model's chat template; the model takes the assistant's turn.
    Chat(Vec<Message>),
    /// A conversation whose last message is the assistant's own, unfinished: it is continued.
    Continue(Vec<Message>),
    /// A conversation, and the tokens with which the assistant's turn begins: it is continued exactly
    /// there, whatever their text would be encoded to.
    Fork {
        /// The conversation before that turn.
        messages: Vec<Message>,
        /// How the turn begins.
        answer: Vec<TokenId>,
    },
    /// Text as it is.
    Text(String),
    /// Tokens as they are.
    Tokens(Vec<TokenId>),
}

/// How the next token is chosen.
///
/// The order is: repetition penalty, temperature, top-k, top-p, min-p, then one draw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the most likely token always.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 drops none.
    pub min_p: f32,
    /// Divide positive (multiply negative) logits of recent tokens by this; 1 changes nothing.
    pub repetition_penalty: f32,
    /// How many recent tokens the penalty looks at.
    pub repetition_window: usize,
    /// The same seed gives the same text on the same machine; none draws a fresh one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: 0,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 256,
            seed: None,
        }
    }
}

/// One request for text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the caller; every event about this request carries it.
    pub id: u64,
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Stop after this many tokens.
    pub max_tokens: usize,
    /// Stop before any of these texts would appear.
    pub stop: Vec<String>,
    /// How many alternatives to report beside each token; 0 reports none.
    pub alternatives: usize,
    /// Report the routing of each token.
    pub routing: bool,
    /// Drop the oldest prompt tokens instead of refusing a prompt that is too long.
    pub truncate: bool,
    /// Generate at most this many tokens a second; none for as many as the model can.
    #[serde(default)]
    pub max_speed: Option<f32>,
}

impl Request {
    /// A request with the usual settings: up to 512 tokens, nothing else reported.
    pub fn new(id: u64, prompt: Prompt) -> Self {
        Self {
            id,
            prompt,
            sampling: Sampling::default(),
            max_tokens: 512,
            stop: Vec::new(),
            alternatives: 0,
            routing: false,
            truncate: false,
            max_speed: None,
        }
    }
}

/// What the engine can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Generate text. Requests queue; one runs at a time. Reads only what the state does not hold
    /// already, so a turn is regenerated, edited or forked by asking with the wanted past.
    Generate(Request),
    /// Stop the request with this id, within one token or one prefill chunk. What was generated stays.
    /// A request that still waits ends without having started.
    Cancel(u64),
    /// Replace the alterations of the routing; they hold until replaced. It waits its turn among the
    /// requests: one that runs is not changed midway.
    Alter(Alterations),
    /// Stop what runs, as `Cancel` would, let go of what waits, and end the engine.
    Shutdown,
}

/// One alternative that the model considered for a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The token.
    pub token: TokenId,
    /// Its text by itself, with incomplete characters replaced.
    pub text: String,
    /// Natural logarithm of its probability under the model, before sampling settings.
    pub logprob: f32,
}

/// What one MoE layer did with one token.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerRouting {
    /// Index of the layer in the model.
    pub layer: usize,
    /// The chosen experts, most weighted first.
    pub experts: Vec<usize>,
    /// Their weights (gate probabilities, not renormalised), in the same order.
    pub weights: Vec<f32>,
    /// Entropy of the full gate distribution, in nats.
    pub entropy: f32,
    /// The shared expert's gate, if the layer has one.
    pub shared_gate: Option<f32>,
}

/// What every MoE layer did with one token, in layer order.
pub type TokenRouting = Vec<LayerRouting>;

/// A token of a prompt that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadToken {
    /// The token.
    pub token: TokenId,
    /// Its text by itself, with incomplete characters replaced.
    pub text: String,
}

/// What a client hears from the engine about its requests, in order and without loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The request was taken up.
    Started {
        /// The request.
        id: u64,
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// How many of them were already in the state and are not read again.
        reused_tokens: usize,
        /// How many of the oldest tokens were dropped because `truncate` was set.
        truncated_tokens: usize,
        /// The seed in use.
        seed: u64,
    },
    /// The prompt is being read.
    Prefill {
        /// The request.
        id: u64,
        /// Tokens read so far, reused ones included.
        done: usize,
        /// Tokens in the prompt.
        total: usize,
        /// Routing of the tokens read since the last such event, when asked for.
        routing: Vec<TokenRouting>,
        /// Which tokens these are, in the same order; empty where it is not known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<ReadToken>,
    },
    /// One token was generated.
    Token(Token),
    /// Generation ended, for whatever reason but an error.
    Finished {
        /// The request.
        id: u64,
        /// Why.
        reason: FinishReason,
        /// Text that was held back and belongs at the end.
        text: String,
        /// What it took.
        stats: Stats,
    },
    /// The request failed.
    Failed {
        /// The request.
        id: u64,
        /// What, where, and what to do.
        message: String,
    },
    /// The routing of later requests is altered so.
    Altered {
        /// What holds now.
        alterations: Alterations,
    },
    /// The alterations do not suit the model; those of before hold on.
    AlterFailed {
        /// What, where, and what to do.
        message: String,
    },
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// The request.
    pub id: u64,
    /// 0 for the first generated token.
    pub index: usize,
    /// The token.
    pub token: TokenId,
    /// Text that became certain with it: may be empty (a character still incomplete, or a stop
    /// string that may be about to match), or hold what earlier tokens left waiting.
    pub text: String,
    /// Natural logarithm of its probability under the model, before sampling settings.
    pub logprob: f32,
    /// What else the model considered: the most likely tokens other than this one, most likely
    /// first, when asked for.
    pub alternatives: Vec<Alternative>,
    /// Its routing, when asked for: of the forward pass that produced this token's logits.
    pub routing: TokenRouting,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said its end-of-turn token.
    EndOfText,
    /// A stop string was met.
    Stop,
    /// `max_tokens` was reached.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// What a request took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Tokens in the prompt.
    pub prompt_tokens: usize,
    /// How many of them were not read again because the state already held them.
    pub reused_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Seconds spent reading the prompt.
    pub prefill_s: f64,
    /// Seconds from the request to its first token.
    pub first_token_s: f64,
    /// Seconds spent generating after the first token.
    pub decode_s: f64,
}

impl Stats {
    /// Prompt tokens read per second; none if nothing was read.
    pub fn prefill_rate(&self) -> Option<f64> {
        let read = self.prompt_tokens.saturating_sub(self.reused_tokens);
        (read > 0 && self.prefill_s > 0.0).then(|| read as f64 / self.prefill_s)
    }

    /// Tokens generated per second after the first; none if there was at most one.
    pub fn decode_rate(&self) -> Option<f64> {
        let after_first = self.generated_tokens.saturating_sub(1);
        (after_first > 0 && self.decode_s > 0.0).then(|| after_first as f64 / self.decode_s)
    }
}

/// Changes to the routing: for all MoE layers, and for single ones, which win.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Alterations {
    /// Holds for every MoE layer that has no entry of its own.
    pub all: Alteration,
    /// `(layer, alteration)`: replaces `all` in that layer.
    pub layers: Vec<(usize, Alteration)>,
}

impl Alterations {
    /// What holds in this layer.
    pub fn of(&self, layer: usize) -> &Alteration {
        let own = self.layers.iter().rev().find(|(l, _)| *l == layer);
        own.map_or(&self.all, |(_, alteration)| alteration)
    }

    /// True if nothing is changed anywhere.
    pub fn is_none(&self) -> bool {
        self.all.is_none() && self.layers.iter().all(|(_, a)| a.is_none())
    }
}

/// A change to one layer's routing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alteration {
    /// Experts that take part no more: they leave the softmax, the others share its whole.
    pub mute: Vec<usize>,
    /// Experts that are always among the chosen, with the gate probability they have.
    pub force: Vec<usize>,
    /// Choose this many experts instead of the model's own number.
    pub top_k: Option<usize>,
    /// Divide the router's logits by this before the softmax.
    pub temperature: f32,
    /// Leave the shared expert out.
    pub no_shared: bool,
}

impl Default for Alteration {
    fn default() -> Self {
        Self { mute: Vec::new(), force: Vec::new(), top_k: None, temperature: 1.0, no_shared: false }
    }
}

impl Alteration {
    /// True if it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Bytes that the model holds now, per part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Weights, as they lie in memory.
    pub weights: u64,
    /// State of each layer.
    pub layers: Vec<LayerMemory>,
    /// What is kept so that earlier tokens can be returned to, and its limit.
    pub rewind: u64,
    /// The limit of `rewind`.
    pub rewind_budget: u64,
    /// Buffers of the forward pass.
    pub scratch: u64,
    /// What the device's own allocator says, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceMemory>,
}

/// Bytes of a device's own allocator, those of all models in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// In use.
    pub active: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// Free, but not yet given back to the system.
    pub cache: u64,
}

impl MemoryReport {
    /// Everything together.
    pub fn total(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|l| l.kv + l.ssm).sum();
        self.weights + layers + self.rewind + self.scratch
    }
}

/// Bytes of one layer's state.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerMemory {
    /// Index of the layer in the model.
    pub layer: usize,
    /// Bytes of keys and values.
    pub kv: u64,
    /// Tokens whose keys and values are held, and can still be seen.
    pub kv_filled: usize,
    /// The window: 0 for a layer without attention.
    pub kv_window: usize,
    /// Bytes of state-space state, convolution inputs included.
    pub ssm: u64,
}

/// The newest state of the engine: sent without waiting, older ones are lost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EngineSnapshot {
    /// Tokens in the state.
    pub context_tokens: usize,
    /// The most that it may hold.
    pub context_limit: usize,
    /// The request that runs.
    pub running: Option<u64>,
    /// Requests that wait.
    pub waiting: usize,
    /// Tokens a second over the last second or so of decoding.
    pub tokens_per_second: Option<f64>,
    /// Bytes held.
    pub memory: MemoryReport,
    /// What is altered in the routing.
    pub alterations: Alterations,
}

/// What a temperature sensor gave at one time. What it does not give is none, never a number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatReading {
    /// Degrees Celsius.
    pub celsius: Option<f32>,
    /// Power in watts.
    pub watts: Option<f32>,
    /// Revolutions of the fan per minute.
    pub fan_rpm: Option<f32>,
    /// True while the machine slows itself down because it is hot.
    pub throttled: Option<bool>,
}

/// Memory of this process and of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineMemory {
    /// Resident memory of this process.
    pub process: u64,
    /// Memory of the machine in use, file cache apart.
    pub used: u64,
    /// Memory of the machine.
    pub total: u64,
}

/// What a client wants to know about a model once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// What to call it: the folder's name, or what the user gave.
    pub name: String,
    /// The backend and its level, as `cpu avx512`.
    pub backend: String,
    /// `exact` or `fast` arithmetic.
    pub arithmetic: String,
    /// The kind of each layer: `ssm`, `swa`, `ssm+moe`, `swa+moe`.
    pub layers: Vec<String>,
    /// Experts in each layer; 0 where there are none.
    pub experts: Vec<usize>,
    /// Experts chosen in each layer.
    pub top_k: Vec<usize>,
    /// Parameters in all, and used for a token.
    pub total_parameters: u64,
    /// Parameters used for one token.
    pub active_parameters: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// The longest context.
    pub max_seq_len: usize,
}
