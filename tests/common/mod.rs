//! A backend that says what a test tells it to, and notes what was asked of it.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use bit_axon::backend::{Backend, Logits, Snapshot};
use bit_axon::engine::Loaded;
use bit_axon::model::spec::{AttentionSpec, LayerSpec, Mixer, ModelSpec, MoeSpec, SsmSpec};
use bit_axon::model::template::ChatTemplate;
use bit_axon::model::tokenizer::{Tokenizer, byte_level};
use bit_axon::protocol::{Alterations, LayerRouting, MemoryReport, ModelInfo, TokenId, TokenRouting};

pub const VOCAB: usize = 300;
pub const IM_START: TokenId = 257;
pub const IM_END: TokenId = 258;

/// What was asked of the backend.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Forward(Vec<TokenId>),
    Rewind(usize),
    Alter,
}

type Script = Arc<dyn Fn(&[TokenId]) -> Vec<f32> + Send + Sync>;

#[derive(Clone)]
pub struct Mock {
    /// All that was read, to the next logits (VOCAB).
    pub script: Script,
    pub log: Arc<Mutex<Vec<Call>>>,
    pub chunk: usize,
    pub context: usize,
    pub tokenizer: bool,
}

impl Mock {
    pub fn new(script: impl Fn(&[TokenId]) -> Vec<f32> + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), log: Arc::default(), chunk: 8, context: 4096, tokenizer: true }
    }

    /// Answers every prompt with this, and ends its turn.
    pub fn says(answer: &[u8]) -> Self {
        let mut tokens: Vec<TokenId> = answer.iter().map(|byte| TokenId::from(*byte)).collect();
        tokens.push(IM_END);
        Self::new(move |read| one_hot(*tokens.get(said(read)).unwrap_or(&IM_END)))
    }

    /// Counts up from the last token for ever.
    pub fn counts() -> Self {
        Self::new(|read| one_hot((read[read.len() - 1] + 1) % 200))
    }

    /// Every byte is about as likely as another.
    pub fn babbles() -> Self {
        Self::new(|read| (0..VOCAB).map(|i| ((i * 7 + read.len()) as f32).sin()).collect())
    }

    pub fn load(self) -> impl FnOnce() -> Result<Loaded> + Send + 'static {
        move || {
            let tokenizer = Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[])?;
            let tokenizer = self.tokenizer.then(|| Arc::new(tokenizer));
            let info = ModelInfo {
                name: "mock".into(),
                backend: "mock".into(),
                arithmetic: "exact".into(),
                layers: vec!["ssm".into(), "swa+moe".into()],
                experts: vec![0, 4],
                top_k: vec![0, 2],
                total_parameters: 1,
                active_parameters: 1,
                vocabulary: VOCAB,
                max_seq_len: self.context,
            };
            Ok(Loaded { backend: Box::new(State::new(self)), tokenizer, template: ChatTemplate::chatml(), info })
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.log.lock().unwrap().clone()
    }

    /// Tokens read in all.
    pub fn read(&self) -> usize {
        self.calls().iter().map(|call| if let Call::Forward(tokens) = call { tokens.len() } else { 0 }).sum()
    }
}

/// How many tokens follow the prompt: it ends with ChatML's assistant header, or with `>`.
fn said(read: &[TokenId]) -> usize {
    let from = match read.iter().rposition(|token| *token == IM_START) {
        Some(at) => at + 1 + "assistant\n".len(),
        None => read.iter().rposition(|token| *token == TokenId::from(b'>')).map_or(1, |at| at + 1),
    };
    read.len().saturating_sub(from)
}

pub fn one_hot(token: TokenId) -> Vec<f32> {
    let mut logits = vec![0.0; VOCAB];
    logits[token as usize] = 50.0;
    logits
}

struct State {
    mock: Mock,
    spec: ModelSpec,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
}

impl State {
    fn new(mock: Mock) -> Self {
        let ssm = Mixer::Ssm(SsmSpec { inner: 4, state: 2, conv: 2 });
        let attention = Mixer::Attention(AttentionSpec { heads: 1, head_dim: 4, window: 8 });
        let moe = MoeSpec { experts: 4, top_k: 2, intermediate: 4, shared: true };
        let spec = ModelSpec {
            vocab: VOCAB,
            embed: 4,
            hidden: 4,
            norm_eps: 1e-6,
            max_seq_len: mock.context,
            tied_head: true,
            layers: vec![
                LayerSpec { mixer: ssm, feed_forward: None },
                LayerSpec { mixer: attention, feed_forward: Some(moe) },
            ],
        };
        Self { mock, spec, tokens: Vec::new(), logits: Vec::new() }
    }

    fn note(&self, call: Call) {
        self.mock.log.lock().unwrap().push(call);
    }
}

impl Backend for State {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn name(&self) -> String {
        "mock".into()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn chunk(&self) -> usize {
        self.mock.chunk
    }

    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]> {
        self.note(Call::Forward(tokens.to_vec()));
        ensure!(tokens.len() <= self.mock.chunk, "too many");
        assert!(!tokens.contains(&299), "token 299 is cursed");
        ensure!(!tokens.contains(&298), "token 298 is refused");
        self.tokens.extend(tokens);
        if let Some(tap) = tap {
            tap.extend(tokens.iter().map(|token| {
                let experts = vec![*token as usize % 4, (*token as usize + 1) % 4];
                vec![LayerRouting { layer: 1, experts, weights: vec![0.5, 0.25], entropy: 1.0, shared_gate: Some(0.5) }]
            }));
        }
        self.logits = if logits == Logits::None { Vec::new() } else { (self.mock.script)(&self.tokens) };
        Ok(&self.logits)
    }

    fn rewind(&mut self, position: usize) -> Result<usize> {
        self.note(Call::Rewind(position));
        // Only every fourth state is kept.
        self.tokens.truncate(position / 4 * 4);
        Ok(self.tokens.len())
    }

    fn snapshot(&mut self) -> Snapshot {
        unreachable!("the engine keeps no snapshots")
    }

    fn restore(&mut self, _: &Snapshot) -> Result<()> {
        unreachable!("the engine keeps no snapshots")
    }

    fn alter(&mut self, _: &Alterations) -> Result<()> {
        self.note(Call::Alter);
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport { weights: 1000, ..MemoryReport::default() }
    }
}
