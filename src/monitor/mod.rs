//! Readers of training runs.
