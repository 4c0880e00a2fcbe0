//! The engine: a model on a thread of its own, commands in and events out.
//!
//! ```text
//!   client                                    worker thread
//!   Handle::send ── Command (bounded) ──────> Lanes ──> generation ──> Backend
//!   Events::recv <── Event (bounded) ─────────┘ │
//!   Handle::snapshot <── EngineSnapshot (watch) ┘
//! ```
//!
//! The backend is made on the worker thread and never leaves it. Events are never lost: the worker
//! waits while their channel is full, and takes commands meanwhile, so that a client which does both
//! in one loop cannot lock itself out. Snapshots are only the newest. When nobody listens any more
//! the engine ends by itself.
//!
//! ```
//! use bit_axon::engine::{self, Loaded};
//! use bit_axon::protocol::{Command, Event, Message, Prompt, Request, Role};
//!
//! fn answer(load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static, question: &str) -> anyhow::Result<String> {
//!     let mut engine = engine::spawn(load).wait()?;
//!     let prompt = Prompt::Chat(vec![Message { role: Role::User, content: question.into() }]);
//!     engine.handle.send_blocking(Command::Generate(Request::new(1, prompt)))?;
//!     let mut answer = String::new();
//!     while let Some(event) = engine.events.recv_blocking() {
//!         match event {
//!             Event::Token(token) => answer.push_str(&token.text),
//!             Event::Finished { text, .. } => {
//!                 answer.push_str(&text);
//!                 break;
//!             }
//!             Event::Failed { message, .. } => anyhow::bail!(message),
//!             _ => {}
//!         }
//!     }
//!     engine.close()?;
//!     Ok(answer)
//! }
//! ```

mod generation;
mod handle;
mod lanes;
mod prompt;

pub mod sampler;
pub mod stop;
mod worker;

use std::sync::Arc;

use crate::backend::Backend;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::protocol::ModelInfo;

pub use handle::{Engine, Events, Handle, Opening, Thread, spawn, spawn_with_capacity};

/// A model, opened: what the engine's loader gives.
pub struct Loaded {
    /// What runs it.
    pub backend: Box<dyn Backend>,
    /// Its vocabulary. Without one only token ids can be prompts, and tokens have no text.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// How it writes conversations.
    pub template: ChatTemplate,
    /// What clients want to know about it.
    pub info: ModelInfo,
}
