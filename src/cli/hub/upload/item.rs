//! A file that is to be sent: from the disk, or made for the purpose.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cli::progress::Progress;

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Contents {
    /// What this file holds.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A file for the hub.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name there.
    pub name: String,
    /// What it holds.
    pub contents: Contents,
    /// How many bytes that is.
    pub size: u64,
}

impl Item {
    /// A file on the disk, under its own name or another.
    pub fn file(name: &str, path: PathBuf) -> Result<Self> {
        let about = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { name: name.into(), size: about.len(), contents: Contents::File(path) })
    }

    /// A file that is made here.
    pub fn made(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), size: bytes.len() as u64, contents: Contents::Bytes(bytes) }
    }

    /// Its bytes from a place on, so many.
    pub(super) fn part(&self, from: u64, count: u64) -> Result<Box<dyn Read + '_>> {
        Ok(match &self.contents {
            Contents::Bytes(bytes) => Box::new(&bytes[from as usize..(from + count) as usize]),
            Contents::File(path) => {
                let cannot = || format!("cannot read {}", path.display());
                let mut file = File::open(path).with_context(cannot)?;
                file.seek(SeekFrom::Start(from)).with_context(cannot)?;
                Box::new(file.take(count))
            }
        })
    }

    /// All of it, or as much as `most`.
    pub fn read(&self, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.part(0, self.size.min(most))?.read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read {}", self.name))?;
        Ok(bytes)
    }

    /// Its SHA-256, by which the hub names large files.
    pub(super) fn sha256(&self, progress: &mut Progress) -> Result<String> {
        let mut source = self.part(0, self.size)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            match source.read(&mut buffer).with_context(|| format!("cannot read {}", self.name))? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    progress.add(read as u64);
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
