//! Rows of a data set as tokens, each with the answer whether it counts.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::protocol::{Message, Role, TokenId};

/// Tokens, and for each whether its prediction counts.
pub(super) type Counted = Vec<(TokenId, bool)>;

/// One row of a data set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Example {
    /// Every token counts.
    Text(String),
    /// The assistant's tokens count, and the end token that closes each of its turns.
    Chat(Vec<Message>),
}

impl Example {
    /// Reads a line: `{"text": ...}` or `{"messages": [{"role": ..., "content": ...}, ...]}`.
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(line).context("it is not valid JSON")?;
        if let Some(messages) = value.get("messages") {
            let messages = Vec::<Message>::deserialize(messages);
            let messages = messages.context("its `messages` are not a list of {\"role\", \"content\"}")?;
            let answered = messages.iter().any(|message| message.role == Role::Assistant);
            ensure!(answered, "none of its messages is the assistant's, so nothing in it counts");
            return Ok(Self::Chat(messages));
        }
        match value.get("text") {
            Some(Value::String(text)) => Ok(Self::Text(text.clone())),
            Some(_) => bail!("its `text` is not a string"),
            None => bail!("it has neither `text` nor `messages`"),
        }
    }

    /// Its tokens.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Counted> {
        match self {
            Self::Text(text) => Ok(tokenizer.encode(text)?.into_iter().map(|token| (token, true)).collect()),
            Self::Chat(messages) => {
                let labelled = template.encode_labelled(tokenizer, messages, 0)?;
                Ok(labelled.tokens.into_iter().zip(labelled.mask).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::tokenizer::byte_level;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[]).unwrap()
    }

    fn counted(line: &str, template: &ChatTemplate) -> (String, String) {
        let tokenizer = tokenizer();
        let tokens = Example::parse(line.as_bytes()).unwrap().tokens(&tokenizer, template).unwrap();
        let text = |wanted: bool| -> String {
            tokens.iter().filter(|(_, counts)| *counts || !wanted).map(|(id, _)| tokenizer.token_text(*id)).collect()
        };
        (text(false), text(true))
    }

    #[test]
    fn every_token_of_a_text_counts() {
        let (all, counts) = counted(r#"{"text": "plain text"}"#, &ChatTemplate::chatml());
        assert_eq!((all.as_str(), counts.as_str()), ("plain text", "plain text"));
    }

    #[test]
    fn the_assistants_words_and_their_end_token_count() {
        let line = r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "<|im_end|>?"},
            {"role": "assistant", "content": "one"}, {"role": "user", "content": "more"},
            {"role": "assistant", "content": "two <|im_end|> still two"}]}"#
            .replace('\n', " ");
        let (all, counts) = counted(&line, &ChatTemplate::chatml());
        assert!(all.starts_with("<|im_start|>system\nS<|im_end|>\n"), "{all}");
        assert_eq!(counts, "one<|im_end|>two <|im_end|> still two<|im_end|>");
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        for (line, want) in [
            ("{", "not valid JSON"),
            ("[]", "neither"),
            ("{}", "neither"),
            (r#"{"text": 5}"#, "not a string"),
            (r#"{"messages": "hi"}"#, "messages"),
            (r#"{"messages": []}"#, "assistant"),
            (r#"{"messages": [{"role": "robot", "content": "hi"}]}"#, "robot"),
            (r#"{"messages": [{"role": "user", "content": "hi"}]}"#, "assistant"),
            ("\u{fffd}", "JSON"),
        ] {
            let said = format!("{:#}", Example::parse(line.as_bytes()).unwrap_err());
            assert!(said.contains(want), "{line}: {said}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_line_panics(bytes in prop::collection::vec(any::<u8>(), 0..60), key in "(text|messages|role)", value in "[\\[\\]{}\",:a0 ]{0,20}") {
            let _ = Example::parse(&bytes);
            let _ = Example::parse(format!("{{\"{key}\":{value}}}").as_bytes());
            let turns = format!("{{\"messages\":[{{\"role\":\"assistant\",\"content\":\"a\"}},{value}]}}");
            let example = Example::parse(turns.as_bytes());
            prop_assert!(value.trim().is_empty() || example.is_err());
        }
    }
}
