//! Matrices as they are stored: bytes of a mapped file (or of memory) and how to read them.

use std::ops::Deref;
use std::sync::Arc;

use half::{bf16, f16};

/// The memory that bytes lie in.
pub trait Owner: AsRef<[u8]> + Send + Sync {
    /// Gives some of it back to the system, if it can be had again from a file when it is read next.
    fn release(&self, _start: usize, _len: usize) {}
}

impl Owner for Vec<u8> {}

/// Bytes that are part of the program.
impl Owner for &'static [u8] {}

/// A part of a mapped file or of a buffer, shared and never changed. It starts at a multiple of 4.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn Owner>,
    start: usize,
    len: usize,
}

impl Bytes {
    /// `len` bytes of `owner`, from `start`; none if they are not all there.
    pub fn new(owner: Arc<dyn Owner>, start: usize, len: usize) -> Option<Self> {
        let end = start.checked_add(len)?;
        let data = (*owner).as_ref().get(start..end)?;
        if data.as_ptr().addr().is_multiple_of(4) {
            return Some(Self { owner, start, len });
        }
        // A checkpoint may place a tensor anywhere; typed slices need it aligned.
        let mut words = vec![0u32; len.div_ceil(4)];
        bytemuck::cast_slice_mut(&mut words)[..len].copy_from_slice(data);
        Some(Self { owner: Arc::new(Words(words)), start: 0, len })
    }

    /// Gives the memory back to the system where it can be had again from a file: for what is read
    /// here and there, and would otherwise fill memory with its neighbours.
    pub fn release(&self) {
        self.owner.release(self.start, self.len);
    }

    /// A buffer of its own.
    pub fn from_words(words: Vec<u32>) -> Self {
        let len = words.len() * 4;
        Self { owner: Arc::new(Words(words)), start: 0, len }
    }

    /// A buffer of f32.
    pub fn from_f32(values: &[f32]) -> Self {
        Self::from_words(values.iter().map(|v| v.to_bits()).collect())
    }

    /// `len` bytes of these, from `start`, which must be a multiple of 4.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.len && start.is_multiple_of(4), "{start}+{len} of {} bytes", self.len);
        Self { owner: self.owner.clone(), start: self.start + start, len }
    }
}

struct Words(Vec<u32>);

impl Owner for Words {}

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.len]
    }
}

/// Floating-point formats that checkpoints use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// 32 bits.
    F32,
    /// IEEE half.
    F16,
    /// Brain float.
    Bf16,
}

impl Float {
    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Float::F32 => 4,
            Float::F16 | Float::Bf16 => 2,
        }
    }
}

/// Numbers in one of the floating-point formats.
#[derive(Clone)]
pub struct Floats {
    /// Their format.
    pub format: Float,
    /// Their bytes, little-endian.
    pub bytes: Bytes,
}

impl Floats {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.format.size()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The number at `index`.
    pub fn get(&self, index: usize) -> f32 {
        match self.format {
            Float::F32 => bytemuck::cast_slice::<u8, f32>(&self.bytes)[index],
            Float::F16 => bytemuck::cast_slice::<u8, f16>(&self.bytes)[index].to_f32(),
            Float::Bf16 => bytemuck::cast_slice::<u8, bf16>(&self.bytes)[index].to_f32(),
        }
    }

    /// All of them as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.format {
            Float::F32 => bytemuck::cast_slice::<u8, f32>(&self.bytes).to_vec(),
            Float::F16 => bytemuck::cast_slice::<u8, f16>(&self.bytes).iter().map(|v| v.to_f32()).collect(),
            Float::Bf16 => bytemuck::cast_slice::<u8, bf16>(&self.bytes).iter().map(|v| v.to_f32()).collect(),
        }
    }

    /// `count` numbers from `start`.
    pub fn slice(&self, start: usize, count: usize) -> Self {
        let size = self.format.size();
        let bytes = &self.bytes;
        let (from, len) = (start * size, count * size);
        if from.is_multiple_of(4) {
            return Self { format: self.format, bytes: bytes.slice(from, len) };
        }
        let moved = Bytes::new(Arc::new(bytes[from..from + len].to_vec()), 0, len);
        Self { format: self.format, bytes: moved.expect("the range was checked by the slice above") }
    }
}

/// A matrix of `rows` outputs by `cols` inputs, as stored.
#[derive(Clone)]
pub struct Matrix {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Its values.
    pub data: Data,
}

/// Values of a matrix.
#[derive(Clone)]
pub enum Data {
    /// One number each, row after row.
    Dense(Floats),
    /// MLX's affine 4-bit: `w = scale * code + bias`, groups of `group` inputs.
    Affine4 {
        /// Inputs in a group.
        group: usize,
        /// Eight codes in each little-endian u32, lowest nibble first: `rows * cols / 2` bytes.
        codes: Bytes,
        /// `rows * cols / group`.
        scales: Floats,
        /// `rows * cols / group`.
        biases: Floats,
    },
    /// NormalFloat: `w = absmax * NF4[code]`.
    Nf4 {
        /// Inputs in a group.
        group: usize,
        /// As in `Affine4`.
        codes: Bytes,
        /// `rows * cols / group`.
        absmax: Floats,
    },
}

impl Matrix {
    /// A matrix of f32 in memory.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * cols);
        let floats = Floats { format: Float::F32, bytes: Bytes::from_f32(values) };
        Self { rows, cols, data: Data::Dense(floats) }
    }

    /// Gives its memory back to the system until it is read again; see [`Bytes::release`].
    pub fn release(&self) {
        match &self.data {
            Data::Dense(v) => v.bytes.release(),
            Data::Affine4 { codes, scales, biases, .. } => {
                [codes, &scales.bytes, &biases.bytes].iter().for_each(|b| b.release());
            }
            Data::Nf4 { codes, absmax, .. } => [codes, &absmax.bytes].iter().for_each(|b| b.release()),
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Dense(v) => v.bytes.len(),
            Data::Affine4 { codes, scales, biases, .. } => codes.len() + scales.bytes.len() + biases.bytes.len(),
            Data::Nf4 { codes, absmax, .. } => codes.len() + absmax.bytes.len(),
        }
    }

    /// `rows` rows from `first`, sharing the bytes.
    pub fn rows(&self, first: usize, rows: usize) -> Self {
        let (from, len) = (first * self.cols, rows * self.cols);
        let data = match &self.data {
            Data::Dense(v) => Data::Dense(v.slice(from, len)),
            Data::Affine4 { group, codes, scales, biases } => Data::Affine4 {
                group: *group,
                codes: codes.slice(from / 2, len / 2),
                scales: scales.slice(from / group, len / group),
                biases: biases.slice(from / group, len / group),
            },
            Data::Nf4 { group, codes, absmax } => Data::Nf4 {
                group: *group,
                codes: codes.slice(from / 2, len / 2),
                absmax: absmax.slice(from / group, len / group),
            },
        };
        Self { rows, cols: self.cols, data }
    }

    /// One row as f32: the reference that every kernel is compared with.
    pub fn row_into(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols);
        let first = row * self.cols;
        let code = |codes: &Bytes, i: usize| codes[(first + i) / 2] >> (4 * (i % 2)) & 15;
        match &self.data {
            Data::Dense(v) => out.iter_mut().enumerate().for_each(|(i, o)| *o = v.get(first + i)),
            Data::Affine4 { group, codes, scales, biases } => {
                for (i, o) in out.iter_mut().enumerate() {
                    let g = (first + i) / group;
                    *o = scales.get(g) * f32::from(code(codes, i)) + biases.get(g);
                }
            }
            Data::Nf4 { group, codes, absmax } => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = absmax.get((first + i) / group) * NF4[code(codes, i) as usize];
                }
            }
        }
    }
}

/// The NormalFloat codebook of the QLoRA paper (Dettmers et al. 2023): quantiles of a normal
/// distribution, scaled to [-1, 1], with an exact zero.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
