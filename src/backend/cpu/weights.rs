//! The weights of a model, laid out for this backend. The large ones stay where they are: in the
//! mapped files.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::linear::{Adapter, PreparedMatrix as Weight};
use super::state::CHANNELS;
use crate::model::checkpoint::Checkpoint;
use crate::model::matrix::Matrix;
use crate::model::spec::{Mixer, ModelSpec};
use crate::model::tensors::{TensorSpec, tensors};

/// Everything that a model holds.
pub(crate) struct Weights {
    /// (V, S)
    pub(crate) embed: Matrix,
    /// (D, S)
    pub(crate) input: Weight,
    pub(crate) layers: Vec<LayerWeights>,
    /// (S, D)
    pub(crate) output: Weight,
    /// (V, S)
    pub(crate) head: Weight,
    /// The head is not the embedding table.
    pub(crate) own_head: bool,
}

/// One layer.
pub(crate) struct LayerWeights {
    /// (D)
    pub(crate) norm: Vec<f32>,
    pub(crate) mixer: MixerWeights,
    pub(crate) moe: Option<MoeWeights>,
}

/// What mixes over time.
pub(crate) enum MixerWeights {
    Ssm(SsmWeights),
    Attention(AttentionWeights),
}

/// Axon-SSM.
pub(crate) struct SsmWeights {
    /// (2E, D)
    pub(crate) in_proj: Weight,
    /// (K, E)
    pub(crate) conv_weight: Vec<f32>,
    /// (E)
    pub(crate) conv_bias: Vec<f32>,
    /// (2N + 1, E)
    pub(crate) x_proj: Weight,
    /// (E)
    pub(crate) dt_weight: Vec<f32>,
    /// (E)
    pub(crate) dt_bias: Vec<f32>,
    /// `-exp(A_log) * log2(e)`, for `exp2`: blocks of 64 channels, each (N, width)
    pub(crate) decay: Vec<f32>,
    /// (E)
    pub(crate) skip: Vec<f32>,
    /// (D, E)
    pub(crate) out_proj: Weight,
}

/// Sliding-window attention.
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
pub(crate) struct MoeWeights {
    /// (D)
    pub(crate) norm: Vec<f32>,
    /// (X, D)
    pub(crate) gate: Weight,
    /// X of them.
    pub(crate) experts: Vec<ExpertWeights>,
    /// (1, D), and the expert.
    pub(crate) shared: Option<(Weight, ExpertWeights)>,
}

/// One SwiGLU expert.
pub(crate) struct ExpertWeights {
    /// (I, D)
    pub(crate) gate: Weight,
    /// (I, D)
    pub(crate) up: Weight,
    /// (D, I)
    pub(crate) down: Weight,
}

/// Adapters by the paths of their modules, as `layer_0.ssm.in_proj`: one, or one an expert.
pub type Adapters = BTreeMap<String, Vec<Arc<Adapter>>>;

/// Takes tensors out of a checkpoint in the order of the model's own list, so that names and shapes
/// are written in one place only.
struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    rest: std::vec::IntoIter<TensorSpec>,
    /// Narrow scales for the fast kernels.
    fast: bool,
    adapters: Adapters,
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

    fn linear(&mut self, suffix: &str) -> Result<Weight> {
        let tensor = self.next(suffix)?;
        let prepared = vec![self.prepared(self.checkpoint.matrix(&tensor)?)];
        self.adapted(&tensor, prepared)?.pop().with_context(|| format!("{suffix} has no values"))
    }

    /// Puts the adapters of a tensor onto its matrices.
    fn adapted(&mut self, tensor: &TensorSpec, matrices: Vec<Weight>) -> Result<Vec<Weight>> {
        let path = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
        let Some(adapters) = self.adapters.remove(path) else { return Ok(matrices) };
        let fits = |(m, a): (&Weight, &Arc<Adapter>)| a.shape() == (m.cols(), m.rows());
        anyhow::ensure!(
            adapters.len() == matrices.len() && matrices.iter().zip(&adapters).all(fits),
            "the adapter of {path} was made for another model: its shape does not fit"
        );
        Ok(matrices.into_iter().zip(adapters).map(|(matrix, adapter)| matrix.adapted(adapter)).collect())
    }

    fn prepared(&self, matrix: Matrix) -> Weight {
        if self.fast { Weight::fast(matrix) } else { Weight::exact(matrix) }
    }

    fn stack(&mut self, suffix: &str) -> Result<Vec<Weight>> {
        let tensor = self.next(suffix)?;
        let prepared = self.checkpoint.stack(&tensor)?.into_iter().map(|m| self.prepared(m)).collect();
        self.adapted(&tensor, prepared)
    }
}

impl Weights {
    /// Binds a checkpoint's tensors to the model's shape.
    pub(crate) fn bind(checkpoint: &Checkpoint, spec: &ModelSpec, fast: bool, adapters: Adapters) -> Result<Self> {
        let mut reader = Reader { checkpoint, rest: tensors(spec).into_iter(), fast, adapters };
        let r = &mut reader;
        let embed_spec = r.next("embed_tokens.weight")?;
        let embed = checkpoint.matrix(&embed_spec)?;
        let input = r.linear("input_proj.weight")?;
        let layers = spec.layers.iter().map(|layer| {
            let norm = r.floats("input_norm.weight")?;
            let mixer = match &layer.mixer {
                Mixer::Ssm(ssm) => MixerWeights::Ssm(SsmWeights {
                    in_proj: r.linear("in_proj.weight")?,
                    conv_weight: transposed(&r.floats("conv1d.weight")?, ssm.conv),
                    conv_bias: r.floats("conv1d.bias")?,
                    x_proj: r.linear("x_proj.weight")?,
                    dt_weight: r.floats("dt_proj.weight")?,
                    dt_bias: r.floats("dt_proj.bias")?,
                    decay: decay(&r.floats("A_log")?, ssm.state),
                    skip: r.floats("ssm.D")?,
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
                let norm = r.floats("norm.weight")?;
                let gate = r.linear("moe.gate.weight")?;
                let gates = r.stack("gate_proj.weight")?;
                let ups = r.stack("up_proj.weight")?;
                let downs = r.stack("down_proj.weight")?;
                let experts = gates.into_iter().zip(ups).zip(downs);
                let experts = experts.map(|((gate, up), down)| ExpertWeights { gate, up, down }).collect();
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
        let own_head = head_spec.required || checkpoint.tensor(&head_spec.name).is_some();
        let head = if own_head { checkpoint.matrix(&head_spec)? } else { embed.clone() };
        let head = r.prepared(head);
        if let Some(path) = reader.adapters.keys().next() {
            anyhow::bail!("there is an adapter for {path}, and this model has no such projection");
        }
        Ok(Self { embed, input, layers, output, head, own_head })
    }

    /// Bytes of all of them, each counted once.
    pub(crate) fn bytes(&self) -> usize {
        let head = if self.own_head { held(&self.head) } else { self.head.owned_bytes() };
        let layers = self.layers.iter().map(|l| l.sum(held)).sum::<usize>();
        self.embed.bytes() + held(&self.input) + layers + held(&self.output) + head
    }

    /// Bytes that one decoded token reads: of the embedding one row, of the experts the chosen ones.
    pub(crate) fn bytes_per_token(&self, spec: &ModelSpec) -> usize {
        let read = Weight::bytes_read;
        let ends = self.embed.bytes() / spec.vocab + read(&self.input) + read(&self.output) + read(&self.head);
        let layers = self.layers.iter().zip(&spec.layers).map(|(layer, spec)| {
            let (Some(weights), Some(moe)) = (&layer.moe, &spec.feed_forward) else { return layer.sum(read) };
            let experts: usize = weights.experts.iter().map(|e| e.sum(read)).sum();
            layer.sum(read) - experts + experts / moe.experts * moe.top_k
        });
        ends + layers.sum::<usize>()
    }
}

/// Bytes that a matrix takes.
fn held(weight: &Weight) -> usize {
    weight.matrix().bytes() + weight.owned_bytes()
}

impl ExpertWeights {
    fn sum(&self, of: fn(&Weight) -> usize) -> usize {
        of(&self.gate) + of(&self.up) + of(&self.down)
    }
}

impl LayerWeights {
    /// Adds up `of` over the matrices, and the bytes of everything else.
    fn sum(&self, of: fn(&Weight) -> usize) -> usize {
        let floats = |all: &[&Vec<f32>]| all.iter().map(|v| 4 * v.len()).sum::<usize>();
        let mixer = match &self.mixer {
            MixerWeights::Ssm(m) => {
                [&m.in_proj, &m.x_proj, &m.out_proj].map(of).iter().sum::<usize>()
                    + floats(&[&m.conv_weight, &m.conv_bias, &m.dt_weight, &m.dt_bias, &m.decay, &m.skip])
            }
            MixerWeights::Attention(m) => [&m.q, &m.k, &m.v, &m.o].map(of).iter().sum(),
        };
        let moe = self.moe.as_ref().map_or(0, |m| {
            let shared = m.shared.as_ref().map_or(0, |(gate, e)| of(gate) + e.sum(of));
            floats(&[&m.norm]) + of(&m.gate) + m.experts.iter().map(|e| e.sum(of)).sum::<usize>() + shared
        });
        floats(&[&self.norm]) + mixer + moe
    }
}

/// (E, K) to (K, E).
pub(super) fn transposed(rows: &[f32], cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|c| rows.iter().skip(c).step_by(cols)).copied().collect()
}

/// `A = -exp(A_log)`, times log2(e), from (E, N) to blocks of 64 channels, each (N, width): as the state
/// lies.
pub(super) fn decay(a_log: &[f32], states: usize) -> Vec<f32> {
    let scaled = |a: &f32| (-f64::from(*a).exp() * std::f64::consts::LOG2_E) as f32;
    let blocks = a_log.chunks(CHANNELS * states).map(|block| transposed(block, states));
    blocks.flatten().map(|a| scaled(&a)).collect()
}
