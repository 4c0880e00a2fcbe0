//! Conversations on disk: one append-only file a session, one JSON object a line.
//!
//! What happens is written as it happens, a line a token, so that a program that is killed loses at
//! most the token that it was writing. The format is described in `docs/session-format.md`.
//!
//! * [`Store`]: the folder of sessions: list, find, open, fork, delete.
//! * [`Writer`]: appends to one session, which no other window can write meanwhile.
//! * [`replay::load`]: a session or the output of `bit-axon trace`, to be played.
//! * [`search`], [`export`]: text in all sessions; Markdown and JSON.
//! * [`History`]: the prompts of earlier times, beside the sessions.

pub mod export;
mod header;
mod history;
mod lines;
mod load;
mod name;
mod preview;
pub mod replay;
mod routing;
mod rules;
pub mod search;
mod shape;
mod spoken;
mod store;
mod summary;
mod times;
mod trace;
mod wire;
mod writer;

pub use header::{Header, NewerVersion};
pub use history::History;
pub use load::{Loaded, check, load};
pub use name::new as name;
pub use preview::preview;
pub use store::{Access, Opened, Store, open, open_or_create};
pub use summary::Summary;
pub use times::{ago, date_and_time, now_ms};
pub use writer::Writer;
