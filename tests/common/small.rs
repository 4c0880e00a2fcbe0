//! A model that is trained in milliseconds.
#![allow(dead_code, unreachable_pub, reason = "each test uses it as its own")]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use bit_axon::model::checkpoint::{Format, StagedFolder, plan_new, write_tensors};
use bit_axon::model::config::Config;
use bit_axon::model::init::RandomWeights;
use bit_axon::model::tokenizer::byte_level;
use serde_json::{Value, json};

/// Writes a model that is trained in milliseconds.
pub fn model(folder: &Path, seed: u64, hidden: usize) {
    let small = json!({"hidden_dim": hidden, "num_layers": 3, "d_source_model": 16, "ssm_d_state": 4,
        "swa_window_size": 16, "moe_intermediate_dim": 16});
    model_of(folder, seed, &small);
}

/// Writes a model with random weights and a vocabulary of bytes.
pub fn model_of(folder: &Path, seed: u64, changes: &Value) {
    let mut config = serde_json::to_value(Config::preset("small").unwrap()).unwrap();
    let common = json!({"vocab_size": 264, "num_heads": 2, "moe_num_experts": 4, "max_seq_len": 128});
    for (key, value) in common.as_object().into_iter().chain(changes.as_object()).flatten() {
        assert!(config.get(key).is_some(), "{key}");
        config[key] = value.clone();
    }
    let spec = serde_json::from_value::<Config>(config.clone()).unwrap().spec();
    let staged = StagedFolder::begin(folder, false).unwrap();
    staged.put("config.json", config.to_string().as_bytes()).unwrap();
    staged.put("tokenizer.json", byte_level::tokenizer_json().as_bytes()).unwrap();
    staged.put("tokenizer_config.json", byte_level::config_json().as_bytes()).unwrap();
    let jobs = plan_new(&spec, Format::F32, 64).unwrap();
    let file = BufWriter::new(staged.create("model.safetensors").unwrap());
    let file: BufWriter<File> =
        write_tensors(file, &RandomWeights::new(&spec, seed), &jobs, 1, &mut |_, _, _| Ok(())).unwrap();
    file.into_inner().unwrap();
    staged.finish().unwrap();
}
