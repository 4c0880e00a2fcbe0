//! Saved conversations: opened, gone on with, listed, named, deleted, copied, exported.

use super::action::Action;
use super::chat::{Change, Chat, NodeId};
use super::generate::change;
use super::msg::{Effect, SessionOp};
use super::overlay::{Ask, Asked, Hit, Overlay};
use super::state::{App, Pane, SessionEntry, View};
use super::tally::Tally;
use super::{figures, navigate};
use crate::protocol::{Alterations, Command, ModelInfo, Role, Sampling};

/// A saved session as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resumed {
    /// Its name on disk.
    pub id: String,
    /// The conversation.
    pub chat: Chat,
    /// The model that answered last.
    pub model: Option<ModelInfo>,
    /// How tokens were chosen last.
    pub sampling: Option<Sampling>,
    /// What was altered in the routing at the end.
    pub alterations: Alterations,
    /// Its routing, if it was counted already.
    pub counted: Option<Box<Tally>>,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

impl Resumed {
    /// A session of these changes. Those that do not fit are counted in its notes.
    pub fn from_changes(id: impl Into<String>, changes: &[Change]) -> Self {
        let mut resumed = Self { id: id.into(), ..Self::default() };
        let misfits = changes.iter().filter(|change| resumed.chat.apply(change).is_err()).count();
        if misfits > 0 {
            resumed.notes.push(format!("{misfits} entries of this session do not fit and were left out"));
        }
        let mut newest = resumed.chat.nodes().iter().rev();
        if let Some(last) = newest.find(|node| node.role == Role::Assistant) {
            resumed.sampling.clone_from(&last.sampling);
            resumed.alterations = last.alterations.clone().unwrap_or_default();
        }
        resumed
    }
}

/// A part of what a search across all sessions finds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// What was looked for.
    pub query: String,
    /// Where it is.
    pub hits: Vec<Hit>,
    /// There is no more.
    pub done: bool,
}

/// What was said last in a session.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preview {
    /// Its name on disk.
    pub id: String,
    /// The last messages, oldest first.
    pub messages: Vec<(Role, String)>,
}

/// A chat that is to be written into a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// Which.
    pub from: ExportFrom,
    /// As JSON with all branches, not as Markdown with the one that is walked.
    pub json: bool,
    /// The file; none finds a name for it.
    pub file: Option<String>,
}

/// Where an exported chat is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportFrom {
    /// In the session of this name.
    Saved(String),
    /// Nowhere else.
    Here(Box<Chat>),
}

/// Whether what is said is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Saving {
    /// It is.
    #[default]
    Saved,
    /// It is not to be.
    Private,
    /// It cannot be: why.
    Failing(String),
}

/// Goes on with a session, once it was read.
pub(super) fn begin_opening(app: &mut App, id: String) -> Vec<Effect> {
    app.sessions.opening = Some(id.clone());
    app.dirty = true;
    vec![Effect::Session(SessionOp::Open(id))]
}

/// Opens a session, unless an answer is being written.
pub(super) fn open(app: &mut App, id: String) -> Vec<Effect> {
    if app.running.is_some() {
        app.say("An answer is being written; Esc stops it");
        return Vec::new();
    }
    if app.sessions.open.as_ref() == Some(&id) {
        app.view = View::Workbench;
        return app.sessions.then.take().map_or_else(Vec::new, |node| show(app, node));
    }
    if may_let_go(app) { begin_opening(app, id) } else { Vec::new() }
}

/// It was read: everything is as it was left.
pub(super) fn opened(app: &mut App, resumed: Resumed) -> Vec<Effect> {
    let Resumed { id, chat, model, sampling, alterations, counted, notes } = resumed;
    (app.sessions.opening, app.sessions.open) = (None, Some(id));
    (app.sessions.model, app.sessions.resumed) = (model, chat.nodes().len());
    navigate::replace_chat(app, chat);
    figures::count_again(app, counted.map(|counted| *counted));
    (app.view, app.focus) = (View::Workbench, Pane::Prompt);
    let keep_sampling = std::mem::take(&mut app.sessions.keep_sampling);
    if let Some(sampling) = sampling.filter(|_| !keep_sampling) {
        app.sampling = sampling;
    }
    let mut effects = Vec::new();
    if alterations != app.alterations {
        app.alterations = alterations;
        effects.push(Effect::Engine(Command::Alter(app.alterations.clone())));
    }
    if let Some(text) = app.sessions.system.take().filter(|text| *text != app.chat.system) {
        effects.extend(change(app, Change::System { text }));
    }
    if let Some(note) = notes.first() {
        let more = notes.len() - 1;
        app.say(if more == 0 { note.clone() } else { format!("{note} (and {more} notes more)") });
    }
    if let Some(node) = app.sessions.then.take() {
        effects.extend(show(app, node));
    }
    effects
}

/// It could not be: the chat stays as it is.
pub(super) fn not_opened(app: &mut App, why: String) -> Vec<Effect> {
    app.sessions.opening = None;
    (app.sessions.then, app.sessions.keep_sampling) = (None, false);
    app.say(why);
    app.sessions.system.take().and_then(|text| change(app, Change::System { text })).into_iter().collect()
}

/// False, once, if what was said would be lost.
pub(super) fn may_let_go(app: &mut App) -> bool {
    let lost = matches!(app.sessions.saving, Saving::Failing(_)) && !app.chat.nodes().is_empty();
    if !lost || app.sessions.warned.take().is_some_and(|until| app.now < until) {
        return true;
    }
    app.sessions.warned = Some(app.now + 5.0);
    app.say("This chat is not saved. /export FILE writes it elsewhere; the same again lets it go");
    false
}

/// True if another model than the one that is open wrote this message, so that its tokens mean nothing
/// to this one.
pub(super) fn is_foreign(app: &App, node: NodeId) -> bool {
    let (Some(opened), Some(wrote)) = (app.opened(), &app.sessions.model) else { return false };
    let same = (&opened.info.name, opened.info.vocabulary) == (&wrote.name, wrote.vocabulary);
    node < app.sessions.resumed && !same
}

/// Begins an empty chat.
pub(super) fn new_chat(app: &mut App) -> Vec<Effect> {
    if app.running.is_some() || app.sessions.opening.is_some() {
        app.say("An answer is being written; Esc stops it");
        return Vec::new();
    }
    if !may_let_go(app) {
        return Vec::new();
    }
    navigate::replace_chat(app, Chat::default());
    figures::count_again(app, None);
    (app.view, app.focus) = (View::Workbench, Pane::Prompt);
    (app.sessions.open, app.sessions.model, app.sessions.resumed) = (None, None, 0);
    let mut effects = vec![Effect::Session(SessionOp::New)];
    if !app.sessions.system_of_new.is_empty() {
        let text = app.sessions.system_of_new.clone();
        effects.extend(change(app, Change::System { text }));
    }
    effects
}

/// Goes to where a search found something.
pub(super) fn go_to(app: &mut App, hit: Hit) -> Vec<Effect> {
    match hit.session {
        Some(id) => {
            app.sessions.then = Some(hit.node);
            let effects = open(app, id);
            if app.sessions.opening.is_none() {
                app.sessions.then = None;
            }
            effects
        }
        None => show(app, hit.node),
    }
}

fn show(app: &mut App, node: NodeId) -> Vec<Effect> {
    let mut effects = Vec::new();
    if app.chat.node(node).is_none() {
        return effects;
    }
    if app.chat.place(node).is_none() {
        if app.running.is_some() {
            app.say("That is on another branch, and an answer is being written; Esc stops it");
            return effects;
        }
        effects.extend(change(app, Change::Choose { id: node }));
    }
    app.selected = app.chat.place(node);
    (app.view, app.focus, app.walk) = (View::Workbench, Pane::Chat, None);
    if let Some(place) = app.selected {
        navigate::reveal(app, place);
    }
    effects
}

/// The list is here.
pub(super) fn listed(app: &mut App, entries: Vec<SessionEntry>) -> Vec<Effect> {
    // Whatever came or went above it, the chosen one stays chosen.
    let chosen = app.sessions.entries.get(app.sessions.at).map(|entry| entry.id.clone());
    let at = chosen.and_then(|id| entries.iter().position(|entry| entry.id == id));
    app.sessions.at = at.unwrap_or(app.sessions.at).min(entries.len().saturating_sub(1));
    (app.sessions.entries, app.sessions.listed, app.dirty) = (entries, true, true);
    app.sessions.preview = None;
    look(app)
}

/// Moves to another line of the list.
pub(super) fn step(app: &mut App, by: isize) -> Vec<Effect> {
    let list = &mut app.sessions;
    list.at = list.at.saturating_add_signed(by).min(list.entries.len().saturating_sub(1));
    look(app)
}

/// Asks for what was said last in the chosen session.
fn look(app: &App) -> Vec<Effect> {
    let known = app.sessions.preview.as_ref().map(|preview| &preview.id);
    match app.sessions.entries.get(app.sessions.at) {
        Some(entry) if app.view == View::Sessions && known != Some(&entry.id) => {
            vec![Effect::Session(SessionOp::Preview(entry.id.clone()))]
        }
        _ => Vec::new(),
    }
}

/// Does something with the chosen session.
pub(super) fn session(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(entry) = app.sessions.entries.get(app.sessions.at).cloned() else { return Vec::new() };
    let is_open = app.sessions.open.as_ref() == Some(&entry.id);
    let then_list = |op| vec![Effect::Session(op), Effect::Session(SessionOp::List)];
    match action {
        Action::SessionOpen => open(app, entry.id),
        Action::SessionRename => {
            let question = format!("New name of “{}”", entry.title);
            app.overlay = Some(Overlay::Ask(Ask { question, text: entry.title, of: Asked::Title(Some(entry.id)) }));
            Vec::new()
        }
        Action::SessionCopy => then_list(SessionOp::Copy(entry.id)),
        Action::SessionExport | Action::SessionExportJson => {
            let (from, json) = (ExportFrom::Saved(entry.id), action == Action::SessionExportJson);
            vec![Effect::Session(SessionOp::Export(Export { from, json, file: None }))]
        }
        _ if is_open && app.running.is_some() => {
            app.say("An answer is being written in this session; Esc stops it");
            Vec::new()
        }
        _ if !app.sessions.deleting => {
            app.sessions.deleting = true;
            Vec::new()
        }
        _ => {
            app.sessions.deleting = false;
            // Whoever deletes the chat that is open sits before an empty one.
            app.say(format!("Deleted: {}", entry.title));
            let mut effects = if is_open { new_chat(app) } else { Vec::new() };
            app.view = View::Sessions;
            effects.extend(then_list(SessionOp::Delete(entry.id)));
            effects
        }
    }
}

/// Gives a session another name.
pub(super) fn rename(app: &mut App, id: Option<String>, title: String) -> Vec<Effect> {
    let renamed = match id {
        Some(id) if app.sessions.open.as_ref() != Some(&id) => Some(Effect::Session(SessionOp::Rename(id, title))),
        _ => change(app, Change::Title { title }),
    };
    renamed.into_iter().chain([Effect::Session(SessionOp::List)]).collect()
}

/// `/export`, `/export json`, `/export md sky.md`, `/export sky.json`.
pub(super) fn export(app: &mut App, argument: &str) -> Vec<Effect> {
    if app.chat.nodes().is_empty() {
        app.say("Nothing was said yet that could be exported");
        return Vec::new();
    }
    let (first, rest) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let (json, file) = match first {
        "json" => (true, rest.trim()),
        "md" | "markdown" => (false, rest.trim()),
        _ => (argument.ends_with(".json"), argument),
    };
    let from = match (&app.sessions.open, &app.sessions.saving) {
        (Some(id), Saving::Saved) => ExportFrom::Saved(id.clone()),
        _ => ExportFrom::Here(Box::new(app.chat.clone())),
    };
    let file = (!file.is_empty()).then(|| file.to_owned());
    vec![Effect::Session(SessionOp::Export(Export { from, json, file }))]
}

/// Says once that nothing is saved any more, or that it is again.
pub(super) fn saving(app: &mut App, saving: Saving) {
    match (&app.sessions.saving, &saving) {
        (Saving::Failing(_), Saving::Saved) => app.say("The conversation is saved again"),
        (_, Saving::Failing(why)) => app.say(format!("Not saved: {why}")),
        _ => {}
    }
    app.sessions.saving = saving;
    app.dirty = true;
}
