//! Training for 4 bits: what is computed with is what will be stored, and what is moved are the values behind it.
//!
//! ```text
//! forward, backward: W' = stored(W)        update: W -= rate * dL/dW'
//! ```
//!
//! So the model learns to live with the rounding, and quantising it afterwards changes nothing.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::parameters::{Numbers, Parameters};
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::split::{Pieces, for_each};
use crate::model::checkpoint::Format;
use crate::model::quant;
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Kind, tensors};

/// The group that `quantize` takes where it is not told another.
const GROUP: usize = 64;
/// Numbers of a task: whole groups.
const PIECE: usize = 1 << 14;

/// How 4 bits stand for a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FourBits {
    /// Even steps between a group's ends, as in MLX
    Affine4,
    /// The NormalFloat codebook of QLoRA, for weights that are spread like a bell
    Nf4,
}

impl From<FourBits> for Format {
    fn from(format: FourBits) -> Self {
        match format {
            FourBits::Affine4 => Format::Affine4,
            FourBits::Nf4 => Format::Nf4,
        }
    }
}

/// All values, those of matrices as they will be stored.
pub(super) struct Rounded {
    format: FourBits,
    /// Parameters that are rounded.
    matrices: Vec<usize>,
    pub(super) values: Numbers,
}

impl Rounded {
    /// For a model whose parameters are all trained. `own_head` as in the network.
    pub(super) fn new(format: FourBits, spec: &ModelSpec, own_head: bool, parameters: &Parameters) -> Self {
        let quantised: Vec<String> = tensors(spec)
            .into_iter()
            .filter(|tensor| tensor.quantised(GROUP))
            // A head that shares the table of embeddings is stored beside it.
            .map(|tensor| if tensor.kind == Kind::Head && !own_head { super::TABLE.to_owned() } else { tensor.name })
            .collect();
        let is_rounded = |at: &usize| quantised.contains(&parameters.list[*at].name);
        let matrices = (0..parameters.list.len()).filter(is_rounded).collect();
        Self { format, matrices, values: parameters.values.zeros_like() }
    }

    /// Takes everything anew, after the values have changed.
    pub(super) fn refresh(&mut self, pool: &Pool, exact: &Numbers) {
        let mut values = std::mem::take(&mut self.values);
        self.fill(pool, exact, &mut values);
        self.values = values;
    }

    /// The values as they will be stored.
    pub(super) fn fill(&self, pool: &Pool, exact: &Numbers, stored: &mut Numbers) {
        for (at, (to, from)) in stored.0.iter_mut().zip(&exact.0).enumerate() {
            if !self.matrices.contains(&at) {
                to.copy_from_slice(from);
                continue;
            }
            let format = self.format;
            for_each(pool, Pieces::new(to, PIECE), |task, piece| {
                let from = &from[task * PIECE..][..piece.len()];
                for (to, from) in piece.chunks_exact_mut(GROUP).zip(from.chunks_exact(GROUP)) {
                    let mut codes = [0; GROUP];
                    match format {
                        FourBits::Affine4 => drop(quant::affine4_stored(from, &mut codes, to)),
                        FourBits::Nf4 => drop(quant::nf4_stored(from, &mut codes, to)),
                    }
                }
            });
        }
    }

    /// The table of embeddings, where it is rounded as the head but read as it is.
    pub(super) fn table(&self, parameters: &Parameters) -> Option<usize> {
        self.matrices.iter().copied().find(|at| parameters.list[*at].name == super::TABLE)
    }
}
