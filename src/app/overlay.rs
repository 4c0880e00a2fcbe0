//! What lies over the screen: help, palette, search, settings, a question.

use super::action::{Action, ActionInfo, commands};
use super::chat::{Chat, NodeId};
use super::sessions::Found;
use super::state::App;

/// What lies over the screen.
#[derive(Debug, Clone, PartialEq)]
pub enum Overlay {
    /// Keys and commands, from this line on.
    Help(usize),
    /// Actions by name.
    Palette(List),
    /// Text in this chat, or in all.
    Search(Search),
    /// Sampling settings: the chosen one.
    Settings(usize),
    /// A line of text is asked for.
    Ask(Ask),
    /// The form that starts a training run; it is kept with the runs, so that it can be gone on with.
    Form,
}

/// A list narrowed by what is typed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct List {
    /// What is typed.
    pub query: String,
    /// The chosen line.
    pub at: usize,
}

/// A search and what it found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Search {
    /// What is looked for, and the chosen hit.
    pub list: List,
    /// In all sessions, not only in this chat.
    pub all: bool,
    /// Where it is.
    pub hits: Vec<Hit>,
    /// Other sessions are still being searched.
    pub waiting: bool,
    /// What the hits in this chat were found for; they are all if there are few.
    pub(super) found: String,
}

impl Search {
    /// Looks in this chat. What is typed on narrows what was found.
    pub(super) fn look(&mut self, chat: &Chat) {
        let query = self.list.query.clone();
        self.hits.retain(|hit| hit.session.is_none());
        let narrower = !self.found.trim().is_empty() && query.starts_with(&self.found) && self.hits.len() < MOST_HITS;
        self.hits = if narrower {
            let places: Vec<NodeId> = self.hits.iter().map(|hit| hit.node).collect();
            search_messages(chat, &query, places.into_iter())
        } else {
            search_chat(chat, &query)
        };
        self.waiting = self.all && !query.trim().is_empty();
        (self.list.at, self.found) = (0, query);
    }
}

/// Another part of what is looked for in all sessions was found.
pub(super) fn found(app: &mut App, found: Found) {
    if let Some(Overlay::Search(search)) = &mut app.overlay
        && search.waiting
        && search.list.query == found.query
    {
        search.hits.extend(found.hits);
        search.waiting = !found.done;
        app.dirty = true;
    }
}

/// One place where a text was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hit {
    /// The session's name on disk; none for the chat that is open.
    pub session: Option<String>,
    /// What the session is called.
    pub title: String,
    /// The message.
    pub node: NodeId,
    /// Text around it.
    pub excerpt: String,
}

/// A question for a line of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// What is asked.
    pub question: String,
    /// The answer so far.
    pub text: String,
    /// What the answer is for.
    pub of: Asked,
}

/// What a line of text is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// The name of this session; none for the one that is open.
    Title(Option<String>),
    /// A question to the weights of the run in this folder.
    Run(String),
}

/// Hits that are shown.
const MOST_HITS: usize = 200;

/// Where a text stands in a chat, newest message first, whatever its case. Every branch is searched.
pub fn search_chat(chat: &Chat, query: &str) -> Vec<Hit> {
    search_messages(chat, query, (0..chat.nodes().len()).rev())
}

fn search_messages(chat: &Chat, query: &str, places: impl Iterator<Item = NodeId>) -> Vec<Hit> {
    let query = query.to_lowercase();
    if query.trim().is_empty() {
        return Vec::new();
    }
    let hit = |node: NodeId| {
        let text = &chat.node(node).filter(|n| may_hold(&n.text, &query))?.text;
        Some(Hit { session: None, title: String::new(), node, excerpt: excerpt(text, &query)? })
    };
    places.filter_map(hit).take(MOST_HITS).collect()
}

/// False if `query`, in lower case, is not in `text`: most messages are passed over so, without making
/// lower case of them.
fn may_hold(text: &str, query: &str) -> bool {
    let (text, query) = (text.as_bytes(), query.as_bytes());
    let (Some(first), true) = (query.first(), query.is_ascii()) else { return true };
    let begins = |byte: u8| byte.to_ascii_lowercase() == *first;
    text.windows(query.len()).any(|window| begins(window[0]) && window.eq_ignore_ascii_case(query))
}

/// The line of `text` that holds `query` (in lower case), from a little before it; a mark says that there is more.
pub fn excerpt(text: &str, query: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let at = line.to_lowercase().find(query)?;
        // Lower case may be longer or shorter: a few characters off do no harm.
        let before = line.char_indices().map(|(i, _)| i).take_while(|i| *i <= at).count().saturating_sub(1);
        let skipped = before.saturating_sub(24);
        let mark = if skipped > 0 { "…" } else { "" };
        Some(mark.chars().chain(line.chars().skip(skipped).take(200)).collect())
    })
}

/// The actions that a query names, best first: at the start of the name, in it, in what it does.
pub fn matching(query: &str) -> Vec<&'static ActionInfo> {
    let query = query.trim().trim_start_matches('/').to_lowercase();
    let rank = |info: &ActionInfo| match info.name.find(&query) {
        Some(0) => Some(0),
        Some(_) => Some(1),
        None => info.about.to_lowercase().contains(&query).then_some(2),
    };
    let mut found: Vec<(i32, &ActionInfo)> = commands().filter_map(|info| Some((rank(info)?, info))).collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, info)| info).collect()
}

/// The lines of the settings, with what changes them.
pub const SETTINGS: [(Action, &str); 7] = [
    (Action::Temperature, "0 always takes the most likely token"),
    (Action::TopK, "keep the most likely tokens; 0 keeps all"),
    (Action::TopP, "keep the tokens that make up this probability"),
    (Action::MinP, "drop tokens below this share of the likeliest"),
    (Action::Penalty, "1 changes nothing"),
    (Action::Seed, "the same seed gives the same text"),
    (Action::MaxTokens, "the longest answer"),
];

/// A setting's value, for people.
pub fn setting(app: &App, action: Action) -> String {
    let s = &app.sampling;
    match action {
        Action::Temperature => format!("{:.2}", s.temperature),
        Action::TopK if s.top_k == 0 => "all".into(),
        Action::TopK => s.top_k.to_string(),
        Action::TopP => format!("{:.2}", s.top_p),
        Action::MinP => format!("{:.2}", s.min_p),
        Action::Penalty => format!("{:.2}", s.repetition_penalty),
        Action::Seed => s.seed.map_or("fresh each time".into(), |seed| seed.to_string()),
        Action::MaxTokens => app.max_tokens.to_string(),
        Action::MaxSpeed => app.max_speed.map_or("as fast as can be".into(), |n| format!("{n} tokens a second")),
        _ => String::new(),
    }
}

/// Takes a setting one step up or down.
pub(super) fn step_setting(app: &mut App, at: usize, up: bool) {
    let sign = if up { 1.0 } else { -1.0 };
    let step = |value: f32, by: f32, low: f32, high: f32| {
        let stepped = ((value / by).round() + sign) * by;
        stepped.clamp(low, high)
    };
    let s = &mut app.sampling;
    match SETTINGS[at.min(SETTINGS.len() - 1)].0 {
        Action::Temperature => s.temperature = step(s.temperature, 0.05, 0.0, 5.0),
        Action::TopK => s.top_k = if up { s.top_k + 5 } else { s.top_k.saturating_sub(5) },
        Action::TopP => s.top_p = step(s.top_p, 0.05, 0.05, 1.0),
        Action::MinP => s.min_p = step(s.min_p, 0.01, 0.0, 1.0),
        Action::Penalty => s.repetition_penalty = step(s.repetition_penalty, 0.05, 0.5, 3.0),
        Action::Seed => {
            s.seed = match (s.seed, up) {
                (None, true) => Some(0),
                (None | Some(0), false) => None,
                (Some(n), true) => Some(n.saturating_add(1)),
                (Some(n), false) => Some(n - 1),
            };
        }
        _ => {
            let doubled = if up { app.max_tokens * 2 } else { app.max_tokens / 2 };
            app.max_tokens = doubled.clamp(16, 1 << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_says_that_there_is_more_before_it() {
        assert_eq!(excerpt("one\na Needle here", "needle").as_deref(), Some("a Needle here"));
        let far = excerpt("The fox met a kind fish, and together they found the needle.", "needle").unwrap();
        assert!(far.starts_with('…') && far.contains("needle."), "{far}");
    }
}
