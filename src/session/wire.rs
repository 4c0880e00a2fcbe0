//! A line of a session file, and what it means. Names are short because a token is a line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::routing::{pack, unpack};
use super::rules::{MOST_EXPERTS, MOST_LAYERS};
use super::shape;
use crate::chat::{Change, End, TokenRecord, What};
use crate::protocol::{
    Alterations, Alternative, EngineSnapshot, Event, HeatReading, MachineMemory, ModelInfo, ReadToken, Role, Sampling,
    Stats,
};

/// One line: when, and one of the others. Keys that are not known are of a later program.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Line<'a> {
    /// Milliseconds since the session was created.
    pub(super) at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<Add<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tok: Option<Tok<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Ended<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choose: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Model<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<Read>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Cow<'a, Event>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Cow<'a, EngineSnapshot>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heat: Option<HeatReading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<MachineMemory>,
    /// How things stand, for lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Sum>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Add<'a> {
    m: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<usize>,
    role: Role,
    text: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Tok<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sampling: Option<Cow<'a, Sampling>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alterations: Option<Cow<'a, Alterations>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tok<'a> {
    /// The message; not within an `add`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<usize>,
    /// The token.
    i: u32,
    /// Its text.
    x: Cow<'a, str>,
    /// The logarithm of its probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    /// Alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    a: Vec<(u32, Cow<'a, str>, Option<f64>)>,
    /// Routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<Cow<'a, str>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ended<'a> {
    m: usize,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    text: Cow<'a, str>,
    how: Cow<'a, End>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Model<'a> {
    info: Cow<'a, ModelInfo>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    label: Cow<'a, str>,
}

/// `Event::Prefill`, whose routing is large.
#[derive(Debug, Serialize, Deserialize)]
struct Read {
    id: u64,
    done: usize,
    total: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    r: Vec<String>,
    /// The tokens and their texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    t: Vec<(u32, String)>,
}

/// What a list shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sum {
    pub(super) messages: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) model: String,
}

/// Four places are more than can be seen; none for what JSON cannot say.
fn rounded(logprob: f32) -> Option<f64> {
    logprob.is_finite().then(|| (f64::from(logprob) * 1e4).round() / 1e4)
}

impl<'a> From<&'a TokenRecord> for Tok<'a> {
    fn from(token: &'a TokenRecord) -> Self {
        let alternatives = token.alternatives.iter();
        Self {
            m: None,
            i: token.token,
            x: Cow::Borrowed(&token.text),
            p: rounded(token.logprob),
            a: alternatives.map(|a| (a.token, Cow::Borrowed(a.text.as_str()), rounded(a.logprob))).collect(),
            r: (!token.routing.is_empty()).then(|| Cow::Owned(pack(&token.routing))),
        }
    }
}

impl Tok<'_> {
    fn record(self) -> TokenRecord {
        let alternatives = self.a.into_iter().map(|(token, text, p)| {
            let logprob = p.map_or(f32::NEG_INFINITY, |p| p as f32);
            Alternative { token, text: text.into_owned(), logprob }
        });
        TokenRecord {
            token: self.i,
            text: self.x.into_owned(),
            logprob: self.p.map_or(f32::NAN, |p| p as f32),
            alternatives: alternatives.collect(),
            // Routing that cannot be read is no reason to lose the word.
            routing: self.r.and_then(|r| unpack(&r)).unwrap_or_default(),
        }
    }
}

impl<'a> Line<'a> {
    /// The line that says this.
    pub(super) fn of(at: u64, what: &'a What) -> Self {
        let mut line = Self { at, ..Self::default() };
        match what {
            What::Change(Change::Add { id, parent, role, text, tokens, sampling, alterations }) => {
                line.add = Some(Add {
                    m: *id,
                    parent: *parent,
                    role: *role,
                    text: Cow::Borrowed(text),
                    tokens: tokens.iter().map(Tok::from).collect(),
                    sampling: sampling.as_ref().map(Cow::Borrowed),
                    alterations: alterations.as_ref().map(Cow::Borrowed),
                });
            }
            What::Change(Change::Token { id, token }) => line.tok = Some(Tok { m: Some(*id), ..Tok::from(token) }),
            What::Change(Change::Finish { id, text, end, stats }) => {
                line.end = Some(Ended { m: *id, text: Cow::Borrowed(text), how: Cow::Borrowed(end), stats: *stats });
            }
            What::Change(Change::Choose { id }) => line.choose = Some(*id),
            What::Change(Change::Title { title }) => line.title = Some(Cow::Borrowed(title)),
            What::Change(Change::System { text }) => line.system = Some(Cow::Borrowed(text)),
            What::Model { info, label } => {
                line.model = Some(Model { info: Cow::Borrowed(info), label: Cow::Borrowed(label) });
            }
            What::Engine(Event::Prefill { id, done, total, routing, tokens }) => {
                let r = routing.iter().map(|token| pack(token)).collect();
                let t = tokens.iter().map(|read| (read.token, read.text.clone())).collect();
                line.read = Some(Read { id: *id, done: *done, total: *total, r, t });
            }
            What::Engine(event) => line.engine = Some(Cow::Borrowed(event)),
            What::State(state) => line.state = Some(Cow::Borrowed(state)),
            What::Heat(heat) => line.heat = Some(*heat),
            What::Machine(machine) => line.machine = Some(*machine),
        }
        line
    }

    /// The line that tells lists how things stand.
    pub(super) fn sum_up(at: u64, sum: Sum) -> Self {
        Self { at, sum: Some(sum), ..Self::default() }
    }

    /// What it says; none for lines that are only for lists, or of a later program.
    pub(super) fn what(self) -> Option<What> {
        if let Some(tok) = self.tok {
            let id = tok.m?;
            return Some(What::Change(Change::Token { id, token: tok.record() }));
        }
        if let Some(add) = self.add {
            return Some(What::Change(Change::Add {
                id: add.m,
                parent: add.parent,
                role: add.role,
                text: add.text.into_owned(),
                tokens: add.tokens.into_iter().map(Tok::record).collect(),
                sampling: add.sampling.map(Cow::into_owned),
                alterations: add.alterations.map(Cow::into_owned),
            }));
        }
        if let Some(Ended { m: id, text, how, stats }) = self.end {
            let (text, end) = (text.into_owned(), how.into_owned());
            return Some(What::Change(Change::Finish { id, text, end, stats }));
        }
        if let Some(id) = self.choose {
            return Some(What::Change(Change::Choose { id }));
        }
        if let Some(title) = self.title {
            return Some(What::Change(Change::Title { title: title.into_owned() }));
        }
        if let Some(text) = self.system {
            return Some(What::Change(Change::System { text: text.into_owned() }));
        }
        if let Some(Model { info, label }) = self.model {
            let (info, label) = (Box::new(info.into_owned()), label.into_owned());
            return is_possible(&info).then_some(What::Model { info, label });
        }
        if let Some(Read { id, done, total, r, t }) = self.read {
            let routing = r.iter().map(|token| unpack(token).unwrap_or_default()).collect();
            let tokens = t.into_iter().map(|(token, text)| ReadToken { token, text }).collect();
            return Some(What::Engine(Event::Prefill { id, done, total, routing, tokens }));
        }
        if let Some(event) = self.engine {
            // Tokens and ends have lines of their own.
            let event = event.into_owned();
            let plain = matches!(event, Event::Started { .. } | Event::Altered { .. } | Event::AlterFailed { .. });
            return plain.then_some(What::Engine(event));
        }
        if let Some(state) = self.state {
            let state = state.into_owned();
            return (state.memory.layers.len() <= MOST_LAYERS).then(|| What::State(Box::new(state)));
        }
        self.heat.map(What::Heat).or(self.machine.map(What::Machine))
    }
}

/// What a screen can show of a model.
fn is_possible(info: &ModelInfo) -> bool {
    info.layers.len() <= MOST_LAYERS
        && info.top_k.len() <= MOST_LAYERS
        && info.top_k.iter().all(|k| *k <= MOST_EXPERTS)
        && shape::is_possible(&info.experts)
}
