//! Escape sequences, taken out.

use std::borrow::Cow;

/// The text without what a terminal would obey, tabs aside.
pub(super) fn strip(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // Until the letter that ends it.
                Some('[') => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
                // A title or a link, until its bell or its backslash.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                Some('(' | ')') => {
                    chars.next();
                }
                _ => {}
            },
            '\u{9b}' => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
            '\t' => out.push('\t'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_words_stay() {
        for (text, want) in [
            ("plain\ttext é", "plain\ttext é"),
            ("\x1b[1;32mgreen\x1b[0m end", "green end"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07!", "link!"),
            ("a\x1b[", "a"),
            ("a\x08\x07b\u{9b}31mc", "abc"),
        ] {
            assert_eq!(strip(text), want);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_obey(text in "[\x1b\\[\\]m0-9;a\x07\u{9b}é\t]{0,30}") {
            prop_assert!(!strip(&text).contains(|c: char| c.is_control() && c != '\t'));
        }
    }
}
