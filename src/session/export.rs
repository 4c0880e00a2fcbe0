//! A conversation for other programs: Markdown for people, JSON for scripts.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde::Serialize;

use super::Loaded;
use super::times::date_and_time;
use crate::chat::{End, Node, TokenRecord};
use crate::protocol::{Alterations, FinishReason, Role, Sampling, Stats};
use crate::whole::write_new;

/// The branch that is walked, as Markdown. What was said stands as it is; it was Markdown.
pub fn markdown(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    let chat = &loaded.chat;
    let name = chat.name();
    let title = if name.is_empty() { "Untitled".into() } else { one_line(&name) };
    writeln!(out, "# {title}\n")?;
    let mut about = vec![format!("{} UTC", date_and_time(loaded.header.created))];
    if !loaded.model.is_empty() {
        about.push(one_line(&loaded.model));
    }
    let others = chat.nodes().len() - chat.path().len();
    if others > 0 {
        about.push(format!("{others} messages of other branches are left out"));
    }
    writeln!(out, "*{}*", about.join(" · "))?;
    if !chat.system.is_empty() {
        writeln!(out, "\n## System\n\n{}", closed(&chat.system))?;
    }
    for node in chat.path().iter().filter_map(|id| chat.node(*id)) {
        writeln!(out, "\n## {}\n\n{}", speaker(node.role), closed(&node.text))?;
        if let Some(why) = unusual_end(node) {
            writeln!(out, "\n*({})*", one_line(&why))?;
        }
    }
    Ok(())
}

/// Who says it, for people.
pub fn speaker(role: Role) -> &'static str {
    match role {
        Role::System => "System",
        Role::User => "You",
        Role::Assistant => "Model",
    }
}

/// Why an answer is not all that the model would have said; none if it is, or if it is no answer.
pub fn unusual_end(node: &Node) -> Option<String> {
    match &node.end {
        _ if node.role != Role::Assistant => None,
        None => Some("cut off while it was being written".into()),
        Some(End::Failed(why)) => Some(format!("failed: {why}")),
        Some(End::Done(FinishReason::Cancelled)) => Some("stopped".into()),
        Some(End::Done(FinishReason::MaxTokens)) => Some("stopped at the token limit".into()),
        Some(End::Done(FinishReason::ContextFull)) => Some("stopped because the context was full".into()),
        Some(End::Done(FinishReason::EndOfText | FinishReason::Stop)) => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A code block that was cut off must not swallow what follows it.
fn closed(text: &str) -> String {
    let text = text.trim_end();
    let mut open: Option<&str> = None;
    for line in text.lines() {
        let line = line.trim_start();
        let mark = &line[..line.len() - line.trim_start_matches('`').len()];
        let mark = if mark.is_empty() { &line[..line.len() - line.trim_start_matches('~').len()] } else { mark };
        match open {
            None if mark.len() >= 3 => open = Some(mark),
            // A fence ends with one as long, and nothing behind it.
            Some(begun) if mark.starts_with(begun) && line[mark.len()..].trim().is_empty() => open = None,
            _ => {}
        }
    }
    open.map_or_else(|| text.to_owned(), |fence| format!("{text}\n{fence}"))
}

#[derive(Serialize)]
struct Document<'a> {
    /// Of this form, not of session files.
    bit_axon_export: u32,
    title: String,
    created_ms: u64,
    written_ms: u64,
    model: &'a str,
    system: &'a str,
    /// The branch that is walked, by message number.
    path: &'a [usize],
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

#[derive(Serialize)]
struct Message<'a> {
    id: usize,
    parent: Option<usize>,
    role: Role,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: &'a Option<End>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: &'a Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling: &'a Option<Sampling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alterations: &'a Option<Alterations>,
    #[serde(skip_serializing_if = "<[TokenRecord]>::is_empty")]
    tokens: &'a [TokenRecord],
}

/// All of it as one JSON document, every branch included; with tokens, their routing too.
pub fn json(loaded: &Loaded, tokens: bool) -> Result<String> {
    let chat = &loaded.chat;
    let document = Document {
        bit_axon_export: 1,
        title: chat.name(),
        created_ms: loaded.header.created,
        written_ms: loaded.written,
        model: &loaded.model,
        system: &chat.system,
        path: chat.path(),
        messages: chat.nodes().iter().enumerate().map(|(id, node)| Message::of(id, node, tokens)).collect(),
        notes: &loaded.notes,
    };
    Ok(serde_json::to_string(&document)?)
}

impl<'a> Message<'a> {
    fn of(id: usize, node: &'a Node, tokens: bool) -> Self {
        Self {
            id,
            parent: node.parent,
            role: node.role,
            text: &node.text,
            end: &node.end,
            stats: &node.stats,
            sampling: &node.sampling,
            alterations: &node.alterations,
            tokens: if tokens { &node.tokens } else { &[] },
        }
    }
}

/// Markdown, or JSON with its tokens if they are wanted: what a file of it holds.
pub fn text(loaded: &Loaded, as_json: bool, tokens: bool) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    if as_json {
        writeln!(text, "{}", json(loaded, tokens)?)?;
    } else {
        markdown(loaded, &mut text)?;
    }
    Ok(text)
}

/// Writes Markdown or JSON into a file that is not there yet: whole, or not at all.
pub fn to_new_file(loaded: &Loaded, as_json: bool, path: &Path) -> Result<()> {
    if !write_new(path, &text(loaded, as_json, false)?)? {
        bail!("{} is there already, and is left alone: give another name", path.display());
    }
    Ok(())
}

/// The same in a folder, under this name with a number behind it if there are such files already.
/// Gives where it is.
pub fn to_folder(loaded: &Loaded, as_json: bool, folder: &Path, name: &str) -> Result<PathBuf> {
    let end = if as_json { "json" } else { "md" };
    for n in 1..1000 {
        let name = if n == 1 { format!("{name}.{end}") } else { format!("{name}-{n}.{end}") };
        let path = folder.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match to_new_file(loaded, as_json, &path) {
            // Somebody else was faster.
            Err(_) if fs::symlink_metadata(&path).is_ok() => {}
            written => return written.map(|()| path),
        }
    }
    bail!("there are too many files called {name} in {}: give another name", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = Loaded::of(crate::chat::Chat::default(), None, 0, 0);
        let first = to_folder(&loaded, false, dir.path(), "a").unwrap();
        let second = to_folder(&loaded, false, dir.path(), "a").unwrap();
        let json = to_folder(&loaded, true, dir.path(), "a").unwrap();
        let names = [&first, &second, &json].map(|path| path.file_name().unwrap().to_str().unwrap());
        assert_eq!(names, ["a.md", "a-2.md", "a.json"]);
        assert!(fs::read_to_string(&first).unwrap().starts_with("# Untitled\n"));
        fs::write(&first, "mine").unwrap();
        assert!(to_new_file(&loaded, false, &first).unwrap_err().to_string().contains("is there already"));
        assert_eq!(fs::read_to_string(&first).unwrap(), "mine");
        assert!(to_new_file(&loaded, false, &first.join("x")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing half written is left");
    }

    #[test]
    fn code_that_was_cut_off_is_closed() {
        assert_eq!(closed("a\n```rust\nfn x() {"), "a\n```rust\nfn x() {\n```");
        assert_eq!(closed("```\nx\n```\n"), "```\nx\n```");
        assert_eq!(closed("````\n```\n"), "````\n```\n````");
        assert_eq!(closed("~~~\n```"), "~~~\n```\n~~~");
        assert_eq!(closed("``not code``"), "``not code``");
    }
}
