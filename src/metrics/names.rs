//! What the names of metrics mean, so that runs of different trainers can be laid over each other.

/// What a metric is, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Loss on what is trained on.
    Loss,
    /// Loss on what is held out.
    HeldOut,
    /// Learning rate.
    LearningRate,
    /// Norm of the gradients.
    GradNorm,
    /// Work done in a second.
    Throughput,
    /// Load of an expert.
    Expert,
    /// Something else.
    Other,
}

/// Lower case, with `_` between words: `Train/Grad-Norm` is `train_grad_norm`.
pub fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '/' | '.' | '-' | ' ' | ':' | '(' | ')' | '[' | ']' | '_' => {
                if !out.is_empty() && !out.ends_with('_') {
                    out.push('_');
                }
            }
            c => out.extend(c.to_lowercase()),
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    out
}

/// One name for what trainers call differently: `train_loss` and `loss` are drawn on one chart.
pub fn common(name: &str) -> String {
    let plain = plain(name);
    let of = |kind: Kind| match kind {
        Kind::Loss => Some("loss"),
        Kind::HeldOut => Some("val_loss"),
        Kind::LearningRate => Some("lr"),
        Kind::GradNorm => Some("grad_norm"),
        _ => None,
    };
    if let Some(name) = of(kind_of(&plain)) {
        return name.into();
    }
    match plain.as_str() {
        "tok_s"
        | "tps"
        | "tokens_s"
        | "tok_sec"
        | "tokens_sec"
        | "tokens_per_sec"
        | "tokens_per_second"
        | "tokens_per_second_per_gpu"
        | "train_tokens_per_second" => "tok_s".into(),
        _ => plain,
    }
}

/// What a metric of this name is.
pub fn kind(name: &str) -> Kind {
    if expert(name).is_some() {
        return Kind::Expert;
    }
    kind_of(&plain(name))
}

fn kind_of(plain: &str) -> Kind {
    match plain {
        "loss"
        | "train_loss"
        | "training_loss"
        | "loss_train"
        | "total_loss"
        | "lm_loss"
        | "train_total_loss"
        | "train_loss_step"
        | "ce_loss"
        | "nll_loss"
        | "loss_metrics_global_avg_loss" => return Kind::Loss,
        "lr" | "learning_rate" | "train_lr" | "train_learning_rate" => return Kind::LearningRate,
        "grad_norm" | "gnorm" | "gradient_norm" | "train_grad_norm" | "grad_norm_total" => return Kind::GradNorm,
        _ => {}
    }
    let held_out = ["val_", "valid_", "validation_", "eval_", "test_", "dev_"];
    if let Some(rest) = held_out.iter().find_map(|start| plain.strip_prefix(start))
        && kind_of(rest) == Kind::Loss
    {
        return Kind::HeldOut;
    }
    if matches!(plain, "loss_val" | "loss_valid" | "loss_eval" | "loss_test") {
        return Kind::HeldOut;
    }
    let throughput = ["tok_s", "tps", "tokens_s", "it_s", "it_sec", "per_sec", "per_second", "tok_sec", "tokens_sec"];
    let per_card = plain.strip_suffix("_per_gpu").unwrap_or(plain);
    if throughput.iter().any(|end| per_card.ends_with(end)) {
        return Kind::Throughput;
    }
    Kind::Other
}

/// True if a larger value is the better one.
pub fn more_is_better(name: &str) -> bool {
    let plain = plain(name);
    let good = ["acc", "accuracy", "f1", "bleu", "rouge", "reward", "rewards", "auc", "precision", "recall", "score"];
    kind_of(&plain) == Kind::Throughput || plain.split('_').any(|word| good.contains(&word))
}

/// The layer of metrics that say one thing of all experts of a layer.
pub const ALL_LAYERS: u32 = u32::MAX;

/// The layer and the expert that a name speaks of, and what it says of them:
/// `layers.3.experts.5.load` is `(3, 5, "load")`, `experts.3.5` is `(3, 5, "")`. Where only the layer has a number, as
/// in `layers.3.experts.load`, it stands in the place of the expert, below `ALL_LAYERS`.
pub fn expert(name: &str) -> Option<(u32, u32, String)> {
    if !name.contains("expert") {
        return None;
    }
    let mut numbers = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut seen_expert = false;
    // The only number may be that of a layer.
    let (mut layered, mut before) = (false, "");
    for part in name.split(['.', '/', '_', '[', ']', '-', ' ', ':']).filter(|part| !part.is_empty()) {
        let digits = part.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let letters = &part[..part.len() - digits.len()];
        seen_expert |= part.starts_with("expert");
        match digits.parse::<u32>() {
            Ok(number) => {
                layered |= letters.starts_with("layer") || (letters.is_empty() && before.starts_with("layer"));
                numbers.push((number, letters));
            }
            Err(_) => words.push(part),
        }
        before = part;
    }
    let of = |name: &str| numbers.iter().find(|(_, letters)| letters.starts_with(name)).map(|(number, _)| *number);
    let (layer, expert) = match (of("layer"), of("expert")) {
        (Some(layer), Some(expert)) => (layer, expert),
        _ if numbers.len() == 2 => (numbers[0].0, numbers[1].0),
        _ if numbers.len() == 1 && layered => (ALL_LAYERS, numbers[0].0),
        // `experts.5.load` is about one layer, or all.
        _ if numbers.len() == 1 => (0, numbers[0].0),
        _ => return None,
    };
    let said = words.iter().filter(|w| !w.starts_with("expert") && !w.starts_with("layer")).copied();
    seen_expert.then(|| (layer, expert, said.collect::<Vec<_>>().join(".")))
}

/// Sorts what people look at first to the front.
pub fn rank(name: &str) -> u8 {
    match kind(name) {
        Kind::Loss => 0,
        Kind::HeldOut => 1,
        Kind::GradNorm => 3,
        Kind::LearningRate => 4,
        Kind::Throughput => 5,
        Kind::Expert => 9,
        Kind::Other if plain(name).contains("loss") => 2,
        Kind::Other if more_is_better(name) => 2,
        // Few look at what only counts.
        Kind::Other if matches!(plain(name).as_str(), "epoch" | "accum") => 7,
        Kind::Other => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainers_mean_the_same() {
        for (common_name, names) in [
            ("loss", &["loss", "train_loss", "train/loss", "Train loss", "lm loss", "training_loss"][..]),
            ("val_loss", &["val_loss", "eval_loss", "eval/loss", "Val loss", "valid.loss", "test_loss"]),
            ("lr", &["lr", "learning_rate", "train/learning_rate", "Learning Rate"]),
            ("grad_norm", &["grad_norm", "train/grad_norm", "grad norm", "gnorm"]),
            ("tok_s", &["tok_s", "tok/s", "Tokens/sec", "tps", "tokens_per_second_per_gpu"]),
            ("loss_cls", &["loss_cls"]),
            ("eval_accuracy", &["eval/accuracy"]),
        ] {
            for name in names {
                assert_eq!(common(name), common_name, "{name}");
            }
        }
        assert_eq!(kind("It/sec"), Kind::Throughput);
        assert_eq!(kind("train_samples_per_second"), Kind::Throughput);
        assert!(more_is_better("eval/accuracy") && more_is_better("rewards/margins") && !more_is_better("loss"));
        assert!(rank("loss") < rank("eval_loss") && rank("eval_loss") < rank("weird"));
    }

    #[test]
    fn experts_are_found_in_names() {
        for (name, want) in [
            ("experts.3.5", Some((3, 5, ""))),
            ("layers.3.experts.5.load", Some((3, 5, "load"))),
            ("moe/layer_12/expert_7/share", Some((12, 7, "moe.share"))),
            ("layer12/expert7", Some((12, 7, ""))),
            ("expert_4_load", Some((0, 4, "load"))),
            ("layers.3.experts.load.5", Some((3, 5, "load"))),
            ("layers.3.experts.load", Some((ALL_LAYERS, 3, "load"))),
            ("moe/layer_12/experts_balance", Some((ALL_LAYERS, 12, "moe.balance"))),
            ("loss", None),
            ("experts.load", None),
            ("model.layers.3.weight", None),
            ("a.1.b.2.experts.3", None),
        ] {
            let want = want.map(|(layer, expert, said): (u32, u32, &str)| (layer, expert, said.to_owned()));
            assert_eq!(expert(name), want, "{name}");
        }
        assert_eq!(kind("experts.3.5"), Kind::Expert);
    }
}
