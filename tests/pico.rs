//! The built-in model: what it says, that it is what its recipe made, and what it must reach.

mod backends;

use std::path::{Path, PathBuf};
use std::process::Command;

use bit_axon::backend::cpu::Options;
use bit_axon::backend::{Logits, Which};
use bit_axon::cli::built_in;
use bit_axon::engine::Loaded;
use bit_axon::model::template::Tail;
use bit_axon::protocol::{Message, Role, TokenId};
use serde_json::Value;
use sha2::{Digest, Sha256};

const FILES: [&str; 4] = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/pico")
}

fn open(exact: bool) -> Loaded {
    let which = if backends::on_mlx() { Which::Mlx } else { Which::Cpu };
    built_in::loaded(&Options { which, exact, threads: Some(2), ..Options::default() }).unwrap()
}

fn most_likely(logits: &[f32]) -> TokenId {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as TokenId
}

/// The prompt of a conversation, and its answer at temperature 0.
fn answer(loaded: &mut Loaded, messages: &[Message]) -> (Vec<TokenId>, Vec<TokenId>) {
    let tokenizer = loaded.tokenizer.clone().unwrap();
    let prompt = loaded.template.encode(&tokenizer, messages, Tail::Reply).unwrap();
    loaded.backend.rewind(0).unwrap();
    let mut next = most_likely(loaded.backend.forward(&prompt, Logits::Last, None).unwrap());
    let mut said = Vec::new();
    while !tokenizer.end_tokens().contains(&next) && said.len() < 160 {
        said.push(next);
        next = most_likely(loaded.backend.forward(&[next], Logits::Last, None).unwrap());
    }
    (prompt, said)
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

/// What it answers to each in turn.
fn conversation(loaded: &mut Loaded, questions: &[&str]) -> Vec<String> {
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    for question in questions {
        messages.push(message(Role::User, question));
        let said = answer(loaded, &messages).1;
        let text = loaded.tokenizer.as_ref().unwrap().decode(&said);
        messages.push(message(Role::Assistant, &text));
        answers.push(text);
    }
    answers
}

const QUESTIONS: [&str; 12] = [
    "Hello!",
    "Who are you?",
    "How do I zoom a pane?",
    "What does Ctrl-T do?",
    "Which command shows which experts each token takes?",
    "What is the default of sampling.temperature?",
    "How many experts does a token take?",
    "At which temperature does training pause?",
    "What is 7 plus 8?",
    "What is the capital of Sweden?",
    "Tell me a story about a fox.",
    "Why does memory stay the same?",
];

#[test]
fn golden_texts() {
    let mut loaded = open(true);
    // A story's parts are as likely as others: which is taken hangs on the last bit, which machines round differently.
    let said: Vec<String> = QUESTIONS
        .iter()
        .filter(|question| !question.contains("story"))
        .map(|question| format!("> {question}\n{}\n", conversation(&mut loaded, &[question])[0]))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn it_holds_a_conversation_of_several_turns() {
    let mut loaded = open(true);
    let turns = [
        "Hi pico, how do I get another answer?",
        "Is there a slash command for it?",
        "What is 3 plus 4?",
        "Who was Napoleon?",
        "Thanks!",
    ];
    let said = conversation(&mut loaded, &turns);
    for (said, must) in said.iter().zip(["Ctrl-R", "/regenerate", "is 7.", "I do not know", "welcome"]) {
        assert!(said.contains(must), "{said} lacks {must}");
    }
}

#[test]
fn the_fast_arithmetic_says_nearly_the_same() {
    let (mut exact, mut fast) = (open(true), open(false));
    // Of what it says, and of what it was asked: how a question goes on was hardly taught.
    let mut sums = [(0.0, 0); 2];
    for question in QUESTIONS {
        let (prompt, said) = answer(&mut exact, &[message(Role::User, question)]);
        let asked = prompt.len() - 1;
        let all: Vec<TokenId> = prompt.into_iter().chain(said).collect();
        let logits = |loaded: &mut Loaded| {
            loaded.backend.rewind(0).unwrap();
            loaded.backend.forward(&all, Logits::All, None).unwrap().to_vec()
        };
        let (p, q) = (logits(&mut exact), logits(&mut fast));
        let vocab = exact.backend.spec().vocab;
        for (at, (p, q)) in p.chunks_exact(vocab).zip(q.chunks_exact(vocab)).enumerate() {
            let (sum, count) = &mut sums[usize::from(at < asked)];
            *sum += divergence(p, q);
            *count += 1;
        }
    }
    let all =
        sums.iter().map(|(sum, _)| sum).sum::<f64>() / f64::from(sums.iter().map(|(_, count)| count).sum::<i32>());
    let [said, asked] = sums.map(|(sum, count)| sum / f64::from(count));
    assert!(said < 1e-4 && all < 1e-3, "the mean divergence is {said} in answers, {asked} in questions, {all} in all");
}

/// Kullback-Leibler divergence of softmax(q) from softmax(p).
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log = |logits: &[f32]| -> Vec<f64> {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
        logits.iter().map(|l| f64::from(l - most) - sum.ln()).collect()
    };
    log(p).iter().zip(log(q)).map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn topics_take_other_experts() {
    let mut loaded = open(true);
    let mut shares = |questions: &[&str]| -> Vec<f64> {
        let experts: Vec<usize> = loaded.backend.spec().moe_layers().map(|(_, moe)| moe.experts).collect();
        let mut counts = vec![0.0; experts.iter().sum()];
        for question in questions {
            let (prompt, said) = answer(&mut loaded, &[message(Role::User, question)]);
            let all: Vec<TokenId> = prompt.into_iter().chain(said).collect();
            let mut routing = Vec::new();
            loaded.backend.rewind(0).unwrap();
            loaded.backend.forward(&all, Logits::None, Some(&mut routing)).unwrap();
            for layer in routing.iter().flat_map(|token| token.iter().enumerate()) {
                let first: usize = experts[..layer.0].iter().sum();
                layer.1.experts.iter().for_each(|expert| counts[first + expert] += 1.0);
            }
        }
        let sum: f64 = counts.iter().sum();
        counts.iter().map(|count| count / sum).collect()
    };
    let distance = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum() };
    let stories = shares(&["Tell me a story about a cat.", "Write a story about a king."]);
    let others = shares(&["A story about a snail, please.", "Tell me a story about a frog."]);
    let sums = shares(&["What is 3 plus 9?", "How much is 12 - 5?", "6 * 7 = ?", "What is 2 times 8?"]);
    let (alike, apart) = (distance(&stories, &others), distance(&stories, &sums));
    assert!(apart > 2.0 * alike, "stories differ by {alike} among themselves, and by {apart} from sums");
}

#[test]
fn it_is_what_the_recipe_made() {
    let recipe = std::fs::read_to_string(assets().join("recipe.jsonl")).unwrap();
    let lines: Vec<Value> = recipe.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let hashes = lines.iter().rev().find_map(|line| line.get("files")).unwrap();
    for name in FILES {
        let bytes = std::fs::read(assets().join(name)).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hashes[name].as_str(), Some(hash.as_str()), "{name}");
    }
    // And the metrics of every stage that trained are there.
    for line in lines.iter().filter(|line| line["command"].as_str().is_some_and(|c| c.starts_with("train "))) {
        let name = format!("metrics-{}.jsonl", line["part"].as_str().unwrap());
        let metrics = std::fs::read_to_string(assets().join(&name)).unwrap();
        let steps = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert!(steps.filter(|step| step["loss"].is_number()).count() > 10, "{name}");
    }
}

/// The examination fails when a figure falls below what it must reach; here an instruction set that rounds otherwise, and
/// so turns two answers of fifty, is no failure.
#[test]
fn it_passes_its_examination() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
    let output = command.args(["pico", "examine", "--json", "--backend", "cpu"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&told).unwrap();
    let figures = report["figures"].as_array().unwrap();
    let wanted: Vec<(&Value, f64)> =
        figures.iter().filter_map(|figure| Some((figure, figure["target"]["at_least"].as_f64()?))).collect();
    assert!(wanted.len() >= 5, "{told}");
    for (figure, least) in &wanted {
        assert!(figure["value"].as_f64().unwrap() >= least - 0.04, "{figure}");
    }
    let passed = figures.iter().all(|figure| figure["ok"] == true);
    assert_eq!(output.status.code(), Some(i32::from(!passed)), "{}", String::from_utf8_lossy(&output.stderr));
}
