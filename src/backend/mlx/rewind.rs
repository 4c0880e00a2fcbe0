//! What is kept so that earlier tokens can be returned to.
//!
//! Attention only needs its older keys and values not to be thrown away. A state space has no past, so its state is
//! kept: after every 64th token, after every 16th of the newest, and while little memory is asked for that, after
//! each of the newest when they come one by one. Arrays never change, so keeping one is keeping a reference. All
//! of it stays within a budget; the oldest goes first.

use std::collections::VecDeque;

use anyhow::Result;
use mlx_rs::Array;

use super::ssm::{At, Trail};
use super::state::{LayerState, SsmState};
use crate::model::spec::{Mixer, ModelSpec};

/// Tokens between two states that are kept, and the most that is read again after a return.
const INTERVAL: usize = 64;
/// Tokens between two states of the newest tokens.
const FINE: usize = 16;
/// Tokens that are the newest.
const NEWEST: usize = INTERVAL + FINE;
/// States of single tokens take at most one part in so many of the budget.
const SINGLE: usize = 4;

/// State of all state-space layers at one position.
#[derive(Clone)]
pub(crate) struct Kept {
    /// Tokens read.
    pub(crate) position: usize,
    /// One for each layer; none where a layer has attention.
    pub(crate) layers: Vec<Option<SsmState>>,
}

/// Everything that is kept.
pub(crate) struct Rewind {
    budget: usize,
    kept: VecDeque<Kept>,
    /// What the running pass is to fill.
    filling: Vec<Kept>,
    /// Bytes of one.
    bytes: usize,
    /// Newest tokens whose state is kept when they come one by one.
    single: usize,
}

impl Rewind {
    pub(crate) fn new(spec: &ModelSpec, budget: usize) -> Self {
        let of = |m: &Mixer| if let Mixer::Ssm(m) = m { SsmState::bytes(m) } else { 0 };
        let bytes = spec.layers.iter().map(|l| of(&l.mixer)).sum::<usize>();
        let single = (budget / SINGLE).checked_div(bytes).unwrap_or(0).min(INTERVAL);
        Self { budget, kept: VecDeque::new(), filling: Vec::new(), bytes, single }
    }

    /// Prepares for reading `count` tokens from `position`: makes room in the budget, and readies what is to be kept
    /// among them. Gives the oldest position that can then be returned to.
    pub(crate) fn begin(&mut self, position: usize, count: usize, layers: &[LayerState]) -> usize {
        let end = position + count;
        let (single, interval) = (self.single, |p: usize| p.is_multiple_of(INTERVAL));
        let fine = |p: usize| p.is_multiple_of(FINE) && p + NEWEST > end;
        self.kept.retain(|k| interval(k.position) || fine(k.position) || k.position + single >= end);
        let stops: Vec<usize> =
            (position + 1..=end).filter(|p| interval(*p) || fine(*p) || (*p == end && single > 0)).collect();
        while !self.kept.is_empty() && self.bytes_after(stops.len(), position, end, layers) > self.budget {
            self.kept.pop_front();
        }
        let room = stops.len() * self.bytes <= self.budget;
        let empty = |position: usize| Kept { position, layers: Vec::new() };
        self.filling = stops.into_iter().filter(|_| room).map(empty).collect();
        self.needed_from(position)
    }

    fn bytes_after(&self, new: usize, position: usize, end: usize, layers: &[LayerState]) -> usize {
        (self.kept.len() + new) * self.bytes + older_keys(layers, self.needed_from(position), end)
    }

    /// The first position that a return, or the next token, can need.
    fn needed_from(&self, position: usize) -> usize {
        self.kept.front().map_or(position, |k| k.position.min(position))
    }

    /// Keeps a layer's states of the running pass: the trail has them, and the last one was taken from it already.
    pub(crate) fn keep(&mut self, at: At, trail: Option<(&Trail, &SsmState)>) -> Result<()> {
        for kept in &mut self.filling {
            let count = kept.position - at.position;
            kept.layers.push(match trail {
                Some((_, last)) if count == at.count => Some(last.clone()),
                Some((trail, _)) => Some(trail.state_after(count)?),
                None => None,
            });
        }
        Ok(())
    }

    /// What the running pass keeps, still to be computed.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Array> {
        let states = self.filling.iter().flat_map(|k| k.layers.iter().flatten());
        states.flat_map(|s| [&s.h, &s.history])
    }

    /// The running pass is done.
    pub(crate) fn finish(&mut self) {
        self.kept.extend(self.filling.drain(..));
    }

    /// The newest kept position up to `position` whose keys are still there.
    pub(crate) fn best(&self, position: usize, layers: &[LayerState]) -> Option<Kept> {
        let newest = self.kept.iter().rev().find(|k| k.position <= position)?;
        let reached = layers.iter().all(|layer| match layer {
            LayerState::Attention(cache) => cache.reaches(newest.position),
            LayerState::Ssm(_) => true,
        });
        reached.then(|| newest.clone())
    }

    /// Forgets what is after `position`.
    pub(crate) fn truncate(&mut self, position: usize) {
        self.filling.clear();
        self.kept.retain(|k| k.position <= position);
    }

    pub(crate) fn kept(&self) -> VecDeque<Kept> {
        self.kept.clone()
    }

    pub(crate) fn set_kept(&mut self, kept: VecDeque<Kept>) {
        self.filling.clear();
        self.kept = kept;
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Bytes of keys that are only kept for a return, once `position` tokens are read.
    pub(crate) fn keys(&self, position: usize, layers: &[LayerState]) -> usize {
        older_keys(layers, self.needed_from(position), position)
    }

    /// Bytes of the states, and of the keys that are only kept for them, once `position` tokens are read.
    pub(crate) fn bytes(&self, position: usize, layers: &[LayerState]) -> usize {
        self.bytes_after(0, position, position, layers)
    }
}

/// Bytes of keys and values that are only kept for a return to `from`, once `to` tokens are read.
fn older_keys(layers: &[LayerState], from: usize, to: usize) -> usize {
    let of = |layer: &LayerState| match layer {
        LayerState::Attention(cache) => cache.kept_bytes(from, to),
        LayerState::Ssm(_) => 0,
    };
    layers.iter().map(of).sum()
}
