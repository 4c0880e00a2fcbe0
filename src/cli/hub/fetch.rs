//! Downloads the files of a model into the shared cache, or into a folder of the user's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::cache::{RepoCache, make_parent};
use super::client::{Client, Kind, Remote, Unreachable};
use super::transfer;
use super::{RepoId, Settings, check_name, wanted};
use crate::cli::output;
use crate::cli::progress::{Progress, bytes};

/// Makes sure that all files of a revision are here, and gives the folder that they are in.
pub fn download(settings: &Settings, repo: &RepoId, revision: &str, out: Option<&Path>) -> Result<PathBuf> {
    check_name(revision).context("this is no revision")?;
    let cache = RepoCache::new(&settings.cache, repo);
    if settings.offline {
        return match (cache.find(revision), out) {
            (Some(found), None) => Ok(found),
            _ => bail!("HF_HUB_OFFLINE forbids the network, and {repo} at {revision} is not whole in the cache"),
        };
    }
    let client = Client::new(settings, Kind::Model);
    let listing = match client.list(repo, revision) {
        Ok(listing) => listing,
        Err(error) => {
            let cached = cache.find(revision).filter(|_| out.is_none() && error.is::<Unreachable>());
            let Some(found) = cached else { return Err(error) };
            output::note(format!("{error}: using what the cache has"));
            return Ok(found);
        }
    };
    let names: Vec<&String> = listing.files.iter().filter(|name| wanted(name)).collect();
    ensure!(
        names.iter().any(|name| name.ends_with(".safetensors")),
        "{repo} at {revision} has no weights in safetensors files, so it cannot be used here"
    );
    let mut files = Vec::new();
    for name in names {
        files.push(client.describe(repo, &listing.commit, name)?);
    }
    // Weights last: a folder that has them has the rest too.
    files.sort_by_key(|file| (file.name.ends_with(".safetensors"), file.size, file.name.clone()));
    let place = match out {
        Some(folder) => Place::Folder(folder),
        None => Place::Cache(&cache, &listing.commit),
    };
    let missing: Vec<&Remote> = files.iter().filter(|file| !place.has(file)).collect();
    let total = missing.iter().map(|file| file.size).sum::<Option<u64>>();
    let mut progress = Progress::new(total);
    for file in &missing {
        let url = client.file_url(repo, &listing.commit, &file.name);
        place.fetch(&client, &url, file, &mut progress)?;
    }
    progress.clear();
    for file in &files {
        place.finish(file)?;
    }
    if out.is_none() {
        cache.set_ref(revision, &listing.commit)?;
    }
    output::note(match missing.len() {
        0 => format!("{repo}: everything was here already"),
        n => format!("{repo}: {n} files, {}", total.map_or("of unknown size".into(), bytes)),
    });
    Ok(match place {
        Place::Folder(folder) => folder.to_owned(),
        Place::Cache(cache, commit) => cache.snapshot(commit),
    })
}

/// Makes sure that a file of a data set is here, in the shared cache, and gives its path.
pub fn data_file(settings: &Settings, repo: &RepoId, name: &str) -> Result<PathBuf> {
    check_name(name)?;
    let cache = RepoCache::of_data(&settings.cache, repo);
    if settings.offline {
        let found = cache.find_file("main", name);
        return found.with_context(|| format!("HF_HUB_OFFLINE forbids the network, and the cache lacks {name}"));
    }
    let client = Client::new(settings, Kind::Data);
    let listing = client.list(repo, "main")?;
    ensure!(listing.files.iter().any(|file| file == name), "the data set {repo} has no file {name}");
    let file = client.describe(repo, &listing.commit, name)?;
    let place = Place::Cache(&cache, &listing.commit);
    let mut progress = Progress::new(file.size);
    if !place.has(&file) {
        place.fetch(&client, &client.file_url(repo, &listing.commit, name), &file, &mut progress)?;
    }
    progress.clear();
    place.finish(&file)?;
    cache.set_ref("main", &listing.commit)?;
    Ok(cache.snapshot(&listing.commit).join(name))
}

/// Where the files go.
enum Place<'a> {
    /// The shared cache, as files of this commit.
    Cache(&'a RepoCache, &'a str),
    /// A folder, as plain files.
    Folder(&'a Path),
}

impl Place<'_> {
    /// The whole file, and what it is called while it comes.
    fn paths(&self, file: &Remote) -> (PathBuf, PathBuf) {
        match self {
            Place::Cache(cache, _) => (cache.blob(&file.etag), cache.partial(&file.etag)),
            Place::Folder(folder) => {
                // The etag is part of the name: a part of other contents is never gone on with.
                let tag: String = file.etag.chars().take(16).collect();
                (folder.join(&file.name), folder.join(format!(".{}.{tag}.incomplete", file.name)))
            }
        }
    }

    /// True if the contents are here. In the cache their name proves it; in a folder only a hash
    /// does, so that small files without one come again.
    fn has(&self, file: &Remote) -> bool {
        let whole = self.paths(file).0;
        match self {
            Place::Cache(..) => whole.is_file(),
            Place::Folder(_) => file.hashed && whole.is_file() && transfer::verify(file, &whole).is_ok(),
        }
    }

    fn fetch(&self, client: &Client, url: &str, file: &Remote, progress: &mut Progress) -> Result<()> {
        let (whole, partial) = self.paths(file);
        make_parent(&whole)?;
        let _lock = match self {
            Place::Folder(_) => None,
            Place::Cache(cache, _) => {
                let waiting = || output::note(format!("another program downloads {}: waiting for it", file.name));
                Some(cache.lock(&file.etag, waiting)?)
            }
        };
        if self.has(file) {
            progress.jump(file.size.unwrap_or(0) as i64);
            return Ok(());
        }
        transfer::fetch(client, url, file, &partial, progress)?;
        fs::rename(&partial, &whole).with_context(|| format!("cannot put {} in its place", whole.display()))
    }

    fn finish(&self, file: &Remote) -> Result<()> {
        match self {
            Place::Cache(cache, commit) => cache.link(commit, &file.name, &file.etag),
            Place::Folder(_) => Ok(()),
        }
    }
}
