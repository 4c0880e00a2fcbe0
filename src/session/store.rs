//! The folder of sessions.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::header::Header;
use super::load::{self, Loaded};
use super::rules::LONGEST_TITLE;
use super::summary::{self, Summary};
use super::times::now_ms;
use super::writer::Writer;
use super::{name, replay};
use crate::chat::{Change, What};

/// How session files end.
const END: &str = "jsonl";

/// A folder of sessions.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// A session that was opened to go on with it.
#[derive(Debug)]
pub struct Opened {
    /// What it holds.
    pub loaded: Loaded,
    /// Whether it can be written.
    pub access: Access,
}

/// Whether a session can be written.
#[derive(Debug)]
pub enum Access {
    /// It can: by this.
    Write(Box<Writer>),
    /// It can only be read: why, and what to do.
    ReadOnly(String),
}

impl Store {
    /// Sessions in this folder, which is made when the first is saved.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The user's own: `$BIT_AXON_HOME/sessions` if that is set, else `$XDG_STATE_HOME/bit-axon/sessions`,
    /// else `~/.local/state/bit-axon/sessions`.
    pub fn of_the_user() -> Result<Self> {
        Self::from_settings(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
    }

    fn from_settings(setting: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        // XDG: paths that are not absolute do not count.
        let state = || setting("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let folder = setting("BIT_AXON_HOME")
            .or_else(|| state().map(|path| path.join("bit-axon")))
            .or_else(|| setting("HOME").map(|home| home.join(".local/state/bit-axon")));
        let folder = folder.context("there is no place for sessions: set HOME, XDG_STATE_HOME or BIT_AXON_HOME")?;
        Ok(Self::new(folder.join("sessions")))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the session of this name.
    pub fn path(&self, id: &str) -> Result<PathBuf> {
        ensure!(name::is_safe(id), "`{id}` is no name of a session");
        Ok(self.folder.join(format!("{id}.{END}")))
    }

    /// All sessions, the one written last first. Files that are no sessions are listed with what is
    /// wrong with them.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut all: Vec<Summary> =
            self.ids()?.into_iter().filter_map(|id| Some(summary::of(&id, &self.path(&id).ok()?))).collect();
        all.sort_by(|a, b| b.written.cmp(&a.written).then_with(|| b.id.cmp(&a.id)));
        Ok(all)
    }

    /// The names of all sessions, newest first by name.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot list {}", self.folder.display())),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", self.folder.display()))?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).filter(|id| name::is_safe(id));
            if let Some(id) = id
                && path.extension().is_some_and(|end| end == END)
                && fs::metadata(&path).is_ok_and(|about| about.is_file())
            {
                ids.push(id.to_owned());
            }
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// The session that is meant: by its whole name, the beginning or another part of it that no other
    /// has, its title, or `latest`.
    pub fn find(&self, wanted: &str) -> Result<String> {
        let ids = self.ids()?;
        if wanted == "latest" {
            let latest = self.list()?.into_iter().find(|summary| summary.problem.is_none());
            return Ok(latest.context("there is no session yet")?.id);
        }
        if ids.iter().any(|id| id == wanted) {
            return Ok(wanted.to_owned());
        }
        let tests: [fn(&str, &str) -> bool; 2] = [|id, part| id.starts_with(part), |id, part| id.contains(part)];
        for test in tests.into_iter().filter(|_| !wanted.is_empty()) {
            match ids.iter().filter(|id| test(id, wanted)).collect::<Vec<_>>()[..] {
                [] => {}
                [one] => return Ok(one.clone()),
                [first, second, ..] => bail!("`{wanted}` could be {first} or {second}: give more of the name"),
            }
        }
        let called = |summary: &Summary| summary.title.to_lowercase() == wanted.trim().to_lowercase();
        match self.list()?.into_iter().filter(called).collect::<Vec<_>>().as_slice() {
            [one] if !wanted.trim().is_empty() => return Ok(one.id.clone()),
            [first, second, ..] if !wanted.trim().is_empty() => {
                bail!("`{wanted}` is the title of {} and of {}: give the name", first.id, second.id)
            }
            _ => {}
        }
        bail!("there is no session `{wanted}` in {}: `bit-axon sessions` lists them", self.folder.display())
    }

    /// Begins a session. `text` is what its file name tells of it: its first message.
    pub fn create(&self, text: &str) -> Result<Writer> {
        self.begin(&Header::new(now_ms()), now_ms(), text)
    }

    fn begin(&self, header: &Header, now: u64, text: &str) -> Result<Writer> {
        private_folder(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let plain = name::new(now, text);
        for n in 1..1000 {
            let id = if n == 1 { plain.clone() } else { format!("{plain}-{n}") };
            let path = self.path(&id)?;
            match private(OpenOptions::new().create_new(true)).open(&path) {
                Ok(file) => {
                    lock(&file).map_err(anyhow::Error::msg)?;
                    let begun = Writer::begin(file, &path, header);
                    if begun.is_err() {
                        let _ = fs::remove_file(&path);
                    }
                    return begun;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        bail!("there are too many sessions called {plain} in {}", self.folder.display())
    }

    /// Opens a session to go on with it; only to be read if another window has it.
    pub fn open(&self, id: &str) -> Result<Opened> {
        open(&self.path(id)?)
    }

    /// A copy of a session under a new name, to go on with instead of it. `chat` is its first message.
    pub fn fork(&self, id: &str) -> Result<(Loaded, Writer)> {
        self.fork_file(&self.path(id)?, None)
    }

    /// The same of a file that may be anywhere; of its first so many bytes, if more was written since it
    /// was read. A half line among them is left out.
    pub fn fork_file(&self, from: &Path, bytes: Option<u64>) -> Result<(Loaded, Writer)> {
        let loaded = load::load(from)?;
        let whole = bytes.map_or(loaded.tail.whole, |bytes| bytes.min(loaded.tail.whole));
        // Its lines keep their times, which count from the same beginning.
        let mut header = Header::new(loaded.header.created);
        header.forked_from = from.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mut writer = self.begin(&header, now_ms(), &loaded.chat.name())?;
        let copied = copy_lines(from, writer.path(), whole);
        if let Err(error) = copied {
            let _ = fs::remove_file(writer.path());
            return Err(error).with_context(|| format!("cannot copy {}", from.display()));
        }
        let copy = load::load(writer.path())?;
        writer = Writer::resume(writer.file()?, writer.path(), &copy)?;
        Ok((copy, writer))
    }

    /// Names a session; an error if another window writes it.
    pub fn rename(&self, id: &str, title: &str) -> Result<()> {
        let title: String = title.trim().chars().filter(|c| !c.is_control()).take(LONGEST_TITLE).collect();
        ensure!(!title.is_empty(), "a session needs a name that can be seen");
        match self.open(id)?.access {
            Access::Write(mut writer) => {
                writer.append(&What::Change(Change::Title { title }))?;
                writer.sync()
            }
            Access::ReadOnly(why) => bail!("{id} cannot be renamed: {why}"),
        }
    }

    /// Deletes a session for good: ask first. An error if another window writes it.
    pub fn delete(&self, id: &str) -> Result<()> {
        let path = self.path(id)?;
        let file = load::open_plain(&path)?;
        if let Err(why) = lock(&file) {
            bail!("{id} cannot be deleted: {why}");
        }
        fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))
    }

    /// Reads a session to be played.
    pub fn replay(&self, id: &str) -> Result<crate::chat::Recording> {
        replay::load(&self.path(id)?)
    }
}

/// Opens the session in this file to go on with it, wherever it is.
pub fn open(path: &Path) -> Result<Opened> {
    let reading = load::open_plain(path)?;
    let file = match private(OpenOptions::new().read(true)).open(path) {
        Ok(file) => file,
        Err(error) => {
            let why = format!("its file cannot be written ({error})");
            return Ok(Opened { loaded: read(&reading, path)?, access: Access::ReadOnly(why) });
        }
    };
    // Locked before it is read: what another window wrote until now is there.
    if let Err(why) = lock(&file) {
        return Ok(Opened { loaded: read(&file, path)?, access: Access::ReadOnly(why) });
    }
    let loaded = read(&file, path)?;
    let access = Access::Write(Box::new(Writer::resume(file, path, &loaded)?));
    Ok(Opened { loaded, access })
}

/// Opens the session in this file, or begins one there.
pub fn open_or_create(path: &Path) -> Result<Opened> {
    match private(OpenOptions::new().create_new(true)).open(path) {
        Ok(file) => {
            lock(&file).map_err(anyhow::Error::msg)?;
            let loaded = read(&file, path)?;
            let access = Access::Write(Box::new(Writer::begin(file, path, &Header::new(now_ms()))?));
            Ok(Opened { loaded, access })
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => open(path),
        Err(error) => Err(error).with_context(|| format!("cannot make {}", path.display())),
    }
}

fn read(file: &File, path: &Path) -> Result<Loaded> {
    load::from_file(file).with_context(|| format!("cannot read {}", path.display()))
}

/// The lines after the first, up to where they are whole.
fn copy_lines(from: &Path, to: &Path, whole: u64) -> Result<()> {
    let mut lines = BufReader::new(File::open(from)?.take(whole));
    lines.skip_until(b'\n')?;
    let mut out = OpenOptions::new().append(true).open(to)?;
    std::io::copy(&mut lines, &mut out)?;
    Ok(out.flush()?)
}

/// Keeps other windows from writing; the system lets go when the program ends, however it does.
fn lock(file: &File) -> Result<(), String> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err("another window is writing it; close it there, or go on in a copy".into()),
        // Some network file systems know no locks: then the user must see to it.
        Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(format!("its file cannot be locked ({error})")),
    }
}

/// Chats are for nobody else's eyes.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.append(true).read(true)
}

pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_settings_say() {
        let folder = |settings: &[(&str, &str)]| {
            let of = |name: &str| settings.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value));
            Store::from_settings(of).map(|store| store.folder.display().to_string())
        };
        assert_eq!(folder(&[("HOME", "/h")]).unwrap(), "/h/.local/state/bit-axon/sessions");
        let xdg = [("HOME", "/h"), ("XDG_STATE_HOME", "/x")];
        assert_eq!(folder(&xdg).unwrap(), "/x/bit-axon/sessions");
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_STATE_HOME", "x")]).unwrap(), "/h/.local/state/bit-axon/sessions");
        assert_eq!(folder(&[("HOME", "/h"), ("BIT_AXON_HOME", "/b")]).unwrap(), "/b/sessions");
        assert!(folder(&[]).unwrap_err().to_string().contains("HOME"));
    }
}
