//! Rows of a data set as tokens, each with the answer whether it counts.

use anyhow::Result;

use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::protocol::{Message, TokenId};
use crate::train::data::Row;

/// Tokens, and for each whether its prediction counts.
pub(super) type Counted = Vec<(TokenId, bool)>;

/// A row as tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Example {
    /// A text or a chat.
    One(Counted),
    /// A preference: the prompt with the chosen answer, and with the rejected one.
    Pair(Counted, Counted),
}

/// The tokens of a row. Every token of a text counts; of a chat what the assistant says, with the end token that
/// closes each of its turns; of a preference the same of the answers.
pub(super) fn example(row: &Row, tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Example> {
    let said = |messages: &[Message], from: usize| -> Result<Counted> {
        let labelled = template.encode_labelled(tokenizer, messages, from)?;
        Ok(labelled.tokens.into_iter().zip(labelled.mask).collect())
    };
    Ok(match row {
        Row::Text(text) => Example::One(tokenizer.encode(text)?.into_iter().map(|token| (token, true)).collect()),
        Row::Chat(messages) => Example::One(said(messages, 0)?),
        Row::Pair { prompt, chosen, rejected } => {
            let answered = |answer: &[Message]| said(&[prompt, answer].concat(), prompt.len());
            Example::Pair(answered(chosen)?, answered(rejected)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::byte_level;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[]).unwrap()
    }

    fn shown(tokens: &Counted, counting: bool) -> String {
        let tokenizer = tokenizer();
        tokens.iter().filter(|(_, counts)| *counts || !counting).map(|(id, _)| tokenizer.token_text(*id)).collect()
    }

    fn read(line: &str) -> Example {
        example(&Row::parse(line.as_bytes()).unwrap(), &tokenizer(), &ChatTemplate::chatml()).unwrap()
    }

    fn counted(line: &str) -> (String, String) {
        let Example::One(tokens) = read(line) else { panic!("{line} is a pair") };
        (shown(&tokens, false), shown(&tokens, true))
    }

    #[test]
    fn every_token_of_a_text_counts() {
        let (all, counts) = counted(r#"{"text": "plain text"}"#);
        assert_eq!((all.as_str(), counts.as_str()), ("plain text", "plain text"));
    }

    #[test]
    fn the_assistants_words_and_their_end_token_count() {
        let line = r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "<|im_end|>?"},
            {"role": "assistant", "content": "one"}, {"role": "user", "content": "more"},
            {"role": "assistant", "content": "two <|im_end|> still two"}]}"#
            .replace('\n', " ");
        let (all, counts) = counted(&line);
        assert!(all.starts_with("<|im_start|>system\nS<|im_end|>\n"), "{all}");
        assert_eq!(counts, "one<|im_end|>two <|im_end|> still two<|im_end|>");
        let (_, counts) = counted(r#"{"instruction": "add", "input": "1 2", "output": "3"}"#);
        assert_eq!(counts, "3<|im_end|>");
    }

    #[test]
    fn of_a_preference_both_answers_count() {
        let Example::Pair(chosen, rejected) = read(r#"{"prompt": "q", "chosen": "yes", "rejected": "no"}"#) else {
            panic!("it is a pair")
        };
        assert_eq!((shown(&chosen, true).as_str(), shown(&rejected, true).as_str()), ("yes<|im_end|>", "no<|im_end|>"));
        assert!(shown(&rejected, false).contains("q<|im_end|>"));
    }
}
