//! `config.json`: Bit-Axon's own settings, the presets, and the spec that follows from them.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::spec::{AttentionSpec, LayerSpec, Mixer, ModelSpec, MoeSpec, SsmSpec};

/// The settings of a Bit-Axon model, named as in its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// V
    pub vocab_size: usize,
    /// D
    pub hidden_dim: usize,
    /// Layers in all: a third each of `ssm`, `swa_moe` and (with the remainder) `ssm_moe`.
    pub num_layers: usize,
    /// H
    pub num_heads: usize,
    /// S
    pub d_source_model: usize,
    /// N
    pub ssm_d_state: usize,
    /// K
    pub ssm_d_conv: usize,
    /// E = D * expand
    pub ssm_expand: usize,
    /// Tokens in one step of a chunked scan: a hint to backends, without effect on results.
    #[serde(default = "default_scan_step")]
    pub ssm_scan_step: usize,
    /// W
    pub swa_window_size: usize,
    /// X
    pub moe_num_experts: usize,
    /// k
    pub moe_top_k: usize,
    /// I
    pub moe_intermediate_dim: usize,
    /// Each MoE layer has a shared expert.
    #[serde(default = "yes")]
    pub moe_shared_expert: bool,
    /// The head is the embedding table unless the checkpoint has one of its own.
    #[serde(default = "yes")]
    pub weight_tying: bool,
    /// The longest context.
    pub max_seq_len: usize,
    /// Added under the root in every norm.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f32,
}

fn default_scan_step() -> usize {
    64
}
fn default_eps() -> f32 {
    1e-6
}
fn yes() -> bool {
    true
}

/// Names of the presets, for help texts and errors.
pub const PRESETS: [&str; 5] = ["pico", "small", "medium", "3b", "python-0.1"];

/// Above these a setting is a mistake or an attack, not a model: they keep every product of two
/// settings far from overflow.
const MAX_DIM: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 24;
const MAX_LAYERS: usize = 4096;
const MAX_SEQ: usize = 1 << 28;

impl Config {
    /// A preset by name.
    pub fn preset(name: &str) -> Result<Self> {
        let large = Self {
            vocab_size: 32000,
            hidden_dim: 2560,
            num_layers: 24,
            num_heads: 32,
            d_source_model: 2048,
            ssm_d_state: 16,
            ssm_d_conv: 4,
            ssm_expand: 1,
            ssm_scan_step: 64,
            swa_window_size: 4096,
            moe_num_experts: 8,
            moe_top_k: 2,
            moe_intermediate_dim: 2368,
            moe_shared_expert: true,
            weight_tying: true,
            max_seq_len: 65536,
            rms_norm_eps: 1e-6,
        };
        Ok(match name {
            "3b" => large,
            "python-0.1" => Self { ssm_expand: 3, moe_intermediate_dim: 4096, ..large },
            "medium" => Self {
                hidden_dim: 2048,
                num_layers: 12,
                num_heads: 16,
                d_source_model: 1536,
                ssm_d_state: 12,
                ssm_expand: 3,
                moe_num_experts: 6,
                moe_intermediate_dim: 3072,
                ..large
            },
            // What is built in: few of its weights work on a token, so that two cores can train it.
            "pico" => Self {
                vocab_size: 2048,
                hidden_dim: 192,
                num_layers: 6,
                num_heads: 3,
                d_source_model: 128,
                ssm_d_state: 8,
                ssm_expand: 2,
                swa_window_size: 64,
                moe_intermediate_dim: 192,
                max_seq_len: 4096,
                ..large
            },
            "small" => Self {
                vocab_size: 1024,
                hidden_dim: 256,
                num_layers: 4,
                num_heads: 4,
                d_source_model: 128,
                ssm_d_state: 4,
                ssm_d_conv: 2,
                ssm_expand: 2,
                swa_window_size: 64,
                moe_num_experts: 4,
                moe_intermediate_dim: 512,
                ..large
            },
            other => bail!("no preset is called `{other}`; there are {}", PRESETS.join(", ")),
        })
    }

    /// Reads and checks a `config.json`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&path.display().to_string(), text.as_bytes())
    }

    /// Reads and checks the text of a `config.json`. `name` is how errors call it.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self> {
        let config: Self =
            serde_json::from_slice(text).with_context(|| format!("{name} is not a Bit-Axon configuration"))?;
        config.check().with_context(|| format!("{name} cannot be used"))?;
        Ok(config)
    }

    /// Says which setting is impossible, if one is.
    pub fn check(&self) -> Result<()> {
        let bounded = [
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("hidden_dim", self.hidden_dim, MAX_DIM),
            ("num_layers", self.num_layers, MAX_LAYERS),
            ("num_heads", self.num_heads, MAX_DIM),
            ("d_source_model", self.d_source_model, MAX_DIM),
            ("ssm_d_state", self.ssm_d_state, 1 << 12),
            ("ssm_d_conv", self.ssm_d_conv, 1 << 8),
            ("ssm_expand", self.ssm_expand, 1 << 6),
            ("ssm_scan_step", self.ssm_scan_step, MAX_SEQ),
            ("swa_window_size", self.swa_window_size, MAX_SEQ),
            ("moe_num_experts", self.moe_num_experts, 1 << 14),
            ("moe_top_k", self.moe_top_k, 1 << 14),
            ("moe_intermediate_dim", self.moe_intermediate_dim, MAX_DIM),
            ("max_seq_len", self.max_seq_len, MAX_SEQ),
        ];
        for (name, value, most) in bounded {
            ensure!((1..=most).contains(&value), "{name} is {value}; it must be between 1 and {most}");
        }
        ensure!(
            self.hidden_dim.is_multiple_of(self.num_heads),
            "hidden_dim {} cannot be split over num_heads {}: it must be a multiple",
            self.hidden_dim,
            self.num_heads
        );
        ensure!(
            self.moe_top_k <= self.moe_num_experts,
            "moe_top_k is {}, but there are only {} experts (moe_num_experts)",
            self.moe_top_k,
            self.moe_num_experts
        );
        ensure!(
            self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0,
            "rms_norm_eps is {}; it must be a small number, not negative",
            self.rms_norm_eps
        );
        Ok(())
    }

    /// The sandwich: a third `ssm`, a third `swa_moe`, the rest `ssm_moe`.
    pub fn spec(&self) -> ModelSpec {
        let ssm = Mixer::Ssm(SsmSpec {
            inner: self.hidden_dim * self.ssm_expand,
            state: self.ssm_d_state,
            conv: self.ssm_d_conv,
        });
        let swa = Mixer::Attention(AttentionSpec {
            heads: self.num_heads,
            head_dim: self.hidden_dim / self.num_heads,
            window: self.swa_window_size,
        });
        let moe = MoeSpec {
            experts: self.moe_num_experts,
            top_k: self.moe_top_k,
            intermediate: self.moe_intermediate_dim,
            shared: self.moe_shared_expert,
        };
        let third = self.num_layers / 3;
        let layers = (0..self.num_layers).map(|i| match i {
            i if i < third => LayerSpec { mixer: ssm.clone(), feed_forward: None },
            i if i < 2 * third => LayerSpec { mixer: swa.clone(), feed_forward: Some(moe) },
            _ => LayerSpec { mixer: ssm.clone(), feed_forward: Some(moe) },
        });
        ModelSpec {
            vocab: self.vocab_size,
            embed: self.d_source_model,
            hidden: self.hidden_dim,
            norm_eps: self.rms_norm_eps,
            max_seq_len: self.max_seq_len,
            tied_head: self.weight_tying,
            layers: layers.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::footprint::{KvFormat, footprint};
    use crate::model::tensors::parameters;

    fn kinds(config: &Config) -> Vec<String> {
        config.spec().layers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn presets_are_valid_and_the_sandwich_has_its_thirds() {
        for name in PRESETS {
            Config::preset(name).unwrap().check().unwrap();
        }
        let seven = Config { num_layers: 7, ..Config::preset("small").unwrap() };
        assert_eq!(kinds(&seven), ["ssm", "ssm", "swa+moe", "swa+moe", "ssm+moe", "ssm+moe", "ssm+moe"]);
        assert!(Config::preset("huge").unwrap_err().to_string().contains("small"));
    }

    #[test]
    fn impossible_settings_are_named() {
        let small = || Config::preset("small").unwrap();
        let cases = [
            (Config { num_heads: 3, ..small() }, "num_heads 3"),
            (Config { moe_top_k: 5, ..small() }, "moe_top_k is 5"),
            (Config { num_layers: 0, ..small() }, "num_layers is 0"),
            (Config { vocab_size: usize::MAX, ..small() }, "vocab_size"),
            (Config { rms_norm_eps: f32::NAN, ..small() }, "rms_norm_eps"),
        ];
        for (config, want) in cases {
            let said = config.check().unwrap_err().to_string();
            assert!(said.contains(want), "{said} does not name {want}");
        }
    }

    /// A value that a setting may have in a file: sensible, at a limit, or nonsense.
    fn setting() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0u64..20).prop_map(Value::from),
            (0u32..64).prop_map(|bit| Value::from(1u64 << bit)),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!("64")),
            Just(json!([1])),
            any::<bool>().prop_map(Value::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_settings_panic(changes in prop::collection::vec((0usize..17, setting()), 0..4), layers in 0u64..50) {
            let mut file = serde_json::to_value(Config::preset("small").unwrap()).unwrap();
            file["num_layers"] = layers.into();
            let keys: Vec<String> = file.as_object().unwrap().keys().cloned().collect();
            for (at, value) in changes {
                file[&keys[at % keys.len()]] = value;
            }
            match Config::parse("config.json", file.to_string().as_bytes()) {
                Err(error) => prop_assert!(error.to_string().contains("config.json")),
                Ok(config) => {
                    let spec = config.spec();
                    prop_assert_eq!(spec.layers.len(), config.num_layers);
                    let (total, _) = parameters(&spec);
                    prop_assert!(total > 0);
                    footprint(&spec, 0, config.max_seq_len, KvFormat::F16, 1 << 28).total();
                }
            }
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Config::parse("config.json", &text).is_err());
        }
    }
}
