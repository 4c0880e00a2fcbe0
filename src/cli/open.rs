//! Opening a model: files checked, memory weighed, weights bound.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::{adapter_arg, model_arg, resources};
use crate::backend::cpu::{CpuBackend, KvFormat, Options, REWIND_BUDGET};
use crate::backend::{Backend, Which, adapted, mlx};
use crate::config::Settings;
use crate::engine::Loaded;
use crate::model::adapter::Adapter;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::footprint::{check_fits, footprint};
use crate::model::template::ChatTemplate;
use crate::model::tensors::{parameters, tensors};
use crate::model::tokenizer::Tokenizer;
use crate::protocol::ModelInfo;

/// A model's files, checked, before any of it is bound to a backend.
pub struct Files {
    /// What to call it.
    pub name: String,
    /// Its tensors.
    pub checkpoint: Arc<Checkpoint>,
    /// Its settings.
    pub config: Config,
    /// Its vocabulary, if it has one.
    pub tokenizer: Option<Tokenizer>,
    /// How it writes conversations.
    pub template: ChatTemplate,
    /// What is put onto it when it is bound.
    pub adapter: Option<Adapter>,
}

impl Files {
    /// The vocabulary, or an error that says how to do without.
    pub fn require_tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().with_context(|| {
            let folder = self.checkpoint.folder().display();
            format!("{folder} has no tokenizer.json, so text cannot be turned into tokens (`trace --ids` needs none)")
        })
    }
}

/// Opens a model's files: a folder, a file, or a hub name.
pub fn files(model: &str) -> Result<Files> {
    let path = model_arg::resolve(model)?;
    let checkpoint = Checkpoint::open(&path)?;
    let folder = checkpoint.folder().to_owned();
    let config = Config::read(&folder.join("config.json"))?;
    checkpoint.ensure_fits(&config.spec())?;
    let tokenizer = tokenizer_in(&folder, config.vocab_size)?;
    let template = ChatTemplate::open(&folder)?;
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.map_or_else(|| model.to_owned(), |n| n.to_string_lossy().into_owned());
    Ok(Files { name, checkpoint: Arc::new(checkpoint), config, tokenizer, template, adapter: None })
}

/// Opens a model's files, with an adapter if there is one. Without a model, that of the adapter is meant.
pub fn files_with(model: Option<&str>, adapter: Option<Adapter>) -> Result<Files> {
    let Some(adapter) = adapter else {
        return files(model.context("a model must be named (--model)")?);
    };
    let model = adapter_arg::base(&adapter, model)?;
    let mut files = files(&model)?;
    adapter.ensure_fits(&files.config.spec())?;
    files.name = format!("{} with {}", files.name, adapter_arg::name(&adapter));
    files.adapter = Some(adapter);
    Ok(files)
}

fn tokenizer_in(folder: &Path, vocab: usize) -> Result<Option<Tokenizer>> {
    if !folder.join("tokenizer.json").exists() {
        return Ok(None);
    }
    let tokenizer = Tokenizer::open(folder)?;
    tokenizer.check_fits(vocab)?;
    Ok(Some(tokenizer))
}

/// Models from this size on are copied into large pages, if twice their size is free: smaller ones lie
/// in the caches, and with less memory than that it is better to leave them to the system, which can
/// drop what it can read again.
const LOAD_FROM: u64 = 64 << 20;

/// Binds the files to the backend that was asked for, after making sure that the memory will do.
pub fn backend(files: &Files, options: &Options) -> Result<Box<dyn Backend>> {
    if on_cpu(files, options) {
        let Some(adapter) = &files.adapter else { return Ok(Box::new(cpu_backend(files, options)?)) };
        prepare_for_cpu(files, options)?;
        return adapted::on_cpu(&files.checkpoint, files.config.spec(), options, adapter);
    }
    check_memory(files, options)?;
    if let Some(adapter) = &files.adapter {
        return adapted::on_mlx(&files.checkpoint, files.config.spec(), options, adapter);
    }
    mlx::open(&files.checkpoint, files.config.spec(), options)
}

/// Whether the CPU backend is the one that was asked for.
pub fn on_cpu(files: &Files, options: &Options) -> bool {
    match options.which {
        Which::Cpu => true,
        Which::Mlx => false,
        // What MLX cannot do is no reason to fail when nobody insists on it.
        Which::Auto => {
            let bytes = options.kv == Some(KvFormat::Q8);
            bytes || !mlx_has_gpu() || has_nf4(files)
        }
    }
}

/// Whether MLX is there and has a GPU: without one it is slower than the CPU backend.
pub(super) fn mlx_has_gpu() -> bool {
    mlx::device().is_ok_and(|device| device == "gpu")
}

/// Whether any of the weights are stored in NF4, for which MLX has no products.
pub(super) fn has_nf4(files: &Files) -> bool {
    let tensors = tensors(&files.config.spec());
    tensors.iter().any(|t| files.checkpoint.holding(t).is_some_and(|h| h.format.starts_with("nf4")))
}

/// An error if the model will not fit, and the bytes that are free.
fn check_memory(files: &Files, options: &Options) -> Result<u64> {
    let spec = files.config.spec();
    let kv = options.kv.unwrap_or(if options.exact { KvFormat::F32 } else { KvFormat::F16 });
    // What every run needs at once; the window fills and rewinding grows only as far as a chat goes.
    let need = footprint(&spec, files.checkpoint.bytes(), spec.max_seq_len.min(4096), kv, 0);
    let available = available_memory();
    check_fits(&format!("the model {}", files.name), need.total(), available)?;
    Ok(available)
}

/// Binds the files to the CPU backend, without an adapter.
pub fn cpu_backend(files: &Files, options: &Options) -> Result<CpuBackend> {
    prepare_for_cpu(files, options)?;
    CpuBackend::new(&files.checkpoint, files.config.spec(), options)
}

fn prepare_for_cpu(files: &Files, options: &Options) -> Result<()> {
    resources::give_back_freed_memory();
    let available = check_memory(files, options)?;
    let bytes = files.checkpoint.bytes();
    if bytes >= LOAD_FROM && available / 2 >= bytes {
        // The embedding stays in its file: of a large table, a few rows are looked up.
        files.checkpoint.load(|name| !name.starts_with("embed_tokens."))?;
    }
    Ok(())
}

/// Bytes that this machine could still give, file cache included.
pub(super) fn available_memory() -> u64 {
    // Nothing known is no reason to refuse.
    let Ok(mut system) = sysinfo::System::new() else { return u64::MAX };
    system.refresh_memory();
    match system.available_memory() {
        0 => u64::MAX,
        bytes => bytes,
    }
}

/// All that the engine needs.
pub fn loaded(files: Files, options: &Options) -> Result<Loaded> {
    let backend = backend(&files, options)?;
    let info = info(&files, &*backend);
    let tokenizer = files.tokenizer.map(Arc::new);
    Ok(Loaded { backend, tokenizer, template: files.template, info })
}

fn info(files: &Files, backend: &dyn Backend) -> ModelInfo {
    let spec = files.config.spec();
    let (total, active) = parameters(&spec);
    let moe = |f: fn(&crate::model::spec::MoeSpec) -> usize| -> Vec<usize> {
        spec.layers.iter().map(|l| l.feed_forward.as_ref().map_or(0, f)).collect()
    };
    ModelInfo {
        name: files.name.clone(),
        backend: backend.name(),
        arithmetic: if backend.is_exact() { "exact" } else { "fast" }.into(),
        layers: spec.layers.iter().map(ToString::to_string).collect(),
        experts: moe(|m| m.experts),
        top_k: moe(|m| m.top_k),
        total_parameters: total,
        active_parameters: active,
        vocabulary: spec.vocab,
        max_seq_len: spec.max_seq_len,
    }
}

/// How a model computes: the flags of commands that are fast unless told otherwise.
#[derive(Debug, Clone, Default, Args)]
pub struct Compute {
    /// Use exact arithmetic, in 32-bit floats, instead of the fast one
    #[arg(long)]
    exact: bool,
    /// How many threads to use on the CPU backend; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    backend: BackendArg,
    /// How keys and values are kept; f16 if not given (exact arithmetic keeps f32)
    #[arg(long, value_name = "FORMAT", conflicts_with = "exact")]
    kv: Option<Kv>,
    /// Bytes kept to go back to earlier tokens.
    #[arg(skip)]
    rewind: Option<usize>,
}

/// What computes: the flag of every command that runs a model.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct BackendArg {
    /// What computes; `bit-axon doctor` says what there is
    #[arg(long, value_name = "BACKEND", env = "BIT_AXON_BACKEND", default_value = "auto", hide_env_values = true)]
    backend: Which,
}

impl BackendArg {
    /// The same, for who opens a model.
    pub fn which(self) -> Which {
        self.backend
    }
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kv {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// 8-bit integers, with a scale for each token and head: half the memory of f16
    Q8,
}

impl Compute {
    /// From now on what is not given comes from the settings.
    pub fn fill(&mut self, settings: &Settings) {
        self.threads = self.threads.or(settings.model.threads.and_then(NonZeroUsize::new));
        // Whoever asks for a format wants the arithmetic that it belongs to.
        self.exact |= settings.model.exact && self.kv.is_none();
        if !self.exact && self.kv.is_none() {
            self.kv = Some(if settings.memory.kv == "q8" { Kv::Q8 } else { Kv::F16 });
        }
        self.rewind = Some(settings.memory.rewind);
    }

    /// The same, for the backend.
    pub fn options(&self) -> Options {
        let kv = self.kv.map(|kv| match kv {
            Kv::F32 => KvFormat::F32,
            Kv::F16 => KvFormat::F16,
            Kv::Q8 => KvFormat::Q8,
        });
        let rewind_budget = self.rewind.unwrap_or(REWIND_BUDGET);
        Options { kv, rewind_budget, ..options(self.exact, self.threads, self.backend) }
    }
}

/// Options from the flags that all commands share.
pub fn options(exact: bool, threads: Option<NonZeroUsize>, backend: BackendArg) -> Options {
    Options { which: backend.which(), exact, threads: threads.map(NonZeroUsize::get), ..Options::default() }
}
