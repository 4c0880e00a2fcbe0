//! Files that are written once: whole or not there, and never over another.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file that is not there yet. False, and nothing is written, if it is.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let what = || format!("cannot write {}", path.display());
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bit-axon-");
    // As readable as any new file; temporary ones are the owner's alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).with_context(what)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(what)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        // It came meanwhile.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error).with_context(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.svg");
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        let gone = write_new(&dir.path().join("no/x.svg"), b"x").unwrap_err();
        assert!(format!("{gone:#}").contains("no/x.svg"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
