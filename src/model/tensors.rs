//! Names and shapes of a model's tensors, derived from its spec: what a checkpoint must hold.

use super::spec::{Mixer, ModelSpec};

/// What a tensor is to the model: decides whether it may be quantised, and how it is initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The embedding table: a look-up, never quantised.
    Embedding,
    /// The head.
    Head,
    /// A matrix that multiplies: `x @ W^T`, quantised when its inputs are a multiple of the group.
    Linear,
    /// A stack of such matrices, one an expert.
    ExpertStack,
    /// Weights of a norm.
    Norm,
    /// Taps of the depthwise convolution.
    ConvWeight,
    /// Bias of the depthwise convolution.
    ConvBias,
    /// Per-channel scale of the time step: a matrix of one column, never quantised.
    DtWeight,
    /// Per-channel bias of the time step.
    DtBias,
    /// Logarithm of the state decay.
    ALog,
    /// Skip weight of the state space.
    Skip,
}

impl Kind {
    /// True for matrices that quantised checkpoints hold in 4 bits.
    pub fn can_quantise(self) -> bool {
        matches!(self, Kind::Head | Kind::Linear | Kind::ExpertStack)
    }
}

/// One tensor that a model has.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Its name without `.weight`, `.scales` and the like where it has such parts; see `parts`.
    pub name: String,
    /// Its shape when not quantised.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: Kind,
    /// False for a head that may be the embedding table instead.
    pub required: bool,
}

impl TensorSpec {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never: every dimension is at least 1.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inputs of a matrix: its last dimension.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// True if a quantised checkpoint holds this tensor in groups of `group`.
    pub fn quantised(&self, group: usize) -> bool {
        self.kind.can_quantise() && self.cols() >= group && self.cols().is_multiple_of(group)
    }

    /// Name of a quantised tensor's companion: `x.weight` to `x.scales`; expert stacks say
    /// `biases_quant` where linears say `biases`.
    pub fn companion(&self, part: Companion) -> String {
        let stem = self.name.strip_suffix("weight").unwrap_or(&self.name);
        let part = match (part, self.kind) {
            (Companion::Scales, _) => "scales",
            (Companion::Biases, Kind::ExpertStack) => "biases_quant",
            (Companion::Biases, _) => "biases",
            (Companion::Absmax, _) => "absmax",
        };
        format!("{stem}{part}")
    }
}

/// Tensors beside the codes of a quantised matrix, one value a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// Affine: step.
    Scales,
    /// Affine: value of code 0.
    Biases,
    /// NF4: largest magnitude.
    Absmax,
}

/// Every tensor of the model, in the order in which a forward pass meets them.
pub fn tensors(spec: &ModelSpec) -> Vec<TensorSpec> {
    let (d, s, v) = (spec.hidden, spec.embed, spec.vocab);
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], kind: Kind| {
        all.push(TensorSpec { name, shape: shape.to_vec(), kind, required: true });
    };
    add("embed_tokens.weight".into(), &[v, s], Kind::Embedding);
    add("input_proj.weight".into(), &[d, s], Kind::Linear);
    for (i, layer) in spec.layers.iter().enumerate() {
        let at = |name: &str| format!("layer_{i}.{name}");
        add(at("input_norm.weight"), &[d], Kind::Norm);
        let second_norm = match &layer.mixer {
            Mixer::Ssm(m) => {
                let (e, n, k) = (m.inner, m.state, m.conv);
                add(at("ssm.in_proj.weight"), &[2 * e, d], Kind::Linear);
                add(at("ssm.conv1d.weight"), &[e, k, 1], Kind::ConvWeight);
                add(at("ssm.conv1d.bias"), &[e], Kind::ConvBias);
                add(at("ssm.x_proj.weight"), &[2 * n + 1, e], Kind::Linear);
                add(at("ssm.dt_proj.weight"), &[e, 1], Kind::DtWeight);
                add(at("ssm.dt_proj.bias"), &[e], Kind::DtBias);
                add(at("ssm.A_log"), &[e, n], Kind::ALog);
                add(at("ssm.D"), &[e], Kind::Skip);
                add(at("ssm.out_proj.weight"), &[d, e], Kind::Linear);
                "post_ssm_norm.weight"
            }
            Mixer::Attention(m) => {
                let inner = m.heads * m.head_dim;
                for name in ["q", "k", "v"] {
                    add(at(&format!("attention.{name}_proj.weight")), &[inner, d], Kind::Linear);
                }
                add(at("attention.o_proj.weight"), &[d, inner], Kind::Linear);
                "post_attention_norm.weight"
            }
        };
        let Some(moe) = &layer.feed_forward else { continue };
        let (x, w) = (moe.experts, moe.intermediate);
        add(at(second_norm), &[d], Kind::Norm);
        add(at("moe.gate.weight"), &[x, d], Kind::Linear);
        add(at("moe.switch_mlp.gate_proj.weight"), &[x, w, d], Kind::ExpertStack);
        add(at("moe.switch_mlp.up_proj.weight"), &[x, w, d], Kind::ExpertStack);
        add(at("moe.switch_mlp.down_proj.weight"), &[x, d, w], Kind::ExpertStack);
        if moe.shared {
            add(at("moe.shared_expert_gate.weight"), &[1, d], Kind::Linear);
            add(at("moe.shared_expert.gate_proj.weight"), &[w, d], Kind::Linear);
            add(at("moe.shared_expert.up_proj.weight"), &[w, d], Kind::Linear);
            add(at("moe.shared_expert.down_proj.weight"), &[d, w], Kind::Linear);
        }
    }
    add("output_proj.weight".into(), &[s, d], Kind::Linear);
    let required = !spec.tied_head;
    all.push(TensorSpec { name: "lm_head.weight".into(), shape: vec![v, s], kind: Kind::Head, required });
    all
}

/// Parameters in all, and those that one token uses (its own embedding row, the chosen experts).
pub fn parameters(spec: &ModelSpec) -> (u64, u64) {
    let (mut total, mut active) = (0u64, 0u64);
    for tensor in tensors(spec) {
        if tensor.kind == Kind::Head && !tensor.required {
            // The embedding table serves as the head: stored once, used whole for every token.
            active += tensor.len() as u64;
            continue;
        }
        let len = tensor.len() as u64;
        total += len;
        active += match tensor.kind {
            Kind::Embedding => 0,
            Kind::ExpertStack => {
                let layer = layer_index(&tensor.name).and_then(|i| spec.layers.get(i)?.feed_forward);
                layer.map_or(len, |moe| len / moe.experts as u64 * moe.top_k as u64)
            }
            _ => len,
        };
    }
    (total, active)
}

/// The layer that a tensor belongs to, by its name.
pub fn layer_index(name: &str) -> Option<usize> {
    name.strip_prefix("layer_")?.split_once('.')?.0.parse().ok()
}

/// What a tensor does, whichever its layer: `layer_3.ssm.in_proj.weight` is `ssm.in_proj`.
pub fn role(name: &str) -> String {
    let within = name.strip_prefix("layer_").and_then(|rest| rest.split_once('.')).map_or(name, |(_, within)| within);
    within.strip_suffix(".weight").unwrap_or(within).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;

    #[test]
    fn presets_have_the_sizes_that_the_design_names() {
        let size = |name: &str| parameters(&Config::preset(name).unwrap().spec());
        let near = |found: u64, want: f64| (found as f64 / want - 1.0).abs() < 0.006;
        let (total, active) = size("3b");
        assert!(near(total, 3.22e9) && near(active, 1.48e9), "3b: {total} {active}");
        let (total, active) = size("python-0.1");
        assert!(near(total, 5.77e9) && near(active, 2.75e9), "python-0.1: {total} {active}");
        // 7.7 M where a head of its own is counted beside the table that it is tied to.
        let (total, _) = size("small");
        assert!(near(total + 1024 * 128, 7.7e6), "small: {total}");
    }
}
