//! Rows as tokens, each with the answer whether it bears loss.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::rows::Row;
use crate::model::template::{ChatTemplate, Labelled, Tail};
use crate::model::tokenizer::Tokenizer;
use crate::protocol::{Message, Role, TokenId};
use crate::train::fingerprint::Fingerprint;
use crate::train::settings::Method;

/// Turns rows into tokens for a model.
#[derive(Clone)]
pub struct Encoder {
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
    /// Tokens of the model.
    vocab: usize,
    method: Method,
    end: TokenId,
}

/// A row as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Example {
    /// To be packed.
    One(Labelled),
    /// The chosen and the rejected, each with the prompt before it.
    Pair(Labelled, Labelled),
}

impl Encoder {
    /// For a model with `vocab` tokens.
    pub fn new(tokenizer: Arc<Tokenizer>, template: Arc<ChatTemplate>, vocab: usize, method: Method) -> Result<Self> {
        let end = *tokenizer.end_tokens().first().context(
            "the tokenizer names no token that ends a text, and examples are joined with one: give its \
             tokenizer_config.json an `eos_token`",
        )?;
        Ok(Self { tokenizer, template, vocab, method, end })
    }

    /// Joins examples, and fills up rows.
    pub fn end_token(&self) -> TokenId {
        self.end
    }

    /// What rows are encoded for.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The vocabulary.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// How conversations are written.
    pub fn template(&self) -> &Arc<ChatTemplate> {
        &self.template
    }

    /// The tokens of a row.
    pub fn encode(&self, row: &Row) -> Result<Example> {
        match (row, self.method) {
            (Row::Pair { prompt, chosen, rejected }, Method::Orpo) => {
                Ok(Example::Pair(self.answer(prompt, chosen)?, self.answer(prompt, rejected)?))
            }
            (Row::Pair { .. }, method) => bail!("it is a preference (`chosen`, `rejected`), which {method} cannot use"),
            (_, Method::Orpo) => bail!("it is no preference: orpo needs `prompt`, `chosen` and `rejected`"),
            (Row::Text(text), _) => {
                let tokens = self.tokenizer.encode(text)?;
                let mask = vec![true; tokens.len()];
                Ok(Example::One(self.checked(Labelled { tokens, mask })?))
            }
            (Row::Chat(messages), method) => {
                let mut labelled = self.template.encode_labelled(&self.tokenizer, messages, 0)?;
                if method == Method::Pretrain {
                    labelled.mask.fill(true);
                }
                Ok(Example::One(self.checked(labelled)?))
            }
        }
    }

    /// Tells the tokenizer and the template from others: by what they make of a text and of a conversation.
    pub fn fingerprint(&self) -> Result<u64> {
        const TEXT: &str = "The quick brown fox, 0123456789 + 3.5e-7;\n\n\tif (x) { return \"é漢字🙂\" }  it's DONE";
        let said = |role, content: &str| Message { role, content: content.into() };
        let chat = [
            said(Role::System, "Be brief."),
            said(Role::User, TEXT),
            said(Role::Assistant, "Yes."),
            said(Role::User, "And?"),
        ];
        let mut all = Fingerprint::new();
        all.add(&(self.tokenizer.size() as u64).to_le_bytes());
        let tokens = self.tokenizer.encode(TEXT)?;
        let chat = self.template.encode(&self.tokenizer, &chat, Tail::Reply)?;
        tokens.iter().chain(&chat).chain([&self.end]).for_each(|token| all.add(&token.to_le_bytes()));
        Ok(all.finish())
    }

    /// Tokens of the model.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    fn answer(&self, prompt: &[Message], answer: &[Message]) -> Result<Labelled> {
        let messages = [prompt, answer].concat();
        self.checked(self.template.encode_labelled(&self.tokenizer, &messages, prompt.len())?)
    }

    /// The first token is never a label: nothing stands before it.
    fn checked(&self, labelled: Labelled) -> Result<Labelled> {
        check_vocabulary(&labelled.tokens, self.vocab)?;
        ensure!(labelled.mask.iter().skip(1).any(|bears| *bears), "no token of it would be learned");
        Ok(labelled)
    }
}

/// An error if the model does not have one of these tokens.
pub(super) fn check_vocabulary(tokens: &[TokenId], vocab: usize) -> Result<()> {
    match tokens.iter().find(|token| **token as usize >= vocab) {
        Some(token) => bail!("token {token} is outside the model's vocabulary of {vocab} tokens"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::byte_level;

    fn encoder(vocab: usize, method: Method) -> Encoder {
        let tokenizer = Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[]).unwrap();
        Encoder::new(Arc::new(tokenizer), Arc::new(ChatTemplate::chatml()), vocab, method).unwrap()
    }

    fn learned(encoder: &Encoder, labelled: &Labelled) -> String {
        let marked = labelled.tokens.iter().zip(&labelled.mask).filter(|(_, bears)| **bears);
        marked.map(|(token, _)| encoder.tokenizer.token_text(*token)).collect()
    }

    #[test]
    fn each_kind_of_row_learns_its_part() {
        let chat = Row::parse(br#"{"instruction": "q", "output": "answer"}"#).unwrap();
        let text = Row::parse(br#"{"text": "plain"}"#).unwrap();
        let sft = encoder(512, Method::Sft);
        let one = |encoder: &Encoder, row: &Row| match encoder.encode(row).unwrap() {
            Example::One(labelled) => learned(encoder, &labelled),
            Example::Pair(..) => panic!("a pair"),
        };
        assert_eq!(one(&sft, &chat), "answer<|im_end|>");
        assert_eq!(one(&sft, &text), "plain");
        let pretrain = encoder(512, Method::Pretrain);
        assert!(one(&pretrain, &chat).starts_with("<|im_start|>user\nq<|im_end|>"));
    }

    #[test]
    fn of_a_pair_only_what_differs_is_learned() {
        let line = br#"{"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "before"},
            {"role": "user", "content": "r"}], "chosen": "good", "rejected": "bad"}"#;
        let row = Row::parse(&line.iter().copied().filter(|b| *b != b'\n').collect::<Vec<_>>()).unwrap();
        let orpo = encoder(512, Method::Orpo);
        let Example::Pair(chosen, rejected) = orpo.encode(&row).unwrap() else { panic!("one") };
        assert_eq!(learned(&orpo, &chosen), "good<|im_end|>");
        assert_eq!(learned(&orpo, &rejected), "bad<|im_end|>");
        let prompt = chosen.mask.iter().position(|bears| *bears).unwrap();
        assert_eq!(chosen.tokens[..prompt], rejected.tokens[..prompt]);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let said = |vocab, method, row: &str| {
            format!("{:#}", encoder(vocab, method).encode(&Row::parse(row.as_bytes()).unwrap()).unwrap_err())
        };
        let pair = r#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#;
        assert!(said(512, Method::Sft, pair).contains("preference"));
        assert!(said(512, Method::Orpo, r#"{"text": "a b"}"#).contains("no preference"));
        assert!(said(100, Method::Sft, r#"{"text": "xyz"}"#).contains("vocabulary of 100"));
        assert!(said(512, Method::Sft, r#"{"text": "x"}"#).contains("learned"));
        assert!(said(512, Method::Sft, r#"{"text": ""}"#).contains("learned"));
    }
}
