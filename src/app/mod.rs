//! The workbench without a screen: its state, and how messages change it.
//!
//! ```text
//!   keys, engine events, time ── Msg ──> update(&mut App, Msg) ──> Vec<Effect> ──> run.rs
//!                                              │
//!                                  ui::draw reads &App
//! ```
//!
//! Nothing here waits, reads clocks or files, or draws. Time arrives in [`msg::Msg::Tick`].

mod act;
pub mod action;
pub mod alter;
pub mod chat;
mod copy;
pub mod export;
mod figures;
mod generate;
pub mod heat;
pub mod key;
pub mod keymap;
pub mod msg;
mod navigate;
pub mod overlay;
pub mod prompt;
pub mod replay;
pub mod routing;
pub mod sessions;
pub mod slash;
pub mod state;
pub mod tally;
pub mod training;
mod update;

pub use figures::next_wake;
pub use state::App;
pub use update::update;
