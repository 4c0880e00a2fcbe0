//! Keys and values of one attention layer.
//!
//! They lie one after the other in a buffer with room for some more, so that the visible ones are a part of it
//! and nothing is copied to read them. When it is full, those still needed move to the beginning of a new one.

use anyhow::{Result, ensure};
use mlx_rs::{Array, Dtype};

use super::ops::{self, number};
use crate::model::spec::AttentionSpec;

/// Room for at least so many tokens is made at once.
const ROOM: usize = 64;
/// Room for at most so many more than there are is made at once.
const MOST_ROOM: usize = 1024;
/// The largest half that is not infinite: one enormous key must not turn a whole row to NaN.
const LARGEST_HALF: f32 = 65504.0;

/// All keys and values that are kept of one layer.
#[derive(Clone)]
pub(crate) struct KvCache {
    spec: AttentionSpec,
    dtype: Dtype,
    /// Keys and values (H, room, hd), if there was any token.
    buffers: Option<[Array; 2]>,
    /// Position of the first token in the buffers.
    start: usize,
    /// Tokens read in all, those that are gone included.
    len: usize,
}

/// What the tokens of one pass see.
pub(crate) struct Visible {
    /// (H, L, hd)
    pub(crate) keys: Array,
    /// (H, L, hd)
    pub(crate) values: Array,
    /// Position of the first of them.
    pub(crate) first: usize,
}

impl KvCache {
    pub(crate) fn new(spec: AttentionSpec, dtype: Dtype) -> Self {
        Self { spec, dtype, buffers: None, start: 0, len: 0 }
    }

    /// Appends `count` tokens, keys and values (H, T, hd), and gives what they see. Tokens that nothing at
    /// `needed` or after it sees may be forgotten.
    pub(crate) fn append(&mut self, kv: [Array; 2], count: usize, needed: usize) -> Result<Visible> {
        let [keys, values] = [self.stored(&kv[0])?, self.stored(&kv[1])?];
        self.make_room(count, needed)?;
        let at = self.len - self.start;
        let (first, end) = (self.first_seen(self.len), self.len + count);
        let Some(buffers) = &mut self.buffers else { anyhow::bail!("no room was made for keys") };
        ops::replace(&mut buffers[0], 1, at..at + count, &keys)?;
        ops::replace(&mut buffers[1], 1, at..at + count, &values)?;
        self.len = end;
        let seen = first - self.start..end - self.start;
        let keys = ops::cast(&ops::narrow(&buffers[0], 1, seen.clone())?, Dtype::Float32)?;
        let values = ops::cast(&ops::narrow(&buffers[1], 1, seen)?, Dtype::Float32)?;
        Ok(Visible { keys, values, first })
    }

    fn stored(&self, a: &Array) -> Result<Array> {
        if self.dtype != Dtype::Float16 {
            return ops::cast(a, self.dtype);
        }
        let held = ops::minimum(&ops::maximum(a, &number(-LARGEST_HALF))?, &number(LARGEST_HALF))?;
        ops::cast(&held, self.dtype)
    }

    fn make_room(&mut self, count: usize, needed: usize) -> Result<()> {
        if self.len - self.start + count <= self.room() {
            return Ok(());
        }
        let first = self.first_seen(needed.min(self.len)).max(self.start);
        let live = self.len - first;
        let room = (live + count + (live / 2).clamp(ROOM, MOST_ROOM)).next_multiple_of(ROOM);
        let rest = ops::zeros(&[self.spec.heads, room - live, self.spec.head_dim], self.dtype)?;
        let moved = |old: &Array| -> Result<Array> {
            let kept = ops::narrow(old, 1, first - self.start..self.len - self.start)?;
            ops::concatenate(&[&kept, &rest], 1)
        };
        self.buffers = Some(match &self.buffers {
            Some([keys, values]) if live > 0 => [moved(keys)?, moved(values)?],
            _ => [rest.clone(), rest],
        });
        self.start = first;
        Ok(())
    }

    /// Tokens that the buffers have room for.
    fn room(&self) -> usize {
        self.buffers.as_ref().map_or(0, |[keys, _]| keys.dim(1) as usize)
    }

    /// The oldest token that one at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.spec.window)
    }

    /// True if every token that one at `position`, or after it, sees is still there.
    pub(crate) fn reaches(&self, position: usize) -> bool {
        self.start <= self.first_seen(position)
    }

    /// Forgets the tokens from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) -> Result<()> {
        ensure!(self.start <= len && len <= self.len, "keys {} to {} cannot be cut at {len}", self.start, self.len);
        self.len = len;
        Ok(())
    }

    /// What must be computed before the next pass begins.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.buffers.iter().flatten()
    }

    /// Bytes of one token's keys and values.
    fn token_bytes(&self) -> usize {
        2 * self.spec.heads * self.spec.head_dim * if self.dtype == Dtype::Float32 { 4 } else { 2 }
    }

    /// Bytes of the tokens that the next one sees.
    pub(crate) fn bytes(&self) -> usize {
        self.visible() * self.token_bytes()
    }

    /// Bytes of the tokens that are only there for a return to `from`, once `to` tokens are read.
    pub(crate) fn kept_bytes(&self, from: usize, to: usize) -> usize {
        let oldest = self.first_seen(from).max(self.start);
        self.first_seen(to).saturating_sub(oldest) * self.token_bytes()
    }

    /// Bytes of the buffers.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.room() * self.token_bytes()
    }

    /// Tokens that the next one can see.
    pub(crate) fn visible(&self) -> usize {
        self.len.min(self.spec.window)
    }

    /// How long a token can be seen.
    pub(crate) fn window(&self) -> usize {
        self.spec.window
    }
}
