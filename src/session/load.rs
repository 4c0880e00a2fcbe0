//! Reads a session file, whatever state it is in.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::header::{BEGINNING, Header};
use super::lines::{Found, Lines};
use super::rules::{LARGEST_FILE, LONGEST_LINE, MOST_NOTES};
use super::wire::Line;
use crate::chat::{Change, Chat, What};
use crate::protocol::{Alterations, Event, ModelInfo, Role, Sampling};

/// A session as it was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the first line says.
    pub header: Header,
    /// The conversation.
    pub chat: Chat,
    /// The model that answered last; empty if none is named.
    pub model: String,
    /// The same in full; none if no line tells it.
    pub info: Option<ModelInfo>,
    /// How tokens were chosen last; none if nothing was answered.
    pub sampling: Option<Sampling>,
    /// What was altered in the routing at the end.
    pub alterations: Alterations,
    /// What a reader should know: lines that could not be read, and the like.
    pub notes: Vec<String>,
    /// When the last line was written, in milliseconds since 1970.
    pub written: u64,
    pub(super) tail: Tail,
}

impl Loaded {
    /// Bytes of its file that were read: what follows them was cut off, or written since.
    pub fn bytes(&self) -> u64 {
        self.tail.whole
    }

    /// A conversation that is in memory alone, as it would have been read.
    pub fn of(chat: Chat, info: Option<ModelInfo>, created: u64, written: u64) -> Self {
        Self {
            header: Header::new(created),
            chat,
            model: info.as_ref().map_or_else(String::new, |info| info.name.clone()),
            info,
            sampling: None,
            alterations: Alterations::default(),
            notes: Vec::new(),
            written,
            tail: Tail { whole: 0, lacks_end: false },
        }
    }
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// Bytes that hold whole lines; what follows was cut off.
    pub(super) whole: u64,
    /// The last of them lacks only its line end.
    pub(super) lacks_end: bool,
}

/// What a file holds besides what it says.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) header: Header,
    pub(super) notes: Notes,
    /// Milliseconds from the creation to the last line.
    pub(super) last: u64,
    pub(super) tail: Tail,
}

/// What a reader should know, and how much more of it there is.
#[derive(Debug, Default)]
pub(super) struct Notes {
    kept: Vec<String>,
    more: usize,
}

impl Notes {
    pub(super) fn add(&mut self, note: String) {
        if self.kept.len() < MOST_NOTES {
            self.kept.push(note);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn all(mut self) -> Vec<String> {
        if self.more > 0 {
            self.kept.push(format!("{} more notes like these are left out", self.more));
        }
        self.kept
    }
}

/// Opens a file to be read. Only a plain file: a pipe would be waited for without end.
pub(super) fn open_plain(path: &Path) -> Result<File> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    ensure!(about.is_file(), "{} is not a file", path.display());
    let size = about.len();
    ensure!(
        size <= LARGEST_FILE,
        "{} has {} MB; sessions of up to {} MB can be read",
        path.display(),
        size >> 20,
        LARGEST_FILE >> 20
    );
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// An error if this file is no session, from its first line alone.
pub fn check(path: &Path) -> Result<()> {
    let file = open_plain(path)?;
    let mut lines = Lines::new(BufReader::new(&file), LONGEST_LINE);
    let what = || format!("cannot read {}", path.display());
    let parsed = match lines.read().with_context(what)? {
        Found::TooLong => bail!("{} is not a session: its first line has no end", path.display()),
        Found::End => return Ok(()),
        Found::Unended if is_beginning(&lines.line) => return Ok(()),
        Found::Whole | Found::Unended => Header::parse(&lines.line),
    };
    parsed.map(drop).with_context(what)
}

/// Reads a session and rebuilds its conversation.
pub fn load(path: &Path) -> Result<Loaded> {
    from_file(&open_plain(path)?).with_context(|| format!("cannot read {}", path.display()))
}

pub(super) fn from_file(file: &File) -> Result<Loaded> {
    let (mut chat, mut info) = (Chat::default(), None);
    let (mut last_sampling, mut altered) = (None, Alterations::default());
    let scan = scan(file, |_, what| {
        match what {
            What::Change(change) => {
                chat.apply(&change)?;
                if let Change::Add { role: Role::Assistant, sampling, alterations, .. } = change {
                    last_sampling = sampling.or(last_sampling.take());
                    altered = alterations.unwrap_or_default();
                }
            }
            What::Model { info: new, .. } => info = Some(*new),
            What::Engine(Event::Altered { alterations }) => altered = alterations,
            _ => {}
        }
        Ok(())
    })?;
    let written = scan.header.created.saturating_add(scan.last);
    let (header, notes, tail) = (scan.header, scan.notes.all(), scan.tail);
    let model = info.as_ref().map_or_else(String::new, |info: &ModelInfo| info.name.clone());
    Ok(Loaded { header, chat, model, info, sampling: last_sampling, alterations: altered, notes, written, tail })
}

/// Reads line by line. `each` hears what every line says and how many milliseconds after the creation;
/// what it refuses is noted.
pub(super) fn scan(file: &File, mut each: impl FnMut(u64, What) -> Result<(), String>) -> Result<Scan> {
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, file), LONGEST_LINE);
    let mut notes = Notes::default();
    let header = match lines.read()? {
        Found::Whole => Header::parse(&lines.line)?,
        Found::Unended => match Header::parse(&lines.line) {
            Ok(header) => header,
            Err(_) if is_beginning(&lines.line) => {
                notes.add("it was cut off within its first line: nothing had been saved".into());
                return Ok(Scan { header: Header::new(0), notes, last: 0, tail: Tail { whole: 0, lacks_end: false } });
            }
            Err(error) => return Err(error),
        },
        Found::End => {
            notes.add("it is empty".into());
            return Ok(Scan { header: Header::new(0), notes, last: 0, tail: Tail { whole: 0, lacks_end: false } });
        }
        Found::TooLong => bail!("this is not a session: its first line has no end"),
    };
    let mut tail = Tail { whole: lines.bytes, lacks_end: lines.line.len() as u64 == lines.bytes };
    let mut last = 0;
    loop {
        let found = lines.read()?;
        let number = lines.number;
        match found {
            Found::End => break,
            Found::TooLong => {
                notes.add(format!("line {number} is longer than {} MB and was passed over", LONGEST_LINE >> 20));
            }
            Found::Whole | Found::Unended => match serde_json::from_slice::<Line<'_>>(&lines.line) {
                Ok(line) => {
                    last = line.at.max(last);
                    if let Some(what) = line.what()
                        && let Err(why) = each(last, what)
                    {
                        notes.add(format!("line {number} does not fit what was before and was passed over: {why}"));
                    }
                }
                Err(_) if found == Found::Unended => {
                    notes.add(format!("line {number}, the last one, was cut off and is left out"));
                    break;
                }
                Err(error) => notes.add(format!("line {number} cannot be read and was passed over: {error}")),
            },
        }
        tail = Tail { whole: lines.bytes, lacks_end: found == Found::Unended };
    }
    Ok(Scan { header, notes, last, tail })
}

/// True if a session could have begun so.
pub(super) fn is_beginning(bytes: &[u8]) -> bool {
    let beginning = BEGINNING.as_bytes();
    let shared = bytes.len().min(beginning.len());
    bytes[..shared] == beginning[..shared]
}
