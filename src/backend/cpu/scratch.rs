//! Buffers of the forward pass: made once, used for every token. Untouched pages cost nothing.

use super::linear::Compute;
use super::ops::AttendScratch;
use super::quantised_rows::QuantRows;
use crate::model::spec::{Mixer, ModelSpec};

/// Tokens that one forward pass takes: enough for matrix products to run at full speed, and few
/// enough that cancelling is prompt and the buffers stay small.
pub(crate) const CHUNK: usize = 256;

/// T is the number of tokens of the pass, at most [`CHUNK`].
pub(crate) struct Scratch {
    /// Embedding rows, and the head's inputs: (T, S)
    pub(crate) embed: Vec<f32>,
    /// Residual stream: (T, D)
    pub(crate) x: Vec<f32>,
    /// Normed residual stream: (T, D)
    pub(crate) normed: Vec<f32>,
    /// Output of a mixer; inputs of one expert, gathered, and then its outputs: (T, D)
    pub(crate) mixed: Vec<f32>,
    /// `[xb | z]` of the state space (T, 2E); q, k and v of attention one after the other; outputs of
    /// the experts for each token in the order of its choices, the shared one last (T, k + 1, D).
    pub(crate) wide: Vec<f32>,
    /// Convolved inputs (T, E); gates of the experts (T, I), or (k + 1, I) for one token.
    pub(crate) inner: Vec<f32>,
    /// `[B | C | dt]`: (T, 2N + 1)
    pub(crate) dbc: Vec<f32>,
    /// Output of the recurrence (T, E), or of attention's heads (T, H * hd); the other half of the
    /// experts' activations, as the gates.
    pub(crate) gated: Vec<f32>,
    /// For each head: see [`AttendScratch`].
    pub(crate) heads: Vec<f32>,
    /// Gate probabilities: (T, X)
    pub(crate) gates: Vec<f32>,
    /// The shared expert's gate: (T)
    pub(crate) shared_gate: Vec<f32>,
    /// Logits: (T, V), or one row of them.
    pub(crate) logits: Vec<f32>,
    /// Normed inputs as bytes.
    pub(crate) normed_quantised: Bytes8,
    /// Whatever else is multiplied, as bytes.
    pub(crate) quantised: Bytes8,
    /// The chosen experts' inner activations of one token, as bytes.
    pub(crate) slots: Vec<Bytes8>,
    /// D
    hidden: usize,
}

/// Activations as bytes where the fast path wants them, and nothing on the exact one.
pub(crate) struct Bytes8 {
    rows: QuantRows,
    fast: bool,
}

impl Bytes8 {
    fn new(fast: bool) -> Self {
        Self { rows: QuantRows::default(), fast }
    }

    /// The bytes of `x`, `rows` rows of `cols`; none on the exact path.
    pub(crate) fn of(&mut self, cx: &Compute, x: &[f32], rows: usize, cols: usize) -> Option<&QuantRows> {
        // One row of bytes for a group of 64: other widths have no fast kernel.
        if !self.fast || !cols.is_multiple_of(64) {
            return None;
        }
        self.rows.quantise(cx, x, rows, cols);
        Some(&self.rows)
    }
}

impl Scratch {
    pub(crate) fn new(spec: &ModelSpec, fast: bool) -> Self {
        let (d, t) = (spec.hidden, CHUNK);
        let (mut inner, mut wide, mut dbc, mut heads) = (0, 0, 0, 0);
        let (mut experts, mut slots, mut width) = (0, 0, 0);
        for layer in &spec.layers {
            match &layer.mixer {
                Mixer::Ssm(m) => {
                    inner = inner.max(m.inner);
                    wide = wide.max(2 * m.inner);
                    dbc = dbc.max(2 * m.state + 1);
                }
                Mixer::Attention(m) => {
                    inner = inner.max(m.heads * m.head_dim);
                    wide = wide.max(3 * m.heads * m.head_dim);
                    heads = heads.max(m.heads * AttendScratch::len(m.head_dim, t));
                }
            }
            if let Some(moe) = &layer.feed_forward {
                experts = experts.max(moe.experts);
                // Routing can be altered up to all experts.
                slots = slots.max(moe.experts + usize::from(moe.shared));
                width = width.max(moe.intermediate);
                wide = wide.max((moe.top_k + usize::from(moe.shared)) * d);
            }
        }
        let buffer = |n: usize| vec![0.0; n];
        Self {
            embed: buffer(t * spec.embed),
            x: buffer(t * d),
            normed: buffer(t * d),
            mixed: buffer(t * d),
            wide: buffer(t * wide),
            inner: buffer((t * inner).max(t.max(slots) * width)),
            dbc: buffer(t * dbc),
            gated: buffer((t * inner).max(t.max(slots) * width)),
            heads: buffer(heads),
            gates: buffer(t * experts),
            shared_gate: buffer(t),
            logits: buffer(spec.vocab),
            normed_quantised: Bytes8::new(fast),
            quantised: Bytes8::new(fast),
            slots: (0..slots).map(|_| Bytes8::new(fast)).collect(),
            hidden: d,
        }
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> usize {
        let floats = [
            &self.embed,
            &self.x,
            &self.normed,
            &self.mixed,
            &self.wide,
            &self.inner,
            &self.dbc,
            &self.gated,
            &self.heads,
            &self.gates,
            &self.shared_gate,
            &self.logits,
        ];
        let quantised = self.slots.iter().chain([&self.normed_quantised, &self.quantised]);
        floats.iter().map(|v| 4 * v.len()).sum::<usize>() + quantised.map(|q| q.rows.bytes()).sum::<usize>()
    }

    /// D
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }
}
