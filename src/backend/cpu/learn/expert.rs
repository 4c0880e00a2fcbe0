//! A SwiGLU expert: `down(silu(gate u) * up u)`.

use super::buffers::Buffer;
use super::linear::{Kept, Linear};
use super::parameters::Numbers;
use super::weight::To;
use super::work::Pass;
use crate::backend::cpu::ops;
use crate::backend::cpu::split::{Pieces, for_each};

/// One expert.
pub(super) struct Expert {
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// What the backward pass needs.
pub(super) struct Saved {
    /// (n, I)
    gate: Buffer,
    up: Buffer,
    inner: Buffer,
    kept: [Option<Kept>; 3],
}

/// Numbers of a task.
const PIECE: usize = 4096;

impl Expert {
    /// `out = expert(x)`, for rows of `x`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &[f32], out: &mut [f32]) -> Saved {
        let len = x.len() / self.gate.weight.cols() * self.gate.weight.rows();
        let buffers = &pass.work.buffers;
        let (mut gate, mut up, mut inner) = (buffers.get(len), buffers.get(len), buffers.get(len));
        let gate_kept = self.gate.forward(pass, x, &mut gate);
        let up_kept = self.up.forward(pass, x, &mut up);
        for_each(pass.work.pool(), Pieces::new(&mut inner, PIECE), |i, out| {
            let at = i * PIECE..i * PIECE + out.len();
            ops::swiglu(pass.work.level(), &gate[at.clone()], &up[at], out);
        });
        let down_kept = self.down.forward(pass, &inner, out);
        Saved { gate, up, inner, kept: [gate_kept, up_kept, down_kept] }
    }

    /// Adds the gradients of what is trained, and gives that of the input.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        (x, saved): (&[f32], &Saved),
        dy: &[f32],
        dx: To<'_>,
    ) {
        let [gate_kept, up_kept, down_kept] = &saved.kept;
        let mut d_gate = pass.work.buffers.get(saved.inner.len());
        self.down.backward(pass, gradients, &saved.inner, down_kept.as_ref(), dy, To::Set(&mut d_gate));
        let mut d_up = pass.work.buffers.get(saved.inner.len());
        let split = (Pieces::new(&mut d_gate, PIECE), Pieces::new(&mut d_up, PIECE));
        for_each(pass.work.pool(), split, |i, (d_gate, d_up)| {
            let at = i * PIECE..i * PIECE + d_gate.len();
            ops::swiglu_back(pass.work.level(), &saved.gate[at.clone()], &saved.up[at], d_gate, d_up);
        });
        let dx = match dx {
            To::Nowhere => {
                self.gate.backward(pass, gradients, x, gate_kept.as_ref(), &d_gate, To::Nowhere);
                return self.up.backward(pass, gradients, x, up_kept.as_ref(), &d_up, To::Nowhere);
            }
            To::Set(dx) => {
                self.gate.backward(pass, gradients, x, gate_kept.as_ref(), &d_gate, To::Set(&mut *dx));
                dx
            }
            To::Add(dx) => {
                self.gate.backward(pass, gradients, x, gate_kept.as_ref(), &d_gate, To::Add(&mut *dx));
                dx
            }
        };
        self.up.backward(pass, gradients, x, up_kept.as_ref(), &d_up, To::Add(dx));
    }
}
