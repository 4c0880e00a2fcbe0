//! One layer: `x + mixer(norm(x))`, then `x + moe(norm(x))` if it has experts.

use super::attention::{self, Attention};
use super::buffers::Buffer;
use super::moe::{self, Moe, Routed};
use super::norm::Norm;
use super::parameters::Numbers;
use super::rows::Rows;
use super::ssm::{self, Ssm};
use super::work::Pass;
use crate::backend::cpu::ops;

/// A layer.
pub(super) struct Layer {
    pub(super) norm: Norm,
    pub(super) mixer: Mixer,
    pub(super) moe: Option<(Norm, Moe)>,
}

/// What mixes over time.
pub(super) enum Mixer {
    Ssm(Ssm),
    Attention(Attention),
}

/// What the backward pass needs beside the layer's input.
pub(super) struct Saved {
    /// norm(x): (T, D)
    normed: Buffer,
    mixer: MixerSaved,
    moe: Option<MoeSaved>,
}

enum MixerSaved {
    Ssm(ssm::Saved),
    Attention(attention::Saved),
}

struct MoeSaved {
    /// What comes out of the mixer: (T, D)
    x: Buffer,
    normed: Buffer,
    moe: moe::Saved,
}

impl Layer {
    /// Takes `x` (T, D) through the layer.
    pub(super) fn forward(&self, pass: &Pass<'_>, rows: &Rows<'_>, x: &mut [f32]) -> (Saved, Option<Routed>) {
        let buffers = &pass.work.buffers;
        let mut normed = buffers.get(x.len());
        self.norm.forward(pass, x, &mut normed);
        let mut mixed = buffers.get(x.len());
        let mixer = match &self.mixer {
            Mixer::Ssm(ssm) => MixerSaved::Ssm(ssm.forward(pass, rows, &normed, &mut mixed)),
            Mixer::Attention(attention) => MixerSaved::Attention(attention.forward(pass, rows, &normed, &mut mixed)),
        };
        let d = x.len() / rows.len();
        pass.by_rows(x, d, |first, x| ops::add(pass.work.level(), x, &mixed[first * d..][..x.len()]));
        let mut routed = None;
        let moe = self.moe.as_ref().map(|(norm, moe)| {
            let before = buffers.copy(x);
            let mut normed = mixed;
            norm.forward(pass, x, &mut normed);
            let (moe, of_router) = moe.forward(pass, &normed, x);
            routed = Some(of_router);
            MoeSaved { x: before, normed, moe }
        });
        (Saved { normed, mixer, moe }, routed)
    }

    /// Takes `dx` (T, D) backward through the layer, whose input was `x`.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        (x, saved): (&[f32], &Saved),
        dx: &mut [f32],
    ) {
        let mut d_normed = pass.work.buffers.get(x.len());
        if let Some(((norm, moe), saved)) = self.moe.as_ref().zip(saved.moe.as_ref()) {
            moe.backward(pass, gradients, (&saved.normed, &saved.moe), dx, &mut d_normed);
            norm.backward(pass, gradients, &saved.x, &d_normed, dx);
        }
        match (&self.mixer, &saved.mixer) {
            (Mixer::Ssm(ssm), MixerSaved::Ssm(mixer)) => {
                ssm.backward(pass, gradients, rows, (&saved.normed, mixer), dx, &mut d_normed);
            }
            (Mixer::Attention(attention), MixerSaved::Attention(mixer)) => {
                attention.backward(pass, gradients, rows, (&saved.normed, mixer), dx, &mut d_normed);
            }
            _ => unreachable!("what was saved is of the layer that saved it"),
        }
        self.norm.backward(pass, gradients, x, &d_normed, dx);
    }
}
