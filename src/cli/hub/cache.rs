//! The hub's shared cache on disk, laid out so that Python tools find what we fetch, and we what they did:
//!
//! ```text
//! models--owner--name/
//!   blobs/ETAG                  contents, each once; ETAG.incomplete while it comes
//!   refs/main                   holds the commit that `main` was at
//!   snapshots/COMMIT/FILE       link to ../../blobs/ETAG (a copy where links cannot be made)
//! .locks/models--owner--name/ETAG.lock
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{RepoId, check_name};

/// The cache of one model.
#[derive(Debug, Clone)]
pub struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// The cache of this model inside the shared cache.
    pub fn new(cache: &Path, repo: &RepoId) -> Self {
        Self::of(cache, "models", repo)
    }

    /// The cache of this data set.
    #[cfg(feature = "hub")]
    pub fn of_data(cache: &Path, repo: &RepoId) -> Self {
        Self::of(cache, "datasets", repo)
    }

    fn of(cache: &Path, kind: &str, repo: &RepoId) -> Self {
        let folder = format!("{kind}--{}--{}", repo.owner, repo.name);
        Self { root: cache.join(&folder), locks: cache.join(".locks").join(folder) }
    }

    /// The files of a revision (a branch, a tag or a commit), if all that a model needs are there.
    pub fn find(&self, revision: &str) -> Option<PathBuf> {
        self.folder(revision).filter(|snapshot| is_complete(snapshot))
    }

    /// One file of a revision, if it is there.
    #[cfg(feature = "hub")]
    pub fn find_file(&self, revision: &str, name: &str) -> Option<PathBuf> {
        self.folder(revision).map(|snapshot| snapshot.join(name)).filter(|file| file.is_file())
    }

    /// Where the files of a revision would be.
    fn folder(&self, revision: &str) -> Option<PathBuf> {
        check_name(revision).ok()?;
        let named = fs::read_to_string(self.root.join("refs").join(revision)).ok();
        let commit = named.as_deref().map_or(revision, str::trim);
        check_name(commit).ok()?;
        Some(self.snapshot(commit))
    }

    /// Folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where the contents with this etag are.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where they are while they come.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Makes the contents appear as `name` in a commit's folder.
    pub fn link(&self, commit: &str, name: &str, etag: &str) -> Result<()> {
        let (blob, shown) = (self.blob(etag), self.snapshot(commit).join(name));
        make_parent(&shown)?;
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&shown).is_ok_and(|found| found == target) {
            return Ok(());
        }
        // A link that points elsewhere, or a file from a time when links could not be made.
        match fs::remove_file(&shown) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", shown.display()));
            }
            _ => {}
        }
        symlink(&target, &shown)
            .or_else(|_| fs::copy(&blob, &shown).map(drop))
            .with_context(|| format!("cannot place {} in the cache", shown.display()))
    }

    /// Notes the commit that a branch or tag stands for. Last of all, so that a broken download
    /// leaves the revision that was there before.
    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<()> {
        check_name(revision)?;
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        make_parent(&path)?;
        fs::write(&path, commit).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Keeps other processes, Python's included, from writing the same contents until it is dropped.
    pub fn lock(&self, etag: &str, waiting: impl FnOnce()) -> Result<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        make_parent(&path)?;
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        if file.try_lock().is_err() {
            waiting();
            // A file system without locks is no reason to refuse: files are checked when complete.
            let _ = file.lock();
        }
        Ok(file)
    }
}

/// Makes the folder that a file is to be in.
pub fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot make the folder {}", parent.display()))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// True if a folder has a configuration and all its weights; a broken link counts as missing.
pub fn is_complete(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    if !dir.join("config.json").is_file() {
        return false;
    }
    let index = fs::read_to_string(dir.join("model.safetensors.index.json"));
    if let Some(index) = index.ok().and_then(|text| serde_json::from_str::<Index>(&text).ok()) {
        return index.weight_map.values().all(|shard| check_name(shard).is_ok() && dir.join(shard).is_file());
    }
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let weights = |path: PathBuf| path.extension().is_some_and(|end| end == "safetensors") && path.is_file();
    entries.flatten().any(|entry| weights(entry.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(files: &[&str]) -> (tempfile::TempDir, RepoCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), &"some/model".parse().unwrap());
        for name in files {
            let blob = cache.blob(&format!("etag-{}", name.replace('/', "-")));
            make_parent(&blob).unwrap();
            fs::write(&blob, name).unwrap();
            cache.link("c0ffee", name, &format!("etag-{}", name.replace('/', "-"))).unwrap();
        }
        (dir, cache)
    }

    #[test]
    fn a_complete_snapshot_is_found_by_branch_and_by_commit() {
        let (dir, cache) = filled(&["config.json", "model.safetensors", "deep/er/x.json"]);
        assert_eq!(cache.find("main"), None);
        cache.set_ref("main", "c0ffee").unwrap();
        cache.set_ref("refs/pr/1", "c0ffee").unwrap();
        let want = dir.path().join("models--some--model/snapshots/c0ffee");
        for revision in ["main", "refs/pr/1", "c0ffee"] {
            assert_eq!(cache.find(revision).as_ref(), Some(&want), "{revision}");
        }
        assert_eq!(fs::read_to_string(want.join("deep/er/x.json")).unwrap(), "deep/er/x.json");
        assert_eq!(cache.find("../main"), None);
        // Linking again changes nothing; a new content replaces the link.
        cache.link("c0ffee", "config.json", "etag-config.json").unwrap();
        cache.link("c0ffee", "config.json", "etag-model.safetensors").unwrap();
        assert_eq!(fs::read_to_string(want.join("config.json")).unwrap(), "model.safetensors");
    }

    #[test]
    fn what_is_not_complete_is_not_found() {
        let (_dir, cache) = filled(&["config.json"]);
        assert_eq!(cache.find("c0ffee"), None);
        let (_dir, cache) = filled(&["config.json", "model.safetensors"]);
        fs::remove_file(cache.blob("etag-model.safetensors")).unwrap();
        assert_eq!(cache.find("c0ffee"), None);
        let (_dir, cache) = filled(&["config.json", "model-1.safetensors"]);
        let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
        fs::write(cache.snapshot("c0ffee").join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(cache.find("c0ffee"), None);
        fs::write(cache.snapshot("c0ffee").join("model-2.safetensors"), "").unwrap();
        assert!(cache.find("c0ffee").is_some());
    }
}
