//! A backend for tests that needs no weights: what it answers follows from the tokens alone.

use anyhow::{Result, ensure};

use crate::backend::{Backend, Logits, Snapshot};
use crate::model::config::Config;
use crate::model::spec::ModelSpec;
use crate::protocol::{Alterations, LayerRouting, MemoryReport, TokenId, TokenRouting};

pub(super) struct Mock {
    spec: ModelSpec,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    /// What each call asked for.
    pub(super) calls: Vec<(usize, Logits)>,
    /// Logits are not numbers from this position on.
    pub(super) broken_from: usize,
}

impl Mock {
    pub(super) const CHUNK: usize = 4;

    /// Of the `small` preset's shape, with this vocabulary.
    pub(super) fn new(vocab: usize) -> Self {
        let mut spec = Config::preset("small").unwrap().spec();
        (spec.vocab, spec.max_seq_len) = (vocab, 64);
        Self { spec, tokens: Vec::new(), logits: Vec::new(), calls: Vec::new(), broken_from: usize::MAX }
    }

    /// The logit of `next` after `token` at `position`.
    pub(super) fn logit(position: usize, token: TokenId, next: usize) -> f32 {
        ((position * 7 + token as usize * 5 + next * 3) % 11) as f32 / 4.0
    }
}

impl Backend for Mock {
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
        Self::CHUNK
    }

    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]> {
        ensure!(tokens.len() <= Self::CHUNK, "too many tokens at once");
        ensure!(tokens.iter().all(|token| (*token as usize) < self.spec.vocab), "a token is out of range");
        self.calls.push((tokens.len(), logits));
        self.logits.clear();
        let rows = match logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => tokens.len(),
        };
        let mut routing = Vec::new();
        for (i, token) in tokens.iter().enumerate() {
            let position = self.tokens.len();
            self.tokens.push(*token);
            let experts = vec![position % 4, (position + 1) % 4];
            let layer =
                LayerRouting { layer: 2, experts, weights: vec![0.5, 0.25], entropy: 1.0, shared_gate: Some(0.75) };
            routing.push(vec![layer]);
            if i + rows >= tokens.len() {
                let broken = position >= self.broken_from;
                let row = (0..self.spec.vocab).map(|next| Self::logit(position, *token, next));
                self.logits.extend(row.map(|logit| if broken { f32::NAN } else { logit }));
            }
        }
        if let Some(tap) = tap {
            tap.extend(routing);
        }
        Ok(&self.logits)
    }

    fn rewind(&mut self, position: usize) -> Result<usize> {
        self.tokens.truncate(position);
        Ok(self.tokens.len())
    }

    fn snapshot(&mut self) -> Snapshot {
        Snapshot::new(self.tokens.clone())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.tokens = snapshot.state::<Vec<TokenId>>().cloned().unwrap_or_default();
        Ok(())
    }

    fn alter(&mut self, _alterations: &Alterations) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport::default()
    }
}
