//! A model with an adapter merged into it, as the source of new files: one block of rows after the other.

use std::collections::HashMap;

use anyhow::Result;

use super::adapter::Adapter;
use super::checkpoint::{Checkpoint, Format, Job, Source, plan_new};
use super::matrix::Matrix;
use super::spec::ModelSpec;
use super::tensors::{Kind, TensorSpec, tensors};

/// A base and what is merged into it.
pub struct Merged<'a> {
    base: &'a Checkpoint,
    adapter: &'a Adapter,
    matrices: HashMap<String, Matrix>,
}

/// What a merged model's file holds.
pub struct Plan {
    /// Tensors that are computed.
    pub jobs: Vec<Job>,
    /// Names of those that are copied as they are stored, byte for byte.
    pub copies: Vec<String>,
}

/// The tensors of a merged model: in `format`, with 4-bit groups of so many inputs, or each as the base stores it.
/// What the adapter leaves alone and what keeps its format is copied, so that nothing is rounded twice.
pub fn plan(base: &Checkpoint, spec: &ModelSpec, adapter: &Adapter, format: Option<(Format, usize)>) -> Result<Plan> {
    let all = tensors(spec);
    let stored = |t: &TensorSpec| base.stored(t);
    let jobs = match format {
        None => {
            let job = |t: &TensorSpec| Some(Job { tensor: t.clone(), store: stored(t)? });
            all.iter().filter_map(job).collect()
        }
        Some((format, group)) => {
            // A head that the base stores may be another than its table.
            let mut spec = spec.clone();
            spec.tied_head &= !all.iter().any(|t| t.kind == Kind::Head && stored(t).is_some());
            plan_new(&spec, format, group)?
        }
    };
    let mut plan = Plan { jobs: Vec::new(), copies: Vec::new() };
    for job in jobs {
        if adapter.of(&job.tensor).is_none() && stored(&job.tensor) == Some(job.store) {
            plan.copies.extend(base.parts_of(&job.tensor));
        } else {
            plan.jobs.push(job);
        }
    }
    Ok(plan)
}

impl<'a> Merged<'a> {
    /// A base that was checked against the spec, and an adapter that fits it.
    pub fn new(base: &'a Checkpoint, spec: &ModelSpec, adapter: &'a Adapter) -> Result<Self> {
        let mut matrices = HashMap::new();
        for t in tensors(spec).iter().filter(|t| base.contains(&t.name)) {
            match t.kind {
                Kind::ExpertStack => drop(matrices.insert(t.name.clone(), base.stacked(t)?)),
                Kind::Embedding | Kind::Head | Kind::Linear => drop(matrices.insert(t.name.clone(), base.matrix(t)?)),
                _ => {}
            }
        }
        Ok(Self { base, adapter, matrices })
    }
}

impl Source for Merged<'_> {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        let tied = || self.matrices.get("embed_tokens.weight").filter(|_| t.kind == Kind::Head);
        let Some(matrix) = self.matrices.get(&t.name).or_else(tied) else {
            return self.base.fill(t, first, out);
        };
        let cols = t.cols();
        assert!(first.is_multiple_of(cols) && out.len().is_multiple_of(cols), "blocks are whole rows");
        let module = self.adapter.of(t);
        for (row, out) in (first / cols..).zip(out.chunks_exact_mut(cols)) {
            matrix.row_into(row, out);
            if let Some(module) = module {
                module.merge_row(self.adapter.scale(), row / module.outputs, row % module.outputs, out);
            }
        }
        self.base.forget(&t.name);
    }
}
