//! Copying messages and blocks of code.

use super::msg::Effect;
use super::state::App;

/// Copies the chosen message or the last answer, or a code block of it.
pub(super) fn copy(app: &mut App, code: Option<&str>) -> Vec<Effect> {
    let chosen = app.selected.and_then(|place| app.chat.path().get(place).copied());
    let Some(node) = chosen.or_else(|| app.chat.last_answer()).and_then(|id| app.chat.node(id)) else {
        app.say("There is nothing to copy yet");
        return Vec::new();
    };
    let Some(which) = code else {
        let text = node.text.clone();
        app.say(format!("Copied {} characters", text.chars().count()));
        return vec![Effect::Copy(text)];
    };
    let blocks = code_blocks(&node.text);
    let block = match which.parse::<usize>() {
        Ok(n) => n.checked_sub(1).and_then(|n| blocks.get(n)),
        Err(_) => blocks.last(),
    };
    let Some(block) = block.cloned() else {
        app.say(match blocks.len() {
            0 => "This message has no code block".to_owned(),
            1 => "This message has one code block".to_owned(),
            n => format!("This message has {n} code blocks"),
        });
        return Vec::new();
    };
    app.say(format!("Copied {} lines of code", block.lines().count()));
    vec![Effect::Copy(block)]
}

/// The fenced blocks of a Markdown text; one that is not closed yet counts too.
fn code_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        let fence: String = bare.chars().take_while(|c| bare.starts_with(*c) && matches!(c, '`' | '~')).collect();
        match &mut open {
            None if fence.len() >= 3 => open = Some((fence, indent, String::new())),
            None => {}
            Some((opening, ..)) if fence.starts_with(opening.as_str()) && bare.trim_end().len() == fence.len() => {
                blocks.extend(open.take().map(|(.., block)| block));
            }
            Some((_, indent, block)) => {
                let cut = line.bytes().take(*indent).take_while(|b| *b == b' ').count();
                block.push_str(&line[cut..]);
            }
        }
    }
    blocks.extend(open.map(|(.., block)| block));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_as_they_are_written() {
        let text = "a\n```rs\nfn f() {}\n```\n- item\n  ~~~~\n  x\n    y\n  ```\n  ~~~~\n```\nopen";
        assert_eq!(code_blocks(text), ["fn f() {}\n", "x\n  y\n```\n", "open"]);
        assert!(code_blocks("``x`` and ` y").is_empty());
    }
}
