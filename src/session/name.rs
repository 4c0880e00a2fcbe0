//! Names of session files: a time and a few words, safe on every file system and in every shell.

use super::times;

/// Characters of the words.
const WORDS: usize = 40;

/// A name for a session that begins now with this text: `20260726-154233-why-is-the-sky-blue`.
pub fn new(ms: u64, text: &str) -> String {
    let mut words = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if words.len() + c.len_utf8() > WORDS {
            break;
        }
        // Letters of every script are kept: only what shells and file systems give a meaning goes.
        if c.is_alphanumeric() {
            words.push(c);
        } else if !words.is_empty() && !words.ends_with('-') {
            words.push('-');
        }
        if c == '\n' && words.len() > 1 {
            break;
        }
    }
    let words = words.trim_end_matches('-');
    let time = times::for_a_name(ms);
    if words.is_empty() { time } else { format!("{time}-{words}") }
}

/// True for what may be a session's name: never a path, never hidden.
pub(super) fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':', '\0'])
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_say_when_and_what() {
        let name = |text| new(1_785_080_553_999, text);
        assert_eq!(name("Why is the sky blue?"), "20260726-154233-why-is-the-sky-blue");
        assert_eq!(name("../../etc/passwd"), "20260726-154233-etc-passwd");
        assert_eq!(name("Grüße aus 東京\nmore"), "20260726-154233-grüße-aus-東京");
        assert_eq!(name("\u{1b}[2J --rf *"), "20260726-154233-2j-rf");
        assert_eq!(name("?!"), "20260726-154233");
        assert_eq!(name(&"x".repeat(1000)).len(), 16 + WORDS);
        for bad in ["", ".", "..", ".x", "a/b", "a\\b", "a\nb", "\0"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_gives_a_safe_name(text in any::<String>(), ms in any::<u64>()) {
            prop_assert!(is_safe(&new(ms, &text)));
        }
    }
}
