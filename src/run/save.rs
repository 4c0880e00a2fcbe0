//! Files that the user asks for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::app::msg::Msg;
use crate::whole::write_new;

/// So many names are tried where one is to be found.
const MOST: usize = 1000;

/// Writes a new file and says where it is.
pub(super) fn save(name: &str, numbered: bool, text: &str) -> Result<Msg> {
    let path = expand(name)?;
    for number in 1..=if numbered { MOST } else { 1 } {
        let path = if number == 1 { path.clone() } else { with_number(&path, number) };
        if write_new(&path, text.as_bytes())? {
            let full = std::path::absolute(&path).unwrap_or(path);
            return Ok(Msg::Notice(format!("Written: {}", full.display())));
        }
    }
    bail!("{} is there already and stays as it is: say another name", path.display())
}

/// `~/x` is in the home folder, as shells have it.
fn expand(name: &str) -> Result<PathBuf> {
    match name.strip_prefix("~/") {
        Some(rest) => Ok(Path::new(&std::env::var_os("HOME").context("there is no home folder")?).join(rest)),
        None => Ok(PathBuf::from(name)),
    }
}

fn with_number(path: &Path, number: usize) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{}-{number}.{}", part(path.file_stem()), part(path.extension())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("routing.svg").to_string_lossy().into_owned();
        for wanted in ["routing.svg", "routing-2.svg", "routing-3.svg"] {
            let Msg::Notice(said) = save(&name, true, wanted).unwrap() else { panic!() };
            assert!(said.ends_with(wanted), "{said}");
            assert_eq!(std::fs::read_to_string(dir.path().join(wanted)).unwrap(), wanted);
        }
        let error = save(&name, false, "x").unwrap_err().to_string();
        assert!(error.contains("another name"), "{error}");
        assert!(save("/nowhere/at/all/x.svg", false, "x").is_err());
    }
}
