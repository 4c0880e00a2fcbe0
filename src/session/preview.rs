//! What was said last in a session, from the end of its file alone: for a look before it is opened.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Result;

use super::load::open_plain;
use super::spoken::Spoken;
use crate::protocol::Role;

/// Bytes of the file that are looked at: about two thousand tokens.
const PIECE: u64 = 512 << 10;
/// Bytes of a message that are kept.
const LONGEST: usize = 16 << 10;

/// The last messages in the order in which they were written, whatever branch they are of. One whose
/// beginning lies farther back begins with an ellipsis.
pub fn preview(path: &Path, messages: usize) -> Result<Vec<(Role, String)>> {
    let mut file = open_plain(path)?;
    let size = file.metadata()?.len();
    let mut found: Vec<(usize, Role, String)> = Vec::new();
    for line in tail(&mut file, size)?.split(|byte| *byte == b'\n') {
        let Ok(spoken) = serde_json::from_slice::<Spoken>(line) else { continue };
        let (m, text) = match spoken {
            Spoken { tok: Some(token), .. } => (token.m, token.x),
            Spoken { end: Some(end), .. } => (end.m, end.text),
            Spoken { add: Some(add), .. } => {
                found.push((add.m, add.role, add.text));
                continue;
            }
            _ => continue,
        };
        match found.iter_mut().rev().find(|(n, ..)| *n == m) {
            Some((.., own)) if own.len() < LONGEST => own.push_str(&text),
            Some(_) => {}
            None => found.push((m, Role::Assistant, format!("…{text}"))),
        }
    }
    let skip = found.len().saturating_sub(messages);
    Ok(found.into_iter().skip(skip).map(|(_, role, text)| (role, text)).collect())
}

fn tail(file: &mut File, size: u64) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(size.saturating_sub(PIECE)))?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        let mut text = String::from("{\"bit-axon-session\":1,\"created\":0}\n");
        for m in 0..6 {
            let role = if m % 2 == 0 { "user" } else { "assistant" };
            text += &format!("{{\"at\":0,\"add\":{{\"m\":{m},\"role\":\"{role}\",\"text\":\"m{m}\"}}}}\n");
            if m % 2 == 1 {
                text += &format!("{{\"at\":0,\"tok\":{{\"m\":{m},\"i\":1,\"x\":\" more\"}}}}\nrubbish\n");
                text += &format!("{{\"at\":0,\"end\":{{\"m\":{m},\"how\":{{}},\"text\":\"!\"}}}}\n");
            }
        }
        std::fs::write(&path, &text).unwrap();
        let seen = preview(&path, 3).unwrap();
        assert_eq!(
            seen,
            [
                (Role::Assistant, "m3 more!".to_owned()),
                (Role::User, "m4".to_owned()),
                (Role::Assistant, "m5 more!".to_owned())
            ]
        );
        // Of a long answer the end alone, within bounds.
        let long = "{\"at\":0,\"tok\":{\"m\":5,\"i\":1,\"x\":\" and so on and on and on and on\"}}\n".repeat(20_000);
        std::fs::write(&path, text + &long).unwrap();
        let seen = preview(&path, 3).unwrap();
        assert!(seen.len() == 1 && seen[0].1.starts_with("… and") && seen[0].1.len() < LONGEST + 100);
        assert!(preview(dir.path(), 3).is_err());
    }
}
