//! A model folder that appears whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::folder;
use crate::whole::sync_folder;

/// A folder in which a model is put together, out of sight, until [`finish`](Self::finish) moves it
/// into place. Dropped before that, it takes everything in it along.
pub struct StagedFolder {
    target: PathBuf,
    staging: TempDir,
}

impl StagedFolder {
    /// Begins a model at `target`. One that is already there is an error unless `replace`.
    pub fn begin(target: &Path, replace: bool) -> Result<Self> {
        if target.exists() {
            ensure!(target.is_dir(), "{} is a file; a model needs a folder", target.display());
            if !replace && let Some(found) = model_file(target)? {
                bail!(
                    "{} already holds a model ({found}): choose another folder, or replace it with --force",
                    target.display()
                );
            }
        }
        // On the same disk as the target, since moving between disks would be copying.
        let parent = match target.parent() {
            _ if target.is_dir() => target,
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".unfinished-model-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let staging = builder.tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
        Ok(Self { target: target.to_owned(), staging })
    }

    /// A new file of the model.
    pub fn create(&self, name: &str) -> Result<File> {
        let path = self.staging.path().join(name);
        File::create_new(&path).with_context(|| format!("cannot make {}", self.target.join(name).display()))
    }

    /// A whole file of the model.
    pub fn put(&self, name: &str, contents: &[u8]) -> Result<()> {
        let mut file = self.create(name)?;
        file.write_all(contents).with_context(|| format!("cannot write {}", self.target.join(name).display()))
    }

    /// Makes sure that everything is on the disk, and moves it into place. Weights of a model that
    /// was there before are removed; files that are no part of a model stay.
    pub fn finish(self) -> Result<()> {
        let failed = || format!("cannot finish the model {}", self.target.display());
        let mut names = Vec::new();
        for entry in self.staging.path().read_dir().with_context(failed)? {
            let entry = entry.with_context(failed)?;
            File::open(entry.path())
                .and_then(|file| {
                    file.sync_all()?;
                    forget_small_pages(&file);
                    Ok(())
                })
                .with_context(failed)?;
            names.push(entry.file_name());
        }
        if !self.target.exists() {
            fs::rename(self.staging.path(), &self.target).with_context(failed)?;
            // Moved away: there is nothing left to remove.
            let _ = self.staging.keep();
        } else {
            for name in &names {
                fs::rename(self.staging.path().join(name), self.target.join(name)).with_context(failed)?;
            }
            for old in folder::model_files(&self.target)?.into_iter().filter(|old| !names.contains(&old.into())) {
                fs::remove_file(self.target.join(&old)).with_context(|| {
                    format!("cannot remove {old} of the model that was in {}", self.target.display())
                })?;
            }
        }
        sync_folder(&self.target);
        Ok(())
    }
}

/// What was written piece by piece lies in the system's cache in small pages. Whoever opens the file
/// reads it into large ones, with which a model runs faster, once these are gone.
fn forget_small_pages(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: advice on a descriptor that is open; failing is no harm.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// A file by which a folder is known to hold a model.
fn model_file(folder: &Path) -> Result<Option<String>> {
    if folder.join("config.json").exists() {
        return Ok(Some("config.json".into()));
    }
    Ok(folder::model_files(folder)?.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            folder.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_model_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/model");
        let begun = StagedFolder::begin(&target, false).unwrap();
        begun.put("config.json", b"{}").unwrap();
        drop(begun);
        assert_eq!(names(&dir.path().join("deep")), [""; 0]);

        let begun = StagedFolder::begin(&target, false).unwrap();
        begun.put("config.json", b"{}").unwrap();
        assert!(!target.exists());
        begun.finish().unwrap();
        assert_eq!(names(&target), ["config.json"]);
        assert_eq!(names(&dir.path().join("deep")), ["model"]);
    }

    #[test]
    fn a_model_is_replaced_only_when_told_and_other_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "notes.txt", "adapters.safetensors"]
        {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let said = StagedFolder::begin(dir.path(), false).err().unwrap().to_string();
        assert!(said.contains("--force") && said.contains("model-00001"), "{said}");
        let begun = StagedFolder::begin(dir.path(), true).unwrap();
        begun.put("model.safetensors", b"new").unwrap();
        begun.finish().unwrap();
        assert_eq!(names(dir.path()), ["adapters.safetensors", "model.safetensors", "notes.txt"]);
    }

    #[test]
    fn a_folder_without_a_model_may_be_used_and_a_file_may_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        StagedFolder::begin(dir.path(), false).unwrap().finish().unwrap();
        assert_eq!(names(dir.path()), ["notes.txt"]);
        assert!(StagedFolder::begin(&dir.path().join("notes.txt"), true).is_err());
    }
}
