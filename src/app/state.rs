//! All that the screen shows.

use super::chat::{Chat, NodeId};
use super::heat::Heat;
use super::keymap::Keymap;
use super::msg::Opened;
use super::overlay::Overlay;
use super::prompt::PromptState;
use super::replay::Replay;
use super::routing::{Fired, Load};
use super::sessions::{Preview, Saving};
use super::tally::Tally;
use crate::protocol::{Alterations, EngineSnapshot, HeatLimits, HeatPhase, MachineMemory, ModelInfo, Sampling, Stats};

/// Columns and rows from which panes stand side by side.
pub const SIDE_BY_SIDE: (u16, u16) = (80, 16);
/// Columns that the chat has at least beside the other panes.
pub const LEAST_CHAT: i32 = 40;
/// Columns that those have at least.
pub const LEAST_SIDE: i32 = 30;

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Chat, routing, heat and memory.
    Workbench,
    /// The routing in full.
    Routing,
    /// Saved sessions.
    Sessions,
    /// Training runs.
    Training,
}

impl View {
    /// All, in the order of their keys.
    pub const ALL: [View; 4] = [View::Workbench, View::Routing, View::Sessions, View::Training];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            View::Workbench => "Workbench",
            View::Routing => "Routing",
            View::Sessions => "Sessions",
            View::Training => "Training",
        }
    }
}

/// A part of the workbench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pane {
    /// Where prompts are written.
    Prompt,
    /// The conversation.
    Chat,
    /// Layers and experts.
    Routing,
    /// Temperature.
    Heat,
    /// Bytes.
    Memory,
}

impl Pane {
    /// All, in the order in which the focus goes round.
    pub const ALL: [Pane; 5] = [Pane::Prompt, Pane::Chat, Pane::Routing, Pane::Heat, Pane::Memory];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Pane::Prompt => "prompt",
            Pane::Chat => "chat",
            Pane::Routing => "routing",
            Pane::Heat => "heat",
            Pane::Memory => "memory",
        }
    }
}

/// Which panes are seen, and how large.
#[derive(Debug, Clone, PartialEq)]
pub struct Panes {
    /// The focused one has the whole screen.
    pub zoom: bool,
    /// Not shown.
    pub hidden: Vec<Pane>,
    /// Width of the chat, in percent.
    pub chat_percent: u16,
    /// Rows that routing, heat and memory have more (or fewer) than usual.
    pub more_rows: [i16; 3],
}

/// A line of the chat: of the message at this place of the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Anchor {
    /// Place of the message in the branch.
    pub place: usize,
    /// Line of it; may lie outside of it until it is drawn.
    pub line: i64,
}

/// Which part of the chat is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scroll {
    /// The end, as it grows.
    Follow,
    /// From this line on, whatever grows below.
    At(Anchor),
}

/// What drawing found out: sizes that scrolling needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drawn {
    /// The first line of the chat that is seen.
    pub top: Anchor,
    /// Rows of the chat.
    pub rows: u16,
    /// The end of the chat is seen.
    pub at_end: bool,
    /// Places of the first and last messages that are seen.
    pub seen: (usize, usize),
    /// The last line that help can begin with.
    pub help_end: usize,
}

/// The engine, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// It is being opened: what is.
    Opening(String),
    /// It can be asked.
    Ready(Box<Opened>),
    /// It cannot be asked any more: why.
    Gone(String),
}

/// The request that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Its number.
    pub request: u64,
    /// The answer that it writes.
    pub node: NodeId,
    /// When it was asked.
    pub since: f64,
    /// When its first token came.
    pub first_token: Option<f64>,
    /// Prompt tokens read, of how many.
    pub prefill: Option<(usize, usize)>,
    /// It was told to stop.
    pub stopping: bool,
    /// Tokens since it was asked.
    pub tokens: usize,
}

/// Walking through the tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenWalk {
    /// The answer.
    pub node: NodeId,
    /// Which token.
    pub at: usize,
    /// Which alternative of it.
    pub alternative: usize,
    /// Where the focus was before.
    pub from: Pane,
    /// What the routing counted before.
    pub scope: Scope,
    /// Its experts are listed instead of its alternatives, from this layer on.
    pub experts: Option<usize>,
}

/// What the routing pane counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The newest token, or the one under the cursor of the token view.
    Token,
    /// The chosen answer.
    Answer,
    /// Everything in this session.
    Session,
}

/// What the routing pane shows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Mean gate weights.
    Weights,
    /// Share of tokens that chose the expert.
    Choices,
    /// How often each two experts of one layer were chosen together.
    Together,
}

/// How the routing is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutingLook {
    /// What is counted.
    pub scope: Scope,
    /// What is shown of it.
    pub measure: Measure,
    /// The cursor: index among the MoE layers, and expert.
    pub cursor: (usize, usize),
    /// Compared with another answer: the one before it, unless another is named.
    pub compare: bool,
    /// The answer that it is compared with, if one was chosen.
    pub against: Option<NodeId>,
}

/// Routing as it is counted while tokens come.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) session: Tally,
    pub(super) answer: Load,
    /// Whose `answer` is.
    pub(super) answer_of: Option<NodeId>,
    pub(super) snapshot: EngineSnapshot,
    pub(super) machine: Option<MachineMemory>,
    pub(super) heat: Heat,
    /// The worst phase that was said since it was cool.
    pub(super) warned: HeatPhase,
    /// Something here is newer than what is shown.
    pub(super) stale: bool,
    /// When it may be shown.
    pub(super) due: f64,
}

/// Figures as they are on the screen: renewed a few times a second at most.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shown {
    /// The engine.
    pub snapshot: EngineSnapshot,
    /// Process and machine.
    pub machine: Option<MachineMemory>,
    /// Temperature, power and battery.
    pub heat: Heat,
    /// The routing in the chosen scope.
    pub load: Load,
    /// The other answer and what it is called, when two are compared.
    pub other: Option<(String, Load)>,
    /// What the answer itself is called then.
    pub name: String,
    /// The tokens that the expert under the cursor fires for.
    pub fires: Vec<Fired>,
    /// Seconds to the first token of the answer that runs or ran last.
    pub first_token: Option<f64>,
    /// Tokens per second.
    pub rate: Option<f64>,
    /// The answer that is being written.
    pub answering: Option<NodeId>,
    /// Tokens of it.
    pub tokens: usize,
    /// Prompt tokens read, of how many.
    pub prefill: Option<(usize, usize)>,
}

/// A word to the user, for a few seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What.
    pub text: String,
    /// When it goes.
    pub until: f64,
}

/// One saved session, as the list shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionEntry {
    /// Its name on disk.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// Messages in it.
    pub messages: usize,
    /// When it was last written to, for people.
    pub when: String,
    /// Bytes on disk; 0 if it is not there.
    pub bytes: u64,
    /// The model that answered last.
    pub model: String,
    /// Why it cannot be opened.
    pub problem: Option<String>,
}

/// The list of sessions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionList {
    /// Newest first.
    pub entries: Vec<SessionEntry>,
    /// The chosen one.
    pub at: usize,
    /// The one that is open.
    pub open: Option<String>,
    /// The chosen one will be deleted if asked again.
    pub deleting: bool,
    /// The list was read once.
    pub listed: bool,
    /// The one that is being read, to go on with it.
    pub opening: Option<String>,
    /// What was said last in the chosen one.
    pub preview: Option<Preview>,
    /// Whether what is said is kept.
    pub saving: Saving,
    /// Settings that were asked for at the start hold against those of the session that is opened then.
    pub keep_sampling: bool,
    /// The system prompt of chats that begin anew; empty if there is none.
    pub system_of_new: String,
    /// Until when an unsaved chat may be let go of: this was told.
    pub(super) warned: Option<f64>,
    /// The system prompt that the session gets once it is open.
    pub(super) system: Option<String>,
    /// The message to go to once it is open.
    pub(super) then: Option<NodeId>,
    /// Who wrote what was there when it was opened: so many messages.
    pub(super) model: Option<ModelInfo>,
    pub(super) resumed: usize,
}

/// The whole workbench.
#[derive(Debug, Clone)]
pub struct App {
    /// Seconds since the start.
    pub now: f64,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What fills the screen.
    pub view: View,
    /// Where keys go.
    pub focus: Pane,
    /// Which panes are seen.
    pub panes: Panes,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// The conversation.
    pub chat: Chat,
    /// Grows whenever another conversation takes its place: caches of the old one are void.
    pub chat_generation: u64,
    /// Place of the chosen message.
    pub selected: Option<usize>,
    /// Which part of the chat is seen.
    pub scroll: Scroll,
    /// What the last drawing found out.
    pub drawn: Drawn,
    /// The prompt editor.
    pub prompt: PromptState,
    /// The message that is being edited: sending makes a branch beside it.
    pub editing: Option<NodeId>,
    /// The token view, if it is open.
    pub walk: Option<TokenWalk>,
    /// The engine.
    pub model: Model,
    /// The request that runs.
    pub running: Option<Running>,
    /// What the last request took.
    pub last_stats: Option<Stats>,
    pub(super) live: Live,
    /// Figures on the screen.
    pub shown: Shown,
    /// How the routing is looked at.
    pub look: RoutingLook,
    /// What is altered in the routing of what is asked next.
    pub alterations: Alterations,
    /// What the engine has confirmed.
    pub altered: Alterations,
    /// From which temperatures on training waits, and stops.
    pub heat_limits: HeatLimits,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The longest answer.
    pub max_tokens: usize,
    /// The most tokens a second; none for as many as the model can.
    pub max_speed: Option<f32>,
    /// Names of the themes.
    pub themes: Vec<String>,
    /// The one in use.
    pub theme: String,
    /// What keys do.
    pub keymap: Keymap,
    /// A word to the user.
    pub notice: Option<Notice>,
    /// Saved sessions.
    pub sessions: SessionList,
    /// The recording that is played; none where a model answers.
    pub replay: Option<Box<Replay>>,
    /// Training runs.
    pub training: super::training::Training,
    /// The terminal is far away: fewer frames.
    pub slow_link: bool,
    /// Seconds between figures on the screen.
    pub figures_every: f64,
    /// Something on the screen changed since it was drawn.
    pub dirty: bool,
    pub(super) next_request: u64,
    /// Until when another Ctrl-C leaves.
    pub(super) leaving: Option<f64>,
}

impl App {
    /// A workbench whose model is being opened.
    pub fn new(opening: impl Into<String>) -> Self {
        Self {
            now: 0.0,
            size: (80, 24),
            view: View::Workbench,
            focus: Pane::Prompt,
            panes: Panes { zoom: false, hidden: Vec::new(), chat_percent: 62, more_rows: [0; 3] },
            overlay: None,
            chat: Chat::default(),
            chat_generation: 0,
            selected: None,
            scroll: Scroll::Follow,
            drawn: Drawn::default(),
            prompt: PromptState::default(),
            editing: None,
            walk: None,
            model: Model::Opening(opening.into()),
            running: None,
            last_stats: None,
            live: Live::default(),
            shown: Shown::default(),
            look: RoutingLook {
                scope: Scope::Answer,
                measure: Measure::Weights,
                cursor: (0, 0),
                compare: false,
                against: None,
            },
            alterations: Alterations::default(),
            altered: Alterations::default(),
            heat_limits: HeatLimits::default(),
            sampling: Sampling::default(),
            max_tokens: 1024,
            max_speed: None,
            themes: Vec::new(),
            theme: String::new(),
            keymap: Keymap::default(),
            notice: None,
            sessions: SessionList::default(),
            replay: None,
            training: super::training::Training::default(),
            slow_link: false,
            figures_every: 0.25,
            dirty: true,
            next_request: 1,
            leaving: None,
        }
    }

    /// The model, once it is open.
    pub fn opened(&self) -> Option<&Opened> {
        match &self.model {
            Model::Ready(opened) => Some(opened),
            _ => None,
        }
    }

    /// The panes that the focus goes round.
    pub fn visible_panes(&self) -> impl Iterator<Item = Pane> {
        Pane::ALL.into_iter().filter(|pane| !self.panes.hidden.contains(pane))
    }

    /// The answer that token view and routing are about.
    pub fn answer(&self) -> Option<NodeId> {
        if let Some(walk) = &self.walk {
            return Some(walk.node);
        }
        let chosen = self.selected.and_then(|place| self.chat.path().get(place).copied());
        let answer = |id: &NodeId| self.chat.node(*id).is_some_and(|n| n.role == crate::protocol::Role::Assistant);
        chosen.filter(answer).or_else(|| self.chat.last_answer())
    }

    /// The MoE layer under the cursor, and the expert.
    pub fn expert_at_cursor(&self) -> Option<(usize, usize)> {
        let layer = self.live.session.load.layers.get(self.look.cursor.0)?;
        Some((layer.layer, self.look.cursor.1.min(layer.chosen.len().saturating_sub(1))))
    }

    /// Says something for a few seconds.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { text: text.into(), until: self.now + 5.0 });
        self.dirty = true;
    }
}
