//! Training: from a file of examples to an adapter or a model, through heat, crashes and bad data.

mod aside;
pub mod checkpoint;
mod control;
mod cooling;
pub mod data;
mod describe;
mod fingerprint;
pub mod folder;
mod metrics;
#[cfg(test)]
mod mock;
pub mod plan;
mod run;
mod schedule;
pub mod settings;
mod step;
mod surroundings;
#[cfg(test)]
mod tests;

pub use control::{Controls, ask};
pub use describe::describe;
pub use fingerprint::fingerprint as fingerprint_of;
pub use folder::RunFolder;
pub use run::{Job, Outcome, run};
pub use schedule::learning_rate;
pub use surroundings::{Surroundings, World};
