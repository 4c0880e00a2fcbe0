//! Sequences that were tokenised and packed before: a safetensors file.
//!
//! | tensor | type and shape | what |
//! |---|---|---|
//! | `tokens` | U32 (total) | the tokens of all sequences, one after the other |
//! | `mask` | U8 (total) | 1 where a token bears loss as a label |
//! | `offsets` | U64 (sequences + 1) | where each sequence begins in both; the last is the total |
//! | `starts` | U32 (any) | where examples begin within their sequence, if they are isolated |
//! | `start_offsets` | U64 (sequences + 1) | where each sequence's begin in `starts` |
//!
//! The header's metadata has one entry, [`KEY`]: [`About`] as JSON. Pairs are two sequences each, first the chosen.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::encode::{Encoder, check_vocabulary};
use super::units::Shape;
use crate::backend::learn::Sequence;
use crate::model::checkpoint::{Checkpoint, Dtype};
use crate::model::matrix::Bytes;
use crate::protocol::TokenId;
use crate::train::fingerprint::Fingerprint;
use crate::train::settings::Method;

/// The entry of the metadata by which such a file is known.
pub(super) const KEY: &str = "bit-axon-prepared";

/// The version of the format that this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// What a prepared file was made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The version that this program writes.
    pub version: u32,
    /// What it can be used for.
    pub method: Method,
    /// Tokens of a sequence; of a pair's two at most.
    pub max_seq_len: usize,
    /// Examples do not see each other.
    pub isolate: bool,
    /// Tells the tokenizer and the chat template from others.
    pub encoder: u64,
    /// Sequences that it holds.
    pub sequences: u64,
    /// Examples that they were made of.
    pub examples: u64,
}

/// A prepared file, mapped into memory.
pub struct Prepared {
    file: Checkpoint,
    about: About,
    tokens: Bytes,
    mask: Bytes,
    offsets: Bytes,
    /// `starts` and `start_offsets`.
    starts: Option<(Bytes, Bytes)>,
    vocab: usize,
}

impl Prepared {
    /// True for safetensors files: no line of JSON begins as they do.
    pub fn is_one(path: &Path) -> Result<bool> {
        let cannot = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        let about = file.metadata().with_context(cannot)?;
        let mut start = [0; 9];
        if !about.is_file() || file.read_exact(&mut start).is_err() {
            return Ok(false);
        }
        let header = u64::from_le_bytes(start[..8].try_into().unwrap_or_default());
        Ok(start[8] == b'{' && header < about.len())
    }

    /// Opens a file and checks that it is whole.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read_file(path).with_context(|| format!("{} is no prepared data that can be used", path.display()))
    }

    fn read_file(path: &Path) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let about = file.metadata().find_map(|(_, entries)| entries.get(KEY));
        let about = about.context("it is not from `bit-axon prepare`; the weights of a model perhaps")?;
        let about: About = serde_json::from_str(about).context("its metadata cannot be read")?;
        ensure!(about.version == VERSION, "it is of version {}; this program knows {VERSION}", about.version);
        let tensor = |name: &str, dtype: Dtype| -> Result<Bytes> {
            let tensor = file.tensor(name).with_context(|| format!("it lacks the tensor `{name}`"))?;
            ensure!(tensor.dtype == dtype && tensor.shape.len() == 1, "its tensor `{name}` is no list of {dtype}");
            Ok(tensor.bytes)
        };
        let (tokens, mask) = (tensor("tokens", Dtype::U32)?, tensor("mask", Dtype::U8)?);
        let offsets = tensor("offsets", Dtype::U64)?;
        let starts = about
            .isolate
            .then(|| Ok::<_, anyhow::Error>((tensor("starts", Dtype::U32)?, tensor("start_offsets", Dtype::U64)?)));
        let starts = starts.transpose()?;
        let count = about.sequences;
        ensure!(tokens.len() / 4 == mask.len(), "its tokens and its mask are not equally many");
        check_offsets(&offsets, count, mask.len() as u64)?;
        if let Some((starts, offsets)) = &starts {
            check_offsets(offsets, count, starts.len() as u64 / 4)?;
        }
        ensure!(about.method != Method::Orpo || count.is_multiple_of(2), "it is of pairs, but holds {count} sequences");
        Ok(Self { file, about, tokens, mask, offsets, starts, vocab: usize::MAX })
    }

    /// What it was made for.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many sequences, or pairs, it holds.
    pub fn count(&self) -> u64 {
        self.about.sequences / if self.about.method == Method::Orpo { 2 } else { 1 }
    }

    /// What tells its content from others.
    pub fn fingerprint(&self) -> u64 {
        let mut all = Fingerprint::new();
        for bytes in [&self.offsets, &self.mask, &self.tokens] {
            all.add(bytes);
        }
        all.finish()
    }

    /// An error if it was made for something else.
    pub(super) fn check(&self, encoder: &Encoder, shape: Shape) -> Result<()> {
        let (about, path) = (&self.about, self.path().display());
        let method = encoder.method();
        ensure!(about.method == method, "{path} was prepared for {}, not for {method}", about.method);
        ensure!(
            about.max_seq_len == shape.length,
            "{path} was prepared with --max-seq-len {}, not {}",
            about.max_seq_len,
            shape.length
        );
        ensure!(
            about.isolate == shape.isolate,
            "{path} was prepared {} --isolate; train in the same way",
            if about.isolate { "with" } else { "without" }
        );
        ensure!(
            about.encoder == encoder.fingerprint()?,
            "{path} was prepared with another tokenizer or chat template than this model's: prepare it again with \
             --model"
        );
        Ok(())
    }

    /// For a model with so many tokens.
    pub(super) fn for_vocabulary(&mut self, vocab: usize) {
        self.vocab = vocab;
    }

    /// A sequence, or both of a pair.
    pub(super) fn read(&self, row: u64) -> Result<Vec<Sequence>> {
        let each = if self.about.method == Method::Orpo { 2 } else { 1 };
        (row * each..(row + 1) * each).map(|index| self.sequence(index)).collect()
    }

    fn sequence(&self, index: u64) -> Result<Sequence> {
        let range = range_at(&self.offsets, index);
        let tokens: Vec<TokenId> = words(&self.tokens, range.clone());
        if let Err(error) = check_vocabulary(&tokens, self.vocab) {
            bail!("sequence {index} of {}: {error}", self.path().display());
        }
        let mask = self.mask[range].iter().map(|bears| *bears != 0).collect();
        let starts = self.starts.as_ref().map_or_else(Vec::new, |(starts, offsets)| {
            words(starts, range_at(offsets, index)).into_iter().map(|at| at as usize).collect()
        });
        let ordered = starts.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(
            ordered && starts.last().is_none_or(|last| *last < tokens.len()),
            "sequence {index} of {} has examples that begin nowhere",
            self.path().display()
        );
        Ok(Sequence { tokens, mask, starts })
    }
}

fn words(bytes: &[u8], range: std::ops::Range<usize>) -> Vec<u32> {
    bytes[range.start * 4..range.end * 4].as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// The offsets are checked when the file is opened.
fn range_at(offsets: &[u8], index: u64) -> std::ops::Range<usize> {
    let at = |index: usize| u64::from_le_bytes(offsets.as_chunks().0[index]) as usize;
    at(index as usize)..at(index as usize + 1)
}

fn check_offsets(offsets: &[u8], count: u64, total: u64) -> Result<()> {
    let offsets: Vec<u64> = offsets.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let fits = offsets.len() as u64 == count.saturating_add(1)
        && offsets.first() == Some(&0)
        && offsets.last() == Some(&total)
        && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    ensure!(fits, "its offsets do not fit what it holds");
    Ok(())
}
