//! The weights of a model as MLX's arrays.

use anyhow::{Context, Result};
use mlx_rs::Array;

use super::linear::{Base, Weight};
use super::ops;
use crate::model::checkpoint::Checkpoint;
use crate::model::matrix::Matrix;
use crate::model::spec::{Mixer, ModelSpec};
use crate::model::tensors::{TensorSpec, tensors};

/// Everything that a model holds.
#[derive(Clone)]
pub(crate) struct Weights {
    /// (V, S)
    pub(crate) embed: Embedding,
    /// (D, S)
    pub(crate) input: Weight,
    pub(crate) layers: Vec<LayerWeights>,
    /// (S, D)
    pub(crate) output: Weight,
    /// (V, S)
    pub(crate) head: Weight,
}

/// The table of which each token takes a row.
#[derive(Clone)]
pub(crate) enum Embedding {
    /// Left in its file: of a large table, a few rows are looked up.
    Stored(Matrix),
    /// The head's own matrix (S, V), where the two are one.
    Head(Array),
}

/// One layer.
#[derive(Clone)]
pub(crate) struct LayerWeights {
    /// (D)
    pub(crate) norm: Array,
    pub(crate) mixer: MixerWeights,
    pub(crate) moe: Option<MoeWeights>,
}

/// What mixes over time.
#[derive(Clone)]
pub(crate) enum MixerWeights {
    Ssm(SsmWeights),
    Attention(AttentionWeights),
}

/// Axon-SSM.
#[derive(Clone)]
pub(crate) struct SsmWeights {
    /// (2E, D)
    pub(crate) in_proj: Weight,
    /// K of them, the current token's last: (E)
    pub(crate) taps: Vec<Array>,
    /// (E)
    pub(crate) conv_bias: Array,
    /// (2N + 1, E)
    pub(crate) x_proj: Weight,
    /// (E)
    pub(crate) dt_weight: Array,
    /// (E)
    pub(crate) dt_bias: Array,
    /// `-exp(A_log)`: (N, E), channels innermost
    pub(crate) decay: Array,
    /// (E)
    pub(crate) skip: Array,
    /// (D, E)
    pub(crate) out_proj: Weight,
}

/// Sliding-window attention.
#[derive(Clone)]
pub(crate) struct AttentionWeights {
    /// (H * hd, D)
    pub(crate) q: Weight,
    /// (H * hd, D)
    pub(crate) k: Weight,
    /// (H * hd, D)
    pub(crate) v: Weight,
    /// (D, H * hd)
    pub(crate) o: Weight,
}

/// A mixture of experts.
#[derive(Clone)]
pub(crate) struct MoeWeights {
    /// (D)
    pub(crate) norm: Array,
    /// (X, D)
    pub(crate) gate: Weight,
    /// X of each.
    pub(crate) experts: ExpertWeights,
    /// (1, D), and the expert.
    pub(crate) shared: Option<(Weight, ExpertWeights)>,
}

/// One SwiGLU expert, or a stack of them.
#[derive(Clone)]
pub(crate) struct ExpertWeights {
    /// (I, D)
    pub(crate) gate: Weight,
    /// (I, D)
    pub(crate) up: Weight,
    /// (D, I)
    pub(crate) down: Weight,
}

/// Takes tensors out of a checkpoint in the order of the model's own list, so that names and shapes
/// are written in one place only.
struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    rest: std::vec::IntoIter<TensorSpec>,
    halves: bool,
}

impl Reader<'_> {
    fn next(&mut self, suffix: &str) -> Result<TensorSpec> {
        let tensor = self.rest.next().with_context(|| format!("the model has no tensor for {suffix}"))?;
        anyhow::ensure!(tensor.name.ends_with(suffix), "{} stands where {suffix} should", tensor.name);
        Ok(tensor)
    }

    fn floats(&mut self, suffix: &str) -> Result<Vec<f32>> {
        let tensor = self.next(suffix)?;
        self.checkpoint.floats(&tensor)
    }

    fn vector(&mut self, suffix: &str) -> Result<Array> {
        let values = self.floats(suffix)?;
        Ok(ops::array(&values, &[values.len()]))
    }

    fn linear(&mut self, suffix: &str) -> Result<Weight> {
        let tensor = self.next(suffix)?;
        Weight::new(path_of(&tensor), &self.checkpoint.matrix(&tensor)?, self.halves)
            .with_context(|| tensor.name.clone())
    }

    fn stack(&mut self, suffix: &str) -> Result<Weight> {
        let tensor = self.next(suffix)?;
        let count = tensor.shape[0];
        Weight::stack(path_of(&tensor), &self.checkpoint.stacked(&tensor)?, count, self.halves)
            .with_context(|| tensor.name.clone())
    }
}

impl Weights {
    /// Copies a checkpoint's tensors to their places. `halves`: products take their inputs as halves where the
    /// weights are stored so.
    pub(crate) fn bind(checkpoint: &Checkpoint, spec: &ModelSpec, halves: bool) -> Result<Self> {
        refuse_nf4(checkpoint, spec)?;
        let mut reader = Reader { checkpoint, rest: tensors(spec).into_iter(), halves };
        let r = &mut reader;
        let table = checkpoint.matrix(&r.next("embed_tokens.weight")?)?;
        let input = r.linear("input_proj.weight")?;
        let layers = spec.layers.iter().map(|layer| {
            let norm = r.vector("input_norm.weight")?;
            let mixer = match &layer.mixer {
                Mixer::Ssm(ssm) => MixerWeights::Ssm(SsmWeights {
                    in_proj: r.linear("in_proj.weight")?,
                    taps: taps(&r.floats("conv1d.weight")?, ssm.conv),
                    conv_bias: r.vector("conv1d.bias")?,
                    x_proj: r.linear("x_proj.weight")?,
                    dt_weight: r.vector("dt_proj.weight")?,
                    dt_bias: r.vector("dt_proj.bias")?,
                    decay: decay(&r.floats("A_log")?, ssm.state),
                    skip: r.vector("ssm.D")?,
                    out_proj: r.linear("out_proj.weight")?,
                }),
                Mixer::Attention(_) => MixerWeights::Attention(AttentionWeights {
                    q: r.linear("q_proj.weight")?,
                    k: r.linear("k_proj.weight")?,
                    v: r.linear("v_proj.weight")?,
                    o: r.linear("o_proj.weight")?,
                }),
            };
            let moe = layer.feed_forward.as_ref().map(|moe| {
                let norm = r.vector("norm.weight")?;
                let gate = r.linear("moe.gate.weight")?;
                let experts = ExpertWeights {
                    gate: r.stack("gate_proj.weight")?,
                    up: r.stack("up_proj.weight")?,
                    down: r.stack("down_proj.weight")?,
                };
                let shared = moe.shared.then(|| -> Result<_> {
                    let gate = r.linear("shared_expert_gate.weight")?;
                    let expert = ExpertWeights {
                        gate: r.linear("gate_proj.weight")?,
                        up: r.linear("up_proj.weight")?,
                        down: r.linear("down_proj.weight")?,
                    };
                    Ok((gate, expert))
                });
                anyhow::Ok(MoeWeights { norm, gate, experts, shared: shared.transpose()? })
            });
            Ok(LayerWeights { norm, mixer, moe: moe.transpose()? })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let output = r.linear("output_proj.weight")?;
        let head_spec = r.next("lm_head.weight")?;
        let own_head = head_spec.required || checkpoint.contains(&head_spec.name);
        let head = if own_head { &checkpoint.matrix(&head_spec)? } else { &table };
        let head = Weight::new(path_of(&head_spec), head, halves).with_context(|| head_spec.name.clone())?;
        let embed = match &head.base {
            Base::Dense(w) if !own_head => Embedding::Head(w.clone()),
            _ => Embedding::Stored(table),
        };
        Ok(Self { embed, input, layers, output, head })
    }

    /// Everything that may have an adapter, in the order of the model's tensors.
    pub(crate) fn linears_mut(&mut self) -> Vec<&mut Weight> {
        let mut all = vec![&mut self.input];
        for layer in &mut self.layers {
            match &mut layer.mixer {
                MixerWeights::Ssm(m) => all.extend([&mut m.in_proj, &mut m.x_proj, &mut m.out_proj]),
                MixerWeights::Attention(m) => all.extend([&mut m.q, &mut m.k, &mut m.v, &mut m.o]),
            }
            if let Some(moe) = &mut layer.moe {
                let e = &mut moe.experts;
                all.extend([&mut moe.gate, &mut e.gate, &mut e.up, &mut e.down]);
                if let Some((gate, e)) = &mut moe.shared {
                    all.extend([gate, &mut e.gate, &mut e.up, &mut e.down]);
                }
            }
        }
        all.push(&mut self.output);
        all
    }

    /// Bytes of all of them, each counted once.
    pub(crate) fn bytes(&self) -> usize {
        let table = match &self.embed {
            Embedding::Stored(matrix) => matrix.bytes(),
            Embedding::Head(_) => 0,
        };
        let ends = self.input.bytes() + self.output.bytes() + self.head.bytes();
        table + ends + self.layers.iter().map(LayerWeights::bytes).sum::<usize>()
    }
}

impl Embedding {
    /// The tokens' rows: (T, S) in f32.
    pub(crate) fn rows(&self, tokens: &[u32]) -> Result<Array> {
        match self {
            Embedding::Stored(table) => {
                let mut rows = vec![0.0; tokens.len() * table.cols];
                for (id, row) in tokens.iter().zip(rows.chunks_exact_mut(table.cols)) {
                    table.row_into(*id as usize, row);
                }
                Ok(ops::array(&rows, &[tokens.len(), table.cols]))
            }
            Embedding::Head(transposed) => {
                let table = ops::transpose(transposed, &[1, 0])?;
                let ids = Array::from_slice(tokens, &[ops::size(tokens.len())]);
                ops::cast(&ops::take(&table, &ids)?, mlx_rs::Dtype::Float32)
            }
        }
    }
}

impl LayerWeights {
    fn bytes(&self) -> usize {
        let floats = |all: &[&Array]| all.iter().map(|a| a.nbytes()).sum::<usize>();
        let mixer = match &self.mixer {
            MixerWeights::Ssm(m) => {
                [&m.in_proj, &m.x_proj, &m.out_proj].map(Weight::bytes).iter().sum::<usize>()
                    + floats(&[&m.conv_bias, &m.dt_weight, &m.dt_bias, &m.decay, &m.skip])
                    + m.taps.iter().map(Array::nbytes).sum::<usize>()
            }
            MixerWeights::Attention(m) => [&m.q, &m.k, &m.v, &m.o].map(Weight::bytes).iter().sum(),
        };
        let expert = |e: &ExpertWeights| e.gate.bytes() + e.up.bytes() + e.down.bytes();
        let moe = self.moe.as_ref().map_or(0, |m| {
            let shared = m.shared.as_ref().map_or(0, |(gate, e)| gate.bytes() + expert(e));
            floats(&[&m.norm]) + m.gate.bytes() + expert(&m.experts) + shared
        });
        floats(&[&self.norm]) + mixer + moe
    }
}

/// Said before anything is read. MLX has products for its own format alone, and codes turned to floats would
/// take the memory that they were made to save.
fn refuse_nf4(checkpoint: &Checkpoint, spec: &ModelSpec) -> Result<()> {
    let is_nf4 = |t: &TensorSpec| checkpoint.holding(t).is_some_and(|h| h.format.starts_with("nf4"));
    if let Some(tensor) = tensors(spec).iter().find(|t| is_nf4(t)) {
        anyhow::bail!(
            "{}: `{}` is stored in NF4, for which MLX has no products: run it with `--backend cpu`, or quantise the \
             original to MLX's own 4-bit format with `bit-axon quantize --format affine4`",
            checkpoint.path().display(),
            tensor.name
        );
    }
    Ok(())
}

/// A tensor's name without `.weight`.
fn path_of(tensor: &TensorSpec) -> &str {
    tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name)
}

/// (E, K) to K times (E).
fn taps(weight: &[f32], taps: usize) -> Vec<Array> {
    let tap = |k: usize| weight.iter().skip(k).step_by(taps).copied().collect::<Vec<f32>>();
    (0..taps).map(|k| ops::array(&tap(k), &[weight.len() / taps])).collect()
}

/// `-exp(A_log)`, from (E, N) to (N, E).
fn decay(a_log: &[f32], states: usize) -> Array {
    let column = |n: usize| a_log.iter().skip(n).step_by(states).map(|a| (-f64::from(*a).exp()) as f32);
    let values: Vec<f32> = (0..states).flat_map(column).collect();
    ops::array(&values, &[states, a_log.len() / states])
}
