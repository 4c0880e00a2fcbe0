//! The recurrence `h = exp(dt A) h + (dt x) B`, `y = h C`, over many tokens in few steps.
//!
//! Tokens are cut into runs. All runs advance side by side, each from nothing; then the state is carried from run to
//! run, and what it adds to a run's tokens follows from the run's own decay. Every exponent is negative, so nothing
//! can overflow, and nothing is left out: the result is the recurrence's own, in another order of sums.

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::compiled::Function;
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

/// How the recurrence is computed.
pub(crate) struct Scan {
    /// `decay, h, dt, x, b, c` of one token to `y, h`.
    step: Function,
    /// The same of whole runs (runs, RUN, ..), to `y` and all states.
    piece: Function,
}

impl Scan {
    /// `compiled`: by MLX, once for each number of runs.
    pub(crate) fn new(compiled: bool) -> Self {
        let step = Function::new("a token of the scan", step, compiled);
        Self { step, piece: Function::new("the scan", piece, compiled) }
    }

    /// `y` (T, E), and the states, from the state `h` (N, E). `decay` is A (N, E).
    pub(crate) fn forward(&self, decay: &Array, h: &Array, inputs: &Inputs, count: usize) -> Result<(Array, States)> {
        if count == 1 {
            let all = [decay, h, &inputs.dt, &inputs.x, &inputs.b, &inputs.c].map(Array::clone);
            let [y, h] = two(self.step.call(&all)?)?;
            return Ok((y, States(vec![(0, ops::expand(&h, &[0])?)])));
        }
        let (mut outputs, mut pieces, mut h) = (Vec::new(), Vec::new(), h.clone());
        for first in (0..count).step_by(RUN * SIDE) {
            let tokens = (count - first).min(RUN * SIDE);
            // What is compiled has few shapes; else a short run is left short.
            let run = if self.piece.is_compiled() { RUN } else { tokens.min(RUN) };
            let [dt, x, b, c] = [&inputs.dt, &inputs.x, &inputs.b, &inputs.c]
                .map(|a| filled(&ops::narrow(a, 0, first..first + tokens)?, tokens, run));
            let [y, states] = two(self.piece.call(&[decay.clone(), h, dt?, x?, b?, c?])?)?;
            h = ops::row(&states, tokens - 1)?;
            outputs.push(ops::narrow(&y, 0, 0..tokens)?);
            pieces.push((first, states));
        }
        let y = ops::concatenate(&outputs.iter().collect::<Vec<_>>(), 0)?;
        Ok((y, States(pieces)))
    }
}

fn two(all: Vec<Array>) -> Result<[Array; 2]> {
    all.try_into().map_err(|all: Vec<Array>| anyhow::anyhow!("the scan gave {} arrays where two belong", all.len()))
}

/// Whole runs (runs, run, ..) of `count` tokens and some that are 0. A token whose time step is 0 leaves the state as
/// it is.
fn filled(a: &Array, count: usize, run: usize) -> Result<Array> {
    let (runs, width) = (count.div_ceil(run), a.dim(1) as usize);
    let missing = runs * run - count;
    if missing == 0 {
        return ops::reshape(a, &[runs, run, width]);
    }
    let zeros = ops::zeros(&[missing, width], Dtype::Float32)?;
    ops::reshape(&ops::concatenate(&[a, &zeros], 0)?, &[runs, run, width])
}

/// One token: `y` (1, E) and the state (N, E).
fn step(inputs: &[Array]) -> Result<Vec<Array>> {
    let [decay, h, dt, x, b, c] = inputs else { anyhow::bail!("the scan takes six arrays") };
    let fresh = ops::multiply(&ops::transpose(b, &[1, 0])?, &ops::multiply(dt, x)?)?;
    let kept = ops::multiply(&ops::exp(&ops::multiply(decay, dt)?)?, h)?;
    let h = ops::add(&kept, &fresh)?;
    Ok(vec![ops::matmul(c, &h)?, h])
}

/// Whole runs: `y` (T, E) and the states (T, N, E).
fn piece(inputs: &[Array]) -> Result<Vec<Array>> {
    let [decay, h, dt, x, b, c] = inputs else { anyhow::bail!("the scan takes six arrays") };
    let size = |a: &Array, i: usize| a.shape()[i] as usize;
    let (runs, run, n, e) = (size(dt, 0), size(dt, 1), size(decay, 0), size(decay, 1));
    // (runs, run, N, E)
    let wide = |a: &Array| ops::expand(a, &[2]);
    let factor = ops::exp(&ops::multiply(&wide(dt)?, decay)?)?;
    let fresh = ops::multiply(&wide(&ops::multiply(dt, x)?)?, &ops::expand(b, &[3])?)?;

    let token = |a: &Array, i: usize| -> Result<Array> { ops::reshape(&ops::narrow(a, 1, i..i + 1)?, &[runs, n, e]) };
    let mut alone = vec![token(&fresh, 0)?];
    for i in 1..run {
        let kept = ops::multiply(&token(&factor, i)?, &alone[i - 1])?;
        alone.push(ops::add(&kept, &token(&fresh, i)?)?);
    }
    // What is left of a run's first state at each of its tokens.
    let left = ops::exp(&ops::multiply(&wide(&ops::cumsum(dt, 1)?)?, decay)?)?;
    let left_of_all = token(&left, run - 1)?;
    let mut carried = vec![h.clone()];
    for r in 0..runs - 1 {
        let kept = ops::multiply(&ops::row(&left_of_all, r)?, &carried[r])?;
        carried.push(ops::add(&kept, &ops::row(&alone[run - 1], r)?)?);
    }
    let before = ops::expand(&ops::stack(&carried, 0)?, &[1])?;
    let states = ops::add(&ops::stack(&alone, 1)?, &ops::multiply(&left, &before)?)?;
    let states = ops::reshape(&states, &[runs * run, n, e])?;
    let c = ops::reshape(c, &[runs * run, 1, n])?;
    Ok(vec![ops::reshape(&ops::matmul(&c, &states)?, &[runs * run, e])?, states])
}
