//! Themes by name: the built-in ones, and the files of the user's folder. A file is read when its theme
//! is asked for, so that `/theme` shows what was just changed in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::ui::theme::{BUILT_IN, Depth, Theme};

/// No theme is longer.
const LONGEST: u64 = 1 << 18;

/// Where themes are found.
#[derive(Debug, Clone, Default)]
pub struct Themes {
    folder: Option<PathBuf>,
}

impl Themes {
    /// The built-in ones, and those of this folder, which need not be there.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The names, built-in ones first.
    pub fn names(&self) -> Vec<String> {
        let built_in = BUILT_IN.map(|(name, _)| name.to_owned());
        let own = self.own().into_iter().filter(|name| !built_in.contains(name));
        built_in.iter().cloned().chain(own).collect()
    }

    /// The names of the user's, in the order of the alphabet. Names that could not be typed are none.
    pub fn own(&self) -> Vec<String> {
        let entries = self.folder.as_deref().and_then(|folder| fs::read_dir(folder).ok());
        let named = |path: &Path| {
            let name = path.file_stem()?.to_str().filter(|name| name.chars().all(|c| !c.is_control() && c != ' '))?;
            (path.extension()? == "toml" && !name.starts_with('.')).then(|| name.to_owned())
        };
        let mut names: Vec<String> =
            entries.into_iter().flatten().filter_map(|entry| named(&entry.ok()?.path())).collect();
        names.sort();
        names
    }

    /// The theme of this name. A file of the user's comes before a built-in theme of the same name.
    pub fn theme(&self, name: &str, depth: Depth, ascii: bool) -> Result<Theme> {
        let Some(path) = self.path(name) else {
            return Theme::built_in(name, depth, ascii)
                .map_err(|_| anyhow::anyhow!("there is no theme {name}: there are {}", self.names().join(", ")));
        };
        let text = text(&path).with_context(|| format!("the theme {} cannot be read", path.display()))?;
        Theme::parse(name, &path.display().to_string(), &text, depth, ascii).map_err(anyhow::Error::msg)
    }

    /// The file of a theme of the user's.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        self.own().iter().any(|own| own == name).then(|| folder.join(format!("{name}.toml")))
    }
}

fn text(path: &Path) -> Result<String> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        bail!("it is no plain file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        bail!("it is longer than {} KiB", LONGEST >> 10);
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(themes: &Themes, name: &str) -> Result<Theme> {
        themes.theme(name, Depth::True, false)
    }

    #[test]
    fn files_of_the_folder_are_themes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let themes = Themes::new(Some(folder.path().to_owned()));
        assert_eq!(themes.names().len(), BUILT_IN.len());
        file("mine.toml", "base = \"light\"\naccent = \"red bold\"\n");
        file("dark.toml", "base = \"dark\"\ntext = \"#010203\"\n");
        file("notes.txt", "no theme");
        file(".hidden.toml", "");
        file("odd\u{1b}.toml", "");
        assert_eq!(themes.names()[BUILT_IN.len()..], ["mine"]);
        let (mine, light) = (read(&themes, "mine").unwrap(), read(&themes, "light").unwrap());
        assert_ne!(mine.accent, light.accent);
        assert_eq!((mine.text, mine.name.as_str()), (light.text, "mine"));
        assert_ne!(read(&themes, "dark").unwrap().text, read(&Themes::default(), "dark").unwrap().text);
        // What was changed in the file is there the next time.
        file("mine.toml", "base = \"light\"\n\naccent = \"reddish\"\nglow = \"red\"\n");
        let error = read(&themes, "mine").unwrap_err().to_string();
        assert!(error.contains("mine.toml:3: accent: `reddish` is no colour"), "{error}");
        assert!(error.contains("mine.toml:4: there is no style `glow`"), "{error}");
    }

    #[test]
    fn what_is_no_theme_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let themes = Themes::new(Some(folder.path().to_owned()));
        let error = |name: &str| format!("{:#}", read(&themes, name).unwrap_err());
        assert!(error("plaid").contains("there are dark, light"));
        assert!(error("../mine").contains("there is no theme"));
        fs::create_dir(folder.path().join("folder.toml")).unwrap();
        assert!(error("folder").contains("no plain file"));
        fs::write(folder.path().join("bytes.toml"), [0xff, 0xfe]).unwrap();
        assert!(error("bytes").contains("utf-8"));
        fs::write(folder.path().join("long.toml"), "#".repeat(LONGEST as usize + 1)).unwrap();
        assert!(error("long").contains("longer than"));
    }
}
