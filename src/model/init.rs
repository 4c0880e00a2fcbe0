//! Random weights for a new model: well-behaved from the first step, and the same for the same seed
//! on every machine, however the work is divided.

use super::checkpoint::Source;
use super::spec::ModelSpec;
use super::tensors::{Kind, TensorSpec};

/// The weights of a new model. Each value follows from the seed, its tensor's name and its index alone.
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: u64,
    tied_head: bool,
    /// Terms that are added to the residual stream, one after the other.
    branches: usize,
}

/// Steps of time that the state space begins with, as in Mamba (Gu and Dao 2023).
const DT: (f32, f32) = (1e-3, 1e-1);

impl RandomWeights {
    /// Weights for a model of this shape.
    pub fn new(spec: &ModelSpec, seed: u64) -> Self {
        let branches = spec.layers.len() + spec.moe_layers().count();
        Self { seed, tied_head: spec.tied_head, branches: branches.max(1) }
    }

    /// Where a tensor's numbers begin. A tied head has those of the embedding table.
    fn key(&self, t: &TensorSpec) -> u64 {
        let name = if t.kind == Kind::Head && self.tied_head { "embed_tokens.weight" } else { &t.name };
        // FNV-1a over the name, started from the seed.
        let start = mix(self.seed ^ 0xcbf2_9ce4_8422_2325);
        mix(name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// Standard deviation of a matrix: `1/sqrt(inputs)` keeps the size of what it is given. What is
    /// added to the residual stream is smaller, so that its size stays near 1 over all layers.
    fn deviation(&self, t: &TensorSpec) -> f32 {
        let residual = ["out_proj.weight", "o_proj.weight", "down_proj.weight"].iter().any(|end| t.name.ends_with(end));
        let branches = if residual { self.branches as f32 } else { 1.0 };
        (t.cols() as f32 * branches).sqrt().recip()
    }
}

impl Source for RandomWeights {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        let key = self.key(t);
        let each = |out: &mut [f32], value: &dyn Fn(u64) -> f32| {
            out.iter_mut().enumerate().for_each(|(i, o)| *o = value((first + i) as u64));
        };
        match t.kind {
            Kind::Embedding | Kind::Head | Kind::Linear | Kind::ExpertStack => {
                let deviation = self.deviation(t);
                for (i, o) in out.iter_mut().enumerate() {
                    *o = deviation * bell(key, (first + i) as u64);
                }
            }
            Kind::Norm | Kind::Skip => out.fill(1.0),
            Kind::ConvBias => out.fill(0.0),
            Kind::ConvWeight => {
                // A channel's K taps: (E, K, 1).
                let bound = (t.shape[1] as f32).sqrt().recip();
                each(out, &|i| bound * (2.0 * uniform(key, i) - 1.0));
            }
            Kind::DtWeight => each(out, &|i| 2.0 * uniform(key, i) - 1.0),
            // softplus(bias) = dt, so bias = ln(exp(dt) - 1); ln(dt) is uniform.
            Kind::DtBias => each(out, &|i| {
                let (low, high) = (DT.0.ln(), DT.1.ln());
                (low + (high - low) * uniform(key, i)).exp().exp_m1().ln()
            }),
            // A = -1, -2, .. -N in each channel.
            Kind::ALog => each(out, &|i| ((i % t.cols() as u64 + 1) as f32).ln()),
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014): every bit of the result depends on every bit
/// of `x`.
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 64 random bits that follow from the key and the index.
pub(crate) fn random(key: u64, index: u64) -> u64 {
    mix(key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// In [0, 1).
pub(crate) fn uniform(key: u64, index: u64) -> f32 {
    (random(key, index) >> 40) as f32 / (1u64 << 24) as f32
}

/// Mean 0, standard deviation 1: the sum of four 16-bit uniforms, which is near a normal
/// distribution and never beyond 3.5.
pub(crate) fn bell(key: u64, index: u64) -> f32 {
    let bits = random(key, index);
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    // Four times the mean and the variance of a uniform on 0..=65535.
    const MEAN: f32 = 2.0 * 65535.0;
    const DEVIATION: f32 = 37_837.227;
    (sum as i64 as f32 - MEAN) / DEVIATION
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;
    use crate::model::tensors::tensors;

    fn named(name: &str) -> (RandomWeights, TensorSpec) {
        let spec = Config::preset("small").unwrap().spec();
        let t = tensors(&spec).into_iter().find(|t| t.name == name).unwrap();
        (RandomWeights::new(&spec, 7), t)
    }

    fn values(name: &str) -> Vec<f32> {
        let (weights, t) = named(name);
        let mut out = vec![0.0; t.len()];
        weights.fill(&t, 0, &mut out);
        out
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        let whole = values("layer_1.moe.switch_mlp.up_proj.weight");
        let (weights, t) = named("layer_1.moe.switch_mlp.up_proj.weight");
        let mut pieces = vec![0.0; whole.len()];
        for (i, piece) in pieces.chunks_mut(777).enumerate() {
            weights.fill(&t, i * 777, piece);
        }
        assert_eq!(whole, pieces);
        assert_ne!(whole[..64], values("layer_2.moe.switch_mlp.up_proj.weight")[..64]);
        let other = RandomWeights { seed: 8, ..weights };
        other.fill(&t, 0, &mut pieces);
        assert_ne!(whole, pieces);
    }

    #[test]
    fn matrices_have_the_deviation_that_they_should() {
        for (name, wanted) in [("layer_0.ssm.in_proj.weight", 1.0 / 16.0), ("embed_tokens.weight", 0.088_388)] {
            let values = values(name);
            let n = values.len() as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let deviation = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!(
                mean.abs() < 0.01 * wanted && (deviation / wanted - 1.0).abs() < 0.01,
                "{name}: {mean} {deviation}"
            );
        }
        let largest = |name: &str| values(name).into_iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(largest("layer_0.ssm.out_proj.weight") < largest("layer_0.ssm.x_proj.weight"));
        assert_eq!(values("embed_tokens.weight"), values("lm_head.weight"));
    }

    #[test]
    fn the_state_space_begins_with_sensible_time() {
        let softplus = |x: f32| x.exp().ln_1p();
        let dt: Vec<f32> = values("layer_0.ssm.dt_proj.bias").into_iter().map(softplus).collect();
        assert!(dt.iter().all(|&dt| (0.000_999..0.1001).contains(&dt)));
        assert!(dt.iter().any(|&dt| dt < 0.01) && dt.iter().any(|&dt| dt > 0.01));
        let a: Vec<f32> = values("layer_0.ssm.A_log").iter().take(5).map(|a| a.exp().round()).collect();
        assert_eq!(a, [1.0, 2.0, 3.0, 4.0, 1.0]);
    }
}
