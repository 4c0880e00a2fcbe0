//! Logits in a safetensors file, written row by row: a long input never has them all in memory.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::whole::{self, WholeFile};

/// A file that appears under its name when it is whole.
pub(super) struct LogitsFile {
    path: PathBuf,
    out: BufWriter<WholeFile>,
    /// Values that are still to come.
    missing: usize,
    bytes: Vec<u8>,
}

impl LogitsFile {
    /// Begins a file of one tensor, `logits (tokens, vocab)`.
    pub(super) fn create(path: &Path, tokens: usize, vocab: usize) -> Result<Self> {
        let values = tokens.checked_mul(vocab).filter(|values| *values < usize::MAX / 4);
        let values = values.with_context(|| format!("{tokens} tokens of {vocab} logits are too many"))?;
        let file = WholeFile::begin(path).with_context(|| whole::cannot(path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let entry = serde_json::json!({ "dtype": "F32", "shape": [tokens, vocab], "data_offsets": [0, values * 4] });
        let mut header = serde_json::json!({ "logits": entry }).to_string();
        // Values begin at a multiple of eight.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let length = (header.len() as u64).to_le_bytes();
        let written = out.write_all(&length).and_then(|()| out.write_all(header.as_bytes()));
        written.with_context(|| whole::cannot(path))?;
        Ok(Self { path: path.to_owned(), out, missing: values, bytes: Vec::new() })
    }

    /// Adds rows.
    pub(super) fn push(&mut self, logits: &[f32]) -> Result<()> {
        ensure!(logits.len() <= self.missing, "more logits than {} was made for", self.path.display());
        self.missing -= logits.len();
        self.bytes.clear();
        self.bytes.extend(logits.iter().flat_map(|value| value.to_le_bytes()));
        self.out.write_all(&self.bytes).with_context(|| whole::cannot(&self.path))
    }

    /// Puts the whole file in its place.
    pub(super) fn finish(self) -> Result<()> {
        ensure!(self.missing == 0, "{} logits are missing for {}", self.missing, self.path.display());
        let written = self.out.into_inner().map_err(|error| error.into_error()).and_then(WholeFile::replace);
        written.with_context(|| whole::cannot(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn another_program_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits.safetensors");
        let mut file = LogitsFile::create(&path, 2, 3).unwrap();
        file.push(&[1.0, -2.5, f32::INFINITY]).unwrap();
        assert!(!path.exists());
        file.push(&[0.0, 1e-30, 7.0]).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let logits = tensors.tensor("logits").unwrap();
        assert_eq!((logits.shape(), logits.dtype()), (&[2, 3][..], safetensors::Dtype::F32));
        let values: Vec<f32> = logits.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(values, [1.0, -2.5, f32::INFINITY, 0.0, 1e-30, 7.0]);
    }

    #[test]
    fn half_a_file_is_never_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits.safetensors");
        let mut file = LogitsFile::create(&path, 1, 3).unwrap();
        assert!(file.push(&[0.0; 4]).is_err());
        file.push(&[0.0; 2]).unwrap();
        assert!(file.finish().unwrap_err().to_string().contains("1 logits are missing"));
        drop(LogitsFile::create(&path, 1, 3).unwrap());
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(LogitsFile::create(&dir.path().join("no/such/folder.st"), 1, 1).is_err());
        assert!(LogitsFile::create(&path, usize::MAX, 2).is_err());
    }
}
