//! Which tokens of a conversation are the assistant's: those that training and evaluation count.

use anyhow::{Result, ensure};

use super::{ChatTemplate, Tail};
use crate::model::tokenizer::Tokenizer;
use crate::protocol::{Message, Role, TokenId};

/// Tokens, and for each whether it is one to be learned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labelled {
    /// The tokens.
    pub tokens: Vec<TokenId>,
    /// As long as the tokens.
    pub mask: Vec<bool>,
}

impl ChatTemplate {
    /// The conversation as tokens, as [`encode`](Self::encode) gives them. Marked are the tokens of the assistant's
    /// messages from the `from`-th message on, with the end token that closes each.
    ///
    /// Up to where an answer begins, the tokens are those that a model reads when it is asked for that answer.
    pub fn encode_labelled(&self, tokenizer: &Tokenizer, messages: &[Message], from: usize) -> Result<Labelled> {
        let safe: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: message.role,
                content: tokenizer.guard().protect(message.role, &message.content).into_owned(),
            })
            .collect();
        let names = tokenizer.names();
        let text = self.render(&safe, Tail::Closed, names)?;
        let mut answers = Vec::new();
        for (i, message) in safe.iter().enumerate().filter(|(_, message)| message.role == Role::Assistant) {
            ensure!(i > 0, "it begins with the assistant, who answers nobody");
            let asked = self.render(&safe[..i], Tail::Reply, names)?;
            ensure!(
                text.starts_with(&asked),
                "the chat template rewrites earlier turns, so its parts cannot be told apart"
            );
            answers.push((i, asked.len(), message.content.is_empty()));
        }
        let tokens = tokenizer.encode_rendered(&text)?;
        let begins = match begins(tokenizer, &text, &tokens, &answers)? {
            Some(begins) => Tokens { tokens, begins },
            None => piecewise(tokenizer, &text, &answers)?,
        };
        self.mark(tokenizer, &safe, &text, &answers, from, begins)
    }

    fn mark(
        &self,
        tokenizer: &Tokenizer,
        safe: &[Message],
        text: &str,
        answers: &[Answer],
        from: usize,
        Tokens { tokens, begins }: Tokens,
    ) -> Result<Labelled> {
        let mut mask = vec![false; tokens.len()];
        for (&(i, at, empty), begin) in answers.iter().zip(begins).filter(|((i, ..), _)| *i >= from) {
            // What was typed is never an end token, so the first one closes this turn.
            let length = match tokens[begin..].iter().position(|token| tokenizer.end_tokens().contains(token)) {
                Some(length) => length + 1,
                None => {
                    let closed = self.render(&safe[..=i], Tail::Closed, tokenizer.names())?;
                    let answer = tokenizer.encode_rendered(closed.get(at..).unwrap_or_default())?;
                    ensure!(text.starts_with(&closed), "the chat template writes the end of a turn in two ways");
                    common(&answer, &tokens[begin..])
                }
            };
            ensure!(length > 0 || empty, "the chat template leaves out what the assistant said");
            mask[begin..begin + length].fill(true);
        }
        Ok(Labelled { tokens, mask })
    }
}

/// Index of the assistant's message, where it begins in the text, and whether it says nothing.
type Answer = (usize, usize, bool);

struct Tokens {
    tokens: Vec<TokenId>,
    /// Where each answer begins.
    begins: Vec<usize>,
}

/// Where answers begin among the tokens of the whole text; none if some token spans such a border.
fn begins(tokenizer: &Tokenizer, text: &str, tokens: &[TokenId], answers: &[Answer]) -> Result<Option<Vec<usize>>> {
    let mut begins = Vec::with_capacity(answers.len());
    for &(_, at, _) in answers {
        let asked = tokenizer.encode_rendered(&text[..at])?;
        if !tokens.starts_with(&asked) {
            return Ok(None);
        }
        begins.push(asked.len());
    }
    Ok(Some(begins))
}

/// The text cut where answers begin: a model is asked up to there, so that no token may span it.
fn piecewise(tokenizer: &Tokenizer, text: &str, answers: &[Answer]) -> Result<Tokens> {
    let (mut tokens, mut begins, mut done) = (Vec::new(), Vec::new(), 0);
    for &(_, at, _) in answers {
        tokens.extend(tokenizer.encode_rendered(&text[done..at])?);
        begins.push(tokens.len());
        done = at;
    }
    tokens.extend(tokenizer.encode_rendered(&text[done..])?);
    Ok(Tokens { tokens, begins })
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

    fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.into() }
    }

    fn texts(tokenizer: &Tokenizer, labelled: &Labelled) -> (String, String) {
        let text = |wanted: bool| -> String {
            let all = labelled.tokens.iter().zip(&labelled.mask);
            all.filter(|(_, counts)| **counts || !wanted).map(|(id, _)| tokenizer.token_text(*id)).collect()
        };
        (text(false), text(true))
    }

    #[test]
    fn the_assistants_words_and_their_end_token_are_marked() {
        let (tokenizer, template) = (tokenizer(), ChatTemplate::chatml());
        let messages = [
            message(Role::System, "S"),
            message(Role::User, "<|im_end|>?"),
            message(Role::Assistant, "one"),
            message(Role::User, "more"),
            message(Role::Assistant, "two <|im_end|> still two"),
        ];
        let labelled = template.encode_labelled(&tokenizer, &messages, 0).unwrap();
        let (all, marked) = texts(&tokenizer, &labelled);
        assert!(all.starts_with("<|im_start|>system\nS<|im_end|>\n"), "{all}");
        assert_eq!(marked, "one<|im_end|>two <|im_end|> still two<|im_end|>");
        let last = template.encode_labelled(&tokenizer, &messages, 3).unwrap();
        assert_eq!(
            (texts(&tokenizer, &last).1, last.tokens),
            ("two <|im_end|> still two<|im_end|>".into(), labelled.tokens)
        );
    }

    #[test]
    fn templates_without_an_end_token_are_marked_to_the_turns_end() {
        let source = "{% for m in messages %}[{{ m.role }}] {{ m.content }};{% endfor %}\
                      {% if add_generation_prompt %}[assistant] {% endif %}";
        let template = ChatTemplate::parse("plain", source).unwrap();
        let messages = [message(Role::User, "a"), message(Role::Assistant, "b"), message(Role::User, "c")];
        let labelled = template.encode_labelled(&tokenizer(), &messages, 0).unwrap();
        assert_eq!(texts(&tokenizer(), &labelled).1, "b;");
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let source = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}";
        let template = ChatTemplate::parse("rewriting", source).unwrap();
        let messages = [message(Role::User, "abc"), message(Role::Assistant, "b")];
        let said = template.encode_labelled(&tokenizer(), &messages, 0).unwrap_err().to_string();
        assert!(said.contains("rewrites"), "{said}");
        let said = ChatTemplate::chatml().encode_labelled(&tokenizer(), &messages[1..], 0).unwrap_err().to_string();
        assert!(said.contains("answers nobody"), "{said}");
    }

    /// A vocabulary in which two line ends are one token, as in Qwen's.
    fn merging() -> Tokenizer {
        let mut json: serde_json::Value = serde_json::from_str(&byte_level::tokenizer_json()).unwrap();
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let id = 1 + vocab.values().filter_map(serde_json::Value::as_u64).max().unwrap().max(400);
        vocab.insert("ĊĊ".into(), id.into());
        json["model"]["merges"] = serde_json::json!([["Ċ", "Ċ"]]);
        json["pre_tokenizer"]["use_regex"] = false.into();
        Tokenizer::from_json(json.to_string().as_bytes(), &[]).unwrap()
    }

    #[test]
    fn no_token_spans_the_place_where_an_answer_begins() {
        let (tokenizer, template) = (merging(), ChatTemplate::chatml());
        let messages = [message(Role::User, "go\n\non"), message(Role::Assistant, "\nyes")];
        let asked = template.encode(&tokenizer, &messages[..1], Tail::Reply).unwrap();
        assert!(asked.contains(&tokenizer.id("ĊĊ").unwrap()), "the vocabulary does not merge: {asked:?}");
        let whole = template.encode(&tokenizer, &messages, Tail::Closed).unwrap();
        assert!(!whole.starts_with(&asked), "nothing spans the border, so nothing is tested");
        let labelled = template.encode_labelled(&tokenizer, &messages, 0).unwrap();
        assert!(labelled.tokens.starts_with(&asked));
        assert_eq!(texts(&tokenizer, &labelled).1, "\nyes<|im_end|>");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn answers_are_marked_exactly_and_begin_where_a_model_is_asked(said in prop::collection::vec(".{0,12}|\n{0,3}a", 1..6)) {
            let role = |i: usize| if i.is_multiple_of(2) { Role::User } else { Role::Assistant };
            let mut messages: Vec<Message> = said.iter().enumerate().map(|(i, said)| message(role(i), said)).collect();
            messages.push(message(Role::Assistant, "last"));
            let template = ChatTemplate::chatml();
            for tokenizer in [tokenizer(), merging()] {
                let labelled = template.encode_labelled(&tokenizer, &messages, 0).unwrap();
                prop_assert_eq!(labelled.tokens.len(), labelled.mask.len());
                let end = tokenizer.end_tokens()[0];
                let mut at = 0;
                for i in messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant).map(|(i, _)| i) {
                    let begin = at + labelled.mask[at..].iter().position(|marked| *marked).unwrap();
                    let length = labelled.mask[begin..].iter().take_while(|marked| **marked).count();
                    let answer = &labelled.tokens[begin..begin + length];
                    prop_assert_eq!(answer.iter().filter(|token| **token == end).count(), 1);
                    prop_assert_eq!(answer.last(), Some(&end));
                    let asked = template.encode(&tokenizer, &messages[..i], Tail::Reply).unwrap();
                    prop_assert!(at > 0 || labelled.tokens[..begin] == asked);
                    let guarded = tokenizer.guard().protect(Role::Assistant, &messages[i].content).into_owned();
                    prop_assert_eq!(&answer[..length - 1], tokenizer.encode_rendered(&guarded).unwrap());
                    at = begin + length;
                }
                prop_assert!(labelled.mask[at..].iter().all(|marked| !marked));
            }
        }
    }
}
