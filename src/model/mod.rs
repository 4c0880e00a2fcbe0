//! What a model is, without arithmetic: its shape, its files, its tokenizer.

pub mod adapter;
pub mod alterations;
pub mod checkpoint;
pub mod config;
pub mod footprint;
pub mod init;
pub mod matrix;
pub mod merge;
pub mod port;
pub mod quant;
pub mod spec;
pub mod template;
pub mod tensors;
pub mod tokenizer;
