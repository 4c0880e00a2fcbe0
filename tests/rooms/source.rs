//! Reads Rust source just well enough to list the paths that it names.

/// A path that the source names, as `crate::model::spec`; macros end in `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// Every path of two parts or more, and every macro called; groups in braces are spelled out.
pub(crate) fn paths(source: &str) -> Vec<Named> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = path(&tokens, at, "", &mut found).max(at + 1);
    }
    found
}

/// Reads a path at `at`, which goes on after `prefix`; gives where it ends.
fn path(tokens: &[(usize, String)], mut at: usize, prefix: &str, found: &mut Vec<Named>) -> usize {
    let is = |at: usize, want: &str| tokens.get(at).is_some_and(|(_, token)| token == want);
    let mut whole = prefix.to_owned();
    let Some((line, _)) = tokens.get(at) else { return at };
    while tokens.get(at).is_some_and(|(_, token)| token == "*" || is_name(token)) {
        if tokens[at].1 == "*" && whole.is_empty() {
            return at;
        }
        whole = if whole.is_empty() { tokens[at].1.clone() } else { format!("{whole}::{}", tokens[at].1) };
        at += 1;
        if is(at, "!") && !is(at + 1, "=") {
            found.push(Named { line: *line, path: format!("{whole}!") });
            return at + 1;
        }
        if !is(at, "::") {
            break;
        }
        at += 1;
        if is(at, "{") {
            at += 1;
            while at < tokens.len() && !is(at, "}") {
                let next = path(tokens, at, &whole, found);
                at = next.max(at + 1);
            }
            return at + 1;
        }
    }
    if whole.contains("::") && whole != prefix {
        found.push(Named { line: *line, path: whole });
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs with their lines; comments and literals are left out.
fn tokens(source: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let skip_to = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        (from..chars.len()).find(|&i| chars[i..].starts_with(&end)).map_or(chars.len(), |i| i + end.len())
    };
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        match chars[at] {
            '/' if next == '/' => at = skip_to(at, "\n").max(at + 2) - 1,
            '/' if next == '*' => at = skip_to(at, "*/"),
            '"' => at = string_end(&chars, at + 1),
            // A character, or else a lifetime.
            '\'' if next == '\\' => at = skip_to(at + 3, "'"),
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            'r' if next == '"' || (next == '#' && matches!(chars.get(at + 2), Some('"' | '#'))) => {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                at = skip_to(at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                tokens.push((line, chars[start..at].iter().collect()));
            }
            ':' if next == ':' => {
                tokens.push((line, "::".into()));
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push((line, c.into()));
                }
                at += 1;
            }
        }
        at = at.min(chars.len());
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// After the closing quote of a string whose contents begin at `at`.
fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

#[test]
fn paths_are_found_where_they_are_and_nowhere_else() {
    let source = r###"//! crate::in_a_comment
use crate::{model::spec::{self, Mixer}, ui};
use std::time::{Duration, Instant};
/* crate::another */ fn f<'a>(x: &'a str) -> char { '"' } // '
let s = "crate::text \" crate::text"; let r = r#"crate::raw " "#;
super::super::engine::start();
println!("{}", crate::app::X); a != b;
use crate::train::*;
"###;
    let named: Vec<(usize, String)> = paths(source).into_iter().map(|n| (n.line, n.path)).collect();
    let want = [
        (2, "crate::model::spec::self"),
        (2, "crate::model::spec::Mixer"),
        (2, "crate::ui"),
        (3, "std::time::Duration"),
        (3, "std::time::Instant"),
        (6, "super::super::engine::start"),
        (7, "println!"),
        (7, "crate::app::X"),
        (8, "crate::train::*"),
    ];
    assert_eq!(named, want.map(|(line, path)| (line, path.to_owned())));
}
