//! What reaches the app, and what it asks for.

use super::chat::Change;
use super::heat::Sensed;
use super::key::Key;
use super::sessions::{Export, Found, Preview, Resumed, Saving};
use super::state::{Drawn, SessionEntry};
use crate::protocol::{Command, EngineSnapshot, Event, MachineMemory, ModelInfo, TrainControl};

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Msg {
    /// Seconds since the start. Sent before what happened then.
    Tick(f64),
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The wheel was turned: lines, down is positive.
    Wheel(i32),
    /// The terminal has this many columns and rows now.
    Resize(u16, u16),
    /// What the last drawing found out.
    Drawn(Drawn),
    /// The model is open.
    Opened(Box<Opened>),
    /// It could not be opened, or the engine ended: what was said.
    EngineGone(String),
    /// The engine said something about a request.
    Engine(Event),
    /// The newest state of the engine.
    Snapshot(Box<EngineSnapshot>),
    /// The newest of temperature, power and battery, and what follows from it.
    Heat(Box<Sensed>),
    /// Memory of process and machine.
    Machine(MachineMemory),
    /// The saved sessions, newest first.
    Sessions(Vec<SessionEntry>),
    /// Go on with the session of this name.
    Resume(String),
    /// A saved session was read.
    SessionOpened(Box<Resumed>),
    /// It could not be read: why.
    SessionNotOpened(String),
    /// The session that is open has this name on disk from here on.
    SessionNamed(String),
    /// What was said last in a session.
    Preview(Preview),
    /// A part of what a search across all sessions finds.
    Found(Found),
    /// Whether what is said is kept.
    Saving(Saving),
    /// The chat gets this system prompt.
    System(String),
    /// Prompts of earlier times, oldest first.
    History(Vec<String>),
    /// The terminal takes long to take what is written, or does no more.
    SlowLink(bool),
    /// The program is about to end: what is being written ends here.
    Leaving,
    /// Something the user should read.
    Notice(String),
    /// The theme in use now.
    Theme(String),
    /// What became of what was asked of training runs.
    Train(TrainSaid),
    /// Something was read of the training runs that are watched.
    Runs(super::training::Runs),
}

/// What is known about a model once it is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The model.
    pub info: ModelInfo,
    /// What must be said of it at all times, as `random weights`; empty if nothing.
    pub label: String,
    /// Memory that contexts of these lengths need in all: (tokens, bytes).
    pub needs: Vec<(usize, u64)>,
    /// The most memory that it may take, in bytes.
    pub budget: u64,
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell the engine.
    Engine(Command),
    /// The chat changed so: save it.
    Record(Change),
    /// Something about sessions.
    Session(SessionOp),
    /// Keep this prompt for later.
    Remember(String),
    /// Put this on the clipboard of the terminal.
    Copy(String),
    /// Write this text to a file that is not there yet.
    Save {
        /// Its name; `~/` is the home folder.
        name: String,
        /// If there is such a file, take the next free name: `routing-2.svg`.
        numbered: bool,
        /// What it holds.
        text: String,
    },
    /// Something about training runs.
    Train(TrainOp),
    /// Use the theme of this name.
    Theme(String),
    /// Draw every cell again.
    Redraw,
    /// Give the terminal back until the shell continues us.
    Suspend,
    /// End.
    Quit,
}

/// What can be asked about training runs.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainOp {
    /// Watch those of this folder from now on.
    Look,
    /// Ask something of the run in a folder.
    Control(String, TrainControl),
    /// The run of this program saves and ends.
    Interrupt,
    /// Say what a run with these options would do: names and values.
    Check(Vec<(&'static str, String)>),
    /// Begin it, as a process of its own.
    Start(Vec<(&'static str, String)>),
}

/// What is said of training runs.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainSaid {
    /// Trainers are at work in these folders.
    Alive(Vec<String>),
    /// What a run would do, or why it cannot.
    Plan(Result<String, String>),
    /// The folder in which a run began, or why it did not.
    Started(Result<String, String>),
}

/// What can be asked about sessions.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionOp {
    /// What follows belongs to a new session.
    New,
    /// List them.
    List,
    /// Read one, and go on in it.
    Open(String),
    /// Name one.
    Rename(String, String),
    /// Delete one.
    Delete(String),
    /// Make a copy of one.
    Copy(String),
    /// Look at the end of one.
    Preview(String),
    /// Write one into a file of another kind.
    Export(Export),
    /// Search all but the one that is open.
    Search(String),
}
