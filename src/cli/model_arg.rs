//! What `--model` may be: a folder, a file, or a name on the hub.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::hub::cache::RepoCache;
use super::hub::{RepoId, Settings};

/// Help text for every `--model`.
pub const HELP: &str = "A model: a folder, a .safetensors file, or a hub name such as owner/name";

/// The folder or file that is meant. A path that is there wins; a hub name is looked up in the
/// shared cache, and fetched if it is not in it.
pub fn resolve(model: &str) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.exists() {
        let weights = path.extension().is_some_and(|end| end == "safetensors");
        ensure!(weights, "{model} is no model: give a folder, a .safetensors file or a hub name such as owner/name");
        return Ok(path.to_owned());
    }
    let Ok(repo) = model.parse::<RepoId>() else {
        bail!("there is no folder or file {model}, and it is no hub name such as owner/name either");
    };
    let settings = Settings::from_env()?;
    if let Some(found) = RepoCache::new(&settings.cache, &repo).find("main") {
        return Ok(found);
    }
    absent(&settings, &repo)
}

#[cfg(feature = "hub")]
fn absent(settings: &Settings, repo: &RepoId) -> Result<PathBuf> {
    use anyhow::Context;

    super::output::note(format!("{repo} is neither a folder here nor in the cache: fetching it from the hub"));
    super::hub::fetch::download(settings, repo, "main", None)
        .with_context(|| format!("cannot get the model {repo} (it is no folder or file here either)"))
}

#[cfg(not(feature = "hub"))]
fn absent(settings: &Settings, repo: &RepoId) -> Result<PathBuf> {
    bail!(
        "there is no folder or file {repo}, and no such model in {}; this program was built without \
         the feature `hub`, so it cannot download it",
        settings.cache.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_win_and_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("owner/name");
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(resolve(folder.to_str().unwrap()).unwrap(), folder);
        let file = folder.join("model.safetensors");
        std::fs::write(&file, "").unwrap();
        assert_eq!(resolve(file.to_str().unwrap()).unwrap(), file);
        let other = folder.join("notes.txt");
        std::fs::write(&other, "").unwrap();
        assert!(resolve(other.to_str().unwrap()).unwrap_err().to_string().contains("no model"));
        let said = resolve("no-such-folder").unwrap_err().to_string();
        assert!(said.contains("no-such-folder") && said.contains("owner/name"), "{said}");
        assert!(resolve("./a/b/c").is_err());
    }
}
