//! One line of a data set: what it holds is told by its keys.
//!
//! | keys | what it is |
//! |---|---|
//! | `chosen`, `rejected`, `prompt` | two answers, one of them preferred: texts, messages, or whole conversations |
//! | `messages` | a conversation: `role`, `content` |
//! | `conversations` | a conversation as ShareGPT writes it: `from`, `value` |
//! | `instruction`, `input`, `output` | a task as Alpaca writes it; a `system` text may stand before it |
//! | `text` | plain text |

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::model::checkpoint::printable;
use crate::protocol::{Message, Role};

/// A row, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Plain text.
    Text(String),
    /// A conversation with at least one answer.
    Chat(Vec<Message>),
    /// A question and two ways to go on from there.
    Pair {
        /// What both have in common.
        prompt: Vec<Message>,
        /// The better way.
        chosen: Vec<Message>,
        /// The worse one.
        rejected: Vec<Message>,
    },
}

impl Row {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(line)
            .map_err(|error| anyhow::anyhow!("it is not UTF-8 text: byte {} is broken", error.valid_up_to() + 1))?;
        let value: Value = serde_json::from_str(text).context("it is not valid JSON")?;
        let Value::Object(row) = value else { bail!("it is {}, not a JSON object", kind(&value)) };
        if row.contains_key("chosen") || row.contains_key("rejected") {
            return pair(&row);
        }
        if let Some(turns) = row.get("messages") {
            return chat(messages(turns, "messages")?);
        }
        if let Some(turns) = row.get("conversations") {
            return chat(messages(turns, "conversations")?);
        }
        if row.contains_key("instruction") || row.contains_key("output") {
            return task(&row);
        }
        if row.contains_key("text") {
            return Ok(Self::Text(string(&row, "text")?.to_owned()));
        }
        let keys: Vec<String> = row.keys().take(8).map(|key| format!("`{}`", printable(key))).collect();
        bail!(
            "it has none of `messages`, `conversations`, `instruction`, `chosen` and `rejected`, or `text`; its keys \
             are: {}",
            if keys.is_empty() { "none".into() } else { keys.join(", ") }
        )
    }

    /// What a model can be asked to see what it learns from such rows: what a person says first, or the first words
    /// of a text, which is to be continued.
    pub fn question(&self) -> Option<String> {
        const WORDS: usize = 8;
        let question = match self {
            Self::Text(text) => text.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" "),
            Self::Chat(messages) | Self::Pair { prompt: messages, .. } => {
                messages.iter().find(|message| message.role == Role::User)?.content.clone()
            }
        };
        Some(question).filter(|question| !question.trim().is_empty())
    }

    /// True for two answers, of which one is preferred.
    pub fn is_pair(&self) -> bool {
        matches!(self, Self::Pair { .. })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn string<'v>(row: &'v Map<String, Value>, key: &str) -> Result<&'v str> {
    match row.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => bail!("its `{key}` is {}, not a string", kind(other)),
        None => bail!("it has no `{key}`"),
    }
}

fn chat(messages: Vec<Message>) -> Result<Row> {
    let answer = messages.iter().position(|message| message.role == Role::Assistant);
    let answer = answer.context("none of its messages is the assistant's, so nothing in it is learned")?;
    ensure!(answer > 0, "it begins with the assistant, who answers nobody");
    Ok(Row::Chat(messages))
}

/// A list of messages, whichever words are used for their parts.
fn messages(value: &Value, key: &str) -> Result<Vec<Message>> {
    let Value::Array(turns) = value else { bail!("its `{key}` are {}, not a list", kind(value)) };
    let turn = |(i, turn): (usize, &Value)| {
        message(turn).with_context(|| format!("message {} of its `{key}` cannot be used", i + 1))
    };
    turns.iter().enumerate().map(turn).collect()
}

fn message(turn: &Value) -> Result<Message> {
    let Value::Object(turn) = turn else { bail!("it is {}, not an object", kind(turn)) };
    let (role, content) = if turn.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let role = match string(turn, role)? {
        "system" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "chatgpt" | "bing" | "bard" | "model" => Role::Assistant,
        other => bail!("nobody knows the role `{}`: there are system, user and assistant", printable(other)),
    };
    Ok(Message { role, content: text_of(turn, content)? })
}

/// A text, or the texts of a list of parts.
fn text_of(turn: &Map<String, Value>, key: &str) -> Result<String> {
    let Some(Value::Array(parts)) = turn.get(key) else { return Ok(string(turn, key)?.to_owned()) };
    parts
        .iter()
        .map(|part| match part.as_object() {
            Some(part) if part.get("type").is_none_or(|kind| kind == "text") => string(part, "text"),
            _ => bail!("its `{key}` has a part that is no text"),
        })
        .collect()
}

fn task(row: &Map<String, Value>) -> Result<Row> {
    let mut question = string(row, "instruction")?.to_owned();
    let input = row.get("input").filter(|input| !input.is_null()).map(|_| string(row, "input")).transpose()?;
    if let Some(input) = input.filter(|input| !input.trim().is_empty()) {
        question.push_str("\n\n");
        question.push_str(input);
    }
    let mut messages = Vec::new();
    if let Some(Value::String(system)) = row.get("system").filter(|system| *system != "") {
        messages.push(Message { role: Role::System, content: system.clone() });
    }
    messages.push(Message { role: Role::User, content: question });
    messages.push(Message { role: Role::Assistant, content: string(row, "output")?.to_owned() });
    Ok(Row::Chat(messages))
}

fn pair(row: &Map<String, Value>) -> Result<Row> {
    let mut prompt = match row.get("prompt") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![Message { role: Role::User, content: text.clone() }],
        Some(list) => messages(list, "prompt")?,
    };
    if let Some(Value::String(system)) = row.get("system").filter(|system| *system != "")
        && prompt.first().is_none_or(|first| first.role != Role::System)
    {
        prompt.insert(0, Message { role: Role::System, content: system.clone() });
    }
    let (mut chosen, mut rejected) = (answer(row, "chosen")?, answer(row, "rejected")?);
    // Some data sets repeat the prompt in both answers, others have it only there.
    let repeated = |answer: &[Message]| !prompt.is_empty() && answer.starts_with(&prompt);
    if repeated(&chosen) && repeated(&rejected) {
        chosen.drain(..prompt.len());
        rejected.drain(..prompt.len());
    } else if prompt.is_empty() {
        let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        // The last message of each is its answer, even where both are the same.
        let same = same.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
        prompt = chosen.drain(..same).collect();
        rejected.drain(..same);
    }
    ensure!(!prompt.is_empty(), "it has no `prompt`");
    ensure!(prompt.iter().any(|m| m.role != Role::Assistant), "its prompt is the assistant's alone");
    for (key, messages) in [("chosen", &chosen), ("rejected", &rejected)] {
        let answers = messages.last().is_some_and(|last| last.role == Role::Assistant);
        ensure!(answers, "its `{key}` does not end with what the assistant says");
    }
    ensure!(chosen != rejected, "`chosen` and `rejected` are the same, so neither can be preferred");
    Ok(Row::Pair { prompt, chosen, rejected })
}

fn answer(row: &Map<String, Value>, key: &str) -> Result<Vec<Message>> {
    match row.get(key) {
        Some(Value::String(text)) => Ok(vec![Message { role: Role::Assistant, content: text.clone() }]),
        Some(Value::Object(_)) => Ok(vec![message(&row[key]).with_context(|| format!("its `{key}` cannot be used"))?]),
        Some(list) => messages(list, key),
        None => bail!("it has no `{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(row: Value) -> Result<Row> {
        Row::parse(row.to_string().as_bytes())
    }

    fn said(messages: &[Message]) -> Vec<(Role, &str)> {
        messages.iter().map(|message| (message.role, message.content.as_str())).collect()
    }

    #[test]
    fn each_format_is_known_by_its_keys() {
        let chat = |row| match parse(row).unwrap() {
            Row::Chat(messages) => messages,
            other => panic!("{other:?}"),
        };
        let want = [(Role::User, "q"), (Role::Assistant, "a")];
        for row in [
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 7}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]},
                                {"role": "assistant", "content": "a"}]}),
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            json!({"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
            json!({"instruction": "q", "input": "", "output": "a"}),
            json!({"instruction": "q", "input": null, "output": "a"}),
            json!({"instruction": "q", "output": "a", "text": "both"}),
        ] {
            assert_eq!(said(&chat(row)), want);
        }
        let task = chat(json!({"instruction": "add", "input": "1 2", "output": "3", "system": "s"}));
        assert_eq!(said(&task), [(Role::System, "s"), (Role::User, "add\n\n1 2"), (Role::Assistant, "3")]);
        assert_eq!(parse(json!({"text": "plain"})).unwrap(), Row::Text("plain".into()));
    }

    #[test]
    fn a_row_tells_what_to_ask() {
        let question = |row| parse(row).unwrap().question();
        let answer = json!({"role": "assistant", "content": "a"});
        let turns =
            [json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "q"}), answer.clone()];
        assert_eq!(question(json!({ "messages": turns })).as_deref(), Some("q"));
        assert_eq!(question(json!({"prompt": "p", "chosen": "c", "rejected": "r"})).as_deref(), Some("p"));
        assert_eq!(question(json!({"text": "a  b\nc d e f g h i"})).as_deref(), Some("a b c d e f g h"));
        assert_eq!(question(json!({"text": " \n"})), None);
        assert_eq!(question(json!({"messages": [{"role": "system", "content": "s"}, answer]})), None);
    }

    #[test]
    fn preferences_come_as_texts_messages_or_conversations() {
        let q = json!({"role": "user", "content": "q"});
        let a = |text: &str| json!({"role": "assistant", "content": text});
        for row in [
            json!({"prompt": "q", "chosen": "good", "rejected": "bad"}),
            json!({"prompt": [q], "chosen": a("good"), "rejected": [a("bad")]}),
            json!({"prompt": "q", "chosen": [q, a("good")], "rejected": [q, a("bad")]}),
            json!({"chosen": [q, a("good")], "rejected": [q, a("bad")]}),
        ] {
            let Row::Pair { prompt, chosen, rejected } = parse(row).unwrap() else { panic!() };
            assert_eq!(said(&prompt), [(Role::User, "q")]);
            assert_eq!(said(&chosen), [(Role::Assistant, "good")]);
            assert_eq!(said(&rejected), [(Role::Assistant, "bad")]);
        }
    }

    #[test]
    fn bad_rows_say_what_is_wrong() {
        let user = json!({"role": "user", "content": "q"});
        for (row, want) in [
            (json!([1]), "it is a list"),
            (json!({}), "its keys are: none"),
            (json!({"txt": 1, "a\u{1b}[2J": 2}), "`txt`, `a\\u{1b}[2J`"),
            (json!({"text": 5}), "a number, not a string"),
            (json!({"messages": "hi"}), "not a list"),
            (json!({"messages": []}), "none of its messages"),
            (json!({"messages": [user]}), "none of its messages"),
            (json!({"messages": ["hi"]}), "message 1"),
            (json!({"messages": [user, {"role": "robot", "content": "a"}]}), "the role `robot`"),
            (json!({"messages": [user, {"role": "assistant"}]}), "no `content`"),
            (json!({"messages": [user, {"role": "assistant", "content": null}]}), "null"),
            (json!({"messages": [{"role": "assistant", "content": "a"}]}), "answers nobody"),
            (json!({"conversations": [{"from": "human", "value": 3}]}), "a number"),
            (json!({"instruction": "q"}), "no `output`"),
            (json!({"output": "q"}), "no `instruction`"),
            (json!({"prompt": "q", "chosen": "a"}), "no `rejected`"),
            (json!({"prompt": "q", "chosen": "a", "rejected": "a"}), "neither can be preferred"),
            (json!({"chosen": "a", "rejected": "b"}), "no `prompt`"),
            (json!({"prompt": "q", "chosen": [user], "rejected": "b"}), "does not end"),
            (json!({"prompt": 5, "chosen": "a", "rejected": "b"}), "not a list"),
        ] {
            let said = format!("{:#}", parse(row.clone()).unwrap_err());
            assert!(said.contains(want), "{row}: {said}");
        }
        let said = |line: &[u8]| format!("{:#}", Row::parse(line).unwrap_err());
        assert!(said(b"{\"text\": \"a\xff\"}").contains("byte 12 is broken"));
        assert!(said(b"{\"text\": ").contains("not valid JSON"));
        assert!(said(b"text").contains("not valid JSON"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_line_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            key in "(text|messages|conversations|instruction|output|chosen|rejected|prompt|input)",
            other in "(text|messages|rejected|output|prompt)", value in "[\\[\\]{}\",:a0 ]{0,20}",
        ) {
            let _ = Row::parse(&bytes);
            let _ = Row::parse(format!("{{\"{key}\":{value}}}").as_bytes());
            let _ = Row::parse(format!("{{\"{key}\":\"{other}\",\"{other}\":[{value}]}}").as_bytes());
        }

        #[test]
        fn nothing_of_a_conversation_is_lost(said in prop::collection::vec(".{0,20}", 2..8)) {
            let role = |i: usize| if i.is_multiple_of(2) { Role::User } else { Role::Assistant };
            let want: Vec<Message> =
                said.iter().enumerate().map(|(i, text)| Message { role: role(i), content: text.clone() }).collect();
            prop_assert_eq!(parse(json!({"messages": want})).unwrap(), Row::Chat(want.clone()));
            let share: Vec<Value> = want.iter().map(|message| {
                let from = if message.role == Role::User { "human" } else { "gpt" };
                json!({"from": from, "value": message.content})
            }).collect();
            prop_assert_eq!(parse(json!({"conversations": share})).unwrap(), Row::Chat(want));
        }
    }
}
