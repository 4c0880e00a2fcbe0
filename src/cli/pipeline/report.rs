//! The report of a pipeline, in Markdown.

use std::fmt::Write as _;
use std::path::Path;

use super::super::output;
use super::super::progress::{bytes, count, time};
use super::recipe::Recipe;
use super::record::{Done, Evaluated, Figures, Stage, Trained};
use crate::model::checkpoint::printable;

/// The whole of it.
pub(super) fn text(folder: &Path, recipe: &Recipe, done: &[Done], result: &Path) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    line(format!("# {}\n", cell(&name(folder))));
    line(format!("From {}.\n", code(&recipe.model)));
    line("| stage | what | took | folder |\n|---|---|---:|---|".into());
    for done in done {
        let what = what(recipe, done);
        line(format!("| {} | {what} | {} | {} |", done.stage, time(done.seconds), code(done.stage.folder())));
    }
    let trained: Vec<(Stage, &Trained)> = done
        .iter()
        .filter_map(|d| if let Figures::Trained(t) = &d.figures { Some((d.stage, t)) } else { None })
        .collect();
    if !trained.is_empty() {
        line("\n## Training\n".into());
        line("| stage | steps | tokens | loss at first | at last | held out | chosen won |\n|---|---:|---:|---:|---:|---:|---:|".into());
        for (stage, t) in trained {
            line(format!(
                "| {stage} | {} | {} | {:.4} | {:.4} | {} | {} |",
                t.steps,
                count(t.tokens),
                t.first_loss,
                t.last_loss,
                t.held_loss.map_or_else(|| "–".into(), |loss| format!("{loss:.4}")),
                t.accuracy.map_or_else(|| "–".into(), percent)
            ));
        }
        line("\nLosses are means over the first and the last tenth of the steps.".into());
    }
    for done in done {
        if let Figures::Evaluated { models } = &done.figures {
            evaluation(&mut line, recipe, models);
        }
    }
    line("\n## The result\n".into());
    line(format!("{}\n", code(&result.display().to_string())));
    line(format!("```sh\nbit-axon run --chat --model {}\n```", quoted(&result.display().to_string())));
    text
}

fn evaluation(line: &mut dyn FnMut(String), recipe: &Recipe, models: &[Evaluated]) {
    line("\n## Evaluation".into());
    for (i, file) in recipe.eval.iter().enumerate() {
        let reports: Vec<_> = models.iter().filter_map(|model| Some((model, model.reports.get(i)?))).collect();
        let Some((_, first)) = reports.first() else { continue };
        line(format!("\n{}: {} examples, {} tokens that count.\n", code(&name(file)), first.examples, first.tokens));
        let pairs = first.preferred.is_some();
        line(format!("| model | size | loss | perplexity |{}", if pairs { " chosen preferred |" } else { "" }));
        line(format!("|---|---:|---:|---:|{}", if pairs { "---:|" } else { "" }));
        for (model, report) in reports {
            let preferred = report.preferred.map_or_else(String::new, |share| format!(" {} |", percent(share)));
            line(format!(
                "| {} | {} | {:.4} | {:.2} |{preferred}",
                cell(&model.name),
                bytes(model.bytes),
                report.loss,
                report.perplexity
            ));
        }
    }
}

fn what(recipe: &Recipe, done: &Done) -> String {
    let data = |given: &Option<crate::train::settings::Given>| {
        given.as_ref().and_then(|given| given.data.as_deref()).map_or_else(String::new, |path| code(&name(path)))
    };
    match (&done.figures, done.stage) {
        (Figures::Trained(t), Stage::Orpo) => format!("{} steps on {}", t.steps, data(&recipe.orpo)),
        (Figures::Trained(t), _) => format!("{} steps on {}", t.steps, data(&recipe.sft)),
        (Figures::Written { bytes: size, format }, _) => format!("{} in {format}", bytes(*size)),
        (Figures::Evaluated { models }, _) => format!("{} models", models.len()),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Text of a table's cell: names of files may hold anything.
fn cell(text: &str) -> String {
    output::safe(&printable(text)).replace('\\', "\\\\").replace('|', "\\|").replace(['`', '<'], "'")
}

fn code(text: &str) -> String {
    format!("`{}`", cell(text).replace("\\\\", "\\"))
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let text = printable(text);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_table_or_the_command() {
        assert_eq!(cell("a|b`c\x1b[0m"), "a\\|b'c\\u{1b}[0m".replace("\\u", "\\\\u"));
        assert_eq!(quoted("models/mine-4.bit"), "models/mine-4.bit");
        assert_eq!(quoted("it's; rm"), "'it'\\''s; rm'");
    }
}
