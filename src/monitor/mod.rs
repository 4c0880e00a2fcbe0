//! Readers of training runs, ours and others', which follow growing files.

mod crc;
mod csv;
mod discover;
mod event;
pub mod export;
mod follow;
mod format;
mod json;
mod jsonl;
mod lines;
mod number;
mod object;
mod parser;
mod proto;
mod role;
mod settings;
mod tensorboard;
mod text;
mod wandb;
mod watch;
mod whole_json;

pub use format::Format;
pub use watch::{Options, Shared, Watch};
