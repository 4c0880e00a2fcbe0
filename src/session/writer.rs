//! Appends to a session file.
//!
//! Every append is one write of whole lines, so that a program that is killed has lost at most what it
//! was saying. The disk is not waited for, since that may take long: [`Writer::sync`] does, and is for
//! the end of an answer, which a power cut should not take.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::header::Header;
use super::load::Loaded;
use super::rules::{LONGEST_LINE, MOST_WAITING};
use super::times::now_ms;
use super::wire::{Line, Sum};
use crate::chat::{Change, What};
use crate::protocol::Role;

/// Writes a session. While it lives, nobody else can.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    created: u64,
    /// Milliseconds from the creation to the last line: times never go back.
    last: u64,
    /// Bytes of the file that are whole lines.
    whole: u64,
    /// Lines that could not be written yet.
    waiting: Vec<u8>,
    /// More was waiting than may: what follows would not fit what is there.
    given_up: bool,
    sum: Sum,
}

impl Writer {
    /// Takes over a locked file as it was read, and mends its end.
    pub(super) fn resume(file: File, path: &Path, loaded: &Loaded) -> Result<Self> {
        if loaded.tail.whole == 0 {
            return Self::begin(file, path, &Header::new(now_ms()));
        }
        let mut writer = Self::new(file, path, loaded.header.created);
        writer.last = loaded.written.saturating_sub(loaded.header.created);
        writer.whole = loaded.tail.whole;
        let (messages, title, model) = (loaded.chat.nodes().len(), loaded.chat.name(), loaded.model.clone());
        writer.sum = Sum { messages, title, model };
        writer.file.set_len(writer.whole).with_context(|| format!("cannot mend the end of {}", path.display()))?;
        if loaded.tail.lacks_end {
            writer.waiting.push(b'\n');
        }
        Ok(writer)
    }

    /// Takes over a locked file and begins it anew.
    pub(super) fn begin(file: File, path: &Path, header: &Header) -> Result<Self> {
        let mut writer = Self::new(file, path, header.created);
        writer.file.set_len(0).with_context(|| writer.fault())?;
        writer.waiting = serde_json::to_vec(header)?;
        writer.waiting.push(b'\n');
        writer.flush()?;
        Ok(writer)
    }

    fn new(file: File, path: &Path, created: u64) -> Self {
        ignore_file_size_signal();
        let (path, waiting, sum) = (path.to_owned(), Vec::new(), Sum::default());
        Self { file, path, created, last: 0, whole: 0, waiting, given_up: false, sum }
    }

    /// The session's name on disk.
    pub fn id(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends what happened now.
    ///
    /// After an error nothing is lost yet: it waits in memory, and is written before what comes next.
    /// So an error is to be shown, and appending to go on.
    pub fn append(&mut self, what: &What) -> Result<()> {
        self.append_at(now_ms(), what)
    }

    /// [`Writer::append`], at this time in milliseconds since 1970.
    pub fn append_at(&mut self, ms: u64, what: &What) -> Result<()> {
        ensure!(!self.given_up, "{} is not being saved any more", self.path.display());
        self.last = self.last.max(ms.saturating_sub(self.created));
        let mut lines = serde_json::to_vec(&Line::of(self.last, what))?;
        if lines.len() > LONGEST_LINE {
            // Everything after it would miss it.
            self.given_up = true;
            bail!(
                "this message has {} MB, which {} cannot hold: the session is not saved any more",
                lines.len() >> 20,
                self.path.display()
            );
        }
        lines.push(b'\n');
        if self.count(what) {
            let sum = Line::sum_up(self.last, self.sum.clone());
            serde_json::to_writer(&mut lines, &sum)?;
            lines.push(b'\n');
        }
        if self.waiting.len() + lines.len() > MOST_WAITING.max(LONGEST_LINE) {
            self.given_up = true;
            bail!("too much waits to be written to {}: the session is not saved any more", self.path.display());
        }
        self.waiting.extend(lines);
        self.flush()
    }

    /// Keeps count; true if lists should hear of it.
    fn count(&mut self, what: &What) -> bool {
        match what {
            What::Change(Change::Add { id, role, text, .. }) => {
                self.sum.messages = self.sum.messages.max(id + 1);
                if self.sum.title.is_empty() && *role == Role::User {
                    self.sum.title = super::summary::title_from(text);
                }
                false
            }
            What::Change(Change::Title { title }) => {
                self.sum.title.clone_from(title);
                true
            }
            What::Change(Change::Finish { .. }) => true,
            What::Model { info, .. } => {
                self.sum.model.clone_from(&info.name);
                false
            }
            _ => false,
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.waiting.len() {
            let written = match self.file.write(&self.waiting[done..]) {
                Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
                other => other,
            };
            match written {
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The lines that are whole stay; of the next one, half may be there.
                    let lines = self.waiting[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    self.whole += lines as u64;
                    self.waiting.drain(..lines);
                    self.take_back();
                    return Err(error).with_context(|| self.fault());
                }
            }
        }
        self.whole += done as u64;
        self.waiting.clear();
        Ok(())
    }

    /// Leaves no half line. Should this fail too, the next reader mends it.
    fn take_back(&self) {
        let _ = self.file.set_len(self.whole);
    }

    fn fault(&self) -> String {
        format!("cannot write {}: what was saved before is there", self.path.display())
    }

    /// Waits until all of it is on the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_data().with_context(|| self.fault())
    }

    /// The file, for `sync_data` on a thread that may wait.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().with_context(|| self.fault())
    }

    /// Bytes that wait because they could not be written.
    pub fn unsaved(&self) -> usize {
        self.waiting.len()
    }
}

/// A limit on the size of files should be an error that can be told, not the end of the program.
fn ignore_file_size_signal() {
    // SAFETY: setting a signal to be ignored touches no memory of ours.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
