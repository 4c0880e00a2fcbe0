//! From settings to what learns, and to the files of what was learned.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::super::init::{COMPANIONS, read};
use super::super::open::{Files, available_memory, has_nf4, mlx_has_gpu};
use crate::backend::cpu::learn::{AdapterOptions, CpuLearner, LearnOptions, Train};
use crate::backend::cpu::ops::Level;
use crate::backend::learn::Learner;
use crate::backend::{Which, mlx};
use crate::model::checkpoint::Checkpoint;
use crate::model::footprint::check_fits;
use crate::train::checkpoint::Output;
use crate::train::plan::{activations, trained};
use crate::train::settings::{Adapter, Method, Recompute, Settings};

/// What is trained, for the backend.
fn train(settings: &Settings) -> Train {
    let adapter = AdapterOptions {
        rank: settings.lora_rank,
        scale: settings.lora_scale,
        dropout: settings.lora_dropout,
        experts: settings.lora_experts,
        ..AdapterOptions::default()
    };
    match settings.adapter() {
        Adapter::Full => Train::Full,
        Adapter::Lora => Train::Lora(adapter),
        Adapter::Dora => Train::Dora(adapter),
    }
}

/// An error that says which setting of adapters is impossible.
pub(super) fn check(settings: &Settings) -> Result<()> {
    match train(settings) {
        Train::Full => Ok(()),
        Train::Lora(adapter) | Train::Dora(adapter) => adapter.check(),
    }
}

/// Tells which modules get an adapter.
pub(super) fn takes(settings: &Settings) -> impl Fn(&str) -> bool {
    let train = train(settings);
    move |path| match &train {
        Train::Full => false,
        Train::Lora(adapter) | Train::Dora(adapter) => adapter.takes(path),
    }
}

/// What computes: what was asked for, if it can; where nothing was, MLX if it has a GPU and can. An error says why not.
pub(super) fn computing(files: &Files, settings: &Settings) -> Result<Which> {
    let full = settings.adapter() == Adapter::Full;
    match settings.backend {
        Which::Cpu => Ok(Which::Cpu),
        Which::Auto if full || has_nf4(files) || !mlx_has_gpu() => Ok(Which::Cpu),
        Which::Auto => Ok(Which::Mlx),
        Which::Mlx => {
            mlx::device()?;
            ensure!(
                !full,
                "MLX trains adapters (--adapter dora or lora); every parameter of a model is trained by the CPU \
                 backend: --backend cpu, or auto"
            );
            ensure!(
                !has_nf4(files),
                "{} is stored in NF4, for which MLX has no products: train on it with --backend cpu, or quantise the \
                 model from floats to affine4 (`bit-axon quantize`)",
                files.name
            );
            Ok(Which::Mlx)
        }
    }
}

/// The same in words.
pub(super) fn computing_text(computing: Which, settings: &Settings) -> Result<String> {
    if computing == Which::Mlx {
        return Ok(format!("mlx {}", mlx::device()?));
    }
    let threads = settings.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    Ok(format!("cpu {}, {} threads", Level::detect()?, threads.unwrap_or(1)))
}

/// MLX keeps what every operation of a pass gave, the CPU's learner only what going back needs. Twice as much was measured
/// (`bench --train` on `small`, 121 MB); the rest is room, since other devices need more.
const MLX_KEEPS: u64 = 3;

/// Bytes that training needs, foretold: frozen weights, what is trained with gradients and moments, activations.
pub(super) fn memory(files: &Files, settings: &Settings, computing: Which) -> [u64; 3] {
    let spec = files.config.spec();
    let values: u64 = trained(&spec, settings, &takes(settings)).iter().map(|group| group.values).sum();
    let frozen = if settings.adapter() == Adapter::Full { 0 } else { files.checkpoint.bytes() };
    // The two of a pair are computed side by side.
    let sequences = if settings.method() == Method::Orpo { 2 } else { 1 };
    let working = match computing {
        Which::Mlx => {
            let kept = Settings { recompute: Recompute::Off, ..settings.clone() };
            MLX_KEEPS * activations(&spec, &kept, sequences)
        }
        _ => activations(&spec, settings, sequences),
    };
    // Where 4 bits are learned for, there is a rounded copy of the values.
    let each = if settings.fake_quant.is_some() { 20 } else { 16 };
    [frozen, each * values, working]
}

/// Binds the model to what learns, after making sure that the memory will do.
pub(super) fn open(files: Files, settings: &Settings) -> Result<Box<dyn Learner>> {
    let computing = computing(&files, settings)?;
    let need: u64 = memory(&files, settings, computing).iter().sum();
    check_fits(&format!("training {}", files.name), need, available_memory())?;
    let options = LearnOptions {
        recompute: settings.recompute == Recompute::On,
        rounded: settings.fake_quant,
        threads: settings.threads,
        seed: settings.seed,
        ..LearnOptions::new(train(settings))
    };
    let spec = files.config.spec();
    let checkpoint = files.checkpoint;
    if computing == Which::Mlx {
        return mlx::learner(&checkpoint, spec, options);
    }
    Ok(Box::new(CpuLearner::new(checkpoint, spec, options)?))
}

/// Tells the weights of a model from others: by names, shapes and formats, and by the first numbers of each tensor.
pub(super) fn fingerprint(checkpoint: &Checkpoint) -> u64 {
    const FIRST: usize = 256;
    let mut tensors: Vec<_> = checkpoint.tensors().collect();
    // Whichever files they lie in.
    tensors.sort_by_key(|tensor| tensor.name);
    let mut all = Vec::new();
    for tensor in tensors {
        all.extend(format!("{} {} {:?}\n", tensor.name, tensor.dtype, tensor.shape).bytes());
        all.extend(&tensor.data[..tensor.data.len().min(FIRST)]);
    }
    crate::train::fingerprint_of(&all)
}

/// How what is trained is written, so that other commands can use it.
pub(super) fn output(files: &Files, settings: &Settings) -> Result<Output> {
    let folder = files.checkpoint.folder();
    let format = BTreeMap::from([("format".to_owned(), "mlx".to_owned())]);
    if settings.adapter() == Adapter::Full {
        let mut beside = vec![("config.json".to_owned(), read(&folder.join("config.json"))?)];
        for name in COMPANIONS {
            if folder.join(name).is_file() {
                beside.push((name.to_owned(), read(&folder.join(name))?));
            }
        }
        return Ok(Output { weights: "model.safetensors".into(), metadata: format, beside });
    }
    let (Train::Lora(adapter) | Train::Dora(adapter)) = train(settings) else {
        bail!("what is trained is neither an adapter nor the model");
    };
    let config = serde_json::json!({
        "fine_tune_type": settings.adapter().to_string(),
        "base_model": settings.model,
        "lora_parameters": {
            "rank": adapter.rank,
            "scale": adapter.scale,
            "dropout": adapter.dropout,
            "keys": adapter.targets,
            "experts": adapter.experts,
        },
    });
    let config = serde_json::to_string_pretty(&config).context("the adapter's settings cannot be written")?;
    let beside = vec![("adapter_config.json".to_owned(), format!("{config}\n").into_bytes())];
    Ok(Output { weights: "adapters.safetensors".into(), metadata: format, beside })
}
