//! Checkpoints that are damaged, hostile or not what their config.json says: each is an error that
//! names the matter, and none is a panic.

use std::fs;
use std::path::{Path, PathBuf};

use bit_axon::model::checkpoint::{Checkpoint, ProblemKind};
use bit_axon::model::config::Config;
use bit_axon::model::spec::ModelSpec;
use bit_axon::model::tensors::{Kind, TensorSpec, tensors};
use half::f16;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A safetensors file with this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// What opening a folder with this one file says.
fn said(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let error = Checkpoint::open(dir.path()).err().expect("a bad file must not open");
    let text = format!("{error:#}");
    assert!(text.contains("model.safetensors"), "the file is not named: {text}");
    text
}

#[test]
fn a_sound_file_opens() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), file(&one("F32", "[2,3]", "[0,24]"), 24)).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.tensor("a").unwrap().shape, [2, 3]);
    assert!(checkpoint.tensor("b").is_none());
}

#[test]
fn headers_that_lie_are_refused() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    let mut claims = file("{}", 0);
    claims[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut longer = file("{}", 0);
    longer[0] = 3;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "0 bytes"),
        (vec![1, 2, 3], "3 bytes"),
        (claims, "claims 18446744073709551615 bytes"),
        (longer, "claims 3 bytes, but the file has only 2"),
        (file("[]", 0), "not a JSON object"),
        (file("{nonsense", 0), "header"),
        (file(r#"{"a":1}"#, 0), "header"),
        (file(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4), "header"),
        (file(r#"{"__metadata__":{"vocabulary":{"not":"text"}}}"#, 0), "header"),
        (file(&format!(r#"{{"a":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000)), 0), "header"),
        (file(&one("F32", "[2]", "[0,16]"), 8), "0..16, but the file has only 8"),
        (file(&one("F32", "[2]", "[18446744073709551607,18446744073709551615]"), 8), "has only 8"),
        (file(&one("F32", "[2]", "[8,0]"), 8), "before they begin"),
        (file(&one("F32", "[3]", "[0,8]"), 8), "takes 12 bytes, but the file gives it 8"),
        (file(&one("F32", "[1000000000,1000]", "[0,8]"), 8), "takes 4000000000000 bytes"),
        (file(&one("F32", "[4294967296,4294967296,4]", "[0,8]"), 8), "larger than any memory"),
        (file(&one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), "9 dimensions"),
        (file(&one("F31", "[2]", "[0,8]"), 8), "`F31`"),
        (file(&two("[0,4]", "[2,6]"), 6), "overlaps"),
        (file(&two("[0,4]", "[0,4]"), 4), "overlaps"),
        (file(&two("[0,4]", "[6,10]"), 10), "2 bytes before tensor `b`"),
        (file(&two("[0,4]", "[4,8]"), 9), "1 bytes at its end"),
        (
            file(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                2,
            ),
            "`a` is there twice",
        ),
    ];
    for (bytes, wanted) in cases {
        let text = said(&bytes);
        assert!(text.contains(wanted), "{text}\ndoes not say: {wanted}");
    }
}

#[test]
fn names_cannot_reach_the_terminal() {
    let text = said(&file(r#"{"\u001b[2J":{"dtype":"\u001b]0;x\u0007","shape":[1],"data_offsets":[0,1]}}"#, 1));
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn every_way_to_cut_a_file_short_is_seen() {
    let whole = file(&one("F32", "[2,3]", "[0,24]"), 24);
    for length in 0..whole.len() {
        said(&whole[..length]);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn spec_of(name: &str) -> ModelSpec {
    Config::read(&fixture(name).join("config.json")).unwrap().spec()
}

/// A fixture's tensors in a folder of its own, changed by `edit`: it sees each tensor's description
/// and bytes, and keeps it by returning true.
fn edited(name: &str, mut edit: impl FnMut(&mut String, &mut Value, &mut Vec<u8>) -> bool) -> TempDir {
    let bytes = fs::read(fixture(name).join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let (mut new, mut data) = (serde_json::Map::new(), Vec::new());
    for (mut name, mut about) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let at = |i: usize| 8 + length + about["data_offsets"][i].as_u64().unwrap() as usize;
        let mut values = bytes[at(0)..at(1)].to_vec();
        if edit(&mut name, &mut about, &mut values) {
            about["data_offsets"] = json!([data.len(), data.len() + values.len()]);
            data.extend_from_slice(&values);
            new.insert(name, about);
        }
    }
    let mut whole = file(&Value::Object(new).to_string(), 0);
    whole.extend_from_slice(&data);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), whole).unwrap();
    dir
}

fn load(checkpoint: &Checkpoint, t: &TensorSpec) -> anyhow::Result<()> {
    match t.kind {
        Kind::ExpertStack => checkpoint.stack(t).map(drop),
        Kind::Embedding | Kind::Head | Kind::Linear => checkpoint.matrix(t).map(drop),
        _ => checkpoint.floats(t).map(drop),
    }
}

/// What loading says of a tensor of a model that was edited.
fn load_said(dir: &TempDir, spec: &ModelSpec, tensor: &str) -> String {
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let t = tensors(spec).into_iter().find(|t| t.name == tensor).unwrap();
    let text = format!("{:#}", load(&checkpoint, &t).unwrap_err());
    assert!(text.contains("model.safetensors") || text.contains(&dir.path().display().to_string()), "{text}");
    text
}

#[test]
fn values_that_are_not_numbers_are_named_and_counted() {
    let nan = f32::NAN.to_le_bytes();
    let cases = [
        ("tiny", "layer_0.input_norm.weight", "layer_0.input_norm.weight"),
        ("tiny", "layer_0.ssm.A_log", "layer_0.ssm.A_log"),
        ("tiny", "layer_2.attention.q_proj.weight", "layer_2.attention.q_proj.weight"),
        ("tiny_q", "layer_2.attention.q_proj.scales", "layer_2.attention.q_proj.weight"),
        ("tiny_q", "layer_2.moe.switch_mlp.up_proj.biases_quant", "layer_2.moe.switch_mlp.up_proj.weight"),
    ];
    for (model, damaged, loaded) in cases {
        let dir = edited(model, |name, _, values| {
            if name == damaged {
                values[..4].copy_from_slice(&nan);
                values[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
            }
            true
        });
        let text = load_said(&dir, &spec_of(model), loaded);
        assert!(text.contains(damaged) && text.contains("2 of "), "{text}");
        let deep: Vec<_> = Checkpoint::open(dir.path()).unwrap().search_not_finite().collect();
        assert_eq!((deep.len(), deep[0].kind), (1, ProblemKind::NotFinite));
    }
    // A whole model of NaN in f16 and bf16.
    for (dtype, nan) in [("F16", f16::NAN.to_le_bytes()), ("BF16", half::bf16::NAN.to_le_bytes())] {
        let dir = edited("tiny", |_, about, values| {
            about["dtype"] = json!(dtype);
            *values = nan.repeat(values.len() / 4);
            true
        });
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.check(&spec_of("tiny")), []);
        for t in tensors(&spec_of("tiny")).iter().filter(|t| t.required) {
            let text = load(&checkpoint, t).unwrap_err().to_string();
            assert!(text.contains(&format!("{0} of {0}", t.len())), "{text}");
        }
    }
}

#[test]
fn wrong_shapes_and_formats_are_told_apart() {
    let change = |model: &str, tensor: &'static str, key: &'static str, value: Value| {
        edited(model, move |name, about, values| {
            if name == tensor {
                about[key] = value.clone();
                if let Some(size) =
                    value.as_str().and_then(|dtype| [("F64", 8), ("U8", 1)].into_iter().find(|s| s.0 == dtype))
                {
                    values.resize(values.len() / 4 * size.1, 0);
                }
            }
            true
        })
    };
    let cases = [
        (
            "tiny",
            "input_proj.weight",
            "shape",
            json!([32, 128]),
            "(32, 128), wanted F32, F16 or BF16 of shape (64, 64)",
        ),
        ("tiny", "layer_0.ssm.conv1d.weight", "shape", json!([4, 128, 1]), "(4, 128, 1)"),
        ("tiny", "layer_0.ssm.D", "shape", json!([2, 64]), "wanted F32, F16 or BF16 of shape (128)"),
        ("tiny", "layer_0.ssm.D", "dtype", json!("F64"), "found F64"),
        ("tiny", "layer_0.ssm.D", "dtype", json!("I32"), "found I32"),
        // Only matrices that multiply may be codes.
        ("tiny", "embed_tokens.weight", "dtype", json!("U32"), "found U32"),
        ("tiny", "input_proj.weight", "dtype", json!("U32"), "4-bit codes in U32 of shape (64, 8)"),
        ("tiny_q", "input_proj.weight", "shape", json!([8, 64]), "(8, 64)"),
        ("tiny_q", "input_proj.weight", "dtype", json!("I32"), "found I32"),
    ];
    for (model, tensor, key, value, wanted) in cases {
        let dir = change(model, tensor, key, value);
        let text = load_said(&dir, &spec_of(model), tensor);
        assert!(text.contains(tensor) && text.contains(wanted), "{text}\ndoes not say: {wanted}");
        let problems = Checkpoint::open(dir.path()).unwrap().check(&spec_of(model));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].to_string(), text);
    }
}

#[test]
fn companions_of_codes_must_be_there_and_fit() {
    let spec = spec_of("tiny_q");
    let scales = "layer_0.ssm.x_proj.scales";
    let codes = "layer_0.ssm.x_proj.weight";
    let without = edited("tiny_q", |name, _, _| name != scales);
    let text = load_said(&without, &spec, codes);
    assert!(text.contains(scales) && text.contains("absmax"), "{text}");
    // Biases without scales are not worth a second word.
    assert_eq!(Checkpoint::open(without.path()).unwrap().check(&spec).len(), 1);

    let short = edited("tiny_q", |name, about, values| {
        if name == scales {
            about["shape"] = json!([9, 1]);
            values.truncate(9 * 4);
        }
        true
    });
    // 128 inputs in one group, but the biases have two.
    assert!(load_said(&short, &spec, codes).contains("biases"));

    let odd = edited("tiny_q", |name, about, values| {
        if name.contains("x_proj.scales") || name.contains("x_proj.biases") {
            about["shape"] = json!([9, 8]);
            values.resize(9 * 8 * 4, 0);
        }
        true
    });
    // Groups of 16.
    assert!(load_said(&odd, &spec, codes).contains("32, 64 or 128"));

    let both = edited("tiny_q", |name, _, _| {
        if name == "layer_1.ssm.x_proj.scales" {
            *name = "layer_0.ssm.x_proj.absmax".into();
        }
        true
    });
    assert!(load_said(&both, &spec, codes).contains("either"));
}

#[test]
fn folders_that_mix_models_or_promise_too_much_are_refused() {
    let open = |dir: &TempDir| Checkpoint::open(dir.path()).err().map(|error| format!("{error:#}"));
    let write = |dir: &TempDir, name: &str, text: &[u8]| fs::write(dir.path().join(name), text).unwrap();
    let good = file(&one("F32", "[2]", "[0,8]"), 8);

    let dir = tempfile::tempdir().unwrap();
    assert!(open(&dir).unwrap().contains("holds no model"));
    write(&dir, "adapter_model.safetensors", &good);
    assert!(open(&dir).unwrap().contains("holds no model"));
    write(&dir, "weights.safetensors", &good);
    assert_eq!(open(&dir), None);
    write(&dir, "other.safetensors", &good);
    let text = open(&dir).unwrap();
    assert!(text.contains("other.safetensors") && text.contains("weights.safetensors"), "{text}");
    write(&dir, "model.safetensors", &good);
    assert_eq!(open(&dir), None);

    let index = "model.safetensors.index.json";
    let cases = [
        ("{", "cannot be used"),
        (r#"{"weight_map":{}}"#, "names no tensor"),
        (r#"{"weight_map":{"a":"../model.safetensors"}}"#, "same folder"),
        (r#"{"weight_map":{"a":"/etc/passwd"}}"#, "same folder"),
        (r#"{"weight_map":{"a":"config.json"}}"#, "same folder"),
        (r#"{"weight_map":{"a":"absent.safetensors"}}"#, "absent.safetensors"),
        (r#"{"weight_map":{"b":"model.safetensors"}}"#, "`b` should be in model.safetensors"),
    ];
    for (text, wanted) in cases {
        write(&dir, index, text.as_bytes());
        let text = open(&dir).unwrap();
        assert!(text.contains(wanted), "{text}\ndoes not say: {wanted}");
    }
    write(&dir, index, br#"{"weight_map":{"a":"model.safetensors"}}"#);
    assert_eq!(open(&dir), None);
    assert!(Checkpoint::open(&dir.path().join("nowhere")).is_err());
}

/// Opens it, and if that works does everything that one can do with it.
fn use_it(bytes: &[u8], spec: &ModelSpec) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let Ok(checkpoint) = Checkpoint::open(dir.path()) else { return };
    for problem in checkpoint.check(spec) {
        assert!(!problem.to_string().contains(char::is_control));
    }
    for t in tensors(spec) {
        let _ = load(&checkpoint, &t);
        let _ = checkpoint.holding(&t);
    }
    checkpoint.search_not_finite().for_each(drop);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0u64..300) {
        let spec = spec_of("tiny");
        use_it(&bytes, &spec);
        let mut sized = length.to_le_bytes().to_vec();
        sized.push(b'{');
        sized.extend(&bytes);
        use_it(&sized, &spec);
    }

    #[test]
    fn changed_headers_never_panic(changes in prop::collection::vec((0usize..19_000, any::<u8>()), 1..4)) {
        let mut bytes = fs::read(fixture("tiny_q").join("model.safetensors")).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        use_it(&bytes, &spec_of("tiny_q"));
    }

    #[test]
    fn changed_digits_never_panic(at in any::<prop::sample::Index>(), digit in b'0'..=b'9') {
        let mut bytes = fs::read(fixture("tiny_q").join("model.safetensors")).unwrap();
        let digits: Vec<usize> = (8..19_000).filter(|&i| bytes[i].is_ascii_digit()).collect();
        bytes[*at.get(&digits)] = digit;
        use_it(&bytes, &spec_of("tiny_q"));
    }

    #[test]
    fn indices_never_panic_and_stay_in_the_folder(name in "[a./\\\\]{0,8}(\\.safetensors)?", text in ".{0,40}") {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        fs::write(dir.path().join("model.safetensors"), file(&one("F32", "[2]", "[0,8]"), 8)).unwrap();
        fs::write(&index, json!({ "weight_map": { "a": name } }).to_string()).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(dir.path()) {
            prop_assert!(checkpoint.files().all(|path| path.parent() == Some(dir.path())), "{}", name);
        }
        fs::write(&index, text).unwrap();
        prop_assert!(Checkpoint::open(dir.path()).is_err());
    }
}
