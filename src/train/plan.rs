//! What a run would do, without doing it.

use anyhow::Result;

use super::data::{Encoder, Example, Order, Part, Source};
use super::settings::{Adapter, Settings};
use crate::model::spec::{Mixer, ModelSpec};
use crate::model::tensors::{Kind, TensorSpec, tensors};

/// Rows that are tokenised for an estimate, at most.
const SAMPLED: u64 = 1000;

/// The data, as far as it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DataEstimate {
    /// Rows that would be trained on.
    pub rows: u64,
    /// Rows that were read for this.
    pub sampled: u64,
    /// Of these, how many cannot be used.
    pub bad: u64,
    /// Examples (pairs) of a pass.
    pub examples: f64,
    /// Tokens of a pass, as they come.
    pub tokens: f64,
    /// Sequences (pairs) of a pass.
    pub units: f64,
    /// Of the examples, the share longer than a sequence.
    pub over_long: f64,
}

/// Reads a part of the data, spread over all of it.
pub fn estimate(source: &mut Source, part: Part, encoder: &Encoder, settings: &Settings) -> Result<DataEstimate> {
    let count = source.count();
    let held = if let Part::Trained { held } = part { held } else { 0 };
    let rows = count - held;
    let length = settings.max_seq_len as f64;
    let lines = match source {
        Source::Prepared(prepared) => {
            let (units, about) = (rows as f64, prepared.about());
            let examples = about.examples as f64 * units / count.max(1) as f64;
            return Ok(DataEstimate { rows, examples, tokens: units * length, units, ..DataEstimate::default() });
        }
        Source::Lines(lines) => lines,
    };
    let order = Order::new(count, settings.seed);
    let mut buffer = Vec::new();
    let mut found = DataEstimate { rows, ..DataEstimate::default() };
    let (mut examples, mut long, mut tokens) = (0u64, 0u64, 0u64);
    let mut pairs = false;
    for place in 0..count.min(SAMPLED) {
        found.sampled += 1;
        let Some(row) = super::data::read_row(lines, order.at(place), &mut buffer)? else { continue };
        let lengths = match row.and_then(|row| encoder.encode(&row)) {
            Ok(Example::One(labelled)) => [labelled.tokens.len(), 0],
            Ok(Example::Pair(chosen, rejected)) => {
                pairs = true;
                [chosen.tokens.len(), rejected.tokens.len()]
            }
            Err(_) => {
                found.bad += 1;
                continue;
            }
        };
        examples += 1;
        tokens += lengths.iter().sum::<usize>() as u64;
        long += u64::from(lengths.iter().any(|l| *l > settings.max_seq_len));
    }
    let scale = rows as f64 / found.sampled.max(1) as f64;
    found.examples = examples as f64 * scale;
    found.tokens = tokens as f64 * scale;
    found.over_long = long as f64 / examples.max(1) as f64;
    // Each example but the first of a sequence has a token before it.
    found.units = if pairs { found.examples } else { ((found.tokens + found.examples) / length).ceil() };
    Ok(found)
}

/// A group of tensors that are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// What they do, as `ssm.in_proj`.
    pub role: String,
    /// In how many layers.
    pub tensors: usize,
    /// Values that are trained.
    pub values: u64,
}

/// What would be trained, by what it does.
pub fn trained(spec: &ModelSpec, settings: &Settings, takes: &dyn Fn(&str) -> bool) -> Vec<Trained> {
    let mut all: Vec<Trained> = Vec::new();
    for tensor in tensors(spec) {
        let values = match settings.adapter() {
            Adapter::Full if tensor.kind == Kind::Head && !tensor.required => 0,
            Adapter::Full => tensor.len() as u64,
            adapter if takes(tensor.name.trim_end_matches(".weight")) => adapter_values(&tensor, adapter, settings),
            _ => 0,
        };
        if values == 0 {
            continue;
        }
        let role = crate::model::tensors::role(&tensor.name);
        match all.iter_mut().find(|group| group.role == role) {
            Some(group) => (group.tensors, group.values) = (group.tensors + 1, group.values + values),
            None => all.push(Trained { role, tensors: 1, values }),
        }
    }
    all
}

fn adapter_values(tensor: &TensorSpec, adapter: Adapter, settings: &Settings) -> u64 {
    let (count, rows, cols) = match tensor.shape[..] {
        [rows, cols] => (1, rows, cols),
        [count, rows, cols] => (count, rows, cols),
        _ => return 0,
    };
    let magnitudes = if adapter == Adapter::Dora { rows } else { 0 };
    (count * (settings.lora_rank * (rows + cols) + magnitudes)) as u64
}

/// Bytes of activations while a batch is computed: sequences go through the model one at a time (pairs two), and of
/// each layer only what it is given is kept, unless nothing is computed again. An estimate.
pub fn activations(spec: &ModelSpec, settings: &Settings, sequences: usize) -> u64 {
    let length = settings.max_seq_len as u64;
    let d = spec.hidden as u64;
    let layer = |mixer: &Mixer, moe: Option<&crate::model::spec::MoeSpec>| {
        let mixer = match mixer {
            Mixer::Ssm(s) => (10 * s.inner + 4 * s.state) as u64,
            Mixer::Attention(a) => (8 * a.heads * a.head_dim) as u64,
        };
        let moe =
            moe.map_or(0, |m| ((m.top_k + usize::from(m.shared)) * (6 * m.intermediate + 2 * spec.hidden)) as u64);
        6 * d + mixer + moe
    };
    let layers = spec.layers.iter().map(|l| layer(&l.mixer, l.feed_forward.as_ref()));
    let kept = match settings.recompute {
        super::settings::Recompute::Off => layers.sum(),
        super::settings::Recompute::On => layers.max().unwrap_or(0) + spec.layers.len() as u64 * d,
    };
    // The logits are computed for some tokens at a time.
    let head = spec.vocab as u64 * length.min(256) * 2;
    4 * (sequences as u64 * length * kept + head)
}
