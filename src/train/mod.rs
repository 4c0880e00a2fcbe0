//! Training: from a file of examples to an adapter or a model, through heat, crashes and bad data.

pub mod data;
mod fingerprint;
mod folder;
pub mod settings;
