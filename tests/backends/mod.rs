//! The backend that tests run on: the CPU's, or the one that BIT_AXON_BACKEND names.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};

use bit_axon::backend::cpu::ops::Level;
use bit_axon::backend::cpu::{CpuBackend, Options};
use bit_axon::backend::{Backend, mlx};
use bit_axon::model::checkpoint::Checkpoint;
use bit_axon::model::config::Config;
use bit_axon::model::spec::ModelSpec;

/// True for MLX. A name that there is no backend for is a mistake, not the CPU's.
pub fn on_mlx() -> bool {
    match std::env::var("BIT_AXON_BACKEND").as_deref() {
        Ok("mlx") => true,
        Ok("" | "cpu" | "auto") | Err(_) => false,
        Ok(other) => panic!("BIT_AXON_BACKEND is {other}"),
    }
}

/// The levels of instructions that a test goes through: where there is no choice, one that is not named.
pub fn levels() -> Vec<Option<Level>> {
    if on_mlx() { vec![None] } else { Level::available().into_iter().map(Some).collect() }
}

pub fn new(files: &Checkpoint, spec: ModelSpec, options: &Options) -> Box<dyn Backend> {
    if on_mlx() {
        return mlx::open(files, spec, options).unwrap();
    }
    Box::new(CpuBackend::new(files, spec, options).unwrap())
}

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A fixture.
pub fn open(name: &str, options: &Options) -> Box<dyn Backend> {
    let folder = folder(name);
    let spec = Config::read(&folder.join("config.json")).unwrap().spec();
    new(&Checkpoint::open(&folder).unwrap(), spec, options)
}
