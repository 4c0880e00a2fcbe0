//! Text to tokens and back.
//!
//! The work is done by the `tokenizers` crate; this file reads the files around it, keeps hostile
//! ones from doing harm, and knows which tokens are control tokens. [`guard`] keeps the text of a
//! chat from becoming control tokens, [`decode`] turns tokens into text one at a time.

pub mod byte_level;
pub mod decode;
pub mod guard;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use self::decode::{DecodeStream, Pieces};
use self::guard::Guard;
use crate::protocol::TokenId;

/// The largest `tokenizer.json` that is read: four times the largest in use.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;
/// The largest of the small files beside it.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// No vocabulary has ids beyond this; a file that says so is damaged.
const MAX_ID: TokenId = 1 << 24;

/// The texts of the tokens that templates call by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialNames {
    /// Opens a text.
    pub bos: Option<String>,
    /// Ends one.
    pub eos: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<String>,
    /// Fills up rows of a batch.
    pub pad: Option<String>,
}

/// A vocabulary, and the rules to cut text into it.
///
/// ```
/// use bit_axon::model::tokenizer::{Tokenizer, byte_level};
///
/// let tokenizer = Tokenizer::from_json(byte_level::tokenizer_json().as_bytes(), &[])?;
/// let ids = tokenizer.encode("Grüße")?;
/// let mut stream = tokenizer.stream(None);
/// let text: String = ids.iter().map(|id| stream.push(*id)).collect();
/// assert_eq!(text + &stream.finish(), "Grüße");
/// # anyhow::Ok(())
/// ```
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// One bit for each id below `size`: the vocabulary has it.
    known: Vec<u64>,
    size: usize,
    special: HashSet<TokenId>,
    end: Vec<TokenId>,
    names: SpecialNames,
    guard: Guard,
    pieces: Pieces,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or the folder that holds it, with the configuration beside it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let bytes = read_bounded(&file, MAX_TOKENIZER_BYTES)?;
        let mut configs = Vec::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json"] {
            let beside = file.with_file_name(name);
            if beside.is_file() {
                let text = read_bounded(&beside, MAX_CONFIG_BYTES)?;
                let value: Value =
                    serde_json::from_slice(&text).with_context(|| format!("{} is not valid JSON", beside.display()))?;
                configs.push(value);
            }
        }
        Self::from_json(&bytes, &configs).with_context(|| format!("cannot use the tokenizer {}", file.display()))
    }

    /// Builds one from the text of `tokenizer.json` and of the files beside it, parsed.
    pub fn from_json(json: &[u8], configs: &[Value]) -> Result<Self> {
        let mut value: Value = serde_json::from_slice(json).context("it is not valid JSON")?;
        let named = Named::collect(configs);
        let (special, tags) = prepare(&mut value, &named)?;
        let decoder = value.get("decoder").cloned().unwrap_or(Value::Null);
        let inner = guarded(|| serde_json::from_value::<tokenizers::Tokenizer>(value))?
            .context("it is not a tokenizer that the `tokenizers` library reads")?;
        let ids: Vec<TokenId> = inner.get_vocab(true).into_values().collect();
        ensure!(!ids.is_empty(), "its vocabulary is empty");
        let size = ids.iter().max().map_or(0, |id| *id as usize + 1);
        ensure!(size <= MAX_ID as usize, "it holds the token id {}, beyond {MAX_ID}", size - 1);
        let mut known = vec![0u64; size.div_ceil(64)];
        for id in ids {
            known[id as usize / 64] |= 1 << (id % 64);
        }
        let special_ids: HashSet<TokenId> = special.iter().filter_map(|text| inner.token_to_id(text)).collect();
        let mut tokenizer = Self {
            pieces: Pieces::parse(&decoder),
            guard: Guard::new(special, tags),
            end: Vec::new(),
            names: named.names,
            special: special_ids,
            inner,
            known,
            size,
        };
        tokenizer.end = tokenizer.find_end_tokens(&named.end_ids);
        guard::install(&mut tokenizer)?;
        Ok(tokenizer)
    }

    /// One more than the largest id: a model's vocabulary must be at least this.
    pub fn size(&self) -> usize {
        self.size
    }

    /// True if the vocabulary has this id. A model's vocabulary is often padded beyond it.
    pub fn has(&self, id: TokenId) -> bool {
        self.known.get(id as usize / 64).is_some_and(|bits| bits >> (id % 64) & 1 == 1)
    }

    /// An error with both numbers if the model is too small for this vocabulary.
    pub fn check_fits(&self, model_vocabulary: usize) -> Result<()> {
        ensure!(
            self.size <= model_vocabulary,
            "the tokenizer has ids up to {}, the model a vocabulary of {model_vocabulary} tokens: \
             they do not belong together; put the model's own tokenizer.json beside its weights",
            self.size - 1
        );
        Ok(())
    }

    /// The id of a token, by its exact text.
    pub fn id(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token)
    }

    /// True for control tokens: they are no text of their own.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.special.contains(&id)
    }

    /// The tokens that end the model's turn.
    pub fn end_tokens(&self) -> &[TokenId] {
        &self.end
    }

    /// What templates may call by name.
    pub fn names(&self) -> &SpecialNames {
        &self.names
    }

    /// Keeps the text of a chat from becoming control tokens.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Tokens of a text to be continued: control tokens in it are honoured, and what the tokenizer
    /// puts at a text's beginning is put there.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        let mut ids = self.encode_with(text, true)?;
        // A rule that also closes the text would end it before the model could go on.
        let own = self.encode_with(text, false)?;
        if ids.len() > own.len() && ids.last().is_some_and(|last| self.is_special(*last)) && ids.last() != own.last() {
            ids.pop();
        }
        Ok(ids)
    }

    /// Tokens of a rendered chat: nothing is added, since the template writes its own beginning.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<TokenId>> {
        self.encode_with(text, false)
    }

    fn encode_with(&self, text: &str, add: bool) -> Result<Vec<TokenId>> {
        let encoding = guarded(|| self.inner.encode_fast(text, add))?
            .map_err(|error| anyhow!("the tokenizer cannot encode this text: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The whole text of these tokens, as [`DecodeStream`] gives it piece by piece.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut stream = self.stream(None);
        let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// Decodes token by token. `after` is the token before the first one; without it the text
    /// begins there, and a space that the tokenizer put before its first word is taken away again.
    pub fn stream(&self, after: Option<TokenId>) -> DecodeStream<'_> {
        DecodeStream::new(self, after)
    }

    /// One token by itself, with incomplete characters replaced; control tokens show their name.
    /// Empty for an id that the vocabulary lacks.
    pub fn token_text(&self, id: TokenId) -> String {
        match self.token(id) {
            None => String::new(),
            Some(name) if self.is_special(id) => name,
            Some(token) => match self.pieces.bytes(&token) {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => self.decode_whole(&[id]),
            },
        }
    }

    /// The token as the vocabulary writes it.
    fn token(&self, id: TokenId) -> Option<String> {
        if self.has(id) { self.inner.id_to_token(id) } else { None }
    }

    /// The library's own decoding: for decoders whose pieces cannot be told apart.
    fn decode_whole(&self, ids: &[TokenId]) -> String {
        guarded(|| self.inner.decode(ids, true)).ok().and_then(Result::ok).unwrap_or_default()
    }

    fn find_end_tokens(&self, named: &[TokenId]) -> Vec<TokenId> {
        let own = self.id("<|im_end|>").into_iter().chain(named.iter().copied());
        let mut end: Vec<TokenId> = Vec::new();
        for id in own.chain(self.names.eos.as_deref().and_then(|name| self.id(name))) {
            if self.has(id) && !end.contains(&id) {
                end.push(id);
            }
        }
        if end.is_empty() {
            // Nothing is named: what most vocabularies call it.
            end.extend(["<|endoftext|>", "</s>", "<|eot_id|>", "<eos>"].iter().filter_map(|name| self.id(name)));
        }
        end
    }
}

/// What the files beside `tokenizer.json` say about tokens.
#[derive(Default)]
struct Named {
    names: SpecialNames,
    /// Texts of every token that some configuration calls special.
    special: Vec<String>,
    end_ids: Vec<TokenId>,
}

impl Named {
    fn collect(configs: &[Value]) -> Self {
        let mut named = Self::default();
        for config in configs {
            for (key, slot) in [
                ("bos_token", &mut named.names.bos),
                ("eos_token", &mut named.names.eos),
                ("unk_token", &mut named.names.unk),
                ("pad_token", &mut named.names.pad),
            ] {
                if let Some(text) = config.get(key).and_then(token_content) {
                    named.special.push(text.clone());
                    slot.get_or_insert(text);
                }
            }
            let more = config.get("additional_special_tokens").and_then(Value::as_array);
            named.special.extend(more.into_iter().flatten().filter_map(token_content));
            for (_, token) in config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
                if token.get("special") == Some(&Value::Bool(true)) {
                    named.special.extend(token_content(token));
                }
            }
            let ids = match config.get("eos_token_id") {
                Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
                Some(id) => Vec::from_iter(id.as_u64()),
                None => Vec::new(),
            };
            named.end_ids.extend(ids.into_iter().filter_map(|id| TokenId::try_from(id).ok()));
        }
        named.special.retain(|text| !text.is_empty());
        named
    }
}

/// A token is written as its text, or as an object that holds it.
fn token_content(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// Makes `tokenizer.json` say what this program relies on, and gives the texts of its control
/// tokens and of tokens that look like tags.
///
/// Cutting and padding are for training batches and would change what is encoded here. Control
/// tokens are looked for in the text as written, before any normalisation, because [`guard`] breaks
/// them up there.
fn prepare(value: &mut Value, named: &Named) -> Result<(Vec<String>, Vec<String>)> {
    let Some(root) = value.as_object_mut() else { bail!("it holds no JSON object") };
    ensure!(root.contains_key("model"), "it has no `model`");
    root.insert("truncation".into(), Value::Null);
    root.insert("padding".into(), Value::Null);
    let in_vocabulary: Vec<(String, u64)> = named
        .special
        .iter()
        .filter_map(|text| Some((text.clone(), root["model"].get("vocab")?.get(text)?.as_u64()?)))
        .collect();
    let added = root.entry("added_tokens").or_insert_with(|| Value::Array(Vec::new()));
    if added.is_null() {
        *added = Value::Array(Vec::new());
    }
    let added = added.as_array_mut().context("its `added_tokens` is not a list")?;
    let (mut special, mut tags) = (Vec::new(), Vec::new());
    for token in added.iter_mut() {
        let content = token.get("content").and_then(Value::as_str).context("an added token has no `content`")?;
        ensure!(!content.is_empty(), "an added token is empty");
        let content = content.to_owned();
        let is_special = token.get("special") == Some(&Value::Bool(true)) || named.special.contains(&content);
        let is_tag = content.len() > 2
            && (content.starts_with('<') && content.ends_with('>')
                || content.starts_with('[') && content.ends_with(']'));
        if is_special || is_tag {
            token["special"] = Value::Bool(is_special);
            token["normalized"] = Value::Bool(false);
            if is_special { &mut special } else { &mut tags }.push(content);
        }
    }
    // A configuration may name a token that only the model's vocabulary knows.
    for (content, id) in in_vocabulary {
        if !special.contains(&content) {
            added.push(serde_json::json!({"id": id, "content": content, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
            special.push(content);
        }
    }
    Ok((special, tags))
}

/// Runs what may panic on a hostile file.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        anyhow!("the `tokenizers` library gave up ({text}); the file is probably damaged")
    })
}

/// Reads a whole file, unless it is larger than anything sensible.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {}", name))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", name))?;
    ensure!(bytes.len() as u64 <= limit, "{} is larger than {} MiB", name, limit >> 20);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
