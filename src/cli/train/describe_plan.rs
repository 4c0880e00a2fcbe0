//! `--plan`: what a run would do.

use anyhow::Result;

use super::super::open::available_memory;
use super::super::output;
use super::super::progress::{bytes, count};
use super::learner;
use super::setup::Setup;
use crate::train::plan::{estimate, trained};
use crate::train::settings::Method;

/// In lines, safe to print.
pub(super) fn text(mut setup: Setup) -> Result<String> {
    let settings = setup.settings.clone();
    let spec = setup.files.config.spec();
    let data = estimate(&mut setup.source, setup.part, &setup.encoder, &settings)?;
    let groups = trained(&spec, &settings, &learner::takes(&settings));
    let values: u64 = groups.iter().map(|group| group.values).sum();
    let computing = learner::computing(&setup.files, &settings)?;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{label:<12}{}\n", output::safe(&value)));
    };
    let (method, adapter) = (settings.method(), settings.adapter());
    line("model", setup.files.name.clone());
    line("method", format!("{method}, {adapter}"));
    line("backend", learner::computing_text(computing, &settings)?);
    line("folder", setup.output_dir.display().to_string());
    line("data", format!("{} ({} rows)", setup.source.path().display(), count(setup.source.count())));
    let about = if data.sampled == 0 || data.sampled >= setup.source.count() { "" } else { "about " };
    let what = if method == Method::Orpo { "pairs" } else { "sequences" };
    line(
        "a pass",
        format!(
            "{about}{} examples, {} tokens, {} {what} of {} tokens{}",
            count(data.examples as u64),
            count(data.tokens as u64),
            count(data.units as u64),
            if method == Method::Orpo { "up to " } else { "" }.to_owned() + &settings.max_seq_len.to_string(),
            if data.bad > 0 {
                format!("; {} of {} rows looked at are bad", data.bad, data.sampled)
            } else {
                String::new()
            }
        ),
    );
    if data.over_long > 0.0 {
        let fate = if method == Method::Orpo { "cut".into() } else { settings.over_long.to_string() };
        line("too long", format!("{:.1}% of the examples ({fate})", 100.0 * data.over_long));
    }
    let units = settings.step_units() as u64;
    let passes = (settings.max_steps * units) as f64 / data.units.max(1.0);
    line(
        "steps",
        format!(
            "{} of {units} {what} ({} x {}): {passes:.1} passes, {} tokens",
            settings.max_steps,
            settings.batch_size,
            settings.grad_accum_steps,
            count(
                settings.max_steps * units * settings.max_seq_len as u64 * if method == Method::Orpo { 2 } else { 1 }
            )
        ),
    );
    line(
        "rate",
        format!("{} after {} steps of warm-up, then along a cosine to 0", settings.learning_rate, settings.warmup()),
    );
    line("trained", format!("{} values", count(values)));
    for group in &groups {
        line("", format!("{:<28}{:>4} x {:>8}", group.role, group.tensors, count(group.values / group.tensors as u64)));
    }
    let [frozen, held, working] = learner::memory(&setup.files, &settings, computing);
    line(
        "memory",
        format!(
            "about {}: {} frozen, {} trained with gradients and moments, {} activations; {} are free",
            bytes(frozen + held + working),
            bytes(frozen),
            bytes(held),
            bytes(working),
            bytes(available_memory())
        ),
    );
    Ok(text.trim_end().to_owned())
}
