//! Prompts of earlier times: one JSON string a line, the newest last.
//!
//! Several windows append to the file; who begins with too many lines in it writes it anew with the
//! newest alone. A lock keeps the two apart.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::store::{private, private_folder};
use crate::whole::WholeFile;

/// Prompts that are kept.
const KEPT: usize = 1000;
/// Bytes of the file from which on it is written anew.
const LARGE: u64 = 1 << 20;
/// Bytes at its end that are read at all.
const READ: u64 = 8 << 20;
/// Bytes of a prompt: a longer one is a document that was pasted, which the session has.
const LONGEST: usize = 64 << 10;

/// The file of prompts.
#[derive(Debug, Clone)]
pub struct History {
    path: PathBuf,
}

impl History {
    /// Prompts in this file, which is made when the first is kept.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The prompts, oldest first, each once. Lines that are none are passed over.
    pub fn load(&self) -> Result<Vec<String>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.with_context(|| self.fault("read"))?,
        };
        let about = file.metadata().with_context(|| self.fault("read"))?;
        anyhow::ensure!(about.is_file(), "{} is not a file", self.path.display());
        let prompts = newest(file, about.len()).with_context(|| self.fault("read"))?;
        if about.len() > LARGE {
            self.write_anew().with_context(|| self.fault("write"))?;
        }
        Ok(prompts)
    }

    /// Keeps a prompt for later.
    pub fn append(&self, prompt: &str) -> Result<()> {
        if prompt.len() > LONGEST || prompt.trim().is_empty() {
            return Ok(());
        }
        let mut line = serde_json::to_vec(prompt)?;
        line.push(b'\n');
        let mut append = || -> io::Result<()> {
            let mut file = self.locked()?;
            // The line of a program that was killed while it wrote must not swallow this one.
            if !ends_whole(&mut file)? {
                line.insert(0, b'\n');
            }
            file.write_all(&line)
        };
        append().with_context(|| self.fault("write"))
    }

    /// The file, which nobody else writes meanwhile.
    fn locked(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            private_folder(folder)?;
        }
        // Whoever wrote it anew put another file in its place.
        for _ in 0..100 {
            let file = private(OpenOptions::new().create(true)).open(&self.path)?;
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
                locked => locked?,
            }
            if is_there(&file, &self.path) {
                return Ok(file);
            }
        }
        Err(io::Error::other("it is being replaced again and again"))
    }

    fn write_anew(&self) -> io::Result<()> {
        let old = self.locked()?;
        let size = old.metadata()?.len();
        let prompts = newest(old.try_clone()?, size)?;
        let mut new = WholeFile::begin_private(&self.path)?;
        for prompt in prompts {
            serde_json::to_writer(&mut new, &prompt)?;
            new.write_all(b"\n")?;
        }
        new.replace()?;
        drop(old);
        Ok(())
    }

    fn fault(&self, what: &str) -> String {
        format!("cannot {what} the prompts of earlier times in {}", self.path.display())
    }
}

/// The newest prompts of a file, oldest first; of those that are the same, the newest.
fn newest(mut file: File, size: u64) -> io::Result<Vec<String>> {
    file.seek(SeekFrom::Start(size.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    let mut seen = HashSet::new();
    let mut prompts = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').rev() {
        let Ok(prompt) = serde_json::from_slice::<String>(line) else { continue };
        if prompts.len() < KEPT && seen.insert(prompt.clone()) {
            prompts.push(prompt);
        }
    }
    prompts.reverse();
    Ok(prompts)
}

fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

/// True if this is the file that stands at the path now.
#[cfg(unix)]
fn is_there(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(own), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

#[cfg(not(unix))]
fn is_there(_: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_back_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().join("deep/history.jsonl"));
        assert!(history.load().unwrap().is_empty());
        for prompt in ["one", "two\nlines \u{1b}[2J", "one", " ", "three"] {
            history.append(prompt).unwrap();
        }
        history.append(&"x".repeat(LONGEST + 1)).unwrap();
        assert_eq!(history.load().unwrap(), ["two\nlines \u{1b}[2J", "one", "three"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(history.path()).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_torn_line_costs_itself_alone() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().join("history.jsonl"));
        history.append("one").unwrap();
        history.append("two").unwrap();
        let whole = fs::read(history.path()).unwrap();
        for cut in 0..whole.len() {
            fs::write(history.path(), &whole[..cut]).unwrap();
            history.append("three").unwrap();
            let mut want = vec!["one", "two", "three"];
            // A line that lacks only its end is whole once it has one.
            want.retain(|p| {
                *p == "three" || whole[..cut].windows(p.len() + 2).any(|w| w == format!("{p:?}").as_bytes())
            });
            assert_eq!(history.load().unwrap(), want, "{cut}");
        }
    }

    #[test]
    fn a_file_that_grew_large_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::new(dir.path().join("history.jsonl"));
        let lines: String = (0..30_000).map(|i| format!("\"prompt number {i:020}\"\n")).collect();
        assert!(lines.len() as u64 > LARGE);
        fs::write(history.path(), lines).unwrap();
        let prompts = history.load().unwrap();
        assert_eq!((prompts.len(), prompts[KEPT - 1].ends_with("29999")), (KEPT, true));
        assert!(fs::metadata(history.path()).unwrap().len() < LARGE);
        assert_eq!(history.load().unwrap(), prompts);
        // What is no file of prompts is told, or passed over.
        assert!(History::new(dir.path()).load().is_err());
        assert!(History::new(dir.path().join("history.jsonl/x")).append("y").is_err());
        fs::write(history.path(), b"\xff\xfe\nrubbish\n{}\n").unwrap();
        assert!(history.load().unwrap().is_empty());
    }
}
