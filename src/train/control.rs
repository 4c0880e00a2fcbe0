//! What is asked of a run while it goes: from this process over a channel, from others over a file in its folder.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use anyhow::{Context, Result};

use super::folder::RunFolder;
use crate::protocol::TrainControl;

const FILE: &str = "control.jsonl";

/// Read at once, at most: what is asked takes a few hundred bytes.
const PIECE: u64 = 1 << 20;

/// Asks something of the run in this folder. It hears it after the batch that it is at; if none runs there, nobody
/// ever will.
pub fn ask(folder: &Path, control: &TrainControl) -> Result<()> {
    let path = folder.join(FILE);
    let cannot = || format!("cannot ask anything of a run in {}", folder.display());
    let mut line = serde_json::to_vec(control)?;
    line.push(b'\n');
    // Not created: where it is not, no run is. Short writes at the end of a file do not mix.
    let mut file = File::options().append(true).open(&path).with_context(cannot)?;
    file.write_all(&line).with_context(cannot)
}

/// Hears what is asked.
#[derive(Debug)]
pub struct Controls {
    own: Option<Receiver<TrainControl>>,
    path: PathBuf,
    file: File,
    /// Bytes that were understood.
    read: u64,
}

impl Controls {
    /// Begins to listen. What was asked of an earlier run is forgotten.
    pub fn open(folder: &RunFolder, own: Option<Receiver<TrainControl>>) -> Result<Self> {
        let path = folder.path().join(FILE);
        let cannot = || format!("cannot write {}", path.display());
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).with_context(cannot)?;
        Ok(Self { own, path, file, read: 0 })
    }

    /// What was asked since the last time, in order; what could not be understood is an error by itself.
    pub fn heard(&mut self) -> Vec<Result<TrainControl>> {
        let mut heard: Vec<_> = self.own.iter().flat_map(Receiver::try_iter).map(Ok).collect();
        match self.lines() {
            Ok(text) => {
                let parse = |line: &[u8]| {
                    let said = || format!("{}: `{}` was not understood", self.path.display(), line.escape_ascii());
                    serde_json::from_slice(line).with_context(said)
                };
                let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
                heard.extend(lines.map(parse));
            }
            Err(error) => heard.push(Err(error).with_context(|| format!("cannot read {}", self.path.display()))),
        }
        heard
    }

    /// Whole lines that were added.
    fn lines(&mut self) -> std::io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        // Someone emptied it.
        self.read = self.read.min(length);
        if length == self.read {
            return Ok(Vec::new());
        }
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut text = Vec::new();
        (&mut self.file).take(PIECE).read_to_end(&mut text)?;
        let whole = match memchr::memrchr(b'\n', &text) {
            Some(newline) => newline + 1,
            // A line without an end that nobody would write.
            None if text.len() as u64 == PIECE => text.len(),
            None => 0,
        };
        text.truncate(whole);
        self.read += whole as u64;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_heard_in_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask(dir.path(), &TrainControl::Pause).is_err(), "no run is there");
        let folder = RunFolder::open(dir.path()).unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let mut controls = Controls::open(&folder, Some(receive)).unwrap();
        assert!(controls.heard().is_empty());
        send.send(TrainControl::Resume).unwrap();
        ask(dir.path(), &TrainControl::Pause).unwrap();
        ask(dir.path(), &TrainControl::BatchCeiling { batch: None }).unwrap();
        let heard: Vec<_> = controls.heard().into_iter().map(Result::unwrap).collect();
        let want = [TrainControl::Resume, TrainControl::Pause, TrainControl::BatchCeiling { batch: None }];
        assert_eq!(heard, want);
        let mut file = File::options().append(true).open(dir.path().join(FILE)).unwrap();
        file.write_all(b"{\"do\":\"st").unwrap();
        assert!(controls.heard().is_empty());
        file.write_all(b"op\"}\n\x1b[2J\n").unwrap();
        let heard = controls.heard();
        assert_eq!(*heard[0].as_ref().unwrap(), TrainControl::Stop);
        let said = heard[1].as_ref().unwrap_err().to_string();
        assert!(said.contains("not understood") && !said.contains('\x1b'), "{said}");
        assert!(controls.heard().is_empty());
        drop(Controls::open(&folder, None).unwrap());
        assert_eq!(dir.path().join(FILE).metadata().unwrap().len(), 0);
    }
}
