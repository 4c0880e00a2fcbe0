//! What runs a model: one coarse trait, crossed at host memory in f32.

pub mod cpu;

use anyhow::Result;

use crate::model::spec::ModelSpec;
use crate::protocol::{Alterations, MemoryReport, TokenId, TokenRouting};

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

    /// The tokens that the state holds, oldest first.
    fn tokens(&self) -> &[TokenId];

    /// The most tokens that one call of `forward` should be given: cancellation and progress happen
    /// between calls.
    fn chunk(&self) -> usize;

    /// Reads tokens and gives the logits asked for: `vocab` values for each token. With `tap`, one
    /// routing for each token is appended to it.
    ///
    /// Tokens outside the vocabulary are an error, and so are more than `chunk` tokens; the state is
    /// then as it was.
    fn forward(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]>;

    /// Returns to the state after the first `position` tokens. Gives how many tokens of that past
    /// had to be read again: at most 64 where the budget for it sufficed; more, up to all of them,
    /// for a past so old that what it needs is no longer kept.
    fn rewind(&mut self, position: usize) -> Result<usize>;

    /// Keeps the state as it is, without copying what it can share.
    fn snapshot(&mut self) -> Snapshot;

    /// Returns to a snapshot of this same backend.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// Changes the routing from the next forward pass on.
    fn alter(&mut self, alterations: &Alterations) -> Result<()>;

    /// Bytes held.
    fn memory(&self) -> MemoryReport;
}

/// A state that was kept. Cheap to hold: it shares what it can with the live state.
pub struct Snapshot(pub(crate) Box<dyn std::any::Any + Send>);
