//! The recurrence `h = exp(dt A) h + (dt x) B`, `y = h C`, over many tokens in few steps.
//!
//! Tokens are cut into runs. All runs advance side by side, each from nothing; then the state is carried from run to
//! run, and what it adds to a run's tokens follows from the run's own decay. Every exponent is negative, so nothing
//! can overflow, and nothing is left out: the result is the recurrence's own, in another order of sums.

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::ops;

/// Tokens in a run.
const RUN: usize = 16;
/// Runs that advance side by side: what they hold at once is `RUN * SIDE` states.
const SIDE: usize = 8;

/// What drives the recurrence, for each token.
pub(crate) struct Inputs {
    /// (T, E)
    pub(crate) dt: Array,
    /// (T, E)
    pub(crate) x: Array,
    /// (T, N)
    pub(crate) b: Array,
    /// (T, N)
    pub(crate) c: Array,
}

/// The states after every token: pieces (T, N, E), each with the token at which it begins.
pub(crate) struct States(Vec<(usize, Array)>);

impl States {
    /// The state (N, E) after the first `count` tokens; at least one.
    pub(crate) fn after(&self, count: usize) -> Result<Array> {
        let last = count - 1;
        let piece = self.0.iter().rev().find(|(first, _)| *first <= last);
        let Some((first, states)) = piece else { anyhow::bail!("no state was kept of token {last}") };
        ops::contiguous(&ops::row(states, last - first)?)
    }
}

/// `y` (T, E), and the states, from the state `h` (N, E). `decay` is A (N, E).
pub(crate) fn forward(decay: &Array, h: &Array, inputs: &Inputs, count: usize) -> Result<(Array, States)> {
    if count == 1 {
        return step(decay, h, inputs);
    }
    let (mut outputs, mut pieces, mut h) = (Vec::new(), Vec::new(), h.clone());
    for first in (0..count).step_by(RUN * SIDE) {
        let tokens = (count - first).min(RUN * SIDE);
        let part = |a: &Array| ops::narrow(a, 0, first..first + tokens);
        let inputs = Inputs { dt: part(&inputs.dt)?, x: part(&inputs.x)?, b: part(&inputs.b)?, c: part(&inputs.c)? };
        let (y, states) = piece(decay, &h, &inputs, tokens)?;
        h = ops::row(&states, tokens - 1)?;
        outputs.push(y);
        pieces.push((first, states));
    }
    let y = ops::concatenate(&outputs.iter().collect::<Vec<_>>(), 0)?;
    Ok((y, States(pieces)))
}

/// One token.
fn step(decay: &Array, h: &Array, inputs: &Inputs) -> Result<(Array, States)> {
    let b = ops::transpose(&inputs.b, &[1, 0])?;
    let fresh = ops::multiply(&b, &ops::multiply(&inputs.dt, &inputs.x)?)?;
    let kept = ops::multiply(&ops::exp(&ops::multiply(decay, &inputs.dt)?)?, h)?;
    let h = ops::add(&kept, &fresh)?;
    let y = ops::matmul(&inputs.c, &h)?;
    Ok((y, States(vec![(0, ops::expand(&h, &[0])?)])))
}

/// At most `RUN * SIDE` tokens: `y` (T, E) and the states (T, N, E).
fn piece(decay: &Array, h: &Array, inputs: &Inputs, count: usize) -> Result<(Array, Array)> {
    let run = if count < RUN { count } else { RUN };
    let runs = count.div_ceil(run);
    let (n, e) = (decay.dim(0) as usize, decay.dim(1) as usize);
    // A token whose time step is 0 leaves the state as it is.
    let filled = |a: &Array, width: usize| -> Result<Array> {
        let missing = runs * run - count;
        let a = if missing == 0 {
            a.clone()
        } else {
            ops::concatenate(&[a, &ops::zeros(&[missing, width], Dtype::Float32)?], 0)?
        };
        ops::reshape(&a, &[runs, run, width])
    };
    let (dt, x, b) = (filled(&inputs.dt, e)?, filled(&inputs.x, e)?, filled(&inputs.b, n)?);
    // (runs, run, N, E)
    let wide = |a: &Array| ops::expand(a, &[2]);
    let factor = ops::exp(&ops::multiply(&wide(&dt)?, decay)?)?;
    let fresh = ops::multiply(&wide(&ops::multiply(&dt, &x)?)?, &ops::expand(&b, &[3])?)?;

    let token = |a: &Array, i: usize| -> Result<Array> { ops::reshape(&ops::narrow(a, 1, i..i + 1)?, &[runs, n, e]) };
    let mut alone = vec![token(&fresh, 0)?];
    for i in 1..run {
        let kept = ops::multiply(&token(&factor, i)?, &alone[i - 1])?;
        alone.push(ops::add(&kept, &token(&fresh, i)?)?);
    }
    // What is left of a run's first state at each of its tokens.
    let left = ops::exp(&ops::multiply(&wide(&ops::cumsum(&dt, 1)?)?, decay)?)?;
    let left_of_all = token(&left, run - 1)?;
    let mut carried = vec![h.clone()];
    for r in 0..runs - 1 {
        let kept = ops::multiply(&ops::row(&left_of_all, r)?, &carried[r])?;
        carried.push(ops::add(&kept, &ops::row(&alone[run - 1], r)?)?);
    }
    let before = ops::expand(&ops::stack(&carried, 0)?, &[1])?;
    let states = ops::add(&ops::stack(&alone, 1)?, &ops::multiply(&left, &before)?)?;
    let states = ops::narrow(&ops::reshape(&states, &[runs * run, n, e])?, 0, 0..count)?;
    let y = ops::matmul(&ops::expand(&inputs.c, &[1])?, &states)?;
    Ok((ops::reshape(&y, &[count, e])?, states))
}
