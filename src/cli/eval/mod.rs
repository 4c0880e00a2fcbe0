//! `eval`: loss and perplexity of a model over a data set.

mod examples;
mod score;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use self::examples::{Counted, Example, example};
use super::adapter_arg::AdapterArg;
use super::open::Files;
use super::{interrupt, open, output};
use crate::backend::Backend;
use crate::backend::cpu::Options;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;
use crate::train::data::Row;

/// Measure loss and perplexity over a data set
///
/// Each line of the file is {"text": "..."}, where every token but the first counts, or
/// {"messages": [{"role": "user", "content": "..."}, ...]}, where only what the assistant says counts,
/// with the end token that closes each of its turns; whatever `train` reads is understood. Every example
/// is read by itself. Prints one JSON object; the loss is the mean over all tokens that count, in nats. Of
/// preferences ("prompt", "chosen", "rejected") the chosen answer counts to the loss, and `preferred` is the
/// share in which it is likelier than the rejected one, as the mean over its tokens. Arithmetic is exact
/// unless --fast.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    #[arg(long, help = super::model_arg::HELP, required_unless_present = "adapter")]
    model: Option<String>,
    #[command(flatten)]
    adapter: AdapterArg,
    /// File of examples, one JSON object a line; - is standard input
    #[arg(long, value_name = "FILE.jsonl")]
    data: PathBuf,
    /// Cut longer examples to this many tokens; the model's own limit holds in any case
    #[arg(long, value_name = "N")]
    max_seq_len: Option<std::num::NonZeroUsize>,
    /// Give up after more bad lines than this; until then they are reported and skipped
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_bad_lines: usize,
    /// Use the fast arithmetic that `run` uses: inputs of matrices are rounded to 8 bits
    #[arg(long)]
    fast: bool,
    /// How many threads to use on the CPU backend; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    backend: open::BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon eval --model models/mine --data held-out.jsonl
  bit-axon eval --model models/mine --data chats.jsonl --max-seq-len 2048
  bit-axon eval --model models/mine --data held-out.jsonl --fast
  bit-axon eval --adapter runs/chats-dora --data held-out.jsonl
  bit-axon eval --adapter runs/pairs-dora --data held-out-pairs.jsonl";

/// No line of a data set is longer.
const LONGEST_LINE: u64 = 64 << 20;

/// What `eval` prints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// Mean over the tokens that count, in nats.
    pub(super) loss: f64,
    pub(super) perplexity: f64,
    pub(super) tokens: u64,
    pub(super) examples: u64,
    /// Lines that were bad, or had no token that counts.
    pub(super) skipped: u64,
    /// Examples that were cut.
    pub(super) truncated: u64,
    /// Examples that are preferences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pairs: Option<u64>,
    /// Share of these whose chosen answer is the likelier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) preferred: Option<f64>,
}

/// Opens the model, reads the data and prints the report.
pub fn run(args: EvalArgs) -> Result<()> {
    let files = open::files_with(args.model.as_deref(), args.adapter.open()?)?;
    let limits = Limits { tokens: args.max_seq_len.map_or(usize::MAX, |n| n.get()), bad_lines: args.max_bad_lines };
    let options = open::options(!args.fast, args.threads, args.backend);
    output::json_line(&measure(&files, &options, &args.data, limits)?)
}

/// The report of a model over a file.
pub(super) fn measure(files: &Files, options: &Options, path: &Path, limits: Limits) -> Result<Report> {
    let tokenizer = files.require_tokenizer()?;
    let data: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
    };
    let mut backend = open::backend(files, options)?;
    let limits = Limits { tokens: limits.tokens.min(backend.spec().max_seq_len), ..limits };
    let name = path.display().to_string();
    let mut tell = |line, why| output::note(format!("{name}:{line}: skipped: {why}"));
    let tokens_of = |row: &Row| example(row, tokenizer, &files.template);
    evaluate(&mut *backend, data, &tokens_of, limits, &mut tell).context(name.clone())
}

/// The mean loss of JSON lines such as `eval` reads, every one of which must be good.
pub(super) fn mean_loss(
    backend: &mut dyn Backend,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    lines: &str,
) -> Result<f64> {
    let limits = Limits { tokens: backend.spec().max_seq_len, bad_lines: 0 };
    let tokens_of = |row: &Row| example(row, tokenizer, template);
    Ok(evaluate(backend, lines.as_bytes(), &tokens_of, limits, &mut |_, _| {})?.loss)
}

/// How data is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Tokens of an example, if the model reads as many.
    pub(super) tokens: usize,
    pub(super) bad_lines: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens: usize::MAX, bad_lines: 100 }
    }
}

/// Reads every line and scores it. `tell` hears of lines that are skipped.
fn evaluate(
    backend: &mut dyn Backend,
    data: impl Read,
    tokens_of: &dyn Fn(&Row) -> Result<Example>,
    limits: Limits,
    tell: &mut dyn FnMut(u64, String),
) -> Result<Report> {
    let mut report = Report::default();
    let (mut sum, mut pairs, mut won) = (0.0, 0u64, 0u64);
    let mut data = BufReader::new(data);
    let mut line = Vec::new();
    for number in 1u64.. {
        interrupt::check()?;
        line.clear();
        if data.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).context("cannot read the data")? == 0 {
            break;
        }
        let text = line.trim_ascii();
        let text = if number == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
        if text.is_empty() {
            continue;
        }
        ensure!((line.len() as u64) < LONGEST_LINE, "line {number} is longer than {} MiB", LONGEST_LINE >> 20);
        let example = Row::parse(text).and_then(|row| tokens_of(&row)).and_then(|mut example| {
            report.truncated += u64::from(cut(&mut example, limits.tokens)?);
            Ok(example)
        });
        match example {
            Ok(example) => {
                let mut score =
                    |tokens: &Counted| score::score(backend, tokens).with_context(|| format!("line {number}"));
                let scored = match &example {
                    Example::One(tokens) => score(tokens)?,
                    Example::Pair(chosen, rejected) => {
                        let (chosen, rejected) = (score(chosen)?, score(rejected)?);
                        pairs += 1;
                        won += u64::from(chosen.mean() < rejected.mean());
                        chosen
                    }
                };
                sum += scored.loss;
                report.tokens += scored.tokens;
                report.examples += 1;
            }
            Err(error) => {
                report.skipped += 1;
                tell(number, format!("{error:#}"));
                let most = limits.bad_lines;
                ensure!(report.skipped <= most as u64, "more than {most} lines are bad (--max-bad-lines)");
            }
        }
    }
    if report.tokens == 0 {
        bail!("the data has no example that can be used");
    }
    report.loss = sum / report.tokens as f64;
    report.perplexity = report.loss.exp();
    if pairs > 0 {
        (report.pairs, report.preferred) = (Some(pairs), Some(won as f64 / pairs as f64));
    }
    Ok(report)
}

/// Leaves out what stands beyond the limit, and says whether there was something.
fn cut(example: &mut Example, limit: usize) -> Result<bool> {
    let all = match example {
        Example::One(tokens) => vec![tokens],
        Example::Pair(chosen, rejected) => vec![chosen, rejected],
    };
    let mut cut = false;
    for tokens in all {
        cut |= tokens.len() > limit;
        tokens.truncate(limit);
        ensure!(tokens.iter().skip(1).any(|(_, counts)| *counts), "no token of it counts");
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mock::Mock;
    use crate::protocol::{Message, Role, TokenId};

    /// Tokens are the text's digits; those of chats count only in the assistant's messages.
    fn digits(row: &Row) -> Result<Example> {
        let digits =
            |text: &str, counts| text.bytes().map(move |b| (TokenId::from(b - b'0'), counts)).collect::<Vec<_>>();
        let chat = |messages: &[Message]| -> Counted {
            messages.iter().flat_map(|m| digits(&m.content, m.role == Role::Assistant)).collect()
        };
        Ok(match row {
            Row::Text(text) => Example::One(digits(text, true)),
            Row::Chat(messages) => Example::One(chat(messages)),
            Row::Pair { prompt, chosen, rejected } => {
                Example::Pair(chat(&[&prompt[..], chosen].concat()), chat(&[&prompt[..], rejected].concat()))
            }
        })
    }

    fn evaluated(data: &str, tokens: usize, bad_lines: usize) -> (Result<Report>, Vec<u64>) {
        let mut told = Vec::new();
        let limits = Limits { tokens, bad_lines };
        let mut tell = |line, _| told.push(line);
        let report = evaluate(&mut Mock::new(10), data.as_bytes(), &digits, limits, &mut tell);
        (report, told)
    }

    #[test]
    fn the_loss_is_the_mean_over_all_tokens_that_count() {
        let data = "\u{feff}{\"text\": \"123456\"}\r\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"12\"}, \
                    {\"role\": \"assistant\", \"content\": \"34\"}]}";
        let report = evaluated(data, 64, 0).0.unwrap();
        let nll = |position: usize, token: TokenId, next: usize| {
            let sum: f64 = (0..10).map(|n| f64::from(Mock::logit(position, token, n)).exp()).sum();
            sum.ln() - f64::from(Mock::logit(position, token, next))
        };
        let text: f64 = (0..5).map(|i| nll(i, i as TokenId + 1, i + 2)).sum();
        let chat = nll(1, 2, 3) + nll(2, 3, 4);
        assert!((report.loss - (text + chat) / 7.0).abs() < 1e-9, "{report:?}");
        assert!((report.perplexity - report.loss.exp()).abs() < 1e-9);
        assert_eq!((report.tokens, report.examples, report.skipped, report.truncated), (7, 2, 0, 0));
    }

    #[test]
    fn of_preferences_the_chosen_counts_and_wins_are_a_share() {
        let pair = |chosen: &str, rejected: &str| {
            format!("{{\"prompt\": \"12\", \"chosen\": \"{chosen}\", \"rejected\": \"{rejected}\"}}\n")
        };
        // The mock's logits differ, so that one order wins and the other loses.
        let report = evaluated(&(pair("3", "45") + &pair("45", "3")), 64, 0).0.unwrap();
        assert_eq!((report.pairs, report.preferred, report.tokens), (Some(2), Some(0.5), 3));
        assert!(serde_json::to_string(&evaluated("{\"text\": \"12\"}", 64, 0).0.unwrap()).unwrap().ends_with("0}"));
    }

    #[test]
    fn bad_lines_are_told_and_skipped_up_to_a_limit() {
        let data = "{\"text\": \"123\"}\nnot json\n{\"text\": \"\"}\n{\"text\": \"1\"}\n{\"text\": \"45\"}\n";
        let (report, told) = evaluated(data, 64, 3);
        assert_eq!(told, [2, 3, 4]);
        assert_eq!((report.as_ref().unwrap().skipped, report.unwrap().examples), (3, 2));
        let (report, told) = evaluated(data, 64, 1);
        assert!(report.unwrap_err().to_string().contains("more than 1 lines"));
        assert_eq!(told, [2, 3]);
        assert!(evaluated("", 64, 0).0.unwrap_err().to_string().contains("no example"));
        assert!(evaluated("not json", 64, 9).0.unwrap_err().to_string().contains("no example"));
    }

    #[test]
    fn long_examples_are_cut_and_counted() {
        let (report, _) = evaluated("{\"text\": \"123456\"}\n{\"text\": \"12\"}", 3, 0);
        let report = report.unwrap();
        assert_eq!((report.tokens, report.truncated, report.examples), (3, 1, 2));
    }
}
