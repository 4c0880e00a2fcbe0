//! Chat templates: a conversation to the text that the model was trained on.
//!
//! Templates are written for Python's Jinja, with the settings and helpers of Hugging Face's
//! libraries; minijinja runs them here. They come with downloaded models, so they get a limited
//! number of steps, may write a limited amount of text, and reach nothing outside.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::tokenizer::guard::END_MARK;
use super::tokenizer::{SpecialNames, Tokenizer, read_bounded};
use crate::protocol::{Message, Role, TokenId};

mod clock;
mod labels;

pub use labels::Labelled;

/// ChatML: for models that bring no template.
pub const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Steps that a template may take: a conversation of ten thousand messages needs fewer.
const FUEL: u64 = 5_000_000;
/// Text that it may write.
const MAX_OUTPUT: usize = 64 << 20;
/// The largest template that is read.
const MAX_SOURCE: usize = 1 << 20;

/// How a rendered conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// After the last message.
    Closed,
    /// Where the model takes its turn.
    Reply,
    /// Inside the last message, right after its text.
    Continue,
}

/// A template, checked and ready.
///
/// ```
/// use bit_axon::model::template::{ChatTemplate, Tail};
/// use bit_axon::protocol::{Message, Role};
///
/// let hello = Message { role: Role::User, content: "Hello".into() };
/// let text = ChatTemplate::chatml().render(&[hello], Tail::Reply, &Default::default())?;
/// assert_eq!(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
/// # anyhow::Ok(())
/// ```
pub struct ChatTemplate {
    environment: Environment<'static>,
    name: String,
}

impl ChatTemplate {
    /// ChatML.
    pub fn chatml() -> Self {
        // The tests compile it.
        Self::parse("ChatML", CHATML).unwrap_or_else(|error| unreachable!("ChatML: {error}"))
    }

    /// The template of the model in this folder, or beside this file: `chat_template.jinja`, else
    /// what `tokenizer_config.json` holds, else ChatML.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let own = folder.join("chat_template.jinja");
        if own.is_file() {
            let bytes = read_bounded(&own, MAX_SOURCE as u64)?;
            let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", own.display()))?;
            return Self::parse(&own.display().to_string(), &text);
        }
        let file = folder.join("tokenizer_config.json");
        if !file.is_file() {
            return Ok(Self::chatml());
        }
        let config: serde_json::Value = serde_json::from_slice(&read_bounded(&file, 16 << 20)?)
            .with_context(|| format!("{} is not valid JSON", file.display()))?;
        Self::from_config(&file.display().to_string(), &config)
    }

    /// What a `tokenizer_config.json` holds, else ChatML. `name` is how errors call it.
    pub fn from_config(name: &str, config: &serde_json::Value) -> Result<Self> {
        match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => Ok(Self::chatml()),
            Some(serde_json::Value::String(text)) => Self::parse(&format!("{name}, chat_template"), text),
            Some(serde_json::Value::Array(list)) => {
                let default = list.iter().find(|entry| entry["name"] == "default").or(list.first());
                let text = default.and_then(|entry| entry["template"].as_str());
                let text = text.with_context(|| format!("{name}: `chat_template` lists no template text"))?;
                Self::parse(&format!("{name}, chat_template"), text)
            }
            Some(_) => bail!("{name}: `chat_template` is neither a text nor a list of named templates"),
        }
    }

    /// Checks a template. `name` is how errors call it.
    pub fn parse(name: &str, source: &str) -> Result<Self> {
        ensure!(source.len() <= MAX_SOURCE, "{name} is larger than {} KiB", MAX_SOURCE >> 10);
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("the template refuses this conversation: {text}")))
        });
        environment.add_function("strftime_now", |format: String| clock::format_now(&format));
        environment
            .add_template_owned(name.to_owned(), without_training_tags(source))
            .map_err(|error| explain(&error))
            .context("the chat template is not valid")?;
        Ok(Self { environment, name: name.to_owned() })
    }

    /// The conversation as text.
    ///
    /// With [`Tail::Continue`] the last message stays open: the text ends with its last character.
    pub fn render(&self, messages: &[Message], tail: Tail, names: &SpecialNames) -> Result<String> {
        ensure!(!messages.is_empty(), "the conversation is empty: there is nothing to answer");
        let last = messages.len() - 1;
        let turns: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(i, message)| {
                let mut content = message.content.clone();
                if tail == Tail::Continue && i == last {
                    content.push(END_MARK);
                }
                context! { role => role_name(message.role), content => content }
            })
            .collect();
        let name = |text: &Option<String>| text.clone().unwrap_or_default();
        let values = context! {
            messages => turns,
            add_generation_prompt => tail == Tail::Reply,
            bos_token => name(&names.bos),
            eos_token => name(&names.eos),
            unk_token => name(&names.unk),
            pad_token => name(&names.pad),
        };
        let mut output = Limited(Vec::new());
        let template = self.environment.get_template(&self.name).map_err(|error| explain(&error))?;
        template.render_captured_to(values, &mut output).map_err(|error| explain(&error))?;
        let mut text = String::from_utf8(output.0).context("the chat template wrote a broken character")?;
        if tail == Tail::Continue {
            let Some(end) = text.rfind(END_MARK) else {
                bail!("{}: the template leaves out the last message, so that it cannot be continued", self.name)
            };
            text.truncate(end);
        }
        Ok(text)
    }

    /// The conversation as tokens. Control tokens that someone typed stay text.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message], tail: Tail) -> Result<Vec<TokenId>> {
        let safe: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                role: message.role,
                content: tokenizer.guard().protect(message.role, &message.content).into_owned(),
            })
            .collect();
        tokenizer.encode_rendered(&self.render(&safe, tail, tokenizer.names())?)
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// A buffer with an end, so that a template cannot fill the memory with what it writes.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(std::io::Error::other(format!("the text is longer than {} MiB", MAX_OUTPUT >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An error with its causes: minijinja names the template and the line.
fn explain(error: &Error) -> anyhow::Error {
    let mut text = if error.kind() == ErrorKind::OutOfFuel {
        format!("the chat template takes more than {FUEL} steps: it loops without end ({error})")
    } else {
        error.to_string()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    anyhow!(text)
}

/// As Python's `json.dumps` writes it: minijinja's own filter also escapes four characters for HTML,
/// which is undone here.
fn to_json(value: &Value, indent: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    for python_only in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = args.get(python_only)?;
    }
    let indent = match indent {
        Some(indent) => Some(indent),
        None => args.get("indent")?,
    };
    let html = minijinja::filters::tojson(value, indent, Kwargs::from_iter(std::iter::empty::<(&str, Value)>()))?;
    let html = html.to_string();
    let mut text = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let plain = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        match plain.iter().find(|(escape, _)| rest[at..].starts_with(escape)) {
            Some((escape, c)) => {
                text.push(*c);
                rest = &rest[at + escape.len()..];
            }
            // An escape is two characters at least: a backslash that is itself escaped is passed over.
            None => {
                let len = 1 + rest[at + 1..].chars().next().map_or(0, char::len_utf8);
                text.push_str(&rest[at..at + len]);
                rest = &rest[at + len..];
            }
        }
    }
    text.push_str(rest);
    Ok(Value::from(text))
}

/// `{% generation %}` marks for training what the model said; it writes nothing, and minijinja does
/// not know it. It becomes a condition that always holds, on the same line.
fn without_training_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let inside = &rest[at + 2..];
        let lead = inside.len() - inside.trim_start_matches(['-', '+']).trim_start().len();
        let (head, word) = (&rest[..at + 2 + lead], &inside[lead..]);
        let ends = |word: &str| word.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        text.push_str(head);
        rest = word;
        for (tag, condition) in [("generation", "if true"), ("endgeneration", "endif")] {
            if let Some(after) = word.strip_prefix(tag).filter(|after| ends(after)) {
                text.push_str(condition);
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests;
