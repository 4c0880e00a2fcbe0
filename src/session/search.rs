//! Text in all sessions, whatever its case and script. Files are read once, line by line; no more than
//! the answers that are being written is held.

use std::collections::HashMap;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Result, bail};

use super::header::Header;
use super::lines::{Found, Lines};
use super::load::open_plain;
use super::rules::LONGEST_LINE;
use super::spoken::Spoken;
use super::{Store, summary};
use crate::protocol::Role;

/// A place where the text was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hit {
    /// The session's name on disk.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// The message's number; none for the title itself.
    pub message: Option<usize>,
    /// Who says it.
    pub role: Option<Role>,
    /// What stands before it, of the same line.
    pub before: String,
    /// The text as it stands there.
    pub found: String,
    /// What stands after it, of the same line.
    pub after: String,
}

/// Characters of an excerpt on either side.
const AROUND: usize = 40;
/// Lines after which whoever waits is asked whether they still do.
const LINES: u64 = 4096;

/// Looks for a text in every session of a folder, newest first, until `hit` has enough. Sessions that
/// cannot be read are passed over, and named in what is returned.
pub fn search(store: &Store, text: &str, mut hit: impl FnMut(Hit) -> ControlFlow<()>) -> Result<Vec<String>> {
    search_some(store, text, None, |found| found.map_or(ControlFlow::Continue(()), &mut hit))
}

/// The same without the session of this name. `each` also hears none now and then while nothing is
/// found, so that it can end a search that nobody waits for any more.
pub fn search_some(
    store: &Store,
    text: &str,
    except: Option<&str>,
    mut each: impl FnMut(Option<Hit>) -> ControlFlow<()>,
) -> Result<Vec<String>> {
    let wanted = folded(text.trim());
    if wanted.is_empty() {
        bail!("there is nothing to search for");
    }
    let mut problems = Vec::new();
    for id in store.ids()?.into_iter().filter(|id| except != Some(id)) {
        let path = store.path(&id)?;
        match in_file(&path, &id, &wanted, &mut each) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => problems.push(format!("{id}: {error:#}")),
        }
    }
    Ok(problems)
}

fn in_file(
    path: &Path,
    id: &str,
    wanted: &str,
    each: &mut impl FnMut(Option<Hit>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, open_plain(path)?), LONGEST_LINE);
    if lines.read()? == Found::Whole {
        Header::parse(&lines.line)?;
    }
    let mut title = String::new();
    // Answers that are being written; a program that was killed leaves them so.
    let mut open: HashMap<usize, String> = HashMap::new();
    loop {
        if lines.read()? == Found::End {
            break;
        }
        if lines.number.is_multiple_of(LINES) && each(None).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut look = |title: &str, message, role, text: &str| tell(each, id, wanted, title, message, role, text);
        let Ok(spoken) = serde_json::from_slice::<Spoken>(&lines.line) else { continue };
        let mut flow = ControlFlow::Continue(());
        if let Some(token) = spoken.tok {
            if let Some(text) = open.get_mut(&token.m) {
                text.push_str(&token.x);
            }
        } else if let Some(end) = spoken.end {
            if let Some(text) = open.remove(&end.m) {
                flow = look(&title, Some(end.m), Some(Role::Assistant), &(text + &end.text));
            }
        } else if let Some(add) = spoken.add {
            if title.is_empty() {
                title = summary::title_from(&add.text);
            }
            if add.role == Role::Assistant {
                open.insert(add.m, add.text);
            } else {
                flow = look(&title, Some(add.m), Some(add.role), &add.text);
            }
        } else if let Some(new) = spoken.title {
            title = new;
            flow = look(&title, None, None, &title);
        }
        if flow.is_break() {
            return Ok(flow);
        }
    }
    let mut left: Vec<_> = open.into_iter().collect();
    left.sort_unstable_by_key(|(m, _)| *m);
    for (m, text) in left {
        if tell(each, id, wanted, &title, Some(m), Some(Role::Assistant), &text).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(each(None))
}

fn tell(
    each: &mut impl FnMut(Option<Hit>) -> ControlFlow<()>,
    id: &str,
    wanted: &str,
    title: &str,
    message: Option<usize>,
    role: Option<Role>,
    text: &str,
) -> ControlFlow<()> {
    let Some((before, found, after)) = find(text, wanted) else { return ControlFlow::Continue(()) };
    each(Some(Hit { id: id.to_owned(), title: title.to_owned(), message, role, before, found, after }))
}

/// Case taken away: by way of the upper case, where `ß` and `SS`, and both small sigmas, are the same.
fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

fn folded(text: &str) -> String {
    text.chars().flat_map(fold).collect()
}

/// The first place of the folded text: what stands before, the text itself, and what stands after.
fn find(text: &str, wanted: &str) -> Option<(String, String, String)> {
    let at = folded(text).find(wanted)?;
    // Folding changes lengths, so the place is counted out again in the text as it is.
    let (mut bytes, mut from, mut to) = (0, None, text.len());
    for (i, c) in text.char_indices() {
        let next = bytes + fold(c).map(char::len_utf8).sum::<usize>();
        if from.is_none() && next > at {
            from = Some(i);
        }
        if next >= at + wanted.len() {
            to = i + c.len_utf8();
            break;
        }
        bytes = next;
    }
    let from = from?;
    let line = text[..from].rfind('\n').map_or(0, |end| end + 1);
    let before: Vec<char> = text[line..from].chars().rev().take(AROUND).collect();
    let after = text[to..].lines().next().unwrap_or_default().chars().take(AROUND).collect();
    Some((before.into_iter().rev().collect(), text[from..to].to_owned(), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_script_do_not_matter() {
        let found = |text: &str, wanted: &str| find(text, &folded(wanted)).map(|(_, found, _)| found);
        for (text, wanted, want) in [
            ("Why is the SKY blue?", "sky", "SKY"),
            ("Die Straße", "STRASSE", "Straße"),
            ("die STRASSE dort", "straße", "STRASSE"),
            ("ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
            ("ПРИВЕТ мир", "привет", "ПРИВЕТ"),
            ("今日は東京です", "東京", "東京"),
            ("İstanbul", "stanbul", "stanbul"),
            ("\u{1b}[2Jx", "[2j", "[2J"),
        ] {
            assert_eq!(found(text, wanted).as_deref(), Some(want), "{text}");
        }
        assert_eq!(found("abc", "abd"), None);
        let (before, found, after) = find("one\ntwo words here\nthree", "words").unwrap();
        assert_eq!((before.as_str(), found.as_str(), after.as_str()), ("two ", "words", " here"));
    }

    proptest! {
        #[test]
        fn what_is_in_a_text_is_found_in_it(a in any::<String>(), b in ".{1,8}", c in any::<String>()) {
            let wanted = folded(&b);
            let text = format!("{a}{b}{c}");
            prop_assert!(find(&text, &wanted).is_some() || wanted.is_empty());
        }
    }
}
