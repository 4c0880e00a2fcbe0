//! A run's folder, and the promise that only one trainer writes in it.
//!
//! ```text
//! settings.toml      what holds for this run
//! metrics.jsonl      a line a step, and a line for whatever happens
//! train.log          the same for people
//! control.jsonl      what other processes ask of the run while it goes
//! checkpoints/       step-00000100 and so on
//! adapter/ or model/ what came of it
//! lock               held while a trainer runs
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::settings::Settings;
use crate::whole;

/// A run folder that nobody else writes in.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held until this is dropped, or the process ends in whatever way.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder if need be, and takes its lock.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints)
            .with_context(|| format!("cannot make the folder {}", checkpoints.display()))?;
        let lock_path = path.join("lock");
        let cannot = || format!("cannot lock {}", lock_path.display());
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .with_context(cannot)?;
        match patiently(|| lock.try_lock()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&mut lock).take(20).read_to_string(&mut holder);
                let holder = holder.trim();
                let who = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                bail!(
                    "another trainer is at work in {}{who}; stop it first, or choose another --output-dir",
                    path.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        // Who holds it is for people only; that it is held is what counts.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// A line a step.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The same for people.
    pub fn log(&self) -> PathBuf {
        self.path.join("train.log")
    }

    /// Keeps what holds for this run.
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        whole::write(&settings_path(&self.path), settings.to_toml()?.as_bytes())
    }
}

/// A trainer that has just ended may have begun a command that holds its files for another moment.
fn patiently(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(50)),
            done => return done,
        }
    }
    try_lock()
}

/// What holds for the run of a folder.
pub fn settings_path(folder: &Path) -> PathBuf {
    folder.join("settings.toml")
}

/// True if a run was begun in this folder.
pub fn holds_run(folder: &Path) -> bool {
    let some = |file: PathBuf| file.metadata().is_ok_and(|about| about.len() > 0);
    let saved = fs::read_dir(folder.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some());
    some(folder.join("metrics.jsonl")) || saved
}

/// True if a trainer is at work in this folder.
pub fn is_alive(folder: &Path) -> bool {
    // Asking takes the lock for a moment, which a trainer that begins just then waits for.
    let lock = File::open(folder.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The folders right below this one in which trainers are at work.
pub fn alive_in(runs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let mut alive: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_alive(path)).collect();
    alive.sort();
    alive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_trainer_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/a");
        let first = RunFolder::open(&path).unwrap();
        let said = RunFolder::open(&path).unwrap_err().to_string();
        assert!(said.contains("another trainer") && said.contains(&std::process::id().to_string()), "{said}");
        assert_eq!((is_alive(&path), alive_in(path.parent().unwrap())), (true, vec![path.clone()]));
        drop(first);
        assert!(!is_alive(&path) && !is_alive(&path.join("none")));
        let again = RunFolder::open(&path).unwrap();
        assert!(!holds_run(&path));
        again.write_settings(&Settings::default()).unwrap();
        assert!(Settings::read_given(&settings_path(&path)).is_ok());
        fs::write(again.metrics(), "{}\n").unwrap();
        assert!(holds_run(&path));
    }
}
