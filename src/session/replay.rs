//! Loads what can be played: a session, or the output of `bit-axon trace`. The player itself is
//! [`crate::chat::Player`], which knows no files and no clocks.

use std::io::{Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::load::{open_plain, scan};
use super::shape::Shape;
use super::{header, trace};
use crate::chat::{Change, Chat, Moment, Recording, What};

/// Reads a recording. What kind of file it is shows in its first bytes.
pub fn load(path: &Path) -> Result<Recording> {
    let mut file = open_plain(path)?;
    let mut beginning = Vec::new();
    (&file).take(header::BEGINNING.len() as u64).read_to_end(&mut beginning)?;
    file.rewind()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let what = || format!("cannot play {}", path.display());
    if trace::is_trace(&beginning) {
        return trace::load(&file, &name).with_context(what);
    }
    let mut moments = Vec::new();
    // The chat is rebuilt to see that every change fits; the player passes over those that do not.
    let mut chat = Chat::default();
    let scan = scan(&file, |ms, what| {
        if let What::Change(change) = &what {
            chat.apply(change)?;
        }
        moments.push(Moment { at: ms as f64 / 1000.0, what });
        Ok(())
    })
    .with_context(what)?;
    if !moments.is_empty() && !moments.iter().any(|moment| matches!(moment.what, What::Model { .. })) {
        let shape = Shape::of(&moments);
        ensure!(shape.is_possible(), "{} has more layers and experts than can be shown", path.display());
        let info = Box::new(shape.model("unnamed model".into()));
        moments.insert(0, Moment { at: 0.0, what: What::Model { info, label: String::new() } });
    }
    let title = if chat.name().is_empty() { name } else { chat.name() };
    Ok(Recording { title, moments, notes: scan.notes.all() })
}

/// How many messages and tokens a recording has.
pub fn size(recording: &Recording) -> (usize, usize) {
    recording.moments.iter().fold((0, 0), |(messages, tokens), moment| match moment.what {
        What::Change(Change::Add { .. }) => (messages + 1, tokens),
        What::Change(Change::Token { .. }) => (messages, tokens + 1),
        _ => (messages, tokens),
    })
}
