//! What stands for the MLX backend in a program that was built without it.

use std::sync::Arc;

use anyhow::Result;

use super::Backend;
use super::cpu::Options;
use super::cpu::learn::LearnOptions;
use super::learn::Learner;
use crate::model::checkpoint::Checkpoint;
use crate::model::spec::ModelSpec;

/// The version of MLX, if it is part of the program.
pub const VERSION: Option<&str> = None;

/// Why there is none, and what to do.
pub const WHY_NOT: &str = if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
    "this program was built without its MLX backend: build it with `cargo build --release`, which needs Xcode's tools \
     and cmake, or use `--backend cpu`"
} else if cfg!(target_os = "linux") {
    "this program was built without its MLX backend, which on Linux `tools/mlx-linux/build.sh` builds; \
     `--backend cpu` needs nothing"
} else {
    "the MLX backend runs on Apple Silicon and on Linux: use `--backend cpu`"
};

/// An error: there is none.
pub fn open(_: &Checkpoint, _: ModelSpec, _: &Options) -> Result<Box<dyn Backend>> {
    anyhow::bail!(WHY_NOT)
}

/// An error: there is none.
pub fn learner(_: &Arc<Checkpoint>, _: ModelSpec, _: LearnOptions) -> Result<Box<dyn Learner>> {
    anyhow::bail!(WHY_NOT)
}

/// An error: there is none.
pub fn device() -> Result<&'static str> {
    anyhow::bail!(WHY_NOT)
}

/// No: there is nothing that would.
pub fn compiles(_: &str) -> bool {
    false
}
