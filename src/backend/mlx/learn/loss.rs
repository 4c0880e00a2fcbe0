//! Losses of a sequence and of a pair, as one array that has slopes and some that only tell.

use anyhow::Result;
use mlx_rs::Array;

use super::super::ops::{self, number};
use super::network::Read;
use crate::backend::learn::{Losses, Preference};

/// Log-probabilities are kept at least this far below 0, where the odds would be infinite.
const MARGIN: f32 = 1e-6;

/// Cross-entropy summed over labels: what is made small, then the loss, the router's, and counts.
pub(super) fn tokens(read: &Read) -> Result<Vec<Array>> {
    let loss = ops::negative(&ops::sum(&read.log_probabilities)?)?;
    let mut all = vec![ops::add(&loss, &read.router)?, loss, read.router.clone()];
    all.extend(read.experts.iter().cloned());
    Ok(all)
}

/// ORPO of a pair: what is made small, then the loss, the router's, the parts, and counts.
pub(super) fn pair(chosen: &Read, rejected: &Read, beta: f32) -> Result<Vec<Array>> {
    let means = [ops::mean(&chosen.log_probabilities)?, ops::mean(&rejected.log_probabilities)?];
    let [c, r] = [&means[0], &means[1]].map(|mean| ops::minimum(mean, &number(-MARGIN)));
    let (c, r) = (c?, r?);
    let of_not = ops::subtract(&log1mexp(&c)?, &log1mexp(&r)?)?;
    let log_odds = ops::subtract(&ops::subtract(&c, &r)?, &of_not)?;
    // -log_sigmoid(x) = log(1 + e^-x)
    let odds = ops::logaddexp(&ops::multiply(&log_odds, &number(-beta))?, &number(0.0))?;
    let loss = ops::subtract(&odds, &means[0])?;
    let router = ops::add(&chosen.router, &rejected.router)?;
    let [c, r] = means;
    let mut all = vec![ops::add(&loss, &router)?, loss, router, odds, c, r];
    for (a, b) in chosen.experts.iter().zip(&rejected.experts) {
        all.push(ops::add(a, b)?);
    }
    Ok(all)
}

/// `log(1 - e^x)` for `x < 0`.
fn log1mexp(x: &Array) -> Result<Array> {
    let far = ops::log1p(&ops::negative(&ops::exp(x)?)?)?;
    let near = ops::log(&ops::negative(&ops::expm1(x)?)?)?;
    ops::select(&ops::less(x, &number(-std::f32::consts::LN_2))?, &far, &near)
}

/// What the arrays of a sequence with so many labels say, once they are computed.
pub(super) fn told_of_tokens(all: &[Array], labels: usize, tokens: usize) -> Result<Losses> {
    let mut losses = told(all, 3, tokens)?;
    losses.units = labels as f64;
    Ok(losses)
}

/// What the arrays of a pair say.
pub(super) fn told_of_pair(all: &[Array], tokens: usize) -> Result<Losses> {
    let mut losses = told(all, 6, tokens)?;
    let [odds, chosen, rejected] = [3, 4, 5].map(|i| single(&all[i]));
    let (odds, chosen, rejected) = (odds?, chosen?, rejected?);
    losses.units = 1.0;
    let wins = f64::from(u8::from(chosen > rejected));
    losses.preference = Preference { nll: -chosen, odds, chosen, rejected, wins };
    Ok(losses)
}

fn told(all: &[Array], experts: usize, tokens: usize) -> Result<Losses> {
    let counts = |a: &Array| anyhow::Ok(ops::floats(a)?.into_iter().map(|n| n.round() as u64).collect());
    Ok(Losses {
        loss: single(&all[1])?,
        router: single(&all[2])?,
        tokens: tokens as u64,
        experts: all[experts..].iter().map(counts).collect::<Result<Vec<_>>>()?,
        ..Losses::default()
    })
}

fn single(a: &Array) -> Result<f64> {
    Ok(ops::floats(a)?.first().copied().map_or(f64::NAN, f64::from))
}
