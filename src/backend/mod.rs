//! What runs a model: one coarse trait, crossed at host memory in f32.

pub mod adapted;
pub mod cpu;
pub mod learn;
#[cfg(any(
    all(feature = "mlx", target_os = "macos", target_arch = "aarch64"),
    all(feature = "mlx-linux", target_os = "linux")
))]
pub mod mlx;
#[cfg(not(any(
    all(feature = "mlx", target_os = "macos", target_arch = "aarch64"),
    all(feature = "mlx-linux", target_os = "linux")
)))]
#[path = "mlx_missing.rs"]
pub mod mlx;

use std::any::Any;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::model::spec::ModelSpec;
use crate::protocol::{Alterations, MemoryReport, TokenId, TokenRouting};

/// What computes: the values of `--backend`, which its help shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The portable backend, on the processor
    Cpu,
    /// MLX: Apple Silicon's GPU
    Mlx,
    /// MLX where it has a GPU and can do what is asked, else the processor
    #[default]
    Auto,
}

/// Which logits a forward pass shall give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// None: the pass only moves the state on.
    None,
    /// Of the last token.
    Last,
    /// Of every token, row after row.
    All,
}

/// A model with one live state, on some device.
///
/// The state is the tokens read so far. A caller that wants another past rewinds it, or restores a
/// snapshot, and reads on from there.
pub trait Backend {
    /// Shape of the model.
    fn spec(&self) -> &ModelSpec;

    /// What to call it, as `cpu avx512`.
    fn name(&self) -> String;

    /// True if the arithmetic is exact: f32 activations, keys and values.
    fn is_exact(&self) -> bool;

    /// The tokens that the state holds, oldest first.
    fn tokens(&self) -> &[TokenId];

    /// The most tokens that one call of `forward` takes: cancelling and progress happen between
    /// calls.
    fn chunk(&self) -> usize;

    /// Reads tokens and gives the logits asked for: `vocab` values for each token. With `tap`, one
    /// routing for each token is appended to it.
    ///
    /// Tokens outside the vocabulary are an error, and so are more than `chunk` tokens; the state is
    /// then as it was.
    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]>;

    /// Goes back towards the state after the first `position` tokens, without reading any again, and
    /// gives the position reached: `position` itself or, where only an earlier state is kept, that
    /// one; the caller reads on from there. As long as the budget suffices it is at most 64 tokens
    /// earlier; a past too old for what is kept means 0.
    fn rewind(&mut self, position: usize) -> Result<usize>;

    /// Keeps the state as it is, without copying what it can share.
    fn snapshot(&mut self) -> Snapshot;

    /// Returns to a snapshot of this same backend.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Changes the routing from the next forward pass on. What the state holds stays as it was read.
    fn alter(&mut self, alterations: &Alterations) -> Result<()>;

    /// Bytes held.
    fn memory(&self) -> MemoryReport;
}

/// A state that was kept. Cheap to hold: it shares what it can with the live state, and like a backend it may belong to
/// one thread.
pub struct Snapshot(Box<dyn Any>);

impl Snapshot {
    /// Wraps a backend's own state.
    pub(crate) fn new(state: impl Any) -> Self {
        Self(Box::new(state))
    }

    /// A backend's own state, if it is of that backend.
    pub(crate) fn state<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}
