//! The model as it is now, for inference: adapters over the shared frozen weights, or a checkpoint in memory.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use anyhow::Result;

use super::CpuLearner;
use super::options::Train;
use super::parameters::Parameters;
use crate::backend::Backend;
use crate::backend::cpu::linear::Adapter;
use crate::backend::cpu::weights::Adapters;
use crate::backend::cpu::{CpuBackend, Options};
use crate::model::checkpoint::{Checkpoint, Dtype, Planned, TensorWriter};

impl CpuLearner {
    /// See [`Learner::model`].
    pub(super) fn live(&self) -> Result<Box<dyn Backend>> {
        let options =
            Options { threads: Some(self.threads()), level: Some(self.work.level()), ..self.options.inference.clone() };
        let backend = match self.options.train {
            Train::Full => CpuBackend::new(&self.copied()?, self.spec.clone(), &options),
            _ => CpuBackend::with_adapters(&self.checkpoint, self.spec.clone(), &options, self.live_adapters()),
        };
        Ok(Box::new(backend?))
    }

    /// All trained values as a checkpoint in memory.
    pub(super) fn copied(&self) -> Result<Checkpoint> {
        let Parameters { list, values: exact, .. } = &self.parameters;
        let mut stored = None;
        if let Some(rounded) = &self.rounded {
            // Those that are kept may be of values before the last step.
            rounded.fill(self.work.pool(), exact, stored.insert(exact.zeros_like()));
        }
        let values = stored.as_ref().unwrap_or(exact);
        let table = self.rounded.as_ref().and_then(|rounded| rounded.table(&self.parameters));
        let planned = |p: &crate::backend::learn::Parameter| Planned {
            name: p.name.clone(),
            dtype: Dtype::F32,
            shape: p.shape.clone(),
        };
        let mut all: Vec<(Planned, &[f32])> = Vec::new();
        for (at, parameter) in list.iter().enumerate() {
            let of = if table == Some(at) { exact } else { values };
            all.push((planned(parameter), &of.0[at]));
        }
        // As a quantised checkpoint has it: the head is a rounded copy of the table that embeddings are read from.
        if let Some(at) = table {
            all.push((Planned { name: "lm_head.weight".into(), ..planned(&list[at]) }, &values.0[at]));
        }
        let plan = all.iter().map(|(planned, _)| planned.clone()).collect();
        let mut writer = TensorWriter::new(Cursor::new(Vec::new()), plan, &BTreeMap::new())?;
        for (planned, values) in all {
            writer.append(&planned.name, bytemuck::cast_slice(values))?;
        }
        Checkpoint::from_bytes("the model in training", writer.finish()?.into_inner())
    }

    /// The adapters as they are, by module.
    fn live_adapters(&self) -> Adapters {
        let values = &self.parameters.values;
        let mut all: BTreeMap<String, Vec<Arc<Adapter>>> = BTreeMap::new();
        for linear in self.network.linears() {
            let Some(adapter) = &linear.adapter else { continue };
            let name = &self.parameters.list[adapter.a.parameter].name;
            let path = name.strip_suffix(".lora_a").unwrap_or(name).to_owned();
            let factors = adapter.magnitude.as_ref().map(|m| {
                // The norms may be of values before the last step.
                let norms = if self.stale { linear.norms_now(&self.work, values) } else { m.norms.clone() };
                values.at(m.place).iter().zip(norms).map(|(m, n)| m / n).collect()
            });
            let (a, b) = (values.at(adapter.a), values.at(adapter.b));
            let live = Adapter::new(adapter.rank, adapter.scale, a, b, factors);
            all.entry(path).or_default().push(Arc::new(live));
        }
        all
    }
}
