//! What is to be trained, and how.

use anyhow::{Result, bail, ensure};

use crate::backend::cpu::ops::Level;

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Train {
    /// Every parameter.
    Full,
    /// Low-rank matrices beside frozen ones.
    Lora(AdapterOptions),
    /// The same, and the length of each row.
    Dora(AdapterOptions),
}

/// Settings of adapters.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterOptions {
    /// Columns of A, rows of B.
    pub rank: usize,
    /// What the adapter's branch is multiplied by.
    pub scale: f32,
    /// The share of the adapters' inputs that is dropped.
    pub dropout: f32,
    /// Projections that get one, by the last part of their names: see [`TARGETS`].
    pub targets: Vec<String>,
    /// The routed experts' projections get them too.
    pub experts: bool,
}

/// Projections that may have adapters.
pub const TARGETS: [&str; 11] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "in_proj",
    "out_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "input_proj",
    "output_proj",
];

impl Default for AdapterOptions {
    fn default() -> Self {
        let targets = TARGETS.map(str::to_owned).to_vec();
        Self { rank: 8, scale: 20.0, dropout: 0.0, targets, experts: false }
    }
}

impl AdapterOptions {
    /// An error that says which setting is impossible, if one is.
    pub fn check(&self) -> Result<()> {
        ensure!((1..=4096).contains(&self.rank), "a rank of {} makes no adapter; 1 to 4096 do", self.rank);
        ensure!(self.scale.is_finite(), "the adapters' scale must be a number, not {}", self.scale);
        ensure!((0.0..1.0).contains(&self.dropout), "a dropout of {} is not from 0 to below 1", self.dropout);
        ensure!(!self.targets.is_empty(), "adapters need targets: some of {}", TARGETS.join(", "));
        for target in &self.targets {
            if !TARGETS.contains(&target.as_str()) {
                bail!("`{target}` cannot have an adapter; these can: {}", TARGETS.join(", "));
            }
        }
        Ok(())
    }

    /// True if the module of this path gets an adapter.
    pub fn takes(&self, path: &str) -> bool {
        let last = path.rsplit('.').next().unwrap_or(path);
        self.targets.iter().any(|t| t == last) && (self.experts || !path.contains(".switch_mlp."))
    }
}

/// How a learner is made.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnOptions {
    /// What is trained.
    pub train: Train,
    /// Compute a layer's activations again in its backward pass instead of keeping those of all layers.
    pub recompute: bool,
    /// Threads that compute; none takes every core.
    pub threads: Option<usize>,
    /// Compute with matrices as 4 bits will store them.
    pub rounded: Option<super::FourBits>,
    /// Draws the adapters' first values.
    pub seed: u64,
    /// The instructions to use; none finds them.
    pub level: Option<Level>,
    /// How [`crate::backend::learn::Learner::model`] runs what was learned; threads and instructions are the
    /// learner's.
    pub inference: crate::backend::cpu::Options,
}

impl LearnOptions {
    /// The usual settings for this.
    pub fn new(train: Train) -> Self {
        Self {
            train,
            recompute: true,
            rounded: None,
            threads: None,
            seed: 0,
            level: None,
            inference: Default::default(),
        }
    }
}
