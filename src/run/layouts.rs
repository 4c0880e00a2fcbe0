//! How runs were looked at, kept in a file for each place that is watched.
//!
//! It is told once a second how things are arranged and writes what is new on a thread of its own, beside and renamed.
//! Where nothing can be kept, nothing is: arranging things again is a nuisance and no reason to fail.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};

use crate::whole::WholeFile;

/// Bytes that are read of such a file.
const LARGEST: u64 = 1 << 20;
/// Files that are kept; those that were not used for longest go.
const MOST: usize = 200;
/// How long whoever leaves waits for the disk.
const LEAVE: Duration = Duration::from_secs(2);

/// The file of what is watched, in this folder.
pub fn file(folder: &Path, paths: &[PathBuf]) -> PathBuf {
    let full = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for path in paths {
        // The name `-` is standard input, wherever it comes from.
        let path = if path.as_os_str() == "-" { path.clone() } else { full(path) };
        for byte in path.as_os_str().as_encoded_bytes().iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    folder.join(format!("{hash:016x}.json"))
}

/// What such a file says; none if there is none, or none that could be one.
pub fn read(path: &Path) -> Option<String> {
    // A pipe of that name would be waited for.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Keeps one layout.
pub(super) struct Layouts {
    newest: Option<String>,
    to: Option<Sender<String>>,
    done: Receiver<()>,
}

impl Layouts {
    /// Writes to this file from now on; `newest` is what it holds.
    pub(super) fn new(path: PathBuf, newest: Option<String>) -> Self {
        let ((to, texts), (finished, done)) = (channel::<String>(), channel());
        let work = move || {
            for text in texts {
                // The next will be tried all the same: a disk may have room again.
                let _ = write(&path, &text);
            }
            let _ = finished.send(());
        };
        let to = std::thread::Builder::new().name("layouts".into()).spawn(work).ok().map(|_| to);
        Self { newest, to, done }
    }

    /// Keeps this, if it is new.
    pub(super) fn keep(&mut self, text: String) {
        if self.newest.as_ref() == Some(&text) {
            return;
        }
        // What nobody arranged needs no file.
        let first = self.newest.is_none();
        self.newest = Some(text.clone());
        if let Some(to) = self.to.as_ref().filter(|_| !first) {
            let _ = to.send(text);
        }
    }

    /// Waits until all is written, but not for ever.
    pub(super) fn close(mut self) {
        if self.to.take().is_some() {
            let _ = self.done.recv_timeout(LEAVE);
        }
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = WholeFile::begin_private(path)?;
    file.write_all(text.as_bytes())?;
    file.replace()?;
    forget_oldest(folder)
}

fn forget_oldest(folder: &Path) -> std::io::Result<()> {
    let mut all: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    for (_, path) in all.iter().take(all.len().saturating_sub(MOST)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_written_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir.path().join("state/monitor"), &["runs".into()]);
        assert_ne!(path, file(&dir.path().join("state/monitor"), &["runs".into(), "-".into()]));
        assert_eq!(read(&path), None);
        let mut layouts = Layouts::new(path.clone(), None);
        layouts.keep("as it is from the start".into());
        layouts.close();
        assert_eq!(read(&path), None);
        let mut layouts = Layouts::new(path.clone(), None);
        for text in ["usual", "one", "one", "two"] {
            layouts.keep(text.into());
        }
        layouts.close();
        assert_eq!(read(&path).as_deref(), Some("two"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        // Nothing that is no text, and nothing from a folder of that name.
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!((read(&path), read(dir.path())), (None, None));
    }

    #[test]
    fn the_oldest_are_forgotten_and_a_disk_that_takes_nothing_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..MOST + 5 {
            fs::write(dir.path().join(format!("{i}.json")), "x").unwrap();
        }
        write(&dir.path().join("new.json"), "y").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MOST);
        assert_eq!(read(&dir.path().join("new.json")).as_deref(), Some("y"));
        let mut layouts = Layouts::new(dir.path().join("new.json/x.json"), Some("a".into()));
        layouts.keep("b".into());
        layouts.close();
    }
}
