//! The model card: what the hub shows, made from what the files say.

use std::collections::BTreeMap;

use super::folder::{Folder, What};
use crate::cli::hub::RepoId;
use crate::cli::inspect::layers;
use crate::cli::open::Files;
use crate::cli::progress::{bytes, count};
use crate::model::tensors::{parameters, tensors};

/// All that a card is made of.
pub(super) struct Card<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) licence: Option<&'a str>,
    pub(super) base: Option<&'a RepoId>,
    pub(super) folder: &'a Folder,
    /// The training run, as rows of a table.
    pub(super) course: Option<Vec<(String, String)>>,
    /// Markdown of the user's.
    pub(super) report: Option<String>,
}

impl Card<'_> {
    /// The card.
    pub(super) fn markdown(&self) -> String {
        let mut text = self.front_matter();
        text.push_str(&format!("\n# {}\n\n", self.repo.name));
        match &self.folder.what {
            What::Model(files) => self.model(&mut text, files),
            What::Adapter(adapter) => {
                let base = self.base.map_or_else(|| adapter.base(), ToString::to_string);
                let kind = adapter.setting("fine_tune_type").unwrap_or_else(|| "lora".into());
                text.push_str(&format!(
                    "An adapter ({}) for the Bit-Axon model `{}`: small matrices beside its weights.\n\n",
                    cell(&kind),
                    code(&base)
                ));
                let mut rows = vec![("values".to_owned(), count(adapter.values))];
                for (what, name) in [
                    ("rank", "rank"),
                    ("scale", "scale"),
                    ("dropout", "dropout"),
                    ("on", "keys"),
                    ("experts too", "experts"),
                ] {
                    rows.extend(adapter.setting(name).map(|value| (what.to_owned(), cell(&value))));
                }
                table(&mut text, &rows);
                let (repo, name) = (self.repo, &self.repo.name);
                text.push_str(&format!(
                    "\n```sh\nbit-axon download {repo} --out adapters/{name}\nbit-axon run \"Hello\" --model {} --adapter \
                     adapters/{name}\n```\n",
                    shell(&base)
                ));
            }
        }
        if let Some(rows) = &self.course {
            text.push_str("\n## Training\n\n");
            table(&mut text, rows);
        }
        if let Some(report) = &self.report {
            text.push_str(&format!("\n{}\n", report.trim()));
        }
        text
    }

    fn model(&self, text: &mut String, files: &Files) {
        let spec = files.config.spec();
        let (total, active) = parameters(&spec);
        text.push_str(
            "A Bit-Axon model: selective state spaces, attention within a window, and a mixture of experts of which \
             each token takes a few.\n\n",
        );
        let kinds: Vec<String> = spec.layers.iter().map(ToString::to_string).collect();
        let c = &files.config;
        let shared = if c.moe_shared_expert { ", and a shared one" } else { "" };
        let size: u64 = files.checkpoint.files().filter_map(|path| path.metadata().ok()).map(|about| about.len()).sum();
        let rows = [
            ("parameters", format!("{} in all, {} for each token", count(total), count(active))),
            ("layers", layers(&kinds)),
            ("hidden size", format!("{}, {} heads, a window of {}", c.hidden_dim, c.num_heads, c.swa_window_size)),
            ("experts", format!("{} of {} for each token{shared}", c.moe_top_k, c.moe_num_experts)),
            ("vocabulary", format!("{} tokens", c.vocab_size)),
            ("context", format!("up to {} tokens", c.max_seq_len)),
            ("weights", format!("{}, {}", stored(files), bytes(size))),
        ];
        table(text, &rows.map(|(what, value)| (what.to_owned(), value)));
        let repo = self.repo;
        text.push_str(&format!("\n```sh\nbit-axon run \"Hello\" --model {repo}\nbit-axon chat {repo}\n```\n"));
    }

    /// What the hub reads by machine. Everything in it is a plain name.
    fn front_matter(&self) -> String {
        let mut text = "---\n".to_owned();
        if let Some(licence) = self.licence {
            text.push_str(&format!("license: {licence}\n"));
        }
        text.push_str("library_name: bit-axon\npipeline_tag: text-generation\ntags:\n- bit-axon\n- ssm\n- moe\n");
        let own = match &self.folder.what {
            What::Adapter(adapter) => adapter.base().parse::<RepoId>().ok(),
            What::Model(_) => None,
        };
        if let Some(base) = self.base.or(own.as_ref()) {
            text.push_str(&format!("base_model: {base}\n"));
            let relation = match self.folder.what {
                What::Adapter(_) => "adapter",
                What::Model(_) => "finetune",
            };
            text.push_str(&format!("base_model_relation: {relation}\n"));
        }
        text + "---\n"
    }
}

/// The format that most values are stored in.
fn stored(files: &Files) -> String {
    let mut values: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in tensors(&files.config.spec()) {
        if let Some(holding) = files.checkpoint.holding(&tensor) {
            *values.entry(holding.format).or_default() += tensor.len();
        }
    }
    let most = values.into_iter().max_by_key(|(_, values)| *values);
    most.map_or_else(String::new, |(format, _)| format!("mostly {}", format.to_lowercase()))
}

fn table(text: &mut String, rows: &[(String, String)]) {
    text.push_str("| | |\n|---|---|\n");
    for (what, value) in rows {
        text.push_str(&format!("| {what} | {value} |\n"));
    }
}

/// A text of a file's, made fit for a table's cell: it stays text.
pub(super) fn cell(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut out = String::new();
    for c in plain.chars() {
        if matches!(c, '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Between backticks.
fn code(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && *c != '`').collect()
}

/// A word of a command.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { "BASE".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_files_stays_text() {
        assert_eq!(cell("a|b\n# `c` <x>"), "a\\|b \\# \\`c\\` \\<x\\>");
        assert_eq!(code("a`b\u{1b}c"), "abc");
        assert_eq!([shell("owner/name"), shell("a b; rm"), shell("")], ["owner/name", "BASE", "BASE"]);
    }
}
