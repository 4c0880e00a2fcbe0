//! First answers, then preferences: a small model that learned two manners, and is then told which one is wanted.

use super::*;

const ADJECTIVES: [&str; 20] = [
    "red", "blue", "old", "new", "big", "small", "cold", "warm", "soft", "hard", "dark", "light", "wet", "dry", "long",
    "short", "round", "flat", "loud", "quiet",
];
const NOUNS: [&str; 20] = [
    "ball", "cup", "door", "lamp", "tree", "boat", "stone", "shirt", "chair", "bell", "road", "cake", "bird", "drum",
    "leaf", "coin", "rope", "wheel", "book", "glass",
];

struct Things {
    prompts: Vec<String>,
    polite: Vec<String>,
    gruff: Vec<String>,
}

/// Every fifth thing is held out: none of its words is new, and it was never seen.
fn things(held: bool) -> Things {
    let all = (0..20).flat_map(|i| (0..20).map(move |j| (i, j))).filter(|(i, j)| ((i + 3 * j) % 5 == 0) == held);
    let mut things = Things { prompts: Vec::new(), polite: Vec::new(), gruff: Vec::new() };
    for (i, j) in all {
        let thing = format!("{} {}", ADJECTIVES[i], NOUNS[j]);
        things.prompts.push(format!("a {thing}"));
        things.polite.push(format!("Here is your {thing}."));
        things.gruff.push(format!("Take the {thing}, go."));
    }
    things
}

/// Lines of chats.
fn chats<'a>(rows: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let row = |(prompt, answer): (&String, &String)| {
        let messages = json!([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]);
        format!("{}\n", json!({ "messages": messages }))
    };
    rows.map(row).collect()
}

/// What was measured last of what is held out: loss of the chosen answers a token, and the share of pairs won.
fn measured(place: &Place, run: &str) -> (f64, f64) {
    let pairs = place.events(run).into_iter().rev().find_map(|event| match event.what {
        Happening::Evaluation { pairs, .. } => pairs,
        _ => None,
    });
    let pairs = pairs.unwrap();
    (pairs.nll, pairs.accuracy)
}

#[test]
#[ignore = "trains for minutes; cargo test --release --test training -- --ignored chosen --nocapture"]
fn the_chosen_manner_is_preferred_and_nothing_is_lost() {
    let place = Place::new();
    let shape = json!({"hidden_dim": 64, "num_layers": 4, "d_source_model": 32, "ssm_d_state": 8,
        "swa_window_size": 64, "moe_intermediate_dim": 64});
    model_of(&place.path("base"), 3, &shape);
    let (seen, held) = (things(false), things(true));
    let both = |t: &Things| chats(t.prompts.iter().zip(&t.polite)) + &chats(t.prompts.iter().zip(&t.gruff));
    let pairs = |t: &Things| -> String {
        let row = |i: usize| json!({"prompt": t.prompts[i], "chosen": t.polite[i], "rejected": t.gruff[i]});
        (0..t.prompts.len()).map(|i| format!("{}\n", row(i))).collect()
    };
    place.write("sft.jsonl", &both(&seen));
    place.write("pairs.jsonl", &pairs(&seen));
    place.write("held-pairs.jsonl", &pairs(&held));
    let common = "--sensor none --max-seq-len 128 --val-sequences 1000 --seed 5";
    let sft = "--adapter full --max-steps 400 --batch-size 8 --grad-accum-steps 1 --learning-rate 3e-3";
    place.works(&format!("train sft.jsonl --model base {sft} {common} --output-dir sft"));
    let orpo = format!("train pairs.jsonl --val-data held-pairs.jsonl --model sft/model --method orpo {common}");
    // A step too small to change anything, for what is true before.
    place.works(&format!("{orpo} --max-steps 1 --learning-rate 1e-12 --output-dir before"));
    let rest = "--max-steps 150 --batch-size 8 --grad-accum-steps 1 --learning-rate 1e-3 --eval-every 50";
    place.works(&format!("{orpo} {rest} --output-dir orpo"));
    let ((loss_before, before), (loss, after)) = (measured(&place, "before"), measured(&place, "orpo"));
    println!(
        "{} pairs held out: chosen preferred in {:.1} % before ORPO and {:.1} % after; loss of the chosen answers \
         {loss_before:.4} before, {loss:.4} after",
        held.prompts.len(),
        100.0 * before,
        100.0 * after
    );
    assert!(before < 0.9, "there was nothing to learn: {before}");
    assert!(after >= 0.95 && loss <= loss_before);
}
