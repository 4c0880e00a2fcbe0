//! The form of the workbench that starts a run: which settings it has, and their usual values.

use std::fmt::Display;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::app::App;
use crate::app::action::Action;
use crate::app::msg::Msg;
use crate::app::training::{Field, FieldKind, Form};
use crate::run::Trainer;
use crate::train::folder::alive_in;
use crate::train::settings::{Adapter, Method, Settings};

/// Where runs are kept unless told otherwise.
pub(super) const RUNS: &str = "runs";

/// Lets a workbench start runs and steer them, and says which go on here.
pub(in crate::cli) fn equip(app: &mut App, model: Option<&str>) -> (Trainer, Option<Msg>) {
    app.training.form = blank(model);
    app.training.steering.allowed = true;
    let runs = PathBuf::from(RUNS);
    let alive = alive_in(&runs);
    let greeting = alive.first().map(|first| {
        let key = app.keymap.short(Action::ViewTraining).unwrap_or_else(|| "/training".into());
        let more = if alive.len() > 1 { format!(" and {} more", alive.len() - 1) } else { String::new() };
        Msg::Notice(format!("Training goes on in {}{more}: {key} shows it", first.display()))
    });
    (Trainer { runs, own: None }, greeting)
}

/// The form, with the usual values filled in.
fn blank(model: Option<&str>) -> Form {
    let usual = Settings::default();
    let field = |name, about: &str, kind, value: &dyn Display| Field {
        name,
        about: about.into(),
        kind,
        value: value.to_string(),
        error: None,
    };
    let fields = vec![
        field("data", "a file with one JSON object a line, or a file from `bit-axon prepare`", FieldKind::Needed, &""),
        field(
            "model",
            "the model to start from: a folder, a .safetensors file, or a hub name such as owner/name",
            FieldKind::Needed,
            &model.unwrap_or_default(),
        ),
        field(
            "method",
            "what is learned from; auto: preferences in the data mean orpo, all else sft",
            choice::<Method>(),
            &OPEN,
        ),
        field("adapter", "what is trained; auto: dora, or full for pretrain", choice::<Adapter>(), &OPEN),
        field(
            "max-steps",
            "steps of the optimiser; data repeats until they are done",
            FieldKind::Count,
            &usual.max_steps,
        ),
        field("batch-size", "sequences (or pairs) that are computed at once", FieldKind::Count, &usual.batch_size),
        field("grad-accum-steps", "such batches that make a step", FieldKind::Count, &usual.grad_accum_steps),
        field("max-seq-len", "tokens of a sequence", FieldKind::Count, &usual.max_seq_len),
        field(
            "learning-rate",
            "the highest; it falls to 0 along a cosine",
            FieldKind::Number,
            &format!("{:e}", usual.learning_rate),
        ),
        field("val-split", "share of the data that is held out, to measure on", FieldKind::Number, &usual.val_split),
        field("output-dir", "the run folder; a new one in runs/ if left open", FieldKind::Text, &""),
    ];
    Form::new(fields)
}

/// What leaves a choice to the data.
const OPEN: &str = "auto";

fn choice<T: ValueEnum>() -> FieldKind {
    let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    FieldKind::Choice(std::iter::once(OPEN.to_owned()).chain(names.map(|value| value.get_name().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::settings::NAMES;

    #[test]
    fn every_field_is_an_option_of_train() {
        let form = blank(Some("models/mine"));
        for field in &form.fields {
            let name = field.name.replace('-', "_");
            assert!(NAMES.iter().any(|(known, _)| *known == name), "{name}");
        }
        let values = form.values();
        assert!(
            values.contains(&("model", "models/mine".into())) && values.contains(&("learning-rate", "1e-4".into()))
        );
        // What is left to the data is not named.
        assert!(values.iter().all(|(name, _)| !["data", "method", "adapter", "output-dir"].contains(name)));
    }
}
