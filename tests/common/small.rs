//! A model that is trained in milliseconds.
#![allow(unreachable_pub, reason = "each test uses it as its own")]

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use bit_axon::model::checkpoint::{Format, StagedFolder, plan_new, write_tensors};
use bit_axon::model::config::Config;
use bit_axon::model::init::RandomWeights;
use bit_axon::model::tokenizer::byte_level;
use serde_json::json;

/// Writes a model that is trained in milliseconds.
pub fn model(folder: &Path, seed: u64, hidden: usize) {
    let mut config = serde_json::to_value(Config::preset("small").unwrap()).unwrap();
    let small = json!({"vocab_size": 264, "hidden_dim": hidden, "num_layers": 3, "num_heads": 2, "d_source_model": 16,
        "ssm_d_state": 4, "swa_window_size": 16, "moe_num_experts": 4, "moe_intermediate_dim": 16, "max_seq_len": 128});
    for (key, value) in small.as_object().unwrap() {
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
