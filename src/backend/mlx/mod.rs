//! The MLX backend: Apple Silicon's GPU through Metal, and whatever else MLX's library computes on.
//!
//! ```text
//! mod.rs        the Backend trait's side: options, rewinding, snapshots, memory
//! model.rs      the forward pass: embedding, layers, head
//! ssm.rs scan.rs attention.rs moe.rs router.rs    one operator each, written like its formula
//! state.rs kv.rs rewind.rs                        what is remembered, and how to go back
//! weights.rs linear.rs                            a checkpoint's tensors as arrays, and their products
//! learn/        training through its automatic differentiation
//! compiled.rs   functions that MLX may compile
//! ops.rs        MLX's operations, with errors that name shapes
//! ```
//!
//! A pass only says what is to be computed; MLX computes it when the pass is whole. MLX keeps its streams and its
//! last error for each thread, so a backend never leaves the thread that made it.

mod attention;
mod compiled;
mod kv;
pub mod learn;
mod linear;
mod model;
mod moe;
mod ops;
mod rewind;
mod router;
mod scan;
mod ssm;
mod state;
#[cfg(test)]
mod tests;
mod weights;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mlx_rs::{Device, DeviceType, Dtype, memory};

use self::model::{CHUNK, MlxModel};
use self::rewind::Kept;
use self::state::LayerState;
use self::weights::Weights;
use super::cpu::Options;
use super::cpu::learn::LearnOptions;
use super::learn::Learner;
use super::{Backend, Logits, Snapshot};
use crate::model::alterations;
use crate::model::checkpoint::Checkpoint;
use crate::model::footprint::KvFormat;
use crate::model::spec::ModelSpec;
use crate::protocol::{Alterations, DeviceMemory, LayerMemory, MemoryReport, TokenId, TokenRouting};

/// The version of MLX whose library this program is linked with: the one that mlx-sys builds, or asks for.
pub const VERSION: Option<&str> = Some("0.32.2");

/// Why there is none: there is.
pub const WHY_NOT: &str = "";

/// `gpu` or `cpu`: what MLX computes on.
pub fn device() -> Result<&'static str> {
    let device = Device::try_default().context("MLX has no device")?;
    Ok(match device.get_type().context("MLX does not say what its device is")? {
        DeviceType::Gpu => "gpu",
        DeviceType::Cpu => "cpu",
    })
}

/// Whether MLX compiles the recurrence of the state spaces on this device. A GPU then has fewer kernels to begin; on its
/// CPU device MLX would call a C++ compiler while the model runs.
pub fn compiles(device: &str) -> bool {
    device == "gpu"
}

/// How a backend computes.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// Products take halves where weights are stored so, and keys and values are halves unless something else is asked.
    pub halves: bool,
    /// MLX compiles the recurrence.
    pub compiled: bool,
}

/// How keys and values are kept. An error if they cannot be as is asked.
fn kept_as(options: &Options, ways: Ways) -> Result<Dtype> {
    Ok(match options.kv {
        Some(KvFormat::F16) => Dtype::Float16,
        Some(KvFormat::F32) => Dtype::Float32,
        None if ways.halves => Dtype::Float16,
        None => Dtype::Float32,
        Some(KvFormat::Q8) => anyhow::bail!(
            "the MLX backend keeps keys and values as f16 or f32, not in 8 bits: leave `--kv q8` (or `memory.kv` in the \
             settings) out, or keep them so on the CPU backend with `--backend cpu`"
        ),
    })
}

/// Opens a model.
pub fn open(files: &Checkpoint, spec: ModelSpec, options: &Options) -> Result<Box<dyn Backend>> {
    Ok(Box::new(MlxBackend::new(files, spec, options)?))
}

/// Opens a model to train adapters on it.
pub fn learner(files: &Arc<Checkpoint>, spec: ModelSpec, options: LearnOptions) -> Result<Box<dyn Learner>> {
    Ok(Box::new(learn::MlxLearner::new(files, spec, options)?))
}

/// A model that MLX computes.
pub struct MlxBackend {
    model: MlxModel,
    device: &'static str,
    /// Stays on the thread that made it.
    _here: PhantomData<*const ()>,
}

impl MlxBackend {
    /// Copies a checkpoint's weights to where MLX computes, and gives their files' memory back. On a GPU, unless
    /// it shall be exact, products take halves where weights are stored so, and keys and values are halves.
    pub fn new(files: &Checkpoint, spec: ModelSpec, options: &Options) -> Result<Self> {
        let device = device()?;
        let ways = Ways { halves: !options.exact && device == "gpu", compiled: compiles(device) };
        Self::with(files, spec, options, ways)
    }

    /// The same, computed as is said, whatever the device is.
    pub fn with(files: &Checkpoint, spec: ModelSpec, options: &Options, ways: Ways) -> Result<Self> {
        let kv = kept_as(options, ways)?;
        let device = device()?;
        let weights = Weights::bind(files, &spec, ways.halves)?;
        let model = MlxModel::new(spec, weights, ways, kv, options.rewind_budget)?;
        Ok(Self { model, device, _here: PhantomData })
    }
}

/// Everything that is remembered at one position.
struct Snap {
    tokens: Vec<TokenId>,
    layers: Vec<LayerState>,
    kept: VecDeque<Kept>,
}

impl Backend for MlxBackend {
    fn spec(&self) -> &ModelSpec {
        &self.model.spec
    }

    fn name(&self) -> String {
        format!("mlx {}", self.device)
    }

    fn is_exact(&self) -> bool {
        !self.model.halves && self.model.kv == Dtype::Float32
    }

    fn tokens(&self) -> &[TokenId] {
        &self.model.tokens
    }

    fn chunk(&self) -> usize {
        CHUNK
    }

    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]> {
        self.model.forward(tokens, logits, tap)
    }

    fn rewind(&mut self, position: usize) -> Result<usize> {
        let m = &mut self.model;
        let now = m.tokens.len();
        ensure!(position <= now, "cannot go back to token {position}: only {now} were read");
        if position == now {
            return Ok(now);
        }
        let Some(kept) = m.rewind.best(position, &m.layers) else {
            m.clear()?;
            return Ok(0);
        };
        for (state, kept_state) in m.layers.iter_mut().zip(&kept.layers) {
            match (state, kept_state) {
                (LayerState::Attention(cache), _) => cache.truncate(kept.position)?,
                (LayerState::Ssm(state), Some(kept)) => *state = kept.clone(),
                (LayerState::Ssm(_), None) => unreachable!("every state space's state is kept"),
            }
        }
        m.tokens.truncate(kept.position);
        m.rewind.truncate(kept.position);
        Ok(kept.position)
    }

    fn snapshot(&mut self) -> Snapshot {
        let m = &self.model;
        Snapshot::new(Snap { tokens: m.tokens.clone(), layers: m.layers.clone(), kept: m.rewind.kept() })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let snap: &Snap = snapshot.state().context("this snapshot was taken by another backend")?;
        let m = &mut self.model;
        ensure!(snap.layers.len() == m.layers.len(), "this snapshot was taken of another model");
        m.tokens.clone_from(&snap.tokens);
        m.layers.clone_from(&snap.layers);
        m.rewind.set_kept(snap.kept.clone());
        Ok(())
    }

    fn alter(&mut self, changes: &Alterations) -> Result<()> {
        alterations::check(&self.model.spec, changes)?;
        self.model.alterations = changes.clone();
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        let m = &self.model;
        let mut buffers = 0;
        let layers = m.layers.iter().enumerate().map(|(layer, state)| match state {
            LayerState::Ssm(state) => {
                let ssm = state.h.nbytes() + state.history.nbytes();
                LayerMemory { layer, ssm: ssm as u64, ..LayerMemory::default() }
            }
            LayerState::Attention(cache) => {
                buffers += cache.buffer_bytes().saturating_sub(cache.bytes());
                let (kv_filled, kv_window) = (cache.visible(), cache.window());
                LayerMemory { layer, kv: cache.bytes() as u64, kv_filled, kv_window, ssm: 0 }
            }
        });
        let layers = layers.collect();
        let rewind = m.rewind.bytes(m.tokens.len(), &m.layers);
        let bytes = |asked: mlx_rs::error::Result<usize>| asked.unwrap_or(0) as u64;
        MemoryReport {
            weights: m.weights.bytes() as u64,
            layers,
            rewind: rewind as u64,
            rewind_budget: m.rewind.budget() as u64,
            // Room for keys and values that is not filled, or no longer with any that are wanted.
            scratch: buffers.saturating_sub(m.rewind.keys(m.tokens.len(), &m.layers)) as u64,
            device: Some(DeviceMemory {
                active: bytes(memory::active_memory()),
                peak: bytes(memory::peak_memory()),
                cache: bytes(memory::cache_memory()),
            }),
        }
    }
}
