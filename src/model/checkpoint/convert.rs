//! Writing a model in a format, a block of rows at a time: what `init` and `quantize` share.
//!
//! Only a few blocks are ever in memory. They are made by several threads and written in order, so
//! the file does not depend on how many there are.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Seek, Write};

use anyhow::{Context, Result, ensure};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::error::ErrorSums;
use super::write::{Planned, TensorWriter};
use super::{Dtype, TensorInfo};
use crate::model::matrix::Float;
use crate::model::quant;
use crate::model::tensors::{Companion, TensorSpec};

/// Where values come from.
pub trait Source: Sync {
    /// The values of a tensor from index `first`, row after row.
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]);
}

/// How a tensor is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// One number each.
    Dense(Float),
    /// MLX's affine 4-bit with f16 scales and biases.
    Affine4 {
        /// Inputs in a group.
        group: usize,
    },
    /// NormalFloat with f16 absmax.
    Nf4 {
        /// Inputs in a group.
        group: usize,
    },
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Dense(float) => Dtype::from(*float).fmt(f),
            Store::Affine4 { group } => write!(f, "affine4/{group}"),
            Store::Nf4 { group } => write!(f, "nf4/{group}"),
        }
    }
}

/// A tensor to write.
#[derive(Debug, Clone)]
pub struct Job {
    /// The tensor.
    pub tensor: TensorSpec,
    /// Its format.
    pub store: Store,
}

/// Values in a block: 4 MiB as f32.
const BLOCK: usize = 1 << 20;

impl Job {
    /// Bytes that it will take in the file.
    pub fn bytes(&self) -> u64 {
        let bytes = |part: Planned| part.shape.iter().product::<usize>() as u64 * part.dtype.size() as u64;
        self.parts().into_iter().map(bytes).sum()
    }

    /// The tensors of the file: the values or codes, and what goes with them.
    fn parts(&self) -> Vec<Planned> {
        let t = &self.tensor;
        let of = |name: String, dtype, cols| {
            let mut shape = t.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = cols;
            }
            Planned { name, dtype, shape }
        };
        let companion = |part, group| of(t.companion(part), Dtype::F16, t.cols() / group);
        let codes = || of(t.name.clone(), Dtype::U32, t.cols() / 8);
        match self.store {
            Store::Dense(float) => vec![of(t.name.clone(), float.into(), t.cols())],
            Store::Affine4 { group } => {
                vec![codes(), companion(Companion::Scales, group), companion(Companion::Biases, group)]
            }
            Store::Nf4 { group } => vec![codes(), companion(Companion::Absmax, group)],
        }
    }
}

/// Bytes that are copied at once.
const COPIED: usize = 4 << 20;

/// Writes these tensors. `written` is told of each tensor's bytes as they are written, and of the
/// error of each block; an error from it ends the work.
pub fn write_tensors<W: Write + Seek>(
    out: W,
    source: &dyn Source,
    jobs: &[Job],
    threads: usize,
    written: &mut dyn FnMut(&Job, u64, ErrorSums) -> Result<()>,
) -> Result<W> {
    let mut each = |job: Option<&Job>, bytes, sums| job.map_or(Ok(()), |job| written(job, bytes, sums));
    write_with_copies(out, source, jobs, &[], threads, &mut each)
}

/// Hears of each piece that is written: of which tensor, if it is not a copy, how many bytes, and with what error.
pub(super) type Told<'a> = &'a mut dyn FnMut(Option<&Job>, u64, ErrorSums) -> Result<()>;

/// The same, with other tensors copied byte for byte; of those `written` hears without a job.
pub fn write_with_copies<W: Write + Seek>(
    out: W,
    source: &dyn Source,
    jobs: &[Job],
    copies: &[TensorInfo<'_>],
    threads: usize,
    written: Told<'_>,
) -> Result<W> {
    let copied = |t: &TensorInfo<'_>| Planned { name: t.name.to_owned(), dtype: t.dtype, shape: t.shape.to_vec() };
    let plan = jobs.iter().flat_map(Job::parts).chain(copies.iter().map(copied)).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);
    let mut writer = TensorWriter::new(out, plan, &metadata)?;
    let mut workers: Vec<Worker> = (0..threads.max(1)).map(|_| Worker::default()).collect();
    for job in jobs {
        let names: Vec<String> = job.parts().into_iter().map(|part| part.name).collect();
        let (len, cols) = (job.tensor.len(), job.tensor.cols());
        let block = (BLOCK / cols).max(1) * cols;
        let starts: Vec<usize> = (0..len).step_by(block).collect();
        for batch in starts.chunks(workers.len()) {
            let (own, others) = workers.split_first_mut().expect("there is at least one");
            let make = |worker: &mut Worker, start: usize| worker.make(source, job, start, block.min(len - start));
            std::thread::scope(|scope| {
                for (worker, &start) in others.iter_mut().zip(&batch[1..]) {
                    scope.spawn(move || make(worker, start));
                }
                make(own, batch[0]);
            });
            for worker in &mut workers[..batch.len()] {
                let made = std::mem::replace(&mut worker.result, Ok(ErrorSums::default()));
                let sums = made.with_context(|| format!("tensor `{}`", job.tensor.name))?;
                let mut bytes = 0;
                for (name, part) in names.iter().zip(&worker.parts) {
                    writer.append(name, part)?;
                    bytes += part.len() as u64;
                }
                written(Some(job), bytes, sums)?;
            }
        }
    }
    for t in copies {
        for piece in t.data.chunks(COPIED) {
            writer.append(t.name, piece)?;
            written(None, piece.len() as u64, ErrorSums::default())?;
        }
    }
    writer.finish()
}

/// Buffers for one block, used again for the next.
struct Worker {
    /// (rows of the block, cols)
    values: Vec<f32>,
    /// One byte a value.
    codes: Vec<u8>,
    /// Bytes for each of the job's parts.
    parts: [Vec<u8>; 3],
    result: Result<ErrorSums>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { values: Vec::new(), codes: Vec::new(), parts: Default::default(), result: Ok(ErrorSums::default()) }
    }
}

impl Worker {
    fn make(&mut self, source: &dyn Source, job: &Job, start: usize, len: usize) {
        self.values.resize(len, 0.0);
        source.fill(&job.tensor, start, &mut self.values);
        self.parts.iter_mut().for_each(Vec::clear);
        self.result = self.encode(job.store);
    }

    fn encode(&mut self, store: Store) -> Result<ErrorSums> {
        let bad = self.values.iter().filter(|v| !v.is_finite()).count();
        ensure!(
            bad == 0,
            "{bad} of {} values read together are infinite or not a number: the weights are damaged",
            self.values.len()
        );
        match store {
            Store::Dense(float) => self.dense(float),
            Store::Affine4 { group } => self.affine4(group),
            Store::Nf4 { group } => self.nf4(group),
        }
    }

    fn dense(&mut self, float: Float) -> Result<ErrorSums> {
        let out = &mut self.parts[0];
        let mut sums = ErrorSums::default();
        match float {
            Float::F32 => out.extend_from_slice(bytemuck::cast_slice(&self.values)),
            Float::F16 => {
                let mut narrow = vec![f16::ZERO; self.values.len()];
                narrow.convert_from_f32_slice(&self.values);
                let mut back = vec![0.0; narrow.len()];
                narrow.convert_to_f32_slice(&mut back);
                ensure!(back.iter().all(|v| v.is_finite()), "it holds values over 65504, too large for f16");
                // In short pieces, since a piece is summed in f32.
                for (values, back) in self.values.chunks(1024).zip(back.chunks(1024)) {
                    sums.add(values, back);
                }
                out.extend_from_slice(bytemuck::cast_slice(&narrow));
            }
            // Only a source in bf16 is written so: its values fit exactly, unless something was merged into them.
            Float::Bf16 => {
                out.extend(self.values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()));
            }
        }
        Ok(sums)
    }

    fn affine4(&mut self, group: usize) -> Result<ErrorSums> {
        let Self { values, codes, parts: [packed, scales, biases], .. } = self;
        codes.resize(values.len(), 0);
        let mut sums = ErrorSums::default();
        let mut back = vec![0.0; group];
        for (weights, codes) in values.chunks_exact(group).zip(codes.chunks_exact_mut(group)) {
            let (scale, bias) = quant::affine4_stored(weights, codes, &mut back);
            ensure!(
                scale.is_finite() && bias.is_finite(),
                "it holds values over 65504, too large for f16 scales and biases"
            );
            scales.extend_from_slice(&scale.to_le_bytes());
            biases.extend_from_slice(&bias.to_le_bytes());
            sums.add(weights, &back);
        }
        packed.resize(values.len() / 2, 0);
        quant::pack(codes, packed);
        Ok(sums)
    }

    fn nf4(&mut self, group: usize) -> Result<ErrorSums> {
        let Self { values, codes, parts: [packed, absmax, _], .. } = self;
        codes.resize(values.len(), 0);
        let mut sums = ErrorSums::default();
        let mut back = vec![0.0; group];
        for (weights, codes) in values.chunks_exact(group).zip(codes.chunks_exact_mut(group)) {
            let largest = quant::nf4_stored(weights, codes, &mut back);
            ensure!(largest.is_finite(), "it holds values over 65504, too large for an f16 absmax");
            absmax.extend_from_slice(&largest.to_le_bytes());
            sums.add(weights, &back);
        }
        packed.resize(values.len() / 2, 0);
        quant::pack(codes, packed);
        Ok(sums)
    }
}
