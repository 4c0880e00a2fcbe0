//! The lines that a run writes as it goes: for programs, and for people.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::describe::describe;
use super::folder::RunFolder;
use crate::protocol::{Happening, TrainEvent, TrainLine};

/// `metrics.jsonl` and `train.log`.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    bytes: u64,
    log: File,
}

impl Metrics {
    /// Opens both, cutting what lies behind `keep` bytes of the metrics: steps that are made once more.
    pub(crate) fn open(folder: &RunFolder, keep: u64) -> Result<Self> {
        let path = folder.metrics();
        let cannot = || format!("cannot write {}", path.display());
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).with_context(cannot)?;
        let mut bytes = file.metadata().with_context(cannot)?.len().min(keep);
        bytes = whole_lines(&mut file, bytes).with_context(cannot)?;
        file.set_len(bytes).with_context(cannot)?;
        file.seek(SeekFrom::Start(bytes)).with_context(cannot)?;
        let log_path = folder.log();
        let log = File::options()
            .append(true)
            .create(true)
            .open(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        Ok(Self { path, file, bytes, log })
    }

    /// A line as it will be written.
    pub(crate) fn line(line: &TrainLine) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(crate) fn write(&mut self, line: &TrainLine) -> Result<()> {
        let bytes = Self::line(line)?;
        let path = &self.path;
        self.file.write_all(&bytes).with_context(|| format!("cannot write {}", path.display()))?;
        self.bytes += bytes.len() as u64;
        // Whoever reads the log afterwards wants to know what was done, not that it was begun.
        if matches!(line, TrainLine::Event(TrainEvent { what: Happening::Busy { .. }, .. })) {
            return Ok(());
        }
        // People can do without; programs cannot.
        let _ = writeln!(self.log, "{}", describe(line));
        Ok(())
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes sure that they are on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// How many of the first bytes are whole lines.
fn whole_lines(file: &mut File, bytes: u64) -> std::io::Result<u64> {
    let mut end = bytes;
    let mut piece = [0; 4096];
    while end > 0 {
        let begin = end.saturating_sub(piece.len() as u64);
        let piece = &mut piece[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(piece)?;
        if let Some(newline) = memchr::memrchr(b'\n', piece) {
            return Ok(begin + newline as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TrainStep;

    #[test]
    fn the_file_is_cut_back_to_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(dir.path()).unwrap();
        let step = |step| TrainLine::Step(TrainStep { step, ..TrainStep::default() });
        let mut metrics = Metrics::open(&folder, 0).unwrap();
        let mut ends = Vec::new();
        for i in 1..60 {
            metrics.write(&step(i)).unwrap();
            ends.push(metrics.bytes());
        }
        let lines = || std::fs::read_to_string(folder.metrics()).unwrap().lines().count();
        // Within a line, behind the end, and at an end.
        for (keep, want) in [(u64::MAX, 59), (ends[50] + 3, 51), (ends[40], 41), (ends[0] - 1, 0), (0, 0)] {
            let mut metrics = Metrics::open(&folder, keep).unwrap();
            assert_eq!(lines(), want);
            metrics.write(&step(1)).unwrap();
            assert_eq!(lines(), want + 1);
            assert_eq!(metrics.bytes(), folder.metrics().metadata().unwrap().len());
        }
    }
}
