//! What `inspect` found out, for people.

use std::fmt::Write as _;

use super::report::{Memory, Report};
use crate::cli::progress::{bytes, count};

/// The same sentence about a thousand tensors helps nobody.
const MOST_PROBLEMS: usize = 20;

pub(super) fn write(report: &Report, tensors: bool) -> String {
    let mut out = String::new();
    about(&mut out, report);
    kinds(&mut out, report);
    memory(&mut out, report);
    if tensors {
        list(&mut out, report);
    }
    problems(&mut out, report);
    out
}

// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { { let _ = writeln!($out, $($text)*); } };
}

fn about(out: &mut String, report: &Report) {
    put!(out, "{:<12}{}", "model", report.path.display());
    if let Some(c) = &report.config {
        put!(out, "{:<12}{}", "layers", layers(&report.layers));
        put!(
            out,
            "{:<12}hidden {}, embedding {}, {} heads, window {}",
            "shape",
            c.hidden_dim,
            c.d_source_model,
            c.num_heads,
            c.swa_window_size
        );
        let state =
            format!("{} channels, {} states, {} taps", c.hidden_dim * c.ssm_expand, c.ssm_d_state, c.ssm_d_conv);
        put!(out, "{:<12}{state}", "state space");
        let shared = if c.moe_shared_expert { ", and a shared one" } else { "" };
        let (k, x, i) = (c.moe_top_k, c.moe_num_experts, c.moe_intermediate_dim);
        put!(out, "{:<12}{k} of {x} for each token, {i} wide{shared}", "experts");
    }
    if let Some(p) = &report.parameters {
        put!(out, "{:<12}{} in all, {} for each token", "parameters", count(p.total), count(p.active));
        if p.head_copy > 0 {
            put!(out, "{:<12}beside them a head in 4 bits, a copy of the embedding: {}", "", count(p.head_copy));
        }
    }
    if let Some(c) = &report.config {
        let tokenizer = match report.tokenizer {
            Some(size) => format!("the tokenizer has {size}"),
            None => "no usable tokenizer".into(),
        };
        put!(out, "{:<12}{} tokens; {tokenizer}; context up to {}", "vocabulary", c.vocab_size, c.max_seq_len);
    }
    let files = match &report.files[..] {
        [one] => one.name.clone(),
        many => format!("{} files", many.len()),
    };
    put!(out, "{:<12}{} in {files}, {} tensors", "on disk", bytes(report.bytes_on_disk), report.tensors.len());
}

/// Runs of layers of one kind: `8 ssm (0-7), 8 swa+moe (8-15)`.
pub(in crate::cli) fn layers(kinds: &[String]) -> String {
    let mut at = 0;
    let runs = kinds.chunk_by(|a, b| a == b).map(|run| {
        let first = at;
        at += run.len();
        let indices = if run.len() == 1 { first.to_string() } else { format!("{first}-{}", at - 1) };
        format!("{} {} ({indices})", run.len(), run[0])
    });
    let runs: Vec<String> = runs.collect();
    format!("{}: {}", kinds.len(), runs.join(", "))
}

fn kinds(out: &mut String, report: &Report) {
    if report.kinds.is_empty() {
        return;
    }
    let width = report.kinds.iter().map(|row| row.kind.len()).max().unwrap_or(0);
    put!(out, "\n{:<width$}  {:>7}  {:<11}{:>10}{:>11}", "weights", "tensors", "stored", "values", "bytes");
    for row in &report.kinds {
        let (values, size) = (count(row.values), bytes(row.bytes));
        put!(out, "{:<width$}  {:>7}  {:<11}{values:>10}{size:>11}", row.kind, row.tensors, row.stored);
    }
}

fn memory(out: &mut String, report: &Report) {
    let [first, ..] = &report.memory[..] else { return };
    let head: Vec<String> = report.memory.iter().map(|m| format!("{:>11}", format!("{}K", m.context / 1024))).collect();
    put!(out, "\n{:<30}{}", "memory with a context of", head.concat());
    type Part = fn(&Memory) -> u64;
    let rows: [(&str, Part); 7] = [
        ("weights", |m| m.weights),
        ("keys and values, f16", |m| m.kv_f16),
        ("state space", |m| m.ssm_state),
        ("states to rewind to", |m| m.rewind),
        ("buffers, about", |m| m.buffers),
        ("together", |m| m.total),
        ("with keys and values in 8 bits", |m| m.total - m.kv_f16 + m.kv_q8),
    ];
    // A model without attention has no keys.
    for (name, value) in rows.into_iter().filter(|(name, _)| first.kv_f16 > 0 || !name.contains("keys")) {
        let cells: Vec<String> = report.memory.iter().map(|m| format!("{:>11}", bytes(value(m)))).collect();
        put!(out, "{name:<30}{}", cells.concat());
    }
}

fn list(out: &mut String, report: &Report) {
    let width = report.tensors.iter().map(|t| t.name.chars().count()).max().unwrap_or(0).min(60);
    put!(out, "\n{:<width$}  {:<5}{:>11}  shape", "tensor", "dtype", "bytes");
    for t in &report.tensors {
        put!(out, "{:<width$}  {:<5}{:>11}  {:?}", t.name, t.dtype, bytes(t.bytes), t.shape);
    }
}

fn problems(out: &mut String, report: &Report) {
    if report.problems.is_empty() {
        return;
    }
    let (fatal, notices): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| problem.fatal);
    for (title, rows) in [("problems", fatal), ("notices", notices)] {
        if rows.is_empty() {
            continue;
        }
        put!(out, "\n{title}");
        for row in rows.iter().take(MOST_PROBLEMS) {
            put!(out, "  {:<12}{}", row.kind.replace('_', " "), row.text);
        }
        if rows.len() > MOST_PROBLEMS {
            put!(out, "  and {} more: see them all with --json", rows.len() - MOST_PROBLEMS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_layers_for_people() {
        let kinds: Vec<String> = ["ssm", "ssm", "swa+moe", "ssm+moe"].map(String::from).into();
        assert_eq!(layers(&kinds), "4: 2 ssm (0-1), 1 swa+moe (2), 1 ssm+moe (3)");
    }
}
