//! Tensors of a checkpoint as the matrices and numbers that a model computes with.

use anyhow::{Result, ensure};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::check::{Problem, ProblemKind, Stored};
use super::{Checkpoint, Source, Store, TensorInfo};
use crate::model::matrix::{Data, Float, Floats, Matrix};
use crate::model::tensors::TensorSpec;

/// Dense matrices up to this size are searched for infinities and NaN when they are loaded, as all
/// scales are: that costs a fraction of a second. Larger ones would have to be read from disk whole
/// before the first token; `bit-axon inspect --deep` searches those.
const SEARCHED_AT_LOAD: usize = 16 << 20;

impl Checkpoint {
    /// A matrix: dense, affine or NF4, as its format and companions say.
    pub fn matrix(&self, t: &TensorSpec) -> Result<Matrix> {
        let &[rows, cols] = &t.shape[..] else {
            anyhow::bail!("`{}` has {} dimensions: it is not a matrix", t.name, t.shape.len());
        };
        self.rows_by_cols(t, rows, cols)
    }

    /// A stack `(X, rows, cols)` as X matrices that share its bytes.
    pub fn stack(&self, t: &TensorSpec) -> Result<Vec<Matrix>> {
        let whole = self.stacked(t)?;
        let rows = whole.rows / t.shape[0];
        Ok((0..t.shape[0]).map(|i| whole.rows(i * rows, rows)).collect())
    }

    /// A stack `(X, rows, cols)` as one matrix of `X * rows` rows.
    pub fn stacked(&self, t: &TensorSpec) -> Result<Matrix> {
        let &[count, rows, cols] = &t.shape[..] else {
            anyhow::bail!("`{}` has {} dimensions: it is not a stack of matrices", t.name, t.shape.len());
        };
        self.rows_by_cols(t, count * rows, cols)
    }

    /// The numbers of a small tensor (norm, convolution, state decay, time step), row after row. A
    /// convolution's `(E, K, 1)` is thus E rows of K taps.
    pub fn floats(&self, t: &TensorSpec) -> Result<Vec<f32>> {
        let stored = self.locate(t)?;
        let Stored::Dense(info, format) = stored else {
            let (found, wanted) = ("4-bit codes".to_owned(), "floating-point numbers".to_owned());
            let info = self.info(&t.name).expect("it was located");
            return Err(Problem::at(ProblemKind::WrongDtype, &info, found, wanted).into());
        };
        Ok(self.finite(info, format)?.to_f32())
    }

    fn rows_by_cols(&self, t: &TensorSpec, rows: usize, cols: usize) -> Result<Matrix> {
        let data = match self.locate(t)? {
            Stored::Dense(info, format) if info.data.len() <= SEARCHED_AT_LOAD => {
                Data::Dense(self.finite(info, format)?)
            }
            Stored::Dense(info, format) => Data::Dense(self.floats_of(info, format)),
            Stored::Affine4 { group, codes, scales, biases } => Data::Affine4 {
                group,
                codes: self.bytes_of(codes),
                scales: self.finite(scales.0, scales.1)?,
                biases: self.finite(biases.0, biases.1)?,
            },
            Stored::Nf4 { group, codes, absmax } => {
                Data::Nf4 { group, codes: self.bytes_of(codes), absmax: self.finite(absmax.0, absmax.1)? }
            }
        };
        Ok(Matrix { rows, cols, data })
    }

    /// Numbers that are all finite.
    fn finite(&self, info: TensorInfo<'_>, format: Float) -> Result<Floats> {
        if let Some(problem) = not_finite(&info) {
            return Err(problem.into());
        }
        Ok(self.floats_of(info, format))
    }

    fn floats_of(&self, info: TensorInfo<'_>, format: Float) -> Floats {
        Floats { format, bytes: self.bytes_of(info) }
    }

    fn bytes_of(&self, info: TensorInfo<'_>) -> crate::model::matrix::Bytes {
        self.tensor(info.name).expect("it was located in this checkpoint").bytes
    }

    /// Reads every floating-point tensor and says which of them hold infinities or NaN.
    pub fn search_not_finite(&self) -> impl Iterator<Item = Problem> + '_ {
        self.tensors().filter_map(|t| not_finite(&t))
    }

    /// An error if a model of this shape cannot be made of this checkpoint: its first problem, and
    /// how many there are.
    pub fn ensure_fits(&self, spec: &crate::model::spec::ModelSpec) -> Result<()> {
        let problems: Vec<Problem> = self.check(spec).into_iter().filter(Problem::is_fatal).collect();
        let Some(first) = problems.first() else { return Ok(()) };
        let more = match problems.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more: see `bit-axon inspect {}`)", self.path().display()),
        };
        ensure!(problems.is_empty(), "{first}{more}");
        Ok(())
    }
}

fn not_finite(t: &TensorInfo<'_>) -> Option<Problem> {
    let count = count_not_finite(t.data, t.dtype.float()?);
    let all = t.shape.iter().product::<usize>();
    let found = || format!("{count} of {all} values infinite or not a number");
    (count > 0).then(|| Problem::at(ProblemKind::NotFinite, t, found(), "finite numbers".into()))
}

/// How many of the numbers are infinite or NaN: those whose exponent bits are all ones.
fn count_not_finite(bytes: &[u8], format: Float) -> usize {
    let halves = |exponent: u16| {
        let bad = |c: &[u8; 2]| u16::from_le_bytes(*c) & exponent == exponent;
        bytes.as_chunks().0.iter().filter(|c| bad(c)).count()
    };
    match format {
        Float::F16 => halves(f16::INFINITY.to_bits()),
        Float::Bf16 => halves(bf16::INFINITY.to_bits()),
        Float::F32 => {
            let exponent = f32::INFINITY.to_bits();
            let bad = |c: &[u8; 4]| u32::from_le_bytes(*c) & exponent == exponent;
            bytes.as_chunks().0.iter().filter(|c| bad(c)).count()
        }
    }
}

/// A checkpoint's values as the source of another file. A tied head without a tensor of its own has
/// those of the embedding table.
impl Source for Checkpoint {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        let own = self.info(&t.name).or_else(|| self.info("embed_tokens.weight"));
        let info = own.expect("the checkpoint was checked before its values are read");
        let format = info.dtype.float().expect("only floating-point checkpoints are converted");
        let bytes = &info.data[first * format.size()..(first + out.len()) * format.size()];
        widen(bytes, format, out);
    }
}

/// Numbers at any address as f32.
fn widen(bytes: &[u8], format: Float, out: &mut [f32]) {
    match format {
        Float::F32 => {
            let numbers = bytes.as_chunks().0.iter();
            out.iter_mut().zip(numbers).for_each(|(o, b)| *o = f32::from_le_bytes(*b));
        }
        Float::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
            Ok(numbers) => numbers.convert_to_f32_slice(out),
            Err(_) => {
                let numbers = bytes.as_chunks().0.iter();
                out.iter_mut().zip(numbers).for_each(|(o, b)| *o = f16::from_le_bytes(*b).to_f32());
            }
        },
        Float::Bf16 => {
            let numbers = bytes.as_chunks().0.iter();
            out.iter_mut().zip(numbers).for_each(|(o, b)| *o = bf16::from_le_bytes(*b).to_f32());
        }
    }
}

/// How a tensor is stored, for people to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Holding {
    /// As `F16`, `affine4/64` or `nf4/64`: the format, and the inputs in a group.
    pub format: String,
    /// True for 4-bit codes.
    pub quantised: bool,
    /// Bytes of the tensor and of its companions.
    pub bytes: u64,
}

impl Checkpoint {
    /// How a tensor is stored, if it is there and as the model needs it.
    pub fn holding(&self, t: &TensorSpec) -> Option<Holding> {
        let stored = self.locate(t).ok()?;
        let bytes = stored.parts().iter().map(|part| part.data.len() as u64).sum();
        let store = stored.store();
        Some(Holding { format: store.to_string(), quantised: !matches!(store, Store::Dense(_)), bytes })
    }

    /// The format of a tensor, if it is there and as the model needs it.
    pub fn stored(&self, t: &TensorSpec) -> Option<Store> {
        self.locate(t).ok().map(|stored| stored.store())
    }

    /// Names of the tensors that stand for this one in the files: itself, and its companions.
    pub fn parts_of(&self, t: &TensorSpec) -> Vec<String> {
        let Ok(stored) = self.locate(t) else { return Vec::new() };
        stored.parts().iter().map(|part| part.name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_any_address() {
        let values = [1.5f32, -0.25, 3.0, 1e-3];
        let cases = [
            (Float::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()),
            (Float::F16, values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect()),
            (Float::Bf16, values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect()),
        ];
        for (format, bytes) in cases {
            for offset in 0..4 {
                let moved = [&vec![0; offset], &bytes[..]].concat();
                let mut out = [0.0; 4];
                widen(&moved[offset..], format, &mut out);
                assert!(values.iter().zip(out).all(|(a, b)| (a - b).abs() < 1e-5), "{format:?} {offset}: {out:?}");
            }
        }
    }
}
