//! `eval`: loss and perplexity of a model over a data set.

mod examples;
mod score;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use self::examples::{Counted, Example};
use super::{interrupt, open, output};
use crate::backend::Backend;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;

/// Measure loss and perplexity over a data set
///
/// Each line of the file is {"text": "..."}, where every token but the first counts, or
/// {"messages": [{"role": "user", "content": "..."}, ...]}, where only what the assistant says counts,
/// with the end token that closes each of its turns. Every example is read by itself. Prints one JSON
/// object; the loss is the mean over all tokens that count, in nats. Arithmetic is exact unless --fast.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    #[arg(long, help = super::model_arg::HELP)]
    model: String,
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
  bit-axon eval --model models/mine --data held-out.jsonl --fast";

/// No line of a data set is longer.
const LONGEST_LINE: u64 = 64 << 20;

/// What `eval` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Report {
    /// Mean over the tokens that count, in nats.
    loss: f64,
    perplexity: f64,
    tokens: u64,
    examples: u64,
    /// Lines that were bad, or had no token that counts.
    skipped: u64,
    /// Examples that were cut.
    truncated: u64,
}

/// Opens the model, reads the data and prints the report.
pub fn run(args: EvalArgs) -> Result<()> {
    let files = open::files(&args.model)?;
    let tokenizer = files.require_tokenizer()?;
    let data: Box<dyn Read> = match args.data.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(&args.data).with_context(|| format!("cannot read {}", args.data.display()))?),
    };
    let mut backend = open::backend(&files, &open::options(!args.fast, args.threads, args.backend))?;
    let most = backend.spec().max_seq_len;
    let limits = Limits { tokens: args.max_seq_len.map_or(most, |n| n.get().min(most)), bad_lines: args.max_bad_lines };
    let name = args.data.display().to_string();
    let mut tell = |line, why| output::note(format!("{name}:{line}: skipped: {why}"));
    let tokens_of = |example: &Example| example.tokens(tokenizer, &files.template);
    let report = evaluate(&mut *backend, data, &tokens_of, limits, &mut tell).context(name.clone())?;
    output::json_line(&report)
}

/// The mean loss of JSON lines such as `eval` reads, every one of which must be good.
pub(super) fn mean_loss(
    backend: &mut dyn Backend,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    lines: &str,
) -> Result<f64> {
    let limits = Limits { tokens: backend.spec().max_seq_len, bad_lines: 0 };
    let tokens_of = |example: &Example| example.tokens(tokenizer, template);
    Ok(evaluate(backend, lines.as_bytes(), &tokens_of, limits, &mut |_, _| {})?.loss)
}

/// How data is read.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Tokens of an example.
    tokens: usize,
    bad_lines: usize,
}

/// Reads every line and scores it. `tell` hears of lines that are skipped.
fn evaluate(
    backend: &mut dyn Backend,
    data: impl Read,
    tokens_of: &dyn Fn(&Example) -> Result<Counted>,
    limits: Limits,
    tell: &mut dyn FnMut(u64, String),
) -> Result<Report> {
    let mut report = Report { loss: 0.0, perplexity: 0.0, tokens: 0, examples: 0, skipped: 0, truncated: 0 };
    let mut sum = 0.0;
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
        let parsed = Example::parse(text).and_then(|example| tokens_of(&example));
        let tokens = parsed.and_then(|mut tokens| {
            let cut = tokens.len() > limits.tokens;
            tokens.truncate(limits.tokens);
            ensure!(tokens.iter().skip(1).any(|(_, counts)| *counts), "no token of it counts");
            report.truncated += u64::from(cut);
            Ok(tokens)
        });
        match tokens {
            Ok(tokens) => {
                let scored = score::score(backend, &tokens).with_context(|| format!("line {number}"))?;
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
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mock::Mock;
    use crate::protocol::TokenId;

    /// Tokens are the text's digits; those of chats count only in the assistant's messages.
    fn digits(example: &Example) -> Result<Counted> {
        let digits =
            |text: &str, counts| text.bytes().map(move |b| (TokenId::from(b - b'0'), counts)).collect::<Vec<_>>();
        Ok(match example {
            Example::Text(text) => digits(text, true),
            Example::Chat(messages) => {
                messages.iter().flat_map(|m| digits(&m.content, m.role == crate::protocol::Role::Assistant)).collect()
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
