//! Rows of a data set as tokens, each with the answer whether it counts.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::model::template::{ChatTemplate, Tail};
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
            Self::Chat(messages) => chat_tokens(messages, tokenizer, template),
        }
    }
}

/// The whole conversation as the template writes it. The assistant's parts are found by writing it
/// once more up to where each of its turns begins: both agree until there.
fn chat_tokens(messages: &[Message], tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Counted> {
    let whole = template.encode(tokenizer, messages, Tail::Closed)?;
    let mut counted: Counted = whole.iter().map(|token| (*token, false)).collect();
    for (i, message) in messages.iter().enumerate().filter(|(_, message)| message.role == Role::Assistant) {
        ensure!(i > 0, "it begins with the assistant, who answers nobody");
        let before = template.encode(tokenizer, &messages[..i], Tail::Reply)?;
        let begin = common(&before, &whole);
        // A token may span the border: then it belongs to the answer.
        ensure!(
            begin + 1 >= before.len(),
            "the chat template rewrites earlier turns, so its parts cannot be told apart"
        );
        let ends = |token: &TokenId| tokenizer.end_tokens().contains(token);
        let end = match whole[begin..].iter().position(ends) {
            // What was typed is never an end token, so the first one closes this turn.
            Some(length) => begin + length + 1,
            None => common(&template.encode(tokenizer, &messages[..=i], Tail::Closed)?, &whole),
        };
        ensure!(end > begin || message.content.is_empty(), "the chat template leaves out what the assistant said");
        counted[begin..end].iter_mut().for_each(|(_, counts)| *counts = true);
    }
    Ok(counted)
}

/// How many tokens both begin with.
fn common(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
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
    fn templates_without_an_end_token_count_to_the_turns_end() {
        let source = "{% for m in messages %}[{{ m.role }}] {{ m.content }};{% endfor %}\
                      {% if add_generation_prompt %}[assistant] {% endif %}";
        let template = ChatTemplate::parse("plain", source).unwrap();
        let line = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"}]}"#
            .replace('\n', " ");
        assert_eq!(counted(&line, &template).1, "b;");
    }

    #[test]
    fn templates_that_rewrite_earlier_turns_are_refused() {
        let source = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
        let template = ChatTemplate::parse("rewriting", source).unwrap();
        let line = r#"{"messages": [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "b"}]}"#;
        let example = Example::parse(line.as_bytes()).unwrap();
        assert!(example.tokens(&tokenizer(), &template).unwrap_err().to_string().contains("rewrites"));
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

        #[test]
        fn any_conversation_counts_just_what_the_assistant_said(said in prop::collection::vec(".{0,12}", 1..5)) {
            let message = |(i, content): (usize, &String)| Message {
                role: if i % 2 == 0 { Role::User } else { Role::Assistant },
                content: content.clone(),
            };
            let mut messages: Vec<Message> = said.iter().enumerate().map(message).collect();
            messages.push(Message { role: Role::Assistant, content: "last".into() });
            let tokenizer = tokenizer();
            let tokens = chat_tokens(&messages, &tokenizer, &ChatTemplate::chatml()).unwrap();
            let end = tokenizer.end_tokens()[0];
            let closing = tokens.iter().filter(|(token, counts)| *counts && *token == end).count();
            prop_assert_eq!(closing, messages.iter().filter(|m| m.role == Role::Assistant).count());
        }
    }
}
