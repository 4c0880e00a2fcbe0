//! `init`, `quantize` and `inspect`, run as a user runs them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bit_axon::model::checkpoint::Checkpoint;
use bit_axon::model::config::Config;
use bit_axon::model::matrix::Data;
use bit_axon::model::tensors::{Kind, tensors};
use serde_json::Value;

fn bit_axon(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bit-axon")).args(args).output().unwrap()
}

/// Standard output of a command that must work.
fn works(args: &[&str]) -> String {
    let output = bit_axon(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that must fail with this code.
fn fails(code: i32, args: &[&str]) -> String {
    let output = bit_axon(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_new_model_is_whole_and_the_same_for_the_same_seed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let init =
        |out: &str, seed: &str| works(&["init", "--preset", "small", "--format", "f16", "--seed", seed, "--out", out]);
    assert!(init(&path("a"), "1").contains("small in f16"));
    assert_eq!(
        names(&dir.path().join("a")),
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    );
    init(&path("b"), "1");
    init(&path("c"), "2");
    let weights = |name: &str| fs::read(dir.path().join(name).join("model.safetensors")).unwrap();
    assert!(weights("a") == weights("b"));
    assert!(weights("a") != weights("c"));

    // A model is not replaced by mistake.
    let said = fails(1, &["init", "--preset", "small", "--out", &path("a")]);
    assert!(said.contains("--force"), "{said}");
    assert!(weights("a") == weights("b"));
    works(&["init", "--preset", "small", "--out", &path("a"), "--force"]);
    assert!(weights("a") != weights("b"));
    fails(2, &["init", "--preset", "huge", "--out", &path("d")]);
}

#[test]
fn quantising_a_new_model_is_making_it_quantised() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    works(&["init", "--preset", "small", "--out", &path("float")]);
    for (format, group) in [("affine4", "64"), ("nf4", "64"), ("affine4", "128"), ("nf4", "32")] {
        let out = path(&format!("{format}-{group}"));
        let arguments =
            ["quantize", &path("float"), "--format", format, "--group-size", group, "--out", &out, "--json"];
        let summary: Value = serde_json::from_str(&works(&arguments)).unwrap();
        let kinds = summary["kinds"].as_array().unwrap();
        let head = kinds.iter().find(|kind| kind["kind"] == "lm_head").expect("a tied head is written");
        assert_eq!(head["stored"], format!("{format}/{group}"));
        for kind in kinds.iter().filter(|kind| kind["kind"] != "embed_tokens") {
            let error = kind["relative_error"].as_f64().unwrap();
            assert!((0.05..0.12).contains(&error), "{kind}");
        }
        works(&["inspect", &out, "--deep"]);
        assert_eq!(names(Path::new(&out)).len(), 4);

        // What was made from the weights stays near them.
        let spec = Config::preset("small").unwrap().spec();
        let [float, four] = [&path("float"), &out].map(|at| Checkpoint::open(Path::new(at)).unwrap());
        let t = tensors(&spec).into_iter().find(|t| t.kind == Kind::ExpertStack).unwrap();
        let [float, four] = [&float, &four].map(|c| c.stack(&t).unwrap().swap_remove(3));
        let (mut a, mut b) = (vec![0.0; t.cols()], vec![0.0; t.cols()]);
        for row in [0, 7, float.rows - 1] {
            float.row_into(row, &mut a);
            four.row_into(row, &mut b);
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.04), "{format} {group}");
        }
    }
    for format in ["affine4", "nf4"] {
        let out = path(&format!("new-{format}"));
        works(&["init", "--preset", "small", "--format", format, "--out", &out]);
        let weights = |folder: &str| fs::read(Path::new(folder).join("model.safetensors")).unwrap();
        assert!(weights(&out) == weights(&path(&format!("{format}-64"))), "{format}");
    }
    let said = fails(1, &["quantize", &path("nf4-64"), "--format", "nf4", "--out", &path("again")]);
    assert!(said.contains("4 bits already"), "{said}");
    assert!(!dir.path().join("again").exists());
    fails(2, &["quantize", &path("float"), "--format", "nf4", "--group-size", "48", "--out", &path("again")]);
}

#[test]
fn halves_are_quantised_too_and_an_untied_head_stays_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out").display().to_string();
    works(&["init", "--preset", "small", "--format", "f16", "--out", &format!("{out}-f16")]);
    let text = works(&["quantize", &format!("{out}-f16"), "--format", "affine4", "--out", &format!("{out}-4")]);
    assert!(text.contains("moe.switch_mlp.down_proj") && !text.contains("embed_tokens"), "{text}");
    works(&["quantize", &fixture("untied"), "--format", "affine4", "--out", &out]);
    let spec = Config::read(Path::new(&out).join("config.json").as_path()).unwrap().spec();
    let checkpoint = Checkpoint::open(Path::new(&out)).unwrap();
    let head = tensors(&spec).into_iter().find(|t| t.kind == Kind::Head).unwrap();
    assert!(matches!(checkpoint.matrix(&head).unwrap().data, Data::Affine4 { .. }));
    let report: Value = serde_json::from_str(&works(&["inspect", &out, "--json"])).unwrap();
    assert_eq!(report["parameters"]["head_copy"], 0);

    // `odd` has widths that no group of 64 divides, but for a few: the rest stays as it was.
    let said = fails(1, &["quantize", &fixture("odd"), "--format", "nf4", "--out", &format!("{out}2")]);
    assert!(said.contains("nothing can be quantised"), "{said}");
}

#[test]
fn inspect_tells_what_the_tensors_say() {
    let report: Value = serde_json::from_str(&works(&["inspect", &fixture("tiny_q"), "--json"])).unwrap();
    assert_eq!(report["usable"], true);
    assert_eq!(report["layers"][2], "swa+moe");
    assert_eq!(report["memory"].as_array().unwrap().len(), 3);
    assert_eq!(report["problems"], Value::Array(vec![]));
    let float: Value = serde_json::from_str(&works(&["inspect", &fixture("tiny"), "--json"])).unwrap();
    assert_eq!(report["parameters"]["total"], float["parameters"]["total"]);
    assert_eq!(report["parameters"]["active"], float["parameters"]["active"]);
    let text = works(&["inspect", &fixture("odd"), "--tensors"]);
    assert!(text.contains("2 ssm (0-1), 2 swa+moe (2-3), 3 ssm+moe (4-6)"), "{text}");
    assert!(text.contains("layer_6.moe.shared_expert_gate.weight"), "{text}");
}

/// A copy of a fixture whose config.json has one setting changed.
fn with_setting(name: &str, key: &str, value: Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(format!("{}/model.safetensors", fixture(name)), dir.path().join("model.safetensors")).unwrap();
    let text = fs::read_to_string(format!("{}/config.json", fixture(name))).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config[key] = value;
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

#[test]
fn inspect_says_why_a_model_cannot_be_used_and_prints_the_rest() {
    let cases: [(&str, Value, &str); 9] = [
        ("num_heads", 5.into(), "num_heads 5"),
        ("moe_top_k", 9.into(), "moe_top_k is 9"),
        ("num_layers", 0.into(), "num_layers is 0"),
        ("hidden_dim", (-1).into(), "not a Bit-Axon configuration"),
        ("vocab_size", u64::MAX.into(), "vocab_size is"),
        ("rms_norm_eps", (-1.0).into(), "rms_norm_eps is -1"),
        ("hidden_dim", "many".into(), "not a Bit-Axon configuration"),
        ("num_layers", 7.into(), "found nothing"),
        ("moe_intermediate_dim", 128.into(), "wanted F32, F16 or BF16 of shape (128, 64)"),
    ];
    for (key, value, wanted) in cases {
        let dir = with_setting("tiny", key, value);
        let path = dir.path().display().to_string();
        let output = bit_axon(&["inspect", &path]);
        assert_eq!(output.status.code(), Some(1), "{key}");
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(out.contains(wanted), "{out}\ndoes not say: {wanted}");
        assert!(out.contains("on disk") && err.contains("cannot be used"), "{out}{err}");
        let json: Value = serde_json::from_slice(&bit_axon(&["inspect", &path, "--json"]).stdout).unwrap();
        assert_eq!(json["usable"], false);
        assert!(json["problems"][0]["text"].as_str().is_some_and(|text| !text.is_empty()));
    }
    // One tensor too many is a notice.
    let dir = with_setting("untied", "moe_shared_expert", false.into());
    let text = works(&["inspect", &dir.path().display().to_string()]);
    assert!(text.contains("notices") && text.contains("shared_expert_gate"), "{text}");
}

#[test]
fn a_tokenizer_larger_than_the_vocabulary_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    works(&["init", "--preset", "small", "--out", &path("small")]);
    // 259 tokens beside a vocabulary of 96.
    for name in ["config.json", "model.safetensors"] {
        fs::copy(format!("{}/{name}", fixture("tiny")), dir.path().join(name)).unwrap();
    }
    fs::copy(path("small/tokenizer.json"), path("tokenizer.json")).unwrap();
    let said = fails(1, &["inspect", &path("")]);
    assert!(said.contains("258") && said.contains("96"), "{said}");

    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(path("tokenizer.json")).unwrap()).unwrap();
    tokenizer["added_tokens"][2]["id"] = 5000.into();
    for (i, token) in (0..800).map(|i| (i, format!("extra{i}"))) {
        tokenizer["model"]["vocab"][token] = (300 + i).into();
    }
    fs::write(path("large.json"), tokenizer.to_string()).unwrap();
    let said = fails(1, &["init", "--preset", "small", "--tokenizer", &path("large.json"), "--out", &path("new")]);
    assert!(said.contains("1024"), "{said}");
    assert!(!dir.path().join("new").exists());
    works(&["init", "--preset", "small", "--tokenizer", &path("small/tokenizer.json"), "--out", &path("new")]);
    assert_eq!(names(&dir.path().join("new")), names(&dir.path().join("small")));
    fs::write(path("broken.json"), "{").unwrap();
    let said = fails(1, &["init", "--preset", "small", "--tokenizer", &path("broken.json"), "--out", &path("n")]);
    assert!(said.contains("broken.json"), "{said}");
}

/// The shell limits how large a file may grow, which fails in the midst of the weights as a full
/// disk does.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    let limited = |arguments: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 2000; exec \"$0\" {arguments}");
        let program = env!("CARGO_BIN_EXE_bit-axon");
        Command::new("sh").args(["-c", &script, program]).current_dir(dir.path()).output().unwrap()
    };
    let init = "init --preset small --out model";
    let output = limited(init);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("model.safetensors") && said.contains("nothing was left"), "{said}");
    assert_eq!(names(dir.path()), [""; 0]);

    // A model that was there stays as it was.
    works(&["init", "--preset", "small", "--seed", "3", "--out", &model.display().to_string()]);
    let before = fs::read(model.join("model.safetensors")).unwrap();
    for arguments in [format!("{init} --force"), "quantize model --format nf4 --out four".to_owned()] {
        let output = limited(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
    }
    assert_eq!(names(dir.path()), ["model"]);
    assert_eq!(names(&model).len(), 4);
    assert!(fs::read(model.join("model.safetensors")).unwrap() == before);
}
