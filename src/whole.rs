//! Files that appear whole or not at all: written beside, synced, moved into place.
//!
//! Whatever ends the program meanwhile, under the name there is what was there before, or all of the new.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::{Builder, NamedTempFile};

/// A file that nobody sees yet. Dropped, it leaves nothing behind.
pub struct WholeFile {
    path: PathBuf,
    beside: NamedTempFile,
}

impl WholeFile {
    /// Begins what will be at `path`, as readable as any new file.
    pub fn begin(path: &Path) -> io::Result<Self> {
        Self::with_mode(path, 0o666)
    }

    /// Begins what nobody but the user shall read.
    pub fn begin_private(path: &Path) -> io::Result<Self> {
        Self::with_mode(path, 0o600)
    }

    fn with_mode(path: &Path, mode: u32) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        // Opened here, since an error of tempfile's own would name the file beside, which means nothing to people.
        let beside = Builder::new().prefix(".unfinished-").make_in(folder(path), |beside| options.open(beside))?;
        Ok(Self { path: path.to_owned(), beside })
    }

    /// Puts it in its place, over what may be there.
    pub fn replace(self) -> io::Result<()> {
        self.beside.as_file().sync_all()?;
        self.beside.persist(&self.path)?;
        sync_folder(folder(&self.path));
        Ok(())
    }

    /// Puts it in its place, unless something is there: false then, and that stays as it is.
    pub fn put_new(self) -> io::Result<bool> {
        self.beside.as_file().sync_all()?;
        match self.beside.persist_noclobber(&self.path) {
            Ok(_) => {
                sync_folder(folder(&self.path));
                Ok(true)
            }
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.beside.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.beside.as_file_mut().flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.beside.as_file_mut().seek(to)
    }
}

/// Writes a file, over what may be there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = WholeFile::begin(path)?;
        file.write_all(bytes)?;
        file.replace()
    };
    write().with_context(|| cannot(path))
}

/// Writes a file that is not there yet. False, and nothing is written, if it is.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let write = || {
        let mut file = WholeFile::begin(path)?;
        file.write_all(bytes)?;
        file.put_new()
    };
    write().with_context(|| cannot(path))
}

/// What failed, for people.
pub fn cannot(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// So that names outlive a power cut. Not every system can open a folder, which is no failure.
pub fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// The folder of a file: the one that the program stands in, for a name alone.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_new_is_written_over_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.svg");
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        // It came while the other was written.
        let mut late = WholeFile::begin(&path).unwrap();
        late.write_all(b"three").unwrap();
        assert!(!late.put_new().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_old_stays_until_the_new_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        write(&path, b"old").unwrap();
        let mut file = WholeFile::begin(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn failures_name_the_file_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/x.svg");
        let said = format!("{:#}", write(&path, b"x").unwrap_err());
        assert!(said.contains("no/x.svg: ") && !said.contains(".unfinished"), "{said}");
        // In the system's own words.
        let why = WholeFile::begin(&path).err().unwrap();
        assert!(why.raw_os_error().is_some() && said.ends_with(&why.to_string()), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompts");
        WholeFile::begin_private(&path).unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
