//! Memory that a model will need, known before any of it is taken.

use anyhow::{Result, ensure};

use super::spec::{LayerSpec, Mixer, ModelSpec};
use crate::protocol::{LayerMemory, MemoryReport};

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFormat {
    /// 32-bit floats: exact.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers, with a 32-bit scale for each head.
    Q8,
}

impl KvFormat {
    /// Bytes of the keys, or of the values, of one token in one layer.
    pub fn bytes(self, heads: usize, head_dim: usize) -> u64 {
        let (heads, head_dim) = (heads as u64, head_dim as u64);
        match self {
            KvFormat::F32 => 4 * heads * head_dim,
            KvFormat::F16 => 2 * heads * head_dim,
            KvFormat::Q8 => heads * (head_dim + 4),
        }
    }
}

/// Tokens between states that are kept for rewinding.
const REWIND_INTERVAL: usize = 64;
/// Tokens whose inputs of the recurrence are kept as well.
const REWIND_LOGGED: usize = 128;
/// Tokens that a forward pass reads at once, for the estimate of its buffers.
const CHUNK: usize = 256;

/// What a model of this shape will hold after `context` tokens. `weights` are its bytes. What is kept
/// for rewinding and `scratch` are estimates, since each backend has its own; keys and values in f32
/// mean the exact path.
pub fn footprint(spec: &ModelSpec, weights: u64, context: usize, kv: KvFormat, rewind_budget: u64) -> MemoryReport {
    let layer = |(layer, l): (usize, &LayerSpec)| match &l.mixer {
        Mixer::Attention(a) => {
            let kv_filled = context.min(a.window);
            let kv = 2 * kv_filled as u64 * kv.bytes(a.heads, a.head_dim);
            LayerMemory { layer, kv, kv_filled, kv_window: a.window, ssm: 0 }
        }
        // State (E, N) and the last K-1 inputs of the convolution (K-1, E), f32.
        Mixer::Ssm(s) => {
            let ssm = 4 * (s.inner * (s.state + s.conv - 1)) as u64;
            LayerMemory { layer, ssm, ..LayerMemory::default() }
        }
    };
    let layers: Vec<LayerMemory> = spec.layers.iter().enumerate().map(layer).collect();
    let rewind = rewind(spec, &layers, context, kv, rewind_budget);
    MemoryReport { weights, layers, rewind, rewind_budget, scratch: scratch(spec, kv), device: None }
}

/// States at intervals, inputs of the recurrence for the newest tokens, and the keys and values that
/// have left the window but are still needed to return to the oldest state.
fn rewind(spec: &ModelSpec, layers: &[LayerMemory], context: usize, kv: KvFormat, budget: u64) -> u64 {
    let mixers = || spec.layers.iter().map(|l| &l.mixer);
    let log = |m: &Mixer| match m {
        Mixer::Ssm(s) => 4 * (REWIND_LOGGED * (s.inner + 2 * s.state + 1)) as u64,
        Mixer::Attention(_) => 0,
    };
    // The fast path keeps states as halves.
    let state = layers.iter().map(|l| l.ssm).sum::<u64>() / if kv == KvFormat::F32 { 1 } else { 2 };
    let older = |m: &Mixer| match m {
        Mixer::Attention(a) => 2 * context.saturating_sub(a.window) as u64 * kv.bytes(a.heads, a.head_dim),
        Mixer::Ssm(_) => 0,
    };
    let logs = Some(mixers().map(log).sum()).filter(|logs| *logs <= budget / 4).unwrap_or(0);
    let kept = state * (context / REWIND_INTERVAL) as u64 + mixers().map(older).sum::<u64>();
    kept.min(budget - logs) + logs
}

/// Buffers for the tokens of one pass, from the embedding to one row of logits.
fn scratch(spec: &ModelSpec, kv: KvFormat) -> u64 {
    let (mut wide, mut inner, mut small, mut attention) = (0, 0, 0, 0);
    let (mut experts, mut gated) = (0, 0);
    for l in &spec.layers {
        match &l.mixer {
            Mixer::Ssm(s) => {
                (wide, inner, small) = (wide.max(2 * s.inner), inner.max(s.inner), small.max(2 * s.state + 1));
            }
            Mixer::Attention(a) => {
                let width = a.heads * a.head_dim;
                (wide, inner) = (wide.max(3 * width), inner.max(width));
                // Each head has a block of 32 keys and values of its own.
                attention = attention.max(a.heads * (2 * 32 * a.head_dim + 2 * CHUNK));
            }
        }
        if let Some(m) = &l.feed_forward {
            wide = wide.max((m.top_k + usize::from(m.shared)) * spec.hidden);
            (experts, gated) = (experts.max(m.experts + 1), gated.max(2 * m.intermediate));
        }
    }
    // Experts keep their two halves where the mixer before them had its own.
    let token = spec.embed + 3 * spec.hidden + wide + (2 * inner).max(gated) + small + experts;
    // The inputs of matrices once more as bytes, with their scales.
    let bytes = if kv == KvFormat::F32 { 0 } else { spec.hidden + inner.max(gated / 2) };
    4 * (CHUNK * token + attention + spec.vocab) as u64 + (CHUNK * bytes) as u64 * 5 / 4
}

/// An error, with both numbers, if something needs more memory than there is.
pub fn check_fits(what: &str, needed: u64, available: u64) -> Result<()> {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    ensure!(
        needed <= available,
        "{what} needs {:.1} GB of memory, but only {:.1} GB are free: close other programs, use a smaller model or \
         one in 4 bits (`bit-axon quantize`), or a shorter context",
        gb(needed),
        gb(available)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Config;

    #[test]
    fn the_3b_preset_keeps_the_bounds_of_its_design() {
        let spec = Config::preset("3b").unwrap().spec();
        let kv =
            |format, context| footprint(&spec, 0, context, format, 256 << 20).layers.iter().map(|l| l.kv).sum::<u64>();
        assert_eq!(kv(KvFormat::F16, 4096), 8 * 4096 * 2 * 2560 * 2);
        assert!(kv(KvFormat::F16, 65536) <= 340_000_000);
        assert!(kv(KvFormat::Q8, 65536) <= 180_000_000);
        assert_eq!(kv(KvFormat::F32, 100), 8 * 100 * 2 * 2560 * 4);
        let long = footprint(&spec, 1000, 65536, KvFormat::F16, 256 << 20);
        assert_eq!(long.rewind, 256 << 20);
        assert_eq!(long.layers[0].ssm, 4 * 2560 * 19);
        assert!(long.scratch < 100_000_000, "{}", long.scratch);
    }

    #[test]
    fn too_much_is_said_with_both_numbers() {
        check_fits("the model", 10, 10).unwrap();
        let said = check_fits("the model", 12_900_000_000, 3_000_000_000).unwrap_err().to_string();
        assert!(said.contains("12.9 GB") && said.contains("3.0 GB"), "{said}");
    }
}
