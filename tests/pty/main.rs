//! The real program in a pseudo-terminal: what a user types, what a terminal gets, and how it ends.
#![cfg(unix)]

#[path = "../common/lossless.rs"]
mod lossless;
#[path = "../common/pty.rs"]
mod pty;
#[path = "../common/recital.rs"]
mod recital;
#[path = "../common/small.rs"]
mod small;
#[path = "../common/stream.rs"]
mod stream;

mod chat;
mod colors;
mod columns;
mod endings;
mod hostile;
mod killed;
mod random;
mod tokens;
mod training;

use std::path::PathBuf;

use tempfile::TempDir;

/// A folder with a model that says these pieces.
struct Model(TempDir);

impl Model {
    fn of(pieces: &[impl AsRef<str>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        recital::write(&folder.path().join("recital"), recital::SMALL, pieces);
        Self(folder)
    }

    /// Says `w0 w1 w2 ...` up to this many words.
    fn counting(words: usize) -> Self {
        Self::of(&recital::counting(words))
    }

    /// Says this text.
    fn saying(text: &str) -> Self {
        Self::of(&recital::pieces(text))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("recital")
    }

    /// The workbench with this model.
    fn chat(&self) -> pty::Start {
        pty::start(&["chat"]).arg(self.path()).arg("--temperature").arg("0")
    }
}
