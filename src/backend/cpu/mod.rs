//! The portable CPU backend.
//!
//! ```text
//! mod.rs        the Backend trait's side: options, rewinding, snapshots, memory
//! model.rs      the forward pass: embedding, layers, head
//! ssm.rs attention.rs moe.rs router.rs    one operator each, written like its formula
//! state.rs kv.rs rewind.rs                what is remembered, and how to go back
//! weights.rs    a checkpoint's tensors bound to their places
//! linear.rs     matrix products, quantised and not
//! pool.rs split.rs    threads, and who writes where
//! learn/        training: the Learner trait's side, and every operator backward
//! ops/          arithmetic on slices with SIMD chosen at run time
//! ```

mod attention;
mod kv;
pub mod learn;
pub mod linear;
mod model;
mod moe;
pub mod ops;
pub mod pool;
pub mod quantised_rows;
mod rewind;
pub mod roofline;
mod router;
mod scratch;
mod split;
mod ssm;
mod state;
mod weights;

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use self::linear::Compute;
use self::model::CpuModel;
use self::ops::Level;
use self::rewind::{Checkpoint, keys_reach};
use self::scratch::CHUNK;
use self::state::LayerState;
use self::weights::{MixerWeights, Weights};
use super::{Backend, Logits, Snapshot, Which};
use crate::model::alterations;
use crate::model::checkpoint::Checkpoint as Files;
use crate::model::spec::{Mixer, ModelSpec};
use crate::protocol::{Alterations, LayerMemory, MemoryReport, TokenId, TokenRouting};

pub use self::weights::Adapters;
pub use crate::model::footprint::KvFormat;

/// How a model is to be run, on any backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// On which backend, for those who open a model; the backend itself has been chosen when it sees this.
    pub which: Which,
    /// f32 activations, and scales at the precision they are stored in; else bytes where that is
    /// faster.
    pub exact: bool,
    /// Threads that compute; none takes every core. MLX has its own.
    pub threads: Option<usize>,
    /// How keys and values are kept; none is f32 on the exact path and f16 on the fast one.
    pub kv: Option<KvFormat>,
    /// Bytes for returning to earlier tokens.
    pub rewind_budget: usize,
    /// The instructions to use; none finds them.
    pub level: Option<Level>,
}

/// Bytes kept for returning to earlier tokens, unless told otherwise.
pub const REWIND_BUDGET: usize = 256 << 20;

impl Default for Options {
    fn default() -> Self {
        Self { which: Which::Auto, exact: false, threads: None, kv: None, rewind_budget: REWIND_BUDGET, level: None }
    }
}

/// A model on the CPU.
pub struct CpuBackend(CpuModel);

impl CpuBackend {
    /// Binds a checkpoint to a spec. Nothing large is read or copied: the files stay mapped.
    pub fn new(files: &Files, spec: ModelSpec, options: &Options) -> Result<Self> {
        Self::with_adapters(files, spec, options, Adapters::new())
    }

    /// The same with adapters on some of the projections.
    pub fn with_adapters(files: &Files, spec: ModelSpec, options: &Options, adapters: Adapters) -> Result<Self> {
        let level = match options.level {
            Some(level) => level,
            None => Level::detect()?,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(cores);
        ensure!((1..=1024).contains(&threads), "{threads} threads were asked for; 1 to 1024 make sense");
        let kv = options.kv.unwrap_or(if options.exact { KvFormat::F32 } else { KvFormat::F16 });
        let weights = Weights::bind(files, &spec, !options.exact, adapters)?;
        let cx = Compute::new(threads, level);
        Ok(Self(CpuModel::new(cx, spec, weights, !options.exact, kv, options.rewind_budget)))
    }

    /// What computes: for measuring the machine with the very threads that run the model.
    pub fn compute(&self) -> &Compute {
        &self.0.cx
    }

    /// Bytes of weights that one decoded token reads: everything but the embedding's other rows and
    /// the experts not chosen.
    pub fn weight_bytes_per_token(&self) -> u64 {
        self.0.weights.bytes_per_token(&self.0.spec) as u64
    }
}

/// Everything that is remembered at one position.
struct Kept {
    tokens: Vec<TokenId>,
    layers: Vec<LayerState>,
    checkpoints: VecDeque<Arc<Checkpoint>>,
}

impl Backend for CpuBackend {
    fn spec(&self) -> &ModelSpec {
        &self.0.spec
    }

    fn name(&self) -> String {
        format!("cpu {}", self.0.cx.level)
    }

    fn is_exact(&self) -> bool {
        !self.0.fast
    }

    fn tokens(&self) -> &[TokenId] {
        &self.0.tokens
    }

    fn chunk(&self) -> usize {
        CHUNK
    }

    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]> {
        self.0.forward(tokens, logits, tap)
    }

    fn rewind(&mut self, position: usize) -> Result<usize> {
        let m = &mut self.0;
        let now = m.tokens.len();
        ensure!(position <= now, "cannot go back to token {position}: only {now} were read");
        if position == now {
            return Ok(now);
        }
        let checkpoint = m.rewind.best(position, &m.layers);
        let from = checkpoint.as_ref().map_or(0, |c| c.position);
        // The logged inputs lead from the checkpoint to the very token, if they reach back to it.
        let to = if m.rewind.logged(from, position) && keys_reach(position, &m.layers) { position } else { from };
        for layer in 0..m.layers.len() {
            match (&mut m.layers[layer], &m.spec.layers[layer].mixer, &m.weights.layers[layer].mixer) {
                (LayerState::Attention(cache), _, _) if to == 0 => cache.clear(),
                (LayerState::Attention(cache), _, _) => cache.truncate(to),
                (LayerState::Ssm(state), Mixer::Ssm(spec), MixerWeights::Ssm(weights)) => {
                    let s = &mut m.scratch;
                    m.rewind.replay(
                        layer,
                        checkpoint.as_deref(),
                        to,
                        state,
                        weights,
                        spec,
                        (&m.cx.pool, m.cx.level),
                        &mut s.inner,
                    );
                }
                _ => unreachable!("state and weights are made from the same spec"),
            }
        }
        m.tokens.truncate(to);
        m.rewind.truncate(to, true);
        Ok(to)
    }

    fn snapshot(&mut self) -> Snapshot {
        let m = &self.0;
        Snapshot::new(Kept { tokens: m.tokens.clone(), layers: m.layers.clone(), checkpoints: m.rewind.checkpoints() })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let kept: &Kept = snapshot.state().context("this snapshot was taken by another backend")?;
        let m = &mut self.0;
        ensure!(kept.layers.len() == m.layers.len(), "this snapshot was taken of another model");
        m.tokens.clone_from(&kept.tokens);
        m.layers.clone_from(&kept.layers);
        m.rewind.set_checkpoints(kept.checkpoints.clone(), kept.tokens.len());
        Ok(())
    }

    fn alter(&mut self, changes: &Alterations) -> Result<()> {
        alterations::check(&self.0.spec, changes)?;
        self.0.alterations = changes.clone();
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let m = &self.0;
        let mut kept = m.rewind.bytes();
        let layers = m.layers.iter().enumerate().map(|(layer, state)| match state {
            LayerState::Ssm(state) => LayerMemory { layer, ssm: state.bytes() as u64, ..LayerMemory::default() },
            LayerState::Attention(cache) => {
                let (ring, older) = cache.bytes();
                kept += older;
                let (kv_filled, kv_window) = (cache.visible(), cache.window());
                LayerMemory { layer, kv: ring as u64, kv_filled, kv_window, ssm: 0 }
            }
        });
        let layers = layers.collect();
        MemoryReport {
            weights: m.weights.bytes() as u64,
            layers,
            rewind: kept as u64,
            rewind_budget: m.rewind.budget() as u64,
            scratch: m.scratch.bytes() as u64,
            device: None,
        }
    }
}
