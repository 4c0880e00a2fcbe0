//! Bit-Axon: a hybrid state-space and mixture-of-experts language model, and the tools around it.
//!
//! The rooms of this crate, and who may import whom (an arrow reads "may import"; a test keeps it so):
//!
//! ```text
//! cli -> everything            one file a command; the only room that prints
//! run -> everything            the only loop: signals, keys, engine, time
//! ui -> app -> protocol        the workbench: what it is, and how it looks
//! engine -> backend -> model -> protocol
//! train -> backend, telemetry, model, protocol
//! telemetry, config -> protocol
//! session -> chat -> protocol
//! monitor -> metrics           ui and app may import metrics too
//! ```
//!
//! * [`protocol`]: plain data that every room may know: commands, events, routing, memory reports.
//! * [`model`]: what a model is, without arithmetic: spec, checkpoint files, number formats,
//!   tokenizer, chat template.
//! * [`backend`]: what runs it: one coarse trait, and the portable CPU implementation.
//! * [`engine`]: the async task around a backend: commands in, events out, sampling.
//! * [`telemetry`]: temperature, power, memory and load, and what follows from heat.
//! * [`config`]: the settings of the user.
//! * [`train`]: training runs: data, steps, heat, checkpoints.
//! * [`chat`]: a conversation as a tree of messages, and a player of recorded ones; no files, no clocks.
//! * [`session`]: conversations on disk: saved as they happen, listed, searched, exported, replayed.
//! * [`metrics`]: the points of training runs: held small, drawn fast, watched; no files, no threads.
//! * [`monitor`]: readers of training runs, ours and others', which follow growing files.
//! * [`app`]: the workbench without a screen: state, keys, and how messages change it.
//! * [`ui`]: the workbench on a screen.
//! * [`term`]: the terminal: taken over, given back, written to without waiting.
//! * [`run`]: the only loop, where all of them meet.
//! * [`pico`]: what the built-in model is taught and examined on, made from the program's own tables.
//! * [`rng`]: random numbers that stay the same with every version.
//! * [`whole`]: files that appear whole or not at all.
//! * [`cli`]: the command line.

// The crate has another name in the manifest where the first one would bring it into every build.
#[cfg(all(feature = "mlx-linux", target_os = "linux"))]
extern crate mlx_rs_linux as mlx_rs;

pub mod app;
pub mod backend;
pub mod chat;
pub mod cli;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod pico;
pub mod protocol;
pub mod rng;
pub mod run;
pub mod session;
pub mod telemetry;
pub mod term;
pub mod train;
pub mod ui;
pub mod whole;
