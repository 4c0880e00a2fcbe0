//! What a model is, without arithmetic: its shape, its files, its tokenizer.

pub mod config;
pub mod matrix;
pub mod spec;
pub mod template;
pub mod tensors;
pub mod tokenizer;
