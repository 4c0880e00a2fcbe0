//! The whole model, forward and backward over one sequence.
//!
//! ```text
//! x = embed[ids] input_proj^T;  the layers;  the head
//! ```
//!
//! With `recompute` only the input of each layer is kept, and its forward pass is made again, to the same bits,
//! when its backward pass comes: memory then grows with the depth by one row of D numbers a token and layer.

use super::buffers::Buffer;
use super::head::Head;
use super::layer::{Layer, Mixer, Saved};
use super::linear::{Kept, Linear};
use super::moe::Routed;
use super::parameters::Numbers;
use super::rows::Rows;
use super::weight::{Few, To, Weight};
use super::work::{Pass, Work};

/// The model.
pub(super) struct Network {
    /// (V, S)
    pub(super) embed: Weight,
    pub(super) input: Linear,
    pub(super) layers: Vec<Layer>,
    pub(super) head: Head,
    /// The head is not the table of embeddings.
    pub(super) own_head: bool,
}

/// What a forward pass leaves.
pub(super) struct Forward {
    /// Rows of the table: (T, S)
    embedded: Buffer,
    input_kept: Option<Kept>,
    /// Inputs of the layers, and what was saved of those that are not to be computed again.
    layers: Vec<(Buffer, Option<Saved>)>,
    /// Output of the last layer: (T, D)
    pub(super) x: Buffer,
    /// Of each layer with experts.
    pub(super) routed: Vec<Routed>,
}

/// What a forward pass keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing: there will be no backward pass.
    Nothing,
    /// The layers' inputs, and all of the last one, whose backward pass comes first.
    Inputs,
    /// All that the backward pass needs.
    All,
}

impl Network {
    /// `None` if it was cancelled.
    pub(super) fn forward(
        &self,
        pass: &Pass<'_>,
        rows: &Rows<'_>,
        keep: Keep,
        cancelled: &dyn Fn() -> bool,
    ) -> Option<Forward> {
        let (t, s, d) = (rows.len(), self.embed.cols(), self.input.weight.rows());
        let mut embedded = pass.work.buffers.get(t * s);
        for (id, row) in rows.tokens.iter().zip(embedded.chunks_exact_mut(s)) {
            self.embed.row(pass.table, *id as usize, row);
        }
        let mut x = pass.work.buffers.get(t * d);
        let input_kept = self.input.forward(pass, &embedded, &mut x);
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut routed = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            if cancelled() {
                return None;
            }
            let input = (keep != Keep::Nothing).then(|| pass.work.buffers.copy(&x));
            let (saved, of_router) = layer.forward(pass, rows, &mut x);
            routed.extend(of_router);
            let whole = keep == Keep::All || i + 1 == self.layers.len();
            layers.extend(input.map(|input| (input, whole.then_some(saved))));
        }
        Some(Forward { embedded, input_kept, layers, x, routed })
    }

    /// Takes the gradient of the last layer's output back to the beginning. `None` if it was cancelled.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        forward: Forward,
        mut dx: Buffer,
        cancelled: &dyn Fn() -> bool,
    ) -> Option<()> {
        let Forward { embedded, input_kept, layers, mut x, .. } = forward;
        for (layer, (input, saved)) in self.layers.iter().zip(layers).rev() {
            if cancelled() {
                return None;
            }
            let saved = saved.unwrap_or_else(|| {
                x.copy_from_slice(&input);
                layer.forward(pass, rows, &mut x).0
            });
            layer.backward(pass, gradients, rows, (&input, &saved), &mut dx);
        }
        let Weight::Trained { place, cols, .. } = &self.embed else {
            self.input.backward(pass, gradients, &embedded, input_kept.as_ref(), &dx, To::Nowhere);
            return Some(());
        };
        let mut d_embedded = pass.work.buffers.get(embedded.len());
        self.input.backward(pass, gradients, &embedded, input_kept.as_ref(), &dx, To::Set(&mut d_embedded));
        let table = gradients.at_mut(*place);
        for (id, from) in rows.tokens.iter().zip(d_embedded.chunks_exact(*cols)) {
            let row = &mut table[*id as usize * cols..][..*cols];
            row.iter_mut().zip(from).for_each(|(to, v)| *to += v);
        }
        Some(())
    }

    /// Takes what follows from the trained values anew, after they have changed.
    pub(super) fn refresh(&mut self, work: &Work, values: &Numbers) {
        self.linears_mut().into_iter().for_each(|linear| linear.refresh(work, values));
    }

    /// Every linear layer, in the order in which the forward pass meets them.
    pub(super) fn linears(&self) -> Vec<&Linear> {
        let mut all = vec![&self.input];
        for layer in &self.layers {
            match &layer.mixer {
                Mixer::Ssm(m) => all.extend([&m.in_proj, &m.x_proj, &m.out_proj]),
                Mixer::Attention(m) => all.extend([&m.q, &m.k, &m.v, &m.o]),
            }
            if let Some((_, moe)) = &layer.moe {
                all.push(&moe.gate);
                for expert in &moe.experts {
                    all.extend([&expert.gate, &expert.up, &expert.down]);
                }
                if let Some((gate, expert)) = &moe.shared {
                    all.extend([gate, &expert.gate, &expert.up, &expert.down]);
                }
            }
        }
        all.push(&self.head.output);
        all
    }

    /// See `linears`.
    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = vec![&mut self.input];
        for layer in &mut self.layers {
            match &mut layer.mixer {
                Mixer::Ssm(m) => all.extend([&mut m.in_proj, &mut m.x_proj, &mut m.out_proj]),
                Mixer::Attention(m) => all.extend([&mut m.q, &mut m.k, &mut m.v, &mut m.o]),
            }
            if let Some((_, moe)) = &mut layer.moe {
                all.push(&mut moe.gate);
                for expert in &mut moe.experts {
                    all.extend([&mut expert.gate, &mut expert.up, &mut expert.down]);
                }
                if let Some((gate, expert)) = &mut moe.shared {
                    all.extend([gate, &mut expert.gate, &mut expert.up, &mut expert.down]);
                }
            }
        }
        all.push(&mut self.head.output);
        all
    }

    /// Bytes of what is frozen; a table that is also the head counts once.
    pub(super) fn frozen_bytes(&self) -> usize {
        let few = |all: &[&Few]| all.iter().map(|few| few.frozen_bytes()).sum::<usize>();
        let layers = self.layers.iter().map(|layer| {
            let mixer = match &layer.mixer {
                Mixer::Ssm(m) => few(&[&m.conv_weight, &m.conv_bias, &m.dt_weight, &m.dt_bias, &m.a_log, &m.skip]),
                Mixer::Attention(_) => 0,
            };
            few(&[&layer.norm.weight]) + mixer + layer.moe.as_ref().map_or(0, |(norm, _)| few(&[&norm.weight]))
        });
        let ends = self.embed.frozen_bytes() + if self.own_head { self.head.table.frozen_bytes() } else { 0 };
        let linears = self.linears().into_iter().map(Linear::frozen_bytes);
        ends + layers.sum::<usize>() + linears.sum::<usize>()
    }
}
