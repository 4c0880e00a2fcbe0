//! A checkpoint's tensors, and the parameters to be trained, bound to the network.

use anyhow::{Context, Result, ensure};

use super::attention::Attention;
use super::expert::Expert;
use super::head::Head;
use super::layer::{Layer, Mixer};
use super::linear::{Adapter, Linear, Magnitude};
use super::moe::Moe;
use super::network::Network;
use super::norm::Norm;
use super::options::{AdapterOptions, Train};
use super::parameters::{Parameters, Place};
use super::ssm::Ssm;
use super::weight::{Few, Weight};
use super::work::Work;
use crate::model::checkpoint::Checkpoint;
use crate::model::init::{mix, uniform};
use crate::model::matrix::Matrix;
use crate::model::spec::{self, ModelSpec};
use crate::model::tensors::{Kind, TensorSpec, tensors};

/// Takes tensors in the order of the model's own list.
struct Binder<'a> {
    checkpoint: &'a Checkpoint,
    rest: std::vec::IntoIter<TensorSpec>,
    work: &'a Work,
    train: &'a Train,
    seed: u64,
    parameters: Parameters,
    eps: f32,
}

/// The network for a checkpoint, and its parameters.
pub(super) fn bind(
    checkpoint: &Checkpoint,
    spec: &ModelSpec,
    work: &Work,
    train: &Train,
    seed: u64,
) -> Result<(Network, Parameters)> {
    let mut binder = Binder {
        checkpoint,
        rest: tensors(spec).into_iter(),
        work,
        train,
        seed,
        parameters: Parameters::default(),
        eps: spec.norm_eps,
    };
    let b = &mut binder;
    let table = b.next("embed_tokens.weight")?;
    let embed = b.weight(&table)?;
    let input = b.linear("input_proj.weight")?;
    let layers = spec.layers.iter().map(|layer| b.layer(layer)).collect::<Result<Vec<_>>>()?;
    let output = b.linear("output_proj.weight")?;
    let head = b.next("lm_head.weight")?;
    let own = head.required || checkpoint.contains(&head.name);
    let table = match (&embed, own) {
        (_, true) => b.weight(&head)?,
        (Weight::Frozen(matrix), false) => Weight::Frozen(matrix.clone()),
        (Weight::Trained { place, rows, cols }, false) => Weight::Trained { place: *place, rows: *rows, cols: *cols },
    };
    let mut parameters = binder.parameters;
    parameters.complete();
    ensure!(!parameters.list.is_empty(), "nothing would be trained: this model has none of the adapters' targets");
    Ok((Network { embed, input, layers, head: Head { output, table }, own_head: own }, parameters))
}

/// True for what AdamW lets decay: matrices, and taps.
fn decays(kind: Kind) -> bool {
    match kind {
        Kind::Embedding | Kind::Head | Kind::Linear | Kind::ExpertStack | Kind::ConvWeight | Kind::DtWeight => true,
        Kind::Norm | Kind::ConvBias | Kind::DtBias | Kind::ALog | Kind::Skip => false,
    }
}

impl Binder<'_> {
    fn next(&mut self, suffix: &str) -> Result<TensorSpec> {
        let tensor = self.rest.next().with_context(|| format!("the model has no tensor for {suffix}"))?;
        ensure!(tensor.name.ends_with(suffix), "{} stands where {suffix} should", tensor.name);
        Ok(tensor)
    }

    /// A whole tensor as a parameter.
    fn trained(&mut self, t: &TensorSpec, matrices: &[Matrix]) -> Place {
        let mut values = Vec::with_capacity(t.len());
        for matrix in matrices {
            let mut row = vec![0.0; matrix.cols];
            for i in 0..matrix.rows {
                matrix.row_into(i, &mut row);
                values.extend_from_slice(&row);
            }
        }
        self.parameters.add(t.name.clone(), &t.shape, decays(t.kind), values)
    }

    /// Matrices that share a tensor: one, or a stack of them.
    fn weights(&mut self, t: &TensorSpec) -> Result<Vec<Weight>> {
        let matrices = match t.kind {
            Kind::ExpertStack => self.checkpoint.stack(t)?,
            _ => vec![self.checkpoint.matrix(t)?],
        };
        if *self.train != Train::Full {
            return Ok(matrices.into_iter().map(Weight::Frozen).collect());
        }
        let place = self.trained(t, &matrices);
        let count = matrices.len();
        let at =
            |(i, m): (usize, &Matrix)| Weight::Trained { place: place.piece(i, count), rows: m.rows, cols: m.cols };
        Ok(matrices.iter().enumerate().map(at).collect())
    }

    fn weight(&mut self, t: &TensorSpec) -> Result<Weight> {
        self.weights(t)?.pop().with_context(|| format!("{} has no values", t.name))
    }

    fn few(&mut self, suffix: &str) -> Result<Few> {
        let t = self.next(suffix)?;
        let values = self.checkpoint.floats(&t)?;
        if *self.train != Train::Full {
            return Ok(Few::Frozen(values));
        }
        Ok(Few::Trained(self.parameters.add(t.name.clone(), &t.shape, decays(t.kind), values)))
    }

    fn norm(&mut self, suffix: &str) -> Result<Norm> {
        Ok(Norm { weight: self.few(suffix)?, eps: self.eps })
    }

    fn linear(&mut self, suffix: &str) -> Result<Linear> {
        self.linears(suffix)?.pop().with_context(|| format!("{suffix} has no values"))
    }

    /// The layers that share a tensor, with their adapters.
    fn linears(&mut self, suffix: &str) -> Result<Vec<Linear>> {
        let t = self.next(suffix)?;
        let weights = self.weights(&t)?;
        let path = t.name.strip_suffix(".weight").unwrap_or(&t.name).to_owned();
        let (options, with_magnitude) = match self.train {
            Train::Lora(options) if options.takes(&path) => (options, false),
            Train::Dora(options) if options.takes(&path) => (options, true),
            _ => return Ok(weights.into_iter().map(|weight| Linear { weight, adapter: None }).collect()),
        };
        let stacked = t.kind == Kind::ExpertStack;
        Ok(self.adapted(&path, stacked, weights, &options.clone(), with_magnitude))
    }

    fn adapted(
        &mut self,
        path: &str,
        stacked: bool,
        weights: Vec<Weight>,
        options: &AdapterOptions,
        with_magnitude: bool,
    ) -> Vec<Linear> {
        let count = weights.len();
        let (rows, cols, rank) = (weights[0].rows(), weights[0].cols(), options.rank);
        let stack = |shape: &[usize]| if stacked { [&[count], shape].concat() } else { shape.to_vec() };
        // FNV-1a over the path, as for new models' weights.
        let name =
            path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let (key, bound) = (mix(self.seed ^ name), (cols as f32).sqrt().recip());
        let first = (0..(count * cols * rank) as u64).map(|i| bound * (2.0 * uniform(key, i) - 1.0)).collect();
        let p = &mut self.parameters;
        let a = p.add(format!("{path}.lora_a"), &stack(&[cols, rank]), true, first);
        let b = p.add(format!("{path}.lora_b"), &stack(&[rank, rows]), true, vec![0.0; count * rank * rows]);
        let mut magnitudes: Vec<Option<(Vec<f64>, Vec<f32>)>> = (0..count).map(|_| None).collect();
        let mut m = None;
        if with_magnitude {
            for (slot, weight) in magnitudes.iter_mut().zip(&weights) {
                let base = Linear::base_squares(weight, self.work);
                let norms = Linear::norms(&base);
                *slot = Some((base, norms));
            }
            let all = magnitudes.iter().flatten().flat_map(|(_, norms)| norms.iter().copied()).collect();
            m = Some(self.parameters.add(format!("{path}.m"), &stack(&[rows]), false, all));
        }
        let linears = weights.into_iter().zip(magnitudes).enumerate().map(|(i, (weight, magnitude))| {
            let place = m.map(|m| m.piece(i, count));
            let magnitude = place.zip(magnitude).map(|(place, (base, norms))| Magnitude { place, base, norms });
            let adapter = Adapter {
                a: a.piece(i, count),
                b: b.piece(i, count),
                rank,
                scale: options.scale,
                name: mix(name.wrapping_add(i as u64)),
                magnitude,
            };
            Linear { weight, adapter: Some(adapter) }
        });
        linears.collect()
    }

    fn layer(&mut self, layer: &spec::LayerSpec) -> Result<Layer> {
        let norm = self.norm("input_norm.weight")?;
        let mixer = match &layer.mixer {
            spec::Mixer::Ssm(spec) => Mixer::Ssm(Ssm {
                spec: *spec,
                in_proj: self.linear("in_proj.weight")?,
                conv_weight: self.few("conv1d.weight")?,
                conv_bias: self.few("conv1d.bias")?,
                x_proj: self.linear("x_proj.weight")?,
                dt_weight: self.few("dt_proj.weight")?,
                dt_bias: self.few("dt_proj.bias")?,
                a_log: self.few("A_log")?,
                skip: self.few("ssm.D")?,
                out_proj: self.linear("out_proj.weight")?,
            }),
            spec::Mixer::Attention(spec) => Mixer::Attention(Attention {
                spec: *spec,
                q: self.linear("q_proj.weight")?,
                k: self.linear("k_proj.weight")?,
                v: self.linear("v_proj.weight")?,
                o: self.linear("o_proj.weight")?,
            }),
        };
        let moe = layer.feed_forward.as_ref().map(|moe| self.moe(moe)).transpose()?;
        Ok(Layer { norm, mixer, moe })
    }

    fn moe(&mut self, spec: &spec::MoeSpec) -> Result<(Norm, Moe)> {
        let norm = self.norm("norm.weight")?;
        let gate = self.linear("moe.gate.weight")?;
        let gates = self.linears("gate_proj.weight")?;
        let ups = self.linears("up_proj.weight")?;
        let downs = self.linears("down_proj.weight")?;
        let experts = gates.into_iter().zip(ups).zip(downs);
        let experts = experts.map(|((gate, up), down)| Expert { gate, up, down }).collect();
        let mut shared = None;
        if spec.shared {
            let gate = self.linear("shared_expert_gate.weight")?;
            let expert = Expert {
                gate: self.linear("gate_proj.weight")?,
                up: self.linear("up_proj.weight")?,
                down: self.linear("down_proj.weight")?,
            };
            shared = Some((gate, expert));
        }
        Ok((norm, Moe { spec: *spec, gate, experts, shared }))
    }
}
