//! The model that is measured, and the threads that measure the machine beside it.

use anyhow::Result;

use crate::backend::Backend;
use crate::backend::cpu::linear::Compute;
use crate::backend::cpu::ops::Level;
use crate::backend::cpu::{CpuBackend, Options};
use crate::cli::open::{self, Files};
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Kind, layer_index, tensors};

/// A model on one of the backends.
pub(super) struct Subject {
    model: Model,
    /// Bytes of weights that one decoded token reads: of the embedding one row, of the experts the chosen ones.
    pub(super) weight_bytes_per_token: u64,
}

enum Model {
    /// Its own threads measure the machine.
    Cpu(Box<CpuBackend>),
    /// It has no threads of ours: others measure the processor.
    Other(Box<dyn Backend>, Box<Compute>),
}

impl Subject {
    pub(super) fn open(files: &Files, options: &Options) -> Result<Self> {
        if open::on_cpu(files, options) {
            let backend = open::cpu_backend(files, options)?;
            let weight_bytes_per_token = backend.weight_bytes_per_token();
            return Ok(Self { model: Model::Cpu(Box::new(backend)), weight_bytes_per_token });
        }
        let weight_bytes_per_token = bytes_per_token(files, &files.config.spec());
        let backend = open::backend(files, options)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compute = Compute::new(options.threads.unwrap_or(cores), Level::detect()?);
        Ok(Self { model: Model::Other(backend, Box::new(compute)), weight_bytes_per_token })
    }

    pub(super) fn backend(&mut self) -> &mut dyn Backend {
        match &mut self.model {
            Model::Cpu(backend) => &mut **backend,
            Model::Other(backend, _) => &mut **backend,
        }
    }

    pub(super) fn compute(&self) -> &Compute {
        match &self.model {
            Model::Cpu(backend) => backend.compute(),
            Model::Other(_, compute) => compute,
        }
    }
}

fn bytes_per_token(files: &Files, spec: &ModelSpec) -> u64 {
    let read = |t: &crate::model::tensors::TensorSpec| {
        let stored = files.checkpoint.holding(t).map_or(0, |h| h.bytes);
        match t.kind {
            Kind::Embedding if !files.checkpoint.contains("lm_head.weight") => stored,
            Kind::Embedding => stored / spec.vocab as u64,
            Kind::ExpertStack => {
                let moe = layer_index(&t.name).and_then(|i| spec.layers.get(i)?.feed_forward);
                moe.map_or(stored, |moe| stored / moe.experts as u64 * moe.top_k as u64)
            }
            _ => stored,
        }
    };
    tensors(spec).iter().map(read).sum()
}
