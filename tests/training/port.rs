//! `port-weights`, on a made-up transformer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use bit_axon::model::checkpoint::{Checkpoint, Dtype, Planned, TensorWriter};
use serde_json::json;

use super::Place;

const WIDTH: usize = 16;
const INNER: usize = 12;
const VOCAB: usize = 40;
const LAYERS: usize = 5;

/// A number that tells its place.
fn value(tensor: usize, row: usize, col: usize) -> f32 {
    // Exact in bf16; the later a neuron, the stronger.
    let sign = if (tensor + row + col).is_multiple_of(2) { 1.0 } else { -1.0 };
    sign * (1 + row % 64) as f32 / 32.0
}

/// Tensors of the source: name, rows, columns (none for norms).
fn tensors() -> Vec<(String, usize, Option<usize>)> {
    let mut all =
        vec![("model.embed_tokens.weight".into(), VOCAB, Some(WIDTH)), ("model.norm.weight".into(), WIDTH, None)];
    for layer in 0..LAYERS {
        let at = |name: &str| format!("model.layers.{layer}.{name}.weight");
        all.push((at("input_layernorm"), WIDTH, None));
        all.push((at("post_attention_layernorm"), WIDTH, None));
        all.push((at("self_attn.q_proj"), WIDTH, Some(WIDTH)));
        all.push((at("mlp.gate_proj"), INNER, Some(WIDTH)));
        all.push((at("mlp.up_proj"), INNER, Some(WIDTH)));
        all.push((at("mlp.down_proj"), WIDTH, Some(INNER)));
    }
    all
}

/// Writes it in bf16, as such models are.
fn source(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let config = json!({"model_type": "qwen2", "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "intermediate_size": INNER, "vocab_size": VOCAB, "tie_word_embeddings": true, "rope_theta": 1e6});
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let all = tensors();
    let shape = |rows: usize, cols: Option<usize>| [&[rows], cols.as_slice()].concat();
    let plan = all.iter().map(|(name, rows, cols)| Planned {
        name: name.clone(),
        dtype: Dtype::Bf16,
        shape: shape(*rows, *cols),
    });
    let file = File::create(folder.join("model.safetensors")).unwrap();
    let mut writer = TensorWriter::new(file, plan.collect(), &BTreeMap::new()).unwrap();
    for (n, (name, rows, cols)) in all.iter().enumerate() {
        let cols = cols.unwrap_or(1);
        let bytes: Vec<u8> =
            (0..rows * cols).flat_map(|i| half::bf16::from_f32(value(n, i / cols, i % cols)).to_le_bytes()).collect();
        writer.append(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// The source's tensor of this name, row after row.
fn original(name: &str) -> Vec<Vec<f32>> {
    let all = tensors();
    let n = all.iter().position(|(other, ..)| other == name).unwrap();
    let cols = all[n].2.unwrap_or(1);
    (0..all[n].1).map(|row| (0..cols).map(|col| value(n, row, col)).collect()).collect()
}

struct Model(Checkpoint);

impl Model {
    fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        let info = self.0.info(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(info.dtype, Dtype::F32);
        let values: Vec<f32> = info.data.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        values.chunks(*info.shape.last().unwrap()).map(<[f32]>::to_vec).collect()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.rows(name).concat()
    }
}

/// A shape with room for all neurons (24) or for some (8), 20 wide.
fn shape(place: &Place, name: &str, intermediate: usize, vocabulary: usize) {
    let config = json!({"vocab_size": vocabulary, "hidden_dim": 20, "num_layers": 3, "num_heads": 2,
        "d_source_model": WIDTH, "ssm_d_state": 4, "ssm_d_conv": 2, "ssm_expand": 1, "swa_window_size": 8,
        "moe_num_experts": 4, "moe_top_k": 2, "moe_intermediate_dim": intermediate, "max_seq_len": 64});
    place.write(name, &config.to_string());
}

fn ported(place: &Place, args: &str) -> Model {
    place.works(&format!("port-weights source --out ported --force --format f32 {args}"));
    Model(Checkpoint::open(&place.path("ported")).unwrap())
}

#[test]
fn weights_land_where_they_belong() {
    let place = Place::new();
    source(&place.path("source"));
    shape(&place, "shape.json", 24, VOCAB);
    let model = ported(&place, "--config shape.json");
    assert_eq!(model.rows("embed_tokens.weight"), original("model.embed_tokens.weight"));
    for (name, rows, cols) in [("input_proj.weight", 20, WIDTH), ("output_proj.weight", WIDTH, 20)] {
        let found = model.rows(name);
        assert_eq!((found.len(), found[0].len()), (rows, cols));
        for (r, row) in found.iter().enumerate().take(WIDTH) {
            assert!(row.iter().enumerate().all(|(c, v)| *v == f32::from(u8::from(r == c))), "{name} {r}");
        }
    }
    // Layers 0, 2 and 4 of the source.
    for (layer, from) in [(0, 0), (1, 2), (2, 4)] {
        let norm = model.values(&format!("layer_{layer}.input_norm.weight"));
        assert_eq!(norm[..WIDTH], original(&format!("model.layers.{from}.input_layernorm.weight")).concat());
        assert_eq!(norm[WIDTH..], [1.0; 4]);
    }
    let second = model.values("layer_1.post_attention_norm.weight");
    assert_eq!(second[..WIDTH], original("model.layers.2.post_attention_layernorm.weight").concat());
    for (part, transposed) in [("gate_proj", false), ("up_proj", false), ("down_proj", true)] {
        let shared = model.rows(&format!("layer_2.moe.shared_expert.{part}.weight"));
        let (wanted, width) =
            (original(&format!("model.layers.4.mlp.{part}.weight")), if transposed { INNER } else { WIDTH });
        for (row, want) in wanted.iter().enumerate() {
            assert_eq!(shared[row][..width], want[..], "{part} {row}");
            assert!(shared[row][width..].iter().all(|v| *v == 0.0), "{part} {row}");
        }
        // New neurons may learn.
        assert!(transposed || shared[INNER..].iter().all(|row| row.iter().any(|v| *v != 0.0)));
        let experts = model.rows(&format!("layer_2.moe.switch_mlp.{part}.weight"));
        let each = shared.len();
        for expert in 0..4 {
            // What is new differs altogether.
            let rows = || experts[expert * each..].iter().zip(&shared).take(wanted.len());
            let square = |f: &dyn Fn(f32, f32) -> f32| -> f32 {
                rows().flat_map(|(e, s)| e.iter().zip(s)).map(|(e, s)| f(*e, *s).powi(2)).sum()
            };
            let noise = (square(&|e, s| e - s) / square(&|_, s| s)).sqrt();
            assert!((0.015..0.025).contains(&noise), "{part} {expert}: {noise}");
        }
        assert_ne!(experts[0], experts[each], "{part}");
    }
    let inspected = place.works("inspect ported --deep");
    assert!(inspected.contains("3: 1 ssm (0)"), "{inspected}");
    assert_eq!(place.works("trace --model ported --ids 1,2,3").lines().count(), 3);
}

#[test]
fn where_there_is_less_room_the_strongest_neurons_are_kept_together() {
    let place = Place::new();
    source(&place.path("source"));
    shape(&place, "shape.json", 8, VOCAB);
    let model = ported(&place, "--config shape.json --noise 0");
    // Later neurons have larger weights: 4 to 11 of 12.
    let gate = original("model.layers.2.mlp.gate_proj.weight");
    let shared = model.rows("layer_1.moe.shared_expert.gate_proj.weight");
    assert!(shared.iter().zip(&gate[4..]).all(|(row, want)| row[..WIDTH] == want[..]));
    let down = original("model.layers.2.mlp.down_proj.weight");
    let shared = model.rows("layer_1.moe.shared_expert.down_proj.weight");
    assert!(shared.iter().zip(&down).all(|(row, want)| row[..] == want[4..]));
    let experts = model.rows("layer_1.moe.switch_mlp.down_proj.weight");
    assert_eq!(experts[..WIDTH], shared[..WIDTH], "no noise was asked for");
}

#[test]
fn vocabularies_are_mapped_and_bad_maps_refused() {
    let place = Place::new();
    source(&place.path("source"));
    shape(&place, "shape.json", 8, 6);
    place.write("map.json", "[7, null, 0, 39]");
    let model = ported(&place, "--config shape.json --vocab-map map.json");
    let (found, from) = (model.rows("embed_tokens.weight"), original("model.embed_tokens.weight"));
    assert_eq!((&found[0], &found[2], &found[3]), (&from[7], &from[0], &from[39]));
    // The others stand near the mean of those that are mapped, each elsewhere.
    assert!(found[1] != found[4] && found[4] != found[5]);
    let mean: Vec<f32> = (0..WIDTH).map(|i| (from[7][i] + from[0][i] + from[39][i]) / 3.0).collect();
    let apart = |row: &[f32]| row.iter().zip(&mean).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    let spread = apart(&from[7]).max(apart(&from[39]));
    assert!([1, 4, 5].iter().all(|i| apart(&found[*i]) < 2.0 * spread && apart(&found[*i]) > 0.0));

    let port = "port-weights source --out refused --config shape.json --vocab-map map.json";
    for (map, want) in [
        ("{'0': 1}", "key must be a string"),
        ("__import__('os').system('touch hacked')", "map.json is no vocabulary map"),
        ("[40]", "the source has tokens 0 to 39"),
        ("[0,1,2,3,4,5,6]", "the model has tokens 0 to 5"),
        ("{\"0\": 1, \"0\": 2}", "mapped twice"),
        ("[]", "maps no token"),
    ] {
        place.write("map.json", map);
        let said = place.fails(1, port);
        assert!(said.contains(want) && said.contains("map"), "{map}: {said} lacks {want}");
    }
    assert!(!place.path("refused").exists() && !place.path("hacked").exists());
}

#[test]
fn what_is_no_such_transformer_is_refused() {
    let place = Place::new();
    source(&place.path("source"));
    shape(&place, "shape.json", 8, VOCAB);
    let said = place.fails(1, "port-weights model --out x --config shape.json");
    assert!(said.contains("Qwen2.5"), "{said}");
    let said = place.fails(1, "port-weights source --out x --config shape.json --noise 3");
    assert!(said.contains("--noise"), "{said}");
    let narrow = fs::read_to_string(place.path("shape.json")).unwrap().replace("\"hidden_dim\":20", "\"hidden_dim\":8");
    place.write("narrow.json", &narrow);
    let said = place.fails(1, "port-weights source --out x --config narrow.json");
    assert!(said.contains("hidden_dim"), "{said}");
    let config = fs::read_to_string(place.path("source/config.json")).unwrap();
    place.write("source/config.json", &config.replace("\"intermediate_size\":12", "\"intermediate_size\":13"));
    let said = place.fails(1, "port-weights source --out x --config shape.json");
    assert!(said.contains("mlp.gate_proj"), "{said}");
    assert!(!place.path("x").exists());
}
