//! The portable CPU backend.

pub mod ops;
