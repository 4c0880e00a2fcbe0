//! Sequences one after the other: forward, loss, backward.
//!
//! Each sequence adds to the gradients by itself and in the same order of operations, so that a batch gives the
//! same sums, to the bit, however it is cut into calls.

use anyhow::{Result, ensure};

use super::head::Ending;
use super::network::{Forward, Keep, Network};
use super::parameters::Numbers;
use super::preference::pair;
use super::rows::Rows;
use super::work::{Dropout, Pass, Work};
use crate::backend::learn::{Losses, Objective, RouterLosses, Sequence};

/// What a batch is computed with.
pub(super) struct Batch<'a> {
    pub(super) work: &'a Work,
    pub(super) network: &'a Network,
    pub(super) values: &'a Numbers,
    /// See [`Pass::table`].
    pub(super) table: &'a Numbers,
    pub(super) router: RouterLosses,
    pub(super) keep: Keep,
    /// Share of the adapters' inputs that is dropped, and the seed that draws them.
    pub(super) dropout: (f32, u64),
    pub(super) cancelled: &'a dyn Fn() -> bool,
}

/// Checks all sequences, before anything is computed.
pub(crate) fn check<'a>(sequences: &'a [Sequence], objective: Objective, vocab: usize) -> Result<Vec<Rows<'a>>> {
    let rows = sequences.iter().map(|s| Rows::new(s, vocab)).collect::<Result<Vec<_>>>()?;
    if let Objective::Preference { beta } = objective {
        ensure!(beta.is_finite(), "beta must be a number, not {beta}");
        ensure!(rows.len().is_multiple_of(2), "{} sequences are no pairs of chosen and rejected", rows.len());
        if let Some(i) = rows.iter().position(|r| r.labels.is_empty()) {
            let which = if i.is_multiple_of(2) { "chosen" } else { "rejected" };
            anyhow::bail!("the {which} answer of pair {} has no token that bears loss", i / 2 + 1);
        }
    }
    Ok(rows)
}

impl<'a> Batch<'a> {
    /// The losses of all sequences; adds their gradients where there are any to add to. `None` if cancelled.
    pub(super) fn run(
        &self,
        rows: &[Rows<'_>],
        objective: Objective,
        mut gradients: Option<&mut Numbers>,
    ) -> Option<Losses> {
        let mut losses = Losses::default();
        match objective {
            Objective::Tokens => {
                for rows in rows {
                    losses.add(&self.tokens(rows, gradients.as_deref_mut())?);
                }
            }
            Objective::Preference { beta } => {
                for rows in rows.chunks_exact(2) {
                    losses.add(&self.pair(&rows[0], &rows[1], f64::from(beta), gradients.as_deref_mut())?);
                }
            }
        }
        Some(losses)
    }

    /// How a sequence is taken through the model if its loss counts as `units`.
    fn pass(&self, rows: &Rows<'_>, units: f32) -> Pass<'a> {
        let (rate, seed) = self.dropout;
        Pass {
            work: self.work,
            values: self.values,
            table: self.table,
            dropout: Dropout::new(rate, seed, rows.tokens),
            router: (self.router.balance * units, self.router.z * units),
        }
    }

    /// Through all layers and to the rows that bear loss.
    fn forward(&self, pass: &Pass<'_>, rows: &Rows<'_>, losses: &mut Losses) -> Option<(Forward, Ending)> {
        let forward = self.network.forward(pass, rows, self.keep, self.cancelled)?;
        let ending = self.network.head.begin(pass, rows, &forward.x);
        losses.router += forward.routed.iter().map(|r| r.loss).sum::<f64>();
        losses.experts = forward.routed.iter().map(|r| r.counts.clone()).collect();
        Some((forward, ending))
    }

    /// Cross-entropy of one sequence.
    fn tokens(&self, rows: &Rows<'_>, gradients: Option<&mut Numbers>) -> Option<Losses> {
        let mut losses = Losses { units: rows.labels.len() as f64, tokens: rows.given as u64, ..Losses::default() };
        if rows.labels.is_empty() {
            return Some(losses);
        }
        let pass = self.pass(rows, rows.labels.len() as f32);
        let (forward, ending) = self.forward(&pass, rows, &mut losses)?;
        let head = &self.network.head;
        let Some(gradients) = gradients else {
            losses.loss = -head.log_probability(&pass, rows, &ending);
            return Some(losses);
        };
        let (sum, dx) = head.backward(&pass, gradients, rows, &ending, 1.0);
        losses.loss = -sum;
        drop(ending);
        self.network.backward(&pass, gradients, rows, forward, dx, self.cancelled)?;
        Some(losses)
    }

    /// ORPO of one pair.
    fn pair(
        &self,
        chosen: &Rows<'_>,
        rejected: &Rows<'_>,
        beta: f64,
        gradients: Option<&mut Numbers>,
    ) -> Option<Losses> {
        let mut losses = Losses::default();
        let mut sides = Vec::with_capacity(2);
        for rows in [chosen, rejected] {
            // A pair is one unit, and the router reads two sequences for it.
            let pass = self.pass(rows, 0.5);
            let mut side = Losses { tokens: rows.given as u64, ..Losses::default() };
            let (forward, ending) = self.forward(&pass, rows, &mut side)?;
            let mean = self.network.head.log_probability(&pass, rows, &ending) / rows.labels.len() as f64;
            losses.add(&side);
            sides.push((pass, rows, forward, ending, mean));
        }
        let pair = pair(sides[0].4, sides[1].4, beta);
        losses.units = 1.0;
        losses.loss = pair.total;
        losses.preference = pair.parts;
        if let Some(gradients) = gradients {
            let slopes = [pair.slope_chosen, pair.slope_rejected];
            for ((pass, rows, forward, ending, _), slope) in sides.into_iter().zip(slopes) {
                let weight = (-slope / rows.labels.len() as f64) as f32;
                let (_, dx) = self.network.head.backward(&pass, gradients, rows, &ending, weight);
                drop(ending);
                self.network.backward(&pass, gradients, rows, forward, dx, self.cancelled)?;
            }
        }
        Some(losses)
    }
}
