//! Everything that may be wrong with what is given.

use super::*;

#[test]
fn data_that_cannot_be_used_is_refused_with_its_place() {
    let place = Place::new();
    let long = format!("{{\"text\": \"{}\"}}\n", "x".repeat(65 << 20));
    let fails = |content: &[u8], rest: &str| {
        fs::write(place.path("bad.jsonl"), content).unwrap();
        place.fails(1, &format!("train bad.jsonl --model model --max-steps 2 {SHORT} --max-bad-lines 0 {rest}"))
    };
    for (content, want) in [
        (&b""[..], "is empty"),
        (b"\n\n", "is empty"),
        (b"hello\n", "line 1"),
        (b"{\"txt\": \"a\"}\n", "`txt`"),
        (b"{\"messages\": [{\"role\": \"robot\", \"content\": \"a\"}]}\n", "the role `robot`"),
        (b"{\"text\": \"\xff\"}\n", "not UTF-8"),
        (long.as_bytes(), "longer than 64 MiB"),
    ] {
        let said = fails(content, "--output-dir runs/bad");
        assert!(said.contains(want) && said.contains("bad.jsonl"), "{said} lacks {want}");
        fs::remove_dir_all(place.path("runs")).ok();
    }
    // In the middle of others they are skipped, up to a limit.
    let mut rows = fs::read(place.path("data.jsonl")).unwrap();
    rows.extend(b"{\"text\": 5}\n\x1b[2J\n");
    fs::write(place.path("mixed.jsonl"), &rows).unwrap();
    let args = format!("train mixed.jsonl --model model --max-steps 12 {SHORT}");
    let output = place.output(&format!("{args} --output-dir runs/mixed"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("line 41 of the data is skipped") && said.contains("line 42"), "{said}");
    assert!(!said.contains('\x1b'));
    let said = place.fails(1, &format!("{args} --output-dir runs/strict --max-bad-lines 1"));
    assert!(said.contains("more than 1 lines are bad"), "{said}");
}

#[test]
fn kinds_of_data_and_methods_must_fit() {
    let place = Place::new();
    let pair = json!({"prompt": "q", "chosen": "yes", "rejected": "no"});
    place.write("pairs.jsonl", &format!("{pair}\n"));
    let said = place.fails(1, &format!("train pairs.jsonl --model model --method sft {SHORT}"));
    assert!(said.contains("--method orpo"), "{said}");
    let said = place.fails(1, &format!("train data.jsonl --model model --method orpo {SHORT}"));
    assert!(said.contains("holds no preferences"), "{said}");
    let said = place.fails(1, "train data.jsonl --model model --max-seq-len 4096");
    assert!(said.contains("context of 128"), "{said}");
    assert!(place.fails(2, "train data.jsonl").contains("--model is missing"));
    assert!(place.fails(2, "train --model model").contains("DATA is missing"));
    assert!(place.fails(2, "train --resume").contains("--output-dir"));
    assert!(place.fails(1, "train data.jsonl --model nowhere").contains("nowhere"));
    place.write("run.toml", "max_step = 3\n");
    let said = place.fails(1, "train data.jsonl --model model --config run.toml");
    assert!(said.contains("run.toml") && said.contains("max_step"), "{said}");
    assert!(!place.path("runs").exists());
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let place = Place::new();
    let file = place.path("model/tokenizer.json");
    let json = fs::read_to_string(&file).unwrap().replace(": 255", ": 300");
    fs::write(&file, json).unwrap();
    let said = place.fails(1, &format!("train data.jsonl --model model {SHORT}"));
    assert!(said.contains("vocabulary of 264"), "{said}");
}

#[test]
fn a_run_does_not_go_on_with_another_base_or_other_data() {
    let place = Place::new();
    let args = format!("--max-steps 3 --output-dir run {SHORT}");
    place.works(&format!("train data.jsonl --model model {args}"));
    // Other weights of the same shape, and another shape.
    model(&place.path("other"), 2, 24);
    let said = place.fails(1, &format!("train data.jsonl --model other --resume {args}"));
    assert!(said.contains("the weights of the model are others"), "{said}");
    model(&place.path("wider"), 1, 32);
    let said = place.fails(1, &format!("train data.jsonl --model wider --resume {args}"));
    assert!(said.contains("the weights of the model are others"), "{said}");
    for (change, name) in
        [("--lora-rank 4", "lora-rank 8"), ("--adapter lora", "adapter dora"), ("--seed 1", "seed 42")]
    {
        let said = place.fails(1, &format!("train --resume --output-dir run {change}"));
        assert!(said.contains(name), "{said}");
    }
    let rows = fs::read_to_string(place.path("data.jsonl")).unwrap();
    place.write("data.jsonl", &rows.replacen("say", "tell", 1));
    let said = place.fails(1, "train --resume --output-dir run");
    assert!(said.contains("is not the data"), "{said}");
}

#[test]
fn prepared_data_with_tokens_that_the_model_lacks_is_refused() {
    let place = Place::new();
    place.works("prepare data.jsonl --model model --out data.safetensors --max-seq-len 48");
    let file = place.path("data.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let at = start + header["tokens"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 4].copy_from_slice(&9999u32.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let args = "--batch-size 2 --grad-accum-steps 1 --sensor none --max-steps 30 --max-bad-lines 0";
    let said = place.fails(1, &format!("train data.safetensors --model model {args} --output-dir run"));
    assert!(
        said.contains("token 9999 is outside the model's vocabulary of 264") && said.contains("sequence 0"),
        "{said}"
    );
}

#[test]
fn a_loss_that_is_no_number_is_told_with_its_step_and_examples() {
    let place = Place::new();
    let args = format!("train data.jsonl --model model --save-every 3 {SHORT}");
    place.works(&format!("{args} --max-steps 6 --output-dir run"));
    let before = place.checkpoints("run");
    // Steps that throw the values far beyond what f32 can hold.
    let rest = "--resume --output-dir run --warmup-steps 0 --max-grad-norm 0";
    let said = place.fails(1, &format!("train {rest} --max-steps 60 --learning-rate 1e30"));
    for part in
        ["not a number", "it read lines ", "data.jsonl", "checkpoint is of step 6", "--resume", "lower --learning-rate"]
    {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert_eq!(place.checkpoints("run"), before);
    let last = place.events("run").pop().unwrap();
    assert!(matches!(&last.what, Happening::Stop { reason: bit_axon::protocol::Ending::Failed, .. }), "{last:?}");
    // With a rate that can be, it goes on from what is whole.
    place.works(&format!("train {rest} --max-steps 8 --learning-rate 1e-3"));
    assert!(place.course("run").iter().all(|step| step.1.is_finite()));
    assert_eq!(place.course("run").len(), 8);
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let place = Place::new();
    let file = place.path("model/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len();
    bytes[end - 400..].copy_from_slice(&f32::NAN.to_le_bytes().repeat(100));
    fs::write(&file, bytes).unwrap();
    let said = place.fails(1, &format!("train data.jsonl --model model --max-steps 5 --output-dir run {SHORT}"));
    assert!(said.contains("post_attention_norm.weight") && said.contains("not a number"), "{said}");
}
