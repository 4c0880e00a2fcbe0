//! A model begun from the weights of a transformer, as Qwen2.5 and its kin store them.
//!
//! ```text
//! embed_tokens, lm_head   rows of the source's tables, through a map of vocabularies
//! input_proj, output_proj the identity on the source's width: the residual stream begins as the source's does
//! norms                   the source's, with ones for what is wider
//! shared_expert           the source's MLP: all its neurons, or those with the largest weights where there is room
//!                         for fewer; what is new is silent at first, and free to learn
//! switch_mlp              copies of the same, each with noise of its own, so that a router can tell them apart
//! the rest                as in a new model: state spaces, attention and routers have no counterpart
//! ```
//!
//! The model's layers take those of the source evenly, from the first to the last.

mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

pub use vocabulary::VocabularyMap;

use super::checkpoint::{Checkpoint, Source};
use super::init::{RandomWeights, bell, mix};
use super::matrix::Matrix;
use super::spec::ModelSpec;
use super::tensors::{Kind, TensorSpec, layer_index, role};

const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What is needed of the source's `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SourceConfig {
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Neurons of a layer's MLP.
    pub intermediate_size: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// The head is the embedding table.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl SourceConfig {
    /// Reads it.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let size = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(size <= MAX_CONFIG_BYTES, "{shown} has {size} bytes: it is no model's config.json");
        let text = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let config: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{shown} does not describe a model as Qwen2.5's config.json does"))?;
        for (name, value, most) in [
            ("hidden_size", config.hidden_size, 1 << 20),
            ("num_hidden_layers", config.num_hidden_layers, 4096),
            ("intermediate_size", config.intermediate_size, 1 << 20),
            ("vocab_size", config.vocab_size, 1 << 24),
        ] {
            ensure!((1..=most).contains(&value), "{shown}: {name} is {value}; it must be between 1 and {most}");
        }
        Ok(config)
    }
}

/// The source's weights in the shape of a model.
pub struct Ported {
    random: RandomWeights,
    width: usize,
    map: VocabularyMap,
    noise: f32,
    seed: u64,
    embed: Table,
    head: Option<Table>,
    /// By the model's layer.
    layers: BTreeMap<usize, Layer>,
}

/// A table of tokens.
struct Table {
    /// (Vs, S)
    rows: Matrix,
    /// Mean of the rows that are taken, and how far numbers are from it: for tokens that the source has not.
    mean: Vec<f32>,
    deviation: f32,
}

/// What a layer takes.
struct Layer {
    input_norm: Vec<f32>,
    /// None for layers without experts.
    mlp: Option<Mlp>,
}

struct Mlp {
    norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    /// Neurons that are kept, in order.
    kept: Vec<usize>,
}

/// The source's layer for each of the model's, evenly from the first to the last.
pub fn layers(model: usize, source: usize) -> Vec<usize> {
    let last = model.saturating_sub(1).max(1);
    (0..model).map(|i| (i * (source - 1) + last / 2) / last).collect()
}

impl Ported {
    /// `noise` is the size of what makes routed experts differ, relative to their weights.
    pub fn new(
        source: &Checkpoint,
        config: &SourceConfig,
        spec: &ModelSpec,
        map: VocabularyMap,
        noise: f32,
        seed: u64,
    ) -> Result<Self> {
        let width = config.hidden_size;
        ensure!(
            spec.embed == width && spec.hidden >= width,
            "the source is {width} wide: the model needs d_source_model {width} and a hidden_dim of at least as much, \
             and has {} and {}",
            spec.embed,
            spec.hidden
        );
        let matrix = |name: &str, rows, cols| source.matrix(&tensor(name, &[rows, cols]));
        let vocab = config.vocab_size;
        let embed = Table::new(matrix("model.embed_tokens.weight", vocab, width)?, &map);
        let head = (!spec.tied_head)
            .then(|| anyhow::Ok(Table::new(matrix("lm_head.weight", vocab, width)?, &map)))
            .transpose()?;
        let mut all = BTreeMap::new();
        for (i, from) in layers(spec.layers.len(), config.num_hidden_layers).into_iter().enumerate() {
            let at = |name: &str| format!("model.layers.{from}.{name}.weight");
            let norm = |name: &str| source.floats(&TensorSpec { kind: Kind::Norm, ..tensor(&at(name), &[width]) });
            let inner = config.intermediate_size;
            let mlp = spec.layers[i].feed_forward.map(|moe| {
                let (gate, up, down) = (
                    matrix(&at("mlp.gate_proj"), inner, width)?,
                    matrix(&at("mlp.up_proj"), inner, width)?,
                    matrix(&at("mlp.down_proj"), width, inner)?,
                );
                let kept = strongest(&gate, &up, &down, moe.intermediate);
                anyhow::Ok(Mlp { norm: norm("post_attention_layernorm")?, gate, up, down, kept })
            });
            all.insert(i, Layer { input_norm: norm("input_layernorm")?, mlp: mlp.transpose()? });
        }
        Ok(Self { random: RandomWeights::new(spec, seed), width, map, noise, seed, embed, head, layers: all })
    }

    /// The row of a projection in the shape of an expert's; `out` holds what a new model has there.
    fn expert_row(&self, mlp: &Mlp, part: &str, row: usize, out: &mut [f32]) {
        if part == "down_proj" {
            if row < self.width {
                let mut source = vec![0.0; mlp.down.cols];
                mlp.down.row_into(row, &mut source);
                out.fill(0.0);
                out.iter_mut().zip(&mlp.kept).for_each(|(out, neuron)| *out = source[*neuron]);
            }
            return;
        }
        let matrix = if part == "up_proj" { &mlp.up } else { &mlp.gate };
        if let Some(neuron) = mlp.kept.get(row) {
            matrix.row_into(*neuron, &mut out[..self.width]);
            out[self.width..].fill(0.0);
        }
    }

    /// Noise that follows from the seed, the tensor and the place alone.
    fn perturb(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        let name = t.name.bytes().fold(mix(self.seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let square: f32 = out.iter().map(|v| v * v).sum();
        let size = self.noise * (square / out.len().max(1) as f32).sqrt();
        for (i, v) in out.iter_mut().enumerate() {
            *v += size * bell(name, (first + i) as u64);
        }
    }

    fn row(&self, t: &TensorSpec, row: usize, out: &mut [f32]) {
        let role = role(&t.name);
        let part = role.rsplit('.').next().unwrap_or_default();
        let identity = |out: &mut [f32]| {
            out.fill(0.0);
            out[row] = 1.0;
        };
        match (t.kind, role.as_str()) {
            (Kind::Embedding, _) => self.embed.row(&self.map, row, out),
            (Kind::Head, _) => self.head.as_ref().unwrap_or(&self.embed).row(&self.map, row, out),
            (_, "input_proj") if row < self.width => identity(out),
            (_, "output_proj") => identity(out),
            _ => {
                let mlp = layer_index(&t.name).and_then(|layer| self.layers.get(&layer)?.mlp.as_ref());
                let Some(mlp) = mlp else { return };
                if role.starts_with("moe.shared_expert.") {
                    self.expert_row(mlp, part, row, out);
                } else if role.starts_with("moe.switch_mlp.") {
                    self.expert_row(mlp, part, row % t.shape[1], out);
                    self.perturb(t, row * t.cols(), out);
                }
            }
        }
    }
}

impl Source for Ported {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        self.random.fill(t, first, out);
        let cols = t.cols();
        match t.kind {
            Kind::Norm => {
                let layer = layer_index(&t.name).and_then(|layer| self.layers.get(&layer));
                let own = role(&t.name) == "input_norm";
                let norm = layer.and_then(|l| if own { Some(&l.input_norm) } else { Some(&l.mlp.as_ref()?.norm) });
                // Ones stay where the source is narrower.
                let values = norm.map_or(&[][..], |norm| norm.get(first..).unwrap_or_default());
                out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
            }
            Kind::Embedding | Kind::Head | Kind::Linear | Kind::ExpertStack => {
                assert!(first.is_multiple_of(cols) && out.len().is_multiple_of(cols), "blocks are whole rows");
                for (row, out) in (first / cols..).zip(out.chunks_exact_mut(cols)) {
                    self.row(t, row, out);
                }
            }
            _ => {}
        }
    }
}

impl Table {
    fn new(rows: Matrix, map: &VocabularyMap) -> Self {
        let mut row = vec![0.0; rows.cols];
        let (mut mean, mut square) = (vec![0.0; rows.cols], 0.0);
        let mut taken = 0usize;
        for source in map.sources().flatten() {
            rows.row_into(source, &mut row);
            mean.iter_mut().zip(&row).for_each(|(mean, v)| *mean += f64::from(*v));
            square += row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            taken += 1;
        }
        let count = taken.max(1) as f64;
        mean.iter_mut().for_each(|mean| *mean /= count);
        let about = mean.iter().map(|mean| mean * mean).sum::<f64>();
        let variance = (square / count - about) / rows.cols as f64;
        let mean = mean.into_iter().map(|mean| mean as f32).collect();
        Self { rows, mean, deviation: variance.max(0.0).sqrt() as f32 }
    }

    /// `out` holds what a new model has, of which a token that the source has not keeps the direction.
    fn row(&self, map: &VocabularyMap, row: usize, out: &mut [f32]) {
        if let Some(source) = map.source(row) {
            return self.rows.row_into(source, out);
        }
        let square: f32 = out.iter().map(|v| v * v).sum();
        let size = self.deviation / (square / out.len().max(1) as f32).sqrt().max(f32::MIN_POSITIVE);
        out.iter_mut().zip(&self.mean).for_each(|(out, mean)| *out = mean + size * *out);
    }
}

/// Which neurons to keep where there is room for `room`: those whose three vectors are the longest together.
fn strongest(gate: &Matrix, up: &Matrix, down: &Matrix, room: usize) -> Vec<usize> {
    let inner = gate.rows;
    if inner <= room {
        return (0..inner).collect();
    }
    let lengths = |matrix: &Matrix| -> Vec<f64> {
        let mut row = vec![0.0; matrix.cols];
        let square = |i| {
            matrix.row_into(i, &mut row);
            row.iter().map(|v| f64::from(*v).powi(2)).sum()
        };
        (0..matrix.rows).map(square).collect()
    };
    let mut columns = vec![0.0; inner];
    let mut row = vec![0.0; inner];
    for i in 0..down.rows {
        down.row_into(i, &mut row);
        columns.iter_mut().zip(&row).for_each(|(column, v)| *column += f64::from(*v).powi(2));
    }
    let (gates, ups) = (lengths(gate), lengths(up));
    let strength = |n: &usize| gates[*n] * ups[*n] * columns[*n];
    let mut all: Vec<usize> = (0..inner).collect();
    all.sort_by(|a, b| strength(b).total_cmp(&strength(a)).then(a.cmp(b)));
    all.truncate(room);
    all.sort_unstable();
    all
}

fn tensor(name: &str, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), kind: Kind::Linear, required: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_taken_evenly_from_the_first_to_the_last() {
        assert_eq!(layers(3, 3), [0, 1, 2]);
        assert_eq!(layers(6, 3), [0, 0, 1, 1, 2, 2]);
        assert_eq!(layers(4, 28), [0, 9, 18, 27]);
        assert_eq!((layers(1, 28), layers(3, 1)), (vec![0], vec![0, 0, 0]));
    }

    #[test]
    fn the_strongest_neurons_are_kept_in_their_order() {
        let gate = Matrix::from_f32(4, 2, &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.1, 0.0]);
        let down = Matrix::from_f32(1, 4, &[1.0, 1.0, 1.0, 100.0]);
        assert_eq!(strongest(&gate, &gate, &down, 2), [1, 2]);
        assert_eq!(strongest(&gate, &gate, &down, 9), [0, 1, 2, 3]);
    }
}
