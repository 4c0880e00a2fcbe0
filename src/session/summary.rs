//! What a list shows of a session, from the beginning and the end of its file alone.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::header::Header;
use super::load::{is_beginning, open_plain};
use super::wire::Sum;
use crate::protocol::Role;

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The session's name on disk.
    pub id: String,
    /// What people call it; the beginning of its first message if it was never named.
    pub title: String,
    /// The model that answered last; empty if none did.
    pub model: String,
    /// Messages in it, of all branches.
    pub messages: usize,
    /// Milliseconds since 1970 at which it began.
    pub created: u64,
    /// And at which it was written last.
    pub written: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Why it cannot be opened; none if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The first look, at either end.
const PIECE: u64 = 1 << 16;
/// The farthest look back, should a session have been cut off within a very long answer.
const FARTHEST: u64 = 8 << 20;

/// A title for a session that has none: the first line of its first message.
pub(super) fn title_from(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(48).collect()
}

/// What of a line matters here.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Glance {
    at: u64,
    add: Option<GlanceAdd>,
    tok: Option<GlanceMessage>,
    title: Option<String>,
    model: Option<GlanceModel>,
    sum: Option<Sum>,
}

#[derive(Deserialize)]
struct GlanceAdd {
    m: usize,
    role: Role,
    text: String,
}

#[derive(Deserialize)]
struct GlanceMessage {
    m: Option<usize>,
}

#[derive(Deserialize)]
struct GlanceModel {
    info: GlanceInfo,
}

#[derive(Deserialize)]
struct GlanceInfo {
    name: String,
}

/// Looks at a session's file.
pub(super) fn of(id: &str, path: &Path) -> Summary {
    let mut summary = Summary {
        id: id.to_owned(),
        title: String::new(),
        model: String::new(),
        messages: 0,
        created: 0,
        written: 0,
        bytes: 0,
        problem: None,
    };
    if let Err(error) = look(path, &mut summary) {
        summary.problem = Some(format!("{error:#}"));
    }
    summary
}

fn look(path: &Path, summary: &mut Summary) -> Result<()> {
    let mut file = open_plain(path)?;
    let about = file.metadata()?;
    summary.bytes = about.len();
    let head = piece(&mut file, 0, PIECE)?;
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let header = match Header::parse(first) {
        Ok(header) => header,
        // Killed before its first line was whole.
        Err(_) if summary.bytes == first.len() as u64 && is_beginning(first) => return Ok(()),
        Err(error) => return Err(error),
    };
    summary.created = header.created;
    let mut last = 0;
    if !from_the_end(&mut file, summary, &mut last)? {
        // Nothing sums it up yet: a first answer is being written, or was cut off.
        for line in lines {
            let glance: Glance = serde_json::from_slice(line).unwrap_or_default();
            last = last.max(glance.at);
            if let Some(title) = glance.title {
                summary.title = title;
            }
            match glance.add {
                Some(add) if summary.title.is_empty() && add.role == Role::User => {
                    summary.title = title_from(&add.text);
                }
                _ => {}
            }
            if let Some(model) = glance.model {
                summary.model = model.info.name;
            }
        }
    }
    summary.written = summary.created.saturating_add(last);
    Ok(())
}

/// Looks back to the last line that sums up, and takes in what follows it. False if there is none.
fn from_the_end(file: &mut File, summary: &mut Summary, last: &mut u64) -> Result<bool> {
    let mut size = PIECE;
    loop {
        let from = summary.bytes.saturating_sub(size);
        let tail = piece(file, from, size)?;
        let mut found = None;
        for line in tail.split(|byte| *byte == b'\n').rev() {
            // The first line of the piece may be half of one, the last torn: neither can be read then.
            let Ok(glance) = serde_json::from_slice::<Glance>(line) else { continue };
            *last = glance.at.max(*last);
            let message = glance.add.map(|add| add.m).or(glance.tok.and_then(|tok| tok.m));
            summary.messages = summary.messages.max(message.map_or(0, |m| m.saturating_add(1)));
            if let Some(sum) = glance.sum {
                found = Some(sum);
                break;
            }
        }
        if let Some(sum) = found {
            summary.messages = summary.messages.max(sum.messages);
            (summary.title, summary.model) = (sum.title, sum.model);
            return Ok(true);
        }
        if from == 0 || size >= FARTHEST {
            return Ok(false);
        }
        size *= 4;
    }
}

fn piece(file: &mut File, from: u64, size: u64) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    (&*file).take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}
