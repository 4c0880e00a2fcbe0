//! The training run that a folder came out of, in figures.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::card::cell;
use crate::protocol::{Happening, TrainLine};
use crate::train::folder::{holds_run, settings_path};
use crate::train::settings::Settings;

/// Rows of a table: what, and how much. None where the folder is of no run, or the run cannot be read.
pub(super) fn of(folder: &Path) -> Option<Vec<(String, String)>> {
    let folder = folder.canonicalize().ok()?;
    let run = folder.ancestors().skip(1).take(2).find(|path| holds_run(path))?;
    let mut settings = Settings::default();
    Settings::read_given(&settings_path(run)).ok()?.apply(&mut settings);
    let mut rows = vec![("method".into(), format!("{}, {}", settings.method(), settings.adapter()))];
    let mut row = |what: &str, text: String| rows.push((what.to_owned(), cell(&text)));
    // The file's name alone: where it is here concerns nobody.
    if let Some(name) = settings.data.as_deref().and_then(Path::file_name) {
        row("data", name.to_string_lossy().into_owned());
    }
    let (mut last, mut held, mut backend) = (None, None, None);
    for line in BufReader::new(File::open(run.join("metrics.jsonl")).ok()?).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(TrainLine::Step(step)) => last = Some(step),
            Ok(TrainLine::Event(event)) => match event.what {
                Happening::Evaluation { loss, pairs, .. } => held = Some((event.step, loss, pairs)),
                Happening::Start { backend: name, .. } => backend = Some(name),
                _ => {}
            },
            Err(_) => {}
        }
    }
    if let Some(last) = last {
        row(
            "steps",
            format!("{} of {} sequences of {} tokens", last.step, settings.step_units(), settings.max_seq_len),
        );
        row("tokens read", last.tokens.to_string());
        row(
            "learning rate",
            format!("{}, {} steps of warm-up, then a cosine", settings.learning_rate, settings.warmup()),
        );
        row("loss of the last step", format!("{:.4}", last.loss));
    }
    if let Some((step, loss, pairs)) = held {
        row("held-out loss", format!("{loss:.4} after step {step}"));
        if let Some(pairs) = pairs {
            row("chosen answer preferred", format!("{:.1} % of the held-out pairs", 100.0 * pairs.accuracy));
        }
    }
    row("seed", settings.seed.to_string());
    if let Some(backend) = backend {
        row("computed by", backend);
    }
    Some(rows)
}
