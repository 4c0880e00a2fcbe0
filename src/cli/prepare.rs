//! `prepare`: examples, checked, tokenised and packed ahead of training.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::progress::count;
use super::{interrupt, model_arg, open, output};
use crate::train::data::{Encoder, Lines, PrepareOptions, Report, Shape, Source, prepare};
use crate::train::settings::{Method, OverLong};

/// Check, tokenise and pack examples ahead of training
///
/// Reads a file of examples (see `bit-axon help train`) or a data set's file on the hub, and writes one that
/// `train` reads at once: the same sequences that it would have made, in the order of the file. Says how long
/// examples are, how many were split or cut, which lines are bad, and how many examples came twice. The file is
/// safetensors, for this model's tokenizer and chat template alone. Nothing is left behind if it fails.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PrepareArgs {
    /// A file of examples, or one on the hub: hub:OWNER/NAME/FILE.jsonl
    #[arg(value_name = "DATA")]
    data: String,
    #[arg(long, help = model_arg::HELP)]
    model: String,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// What will be learned from it; preferences mean orpo, all else sft
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    max_seq_len: u32,
    /// Keep examples in one sequence from seeing each other
    #[arg(long)]
    isolate: bool,
    /// What becomes of examples longer than a sequence
    #[arg(long, value_enum, default_value_t = OverLong::Split)]
    over_long: OverLong,
    /// Leave out examples that came before, word for word
    #[arg(long)]
    drop_duplicates: bool,
    /// Give up after more bad lines than this; until then they are reported and skipped
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_bad_lines: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon prepare chats.jsonl --model models/mine --out chats.safetensors
  bit-axon prepare chats.jsonl --model models/mine --out chats.safetensors --max-seq-len 2048 --drop-duplicates
  bit-axon prepare hub:owner/dataset/data/train.jsonl --model models/mine --out train.safetensors
  bit-axon train chats.safetensors --model models/mine";

/// Prepares, and reports.
pub fn run(args: PrepareArgs) -> Result<()> {
    let files = open::files(&args.model)?;
    files.require_tokenizer()?;
    let vocab = files.config.spec().vocab;
    let path = local(&args.data)?;
    interrupt::catch();
    let mut progress = Slow::new(&path);
    let mut source = Source::open(&path, &mut |done, total| progress.tick("looking through", done, total))?;
    let found = source.method()?;
    let mut lines = match source {
        Source::Lines(lines) => lines,
        Source::Prepared(_) => bail!("{} is prepared already", path.display()),
    };
    let method = args.method.unwrap_or(found);
    let tokenizer = Arc::new(files.tokenizer.context("the tokenizer is gone")?);
    let encoder = Encoder::new(tokenizer, Arc::new(files.template), vocab, method)?;
    let shape = Shape {
        length: args.max_seq_len as usize,
        isolate: args.isolate,
        over_long: args.over_long,
        max_bad_lines: args.max_bad_lines,
        seed: 0,
    };
    let options = PrepareOptions { out: args.out.clone(), shape, drop_duplicates: args.drop_duplicates };
    let report = work(&mut lines, &encoder, &options, &path, &mut progress)?;
    if args.json {
        return output::json_line(&report);
    }
    Ok(output::line(output::safe(&describe(&report, &args, method)))?)
}

fn work(
    lines: &mut Lines,
    encoder: &Encoder,
    options: &PrepareOptions,
    path: &Path,
    progress: &mut Slow,
) -> Result<Report> {
    let mut bad = |line: u64, why: String| output::note(format!("{}:{line}: skipped: {why}", path.display()));
    prepare(lines, encoder, options, &mut bad, &mut |done, total| progress.tick("reading", done, total))
}

/// The file itself, fetched first if it is on the hub.
fn local(data: &str) -> Result<PathBuf> {
    let Some(name) = data.strip_prefix("hub:") else { return Ok(data.into()) };
    let mut parts = name.splitn(3, '/');
    let (Some(owner), Some(repo), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("`{data}` is no file of a data set: those look like hub:OWNER/NAME/FILE.jsonl");
    };
    fetch(&format!("{owner}/{repo}").parse()?, file)
}

#[cfg(feature = "hub")]
fn fetch(repo: &super::hub::RepoId, file: &str) -> Result<PathBuf> {
    let settings = super::hub::Settings::from_env()?;
    super::hub::fetch::data_file(&settings, repo, file)
        .with_context(|| format!("cannot get {file} of the data set {repo}"))
}

#[cfg(not(feature = "hub"))]
fn fetch(repo: &super::hub::RepoId, _file: &str) -> Result<PathBuf> {
    bail!("this program was built without the feature `hub`, so it cannot download the data set {repo}")
}

/// Says how far a long piece of work is, every few seconds.
struct Slow {
    name: String,
    told: Instant,
}

impl Slow {
    fn new(path: &Path) -> Self {
        Self { name: path.display().to_string(), told: Instant::now() }
    }

    fn tick(&mut self, what: &str, done: u64, total: u64) -> Result<()> {
        interrupt::check()?;
        if self.told.elapsed() > Duration::from_secs(3) {
            self.told = Instant::now();
            output::note(format!("{what} {}: {}%", self.name, 100 * done / total.max(1)));
        }
        Ok(())
    }
}

fn describe(report: &Report, args: &PrepareArgs, method: Method) -> String {
    let r = report;
    let what = if method == Method::Orpo { "pairs" } else { "examples" };
    let mut text = format!("{}: {method}, sequences of {} tokens\n", args.out.display(), args.max_seq_len);
    let mut line = |label: &str, value: String| text.push_str(&format!("{label:<12}{value}\n"));
    line("lines", count(r.lines));
    line(what, count(r.examples));
    line("bad", count(r.bad));
    let fate = if args.drop_duplicates { " (left out)" } else { " (kept: --drop-duplicates leaves them out)" };
    line("duplicates", format!("{}{}", count(r.duplicates), if r.duplicates > 0 { fate } else { "" }));
    let [least, tenth, half, most_of, nearly_all, longest] = r.lengths;
    line("lengths", format!("{least} to {longest} tokens; 10% {tenth}, half {half}, 90% {most_of}, 99% {nearly_all}"));
    let fate = match (method, args.over_long) {
        (Method::Orpo, _) | (_, OverLong::Cut) => format!("cut: {} tokens are lost", count(r.cut_tokens)),
        (_, OverLong::Split) => "split over sequences: nothing is lost".into(),
    };
    line("too long", if r.over_long > 0 { format!("{} ({fate})", count(r.over_long)) } else { "0".into() });
    line("tokens", format!("{}, of which {} bear loss", count(r.tokens), count(r.labels)));
    line("sequences", format!("{}, the last with {} tokens of padding", count(r.sequences), r.padding));
    if r.unlabelled > 0 {
        line("left out", format!("{} sequences without a token that bears loss", count(r.unlabelled)));
    }
    text.trim_end().to_owned()
}
