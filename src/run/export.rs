//! Writes a chat into a file of another kind, never over one that is there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::app::sessions::Export;
use crate::session::{self, Loaded, export};

/// Writes it where it is wanted, else into the folder that the program was started in. `name` is its
/// name on disk, if it has one. Gives where it is.
pub(super) fn write(loaded: &Loaded, wanted: &Export, name: Option<&str>) -> Result<PathBuf> {
    let own = || session::name(loaded.header.created, &loaded.chat.name());
    let name = name.map_or_else(own, str::to_owned);
    let here = std::env::current_dir().context("the folder that bit-axon was started in is gone")?;
    let Some(file) = &wanted.file else { return export::to_folder(loaded, wanted.json, &here, &name) };
    let path = here.join(below_home(file));
    if path.is_dir() {
        return export::to_folder(loaded, wanted.json, &path, &name);
    }
    export::to_new_file(loaded, wanted.json, &path)?;
    Ok(path)
}

/// `~/x` as shells understand it.
fn below_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) if !home.is_empty() => Path::new(&home).join(rest),
        _ => PathBuf::from(file),
    }
}
