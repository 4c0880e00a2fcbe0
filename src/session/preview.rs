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

/// A message, as far as it was found.
struct Said {
    m: usize,
    parent: Option<usize>,
    role: Role,
    text: String,
}

/// The last messages of the branch that was walked last. One whose beginning lies farther back begins
/// with an ellipsis.
pub fn preview(path: &Path, messages: usize) -> Result<Vec<(Role, String)>> {
    let mut file = open_plain(path)?;
    let size = file.metadata()?.len();
    let mut found: Vec<Said> = Vec::new();
    let mut chosen = None;
    for line in tail(&mut file, size)?.split(|byte| *byte == b'\n') {
        let Ok(spoken) = serde_json::from_slice::<Spoken>(line) else { continue };
        let (m, text) = match spoken {
            Spoken { tok: Some(token), .. } => (token.m, token.x),
            Spoken { end: Some(end), .. } => (end.m, end.text),
            Spoken { add: Some(add), .. } => {
                found.push(Said { m: add.m, parent: add.parent, role: add.role, text: add.text });
                chosen = None;
                continue;
            }
            Spoken { choose, .. } => {
                chosen = choose.or(chosen);
                continue;
            }
        };
        match found.iter_mut().rev().find(|said| said.m == m) {
            Some(said) if said.text.len() < LONGEST => said.text.push_str(&text),
            Some(_) => {}
            None => found.push(Said { m, parent: None, role: Role::Assistant, text: format!("…{text}") }),
        }
    }
    let branch = branch(&found, chosen, messages);
    Ok(branch.into_iter().rev().map(|at| (found[at].role, std::mem::take(&mut found[at].text))).collect())
}

/// Places of the last messages of a branch, from its end on: that of the chosen message, else of the newest.
/// A message is always newer than the one that it follows, whatever the file says.
fn branch(found: &[Said], chosen: Option<usize>, messages: usize) -> Vec<usize> {
    let place = |m: usize| found.iter().rposition(|said| said.m == m);
    let mut end = chosen.and_then(place).or(found.len().checked_sub(1));
    while let Some(below) = end.and_then(|end| found.iter().rposition(|said| said.parent == Some(found[end].m))) {
        if end.is_some_and(|end| below <= end) {
            break;
        }
        end = Some(below);
    }
    let mut places = Vec::new();
    while let Some(at) = end.filter(|_| places.len() < messages) {
        places.push(at);
        end = found[at].parent.and_then(place).filter(|before| *before < at);
    }
    places
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
            let parent = if m == 0 { "null".to_owned() } else { (m - 1).to_string() };
            let add = format!("\"m\":{m},\"parent\":{parent},\"role\":\"{role}\",\"text\":\"m{m}\"");
            text += &format!("{{\"at\":0,\"add\":{{{add}}}}}\n");
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
        // Another answer stands beside the last one; then that is chosen again.
        let beside = "{\"at\":0,\"add\":{\"m\":6,\"parent\":4,\"role\":\"assistant\",\"text\":\"other\"}}\n";
        let answers = |more: &str| {
            std::fs::write(&path, text.clone() + beside + more).unwrap();
            preview(&path, 3).unwrap().into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(answers(""), ["m3 more!", "m4", "other"]);
        assert_eq!(answers("{\"at\":0,\"choose\":5}\n"), ["m3 more!", "m4", "m5 more!"]);
        assert_eq!(answers("{\"at\":0,\"choose\":2}\n"), ["m3 more!", "m4", "other"]);
        // Of a long answer the end alone, within bounds.
        let long = "{\"at\":0,\"tok\":{\"m\":5,\"i\":1,\"x\":\" and so on and on and on and on\"}}\n".repeat(20_000);
        std::fs::write(&path, text + &long).unwrap();
        let seen = preview(&path, 3).unwrap();
        assert!(seen.len() == 1 && seen[0].1.starts_with("… and") && seen[0].1.len() < LONGEST + 100);
        assert!(preview(dir.path(), 3).is_err());
    }
}
