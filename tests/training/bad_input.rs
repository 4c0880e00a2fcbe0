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
