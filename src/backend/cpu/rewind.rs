//! What is kept so that earlier tokens can be returned to.
//!
//! Attention only needs its older keys and values not to be thrown away. A state space has no past:
//! its state is kept at every 64th token (a checkpoint), and at every 16th of the newest. For these
//! the inputs of the recurrence are kept too, so that the state at any of them follows from the
//! checkpoint before it without touching a weight. All of it stays within a budget; the oldest goes
//! first.

use std::collections::VecDeque;
use std::sync::Arc;

use half::f16;

use super::ops::{self, Level, Scan};
use super::pool::Pool;
use super::split::{Pieces, for_each};
use super::state::{CHANNELS, LayerState, SsmState};
use super::weights::SsmWeights;
use crate::model::spec::{Mixer, ModelSpec, SsmSpec};

/// Tokens between two checkpoints, and the most that is read again after a return.
pub(crate) const INTERVAL: usize = 64;

/// Tokens between two checkpoints of the newest tokens: the most of the recurrence that a return to
/// one of them goes through again.
const FINE: usize = 16;

/// Tokens that are the newest: a return to one of the last 64 finds a fine checkpoint before it.
const NEWEST: usize = INTERVAL + FINE;

/// One part in so many of the budget is left to the allocator, which takes about that much more than it
/// is asked for: the budget is meant as what the system gives.
const ALLOCATOR: usize = 16;

/// Tokens whose recurrence inputs are kept: back to the checkpoint before the last 64.
const LOGGED: usize = 2 * INTERVAL;

/// State of all state-space layers at one position.
pub(crate) struct Checkpoint {
    /// Tokens read.
    pub(crate) position: usize,
    /// One for each layer; none where a layer has attention.
    layers: Vec<Option<Kept>>,
}

impl Checkpoint {
    /// Room for the state of such a model.
    fn new(spec: &[Option<SsmSpec>], exact: bool) -> Self {
        Self { position: 0, layers: spec.iter().map(|s| s.as_ref().map(|s| Kept::new(s, exact))).collect() }
    }
}

/// State of one state-space layer, as the live state has it.
struct Kept {
    /// See [`SsmState::h`].
    h: Numbers,
    /// See [`SsmState::history`].
    history: Numbers,
}

enum Numbers {
    F32(Vec<f32>),
    /// Halves with one power-of-two scale for each piece of so many.
    F16 {
        values: Vec<f16>,
        scales: Vec<f32>,
        piece: usize,
    },
}

impl Numbers {
    fn new(len: usize, piece: usize, exact: bool) -> Self {
        if exact {
            return Numbers::F32(vec![0.0; len]);
        }
        let piece = piece.max(1);
        Numbers::F16 { values: vec![f16::ZERO; len], scales: vec![0.0; len.div_ceil(piece)], piece }
    }

    /// Keeps numbers. Where they are kept as halves the live ones are rounded to them as well, so that
    /// reading on from here and returning to here give the same.
    fn keep(&mut self, live: &mut [f32], pool: &Pool) {
        match self {
            Numbers::F32(kept) => kept.copy_from_slice(live),
            Numbers::F16 { values, scales, piece } => {
                let split = (Pieces::new(live, *piece), (Pieces::new(values, *piece), Pieces::new(scales, 1)));
                for_each(pool, split, |_, (live, (values, scale))| scale[0] = round_to_halves(live, values));
            }
        }
    }

    fn restore(&self, live: &mut [f32]) {
        match self {
            Numbers::F32(kept) => live.copy_from_slice(kept),
            Numbers::F16 { values, scales, piece } => {
                let pieces = live.chunks_mut(*piece).zip(values.chunks(*piece));
                pieces.zip(scales).for_each(|((live, values), scale)| widen(live, values, *scale));
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Numbers::F32(kept) => 4 * kept.len(),
            Numbers::F16 { values, scales, .. } => 2 * values.len() + 4 * scales.len(),
        }
    }
}

impl Kept {
    fn new(spec: &SsmSpec, exact: bool) -> Self {
        Self {
            h: Numbers::new(spec.inner * spec.state, CHANNELS * spec.state, exact),
            history: Numbers::new((spec.conv - 1) * spec.inner, spec.inner, exact),
        }
    }

    fn keep(&mut self, state: &mut SsmState, pool: &Pool) {
        self.h.keep(&mut state.h, pool);
        self.history.keep(&mut state.history, pool);
    }

    fn restore(&self, state: &mut SsmState) {
        self.h.restore(&mut state.h);
        self.history.restore(&mut state.history);
    }
}

/// Rounds numbers to halves of a common power-of-two scale, which is returned; any size of number
/// fits, and those within 2^28 of the largest keep eleven bits.
fn round_to_halves(h: &mut [f32], values: &mut [f16]) -> f32 {
    use half::slice::HalfFloatSliceExt;
    let most = h.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    // The largest number's own power of two, in [2^-100, 2^100] so that its inverse is a number too.
    let power = f32::from_bits(most.to_bits() & 0x7F80_0000).clamp(2f32.powi(-100), 2f32.powi(100));
    let scale = power / 16384.0;
    let inverse = 1.0 / scale;
    h.iter_mut().for_each(|v| *v *= inverse);
    values.convert_from_f32_slice(h);
    widen(h, values, scale);
    scale
}

fn widen(h: &mut [f32], values: &[f16], scale: f32) {
    use half::slice::HalfFloatSliceExt;
    values.convert_to_f32_slice(h);
    h.iter_mut().for_each(|v| *v *= scale);
}

/// Inputs of one state-space layer's recurrence for the newest tokens: rings by position.
struct Log {
    /// (128, E)
    xb: Vec<f32>,
    /// (128, 2N + 1)
    dbc: Vec<f32>,
}

/// Everything that is kept.
pub(crate) struct Rewind {
    budget: usize,
    exact: bool,
    checkpoints: VecDeque<Arc<Checkpoint>>,
    /// The checkpoints that the running forward pass is to fill.
    filling: Vec<Checkpoint>,
    /// Forgotten checkpoints, to be filled again; the first also serves for rounding without keeping.
    spare: Vec<Checkpoint>,
    /// What the checkpoints hold: for each layer its state space, if it has one.
    spec: Vec<Option<SsmSpec>>,
    /// See [`Rewind::stops`].
    stops: Vec<usize>,
    /// One for each layer, if the budget has room for them.
    logs: Vec<Option<Log>>,
    /// Logs hold tokens from here on.
    logged_from: usize,
    /// Bytes of a checkpoint, found from the spec.
    checkpoint_bytes: usize,
    log_bytes: usize,
}

impl Rewind {
    pub(crate) fn new(spec: &ModelSpec, budget: usize, exact: bool) -> Self {
        let mut checkpoint_bytes = 0;
        let mut log_bytes = 0;
        for layer in &spec.layers {
            if let Mixer::Ssm(m) = &layer.mixer {
                let numbers = m.inner * m.state + (m.conv - 1) * m.inner;
                let scales = m.inner.div_ceil(CHANNELS) + m.conv - 1;
                checkpoint_bytes += if exact { 4 * numbers } else { 2 * numbers + 4 * scales };
                log_bytes += 4 * LOGGED * (m.inner + 2 * m.state + 1);
            }
        }
        // Logs are worth a part of the budget, not most of it.
        let with_logs = log_bytes <= budget / 4;
        let logs = spec.layers.iter().map(|layer| match &layer.mixer {
            Mixer::Ssm(m) if with_logs => {
                Some(Log { xb: vec![0.0; LOGGED * m.inner], dbc: vec![0.0; LOGGED * (2 * m.state + 1)] })
            }
            _ => None,
        });
        Self {
            budget,
            exact,
            checkpoints: VecDeque::new(),
            filling: Vec::new(),
            spare: Vec::new(),
            spec: spec.layers.iter().map(|l| if let Mixer::Ssm(m) = &l.mixer { Some(*m) } else { None }).collect(),
            stops: Vec::new(),
            logs: logs.collect(),
            logged_from: if with_logs { 0 } else { usize::MAX },
            checkpoint_bytes,
            log_bytes: if with_logs { log_bytes } else { 0 },
        }
    }

    /// Prepares for reading `count` tokens from `position`: makes room in the budget, and readies
    /// the checkpoints that fall among them.
    pub(crate) fn begin(&mut self, position: usize, count: usize, layers: &mut [LayerState]) {
        let end = position + count;
        let stops = (position / FINE + 1..=end / FINE).map(|i| i * FINE);
        let kept = stops.clone().filter(|stop| stop.is_multiple_of(INTERVAL) || stop + NEWEST > end);
        let new = kept.clone().count();
        let room = (self.budget - self.budget / ALLOCATOR).saturating_sub(self.log_bytes);
        let needed = |this: &Self, layers: &[LayerState]| {
            let checkpoints = (this.checkpoints.len() + new) * this.checkpoint_bytes;
            checkpoints + kept_bytes(layers, this.keys_needed_from(position), end)
        };
        // The fine ones that will not be among the newest any more.
        let old = |c: &Arc<Checkpoint>| !c.position.is_multiple_of(INTERVAL) && c.position + NEWEST <= end;
        while let Some(index) = self.checkpoints.iter().position(old) {
            let forgotten = self.checkpoints.remove(index);
            self.recycle(forgotten);
        }
        while !self.checkpoints.is_empty() && needed(self, layers) > room {
            let forgotten = self.checkpoints.pop_front();
            self.recycle(forgotten);
        }
        self.forget_keys(position, layers);
        self.filling.clear();
        self.stops.clear();
        if new * self.checkpoint_bytes <= room {
            for position in kept {
                let mut checkpoint = self.spare.pop().unwrap_or_else(|| Checkpoint::new(&self.spec, self.exact));
                checkpoint.position = position;
                self.filling.push(checkpoint);
            }
        }
        self.spare.truncate(1);
        // States are rounded at every stop, whether it is kept or not: what a token's state is must
        // not depend on the pieces that the tokens came in.
        if self.exact {
            self.stops.extend(self.filling.iter().map(|c| c.position));
        } else {
            self.stops.extend(stops);
        }
    }

    /// The newest tokens are read and their checkpoints full.
    pub(crate) fn finish(&mut self, position: usize, layers: &mut [LayerState]) {
        self.checkpoints.extend(self.filling.drain(..).map(Arc::new));
        self.forget_keys(position, layers);
        if self.logged_from != usize::MAX {
            self.logged_from = self.logged_from.max(position.saturating_sub(LOGGED));
        }
    }

    /// The first position whose key some return, or the next token, can need; per window.
    fn keys_needed_from(&self, position: usize) -> usize {
        self.checkpoints.front().map_or(position, |c| c.position.min(position))
    }

    fn forget_keys(&self, position: usize, layers: &mut [LayerState]) {
        let from = self.keys_needed_from(position);
        for layer in layers {
            if let LayerState::Attention(cache) = layer {
                cache.forget_unseen_from(from);
            }
        }
    }

    /// Positions within the tokens being read at which [`Rewind::keep`] must be called.
    pub(crate) fn stops(&self) -> impl Iterator<Item = usize> {
        self.stops.iter().copied()
    }

    /// Keeps a layer's state at one of the stops, and rounds it as it is kept.
    pub(crate) fn keep(&mut self, layer: usize, position: usize, state: &mut SsmState, pool: &Pool) {
        if self.spare.is_empty() {
            self.spare.push(Checkpoint::new(&self.spec, self.exact));
        }
        // Where nothing is to be kept, a spare one serves for the rounding.
        let filling = self.filling.iter_mut().find(|c| c.position == position).or(self.spare.first_mut());
        if let Some(kept) = filling.and_then(|c| c.layers[layer].as_mut()) {
            kept.keep(state, pool);
        }
    }

    /// Takes back the memory of a checkpoint that nobody holds any more.
    fn recycle(&mut self, checkpoint: Option<Arc<Checkpoint>>) {
        self.spare.extend(checkpoint.and_then(Arc::into_inner));
    }

    /// Logs the inputs of a layer's recurrence: xb at the start of each row of `stride`.
    pub(crate) fn log(&mut self, layer: usize, position: usize, xb: &[f32], stride: usize, dbc: &[f32]) {
        let Some(log) = &mut self.logs[layer] else { return };
        let (inner, width) = (log.xb.len() / LOGGED, log.dbc.len() / LOGGED);
        let count = dbc.len() / width;
        for t in count.saturating_sub(LOGGED)..count {
            let row = (position + t) % LOGGED;
            log.xb[row * inner..][..inner].copy_from_slice(&xb[t * stride..][..inner]);
            log.dbc[row * width..][..width].copy_from_slice(&dbc[t * width..][..width]);
        }
    }

    /// The newest kept position from which a return to `position` can go on, and whether the keys
    /// that it needs are still there.
    pub(crate) fn best(&self, position: usize, layers: &[LayerState]) -> Option<Arc<Checkpoint>> {
        let newest = self.checkpoints.iter().rev().find(|c| c.position <= position)?;
        keys_reach(newest.position, layers).then(|| newest.clone())
    }

    /// True if the tokens from `from` to `to` are all logged, and lie together in the rings.
    pub(crate) fn logged(&self, from: usize, to: usize) -> bool {
        self.logged_from <= from && from % LOGGED + (to - from) <= LOGGED
    }

    /// Forgets what is after `position`; `logs_valid` if the logs before it are of this past.
    pub(crate) fn truncate(&mut self, position: usize, logs_valid: bool) {
        while self.checkpoints.back().is_some_and(|c| c.position > position) {
            self.checkpoints.pop_back();
        }
        if self.logged_from != usize::MAX && (!logs_valid || self.logged_from > position) {
            self.logged_from = position;
        }
    }

    pub(crate) fn checkpoints(&self) -> VecDeque<Arc<Checkpoint>> {
        self.checkpoints.clone()
    }

    pub(crate) fn set_checkpoints(&mut self, checkpoints: VecDeque<Arc<Checkpoint>>, position: usize) {
        self.checkpoints = checkpoints;
        self.truncate(position, false);
    }

    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Bytes of checkpoints and logs.
    pub(crate) fn bytes(&self) -> usize {
        let kept =
            |c: &Arc<Checkpoint>| c.layers.iter().flatten().map(|k| k.h.bytes() + k.history.bytes()).sum::<usize>();
        self.checkpoints.iter().map(kept).sum::<usize>() + self.log_bytes
    }

    /// Sets a layer's state to what it was at `to`: from the checkpoint (none is the beginning) and
    /// the logged inputs after it, which the caller has found to be there. `xc` is scratch of as many
    /// rows of E.
    #[allow(clippy::too_many_arguments, reason = "the parts of the model that one layer's replay touches")]
    pub(crate) fn replay(
        &self,
        layer: usize,
        checkpoint: Option<&Checkpoint>,
        to: usize,
        state: &mut SsmState,
        weights: &SsmWeights,
        spec: &SsmSpec,
        (pool, level): (&Pool, Level),
        xc: &mut [f32],
    ) {
        restore(checkpoint, layer, state);
        let from = checkpoint.map_or(0, |c| c.position);
        let (count, inner, width) = (to - from, spec.inner, 2 * spec.state + 1);
        let Some(log) = self.logs[layer].as_ref().filter(|_| count > 0) else { return };
        let row = from % LOGGED;
        let (xb, dbc) = (&log.xb[row * inner..][..count * inner], &log.dbc[row * width..][..count * width]);
        let xc = &mut xc[..count * inner];
        super::ssm::convolve(pool, level, weights, spec, &state.history, xb, inner, count, xc);
        let xc = &*xc;
        for_each(pool, Pieces::new(&mut state.h, CHANNELS * spec.state), |i, h| {
            let mut args = Scan {
                first: i * CHANNELS,
                inner,
                states: spec.state,
                decay: &weights.decay[i * CHANNELS * spec.state..][..h.len()],
                dt_weight: &weights.dt_weight,
                dt_bias: &weights.dt_bias,
                skip: &weights.skip,
                xc,
                dbc,
                xz: &[],
                tokens: 0..count,
                state: h,
            };
            ops::scan(level, &mut args, None);
        });
        state.push_history(xb, inner, count, spec);
    }
}

/// Sets a layer's state to a checkpoint's, or to the beginning.
fn restore(checkpoint: Option<&Checkpoint>, layer: usize, state: &mut SsmState) {
    match checkpoint.and_then(|c| c.layers[layer].as_ref()) {
        Some(kept) => kept.restore(state),
        None => {
            state.h.fill(0.0);
            state.history.fill(0.0);
        }
    }
}

/// True if every key that a token at `position` or after it can see is still there.
pub(crate) fn keys_reach(position: usize, layers: &[LayerState]) -> bool {
    layers.iter().all(|layer| match layer {
        LayerState::Attention(cache) => cache.reaches(position),
        LayerState::Ssm(_) => true,
    })
}

/// Bytes of keys and values that are only kept for a return to `from`, once `to` tokens are read.
fn kept_bytes(layers: &[LayerState], from: usize, to: usize) -> usize {
    let of = |layer: &LayerState| match layer {
        LayerState::Attention(cache) => cache.kept_bytes(from, to),
        LayerState::Ssm(_) => 0,
    };
    layers.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_hold_any_size_of_number() {
        for scale in [1e-30f32, 1e-6, 1.0, 1e6, 1e25] {
            let original: Vec<f32> = (0..64).map(|i| (i as f32 - 31.5) * scale).collect();
            let mut h = original.clone();
            let mut values = vec![f16::ZERO; 64];
            let power = round_to_halves(&mut h, &mut values);
            for (a, b) in original.iter().zip(&h) {
                assert!((a - b).abs() <= a.abs() / 2048.0, "{a} became {b}");
            }
            let mut again = vec![0.0; 64];
            widen(&mut again, &values, power);
            assert_eq!(again, h, "what is kept is what the live state became");
        }
        let mut zeros = vec![0.0; 4];
        round_to_halves(&mut zeros, &mut [f16::ZERO; 4]);
        assert_eq!(zeros, [0.0; 4]);
    }
}
