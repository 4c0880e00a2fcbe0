//! `monitor`: training runs of any trainer.

mod live;
mod summary;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::progress::Progress;
use super::{Usage, interrupt, output};
use crate::metrics::Axis;
use crate::metrics::filter::Filter;
use crate::monitor::export::{self, Choice};
use crate::monitor::{Format, Options, Shared, Watch};
use crate::whole::{self, WholeFile};

/// Watch training runs of any trainer
///
/// Reads run folders of ours, what trainers print (mlx-lm, Hugging Face, Lightning, nanoGPT and their kin),
/// TensorBoard's event files, offline runs of W&B, trainer_state.json, JSONL, JSON and CSV, told apart by their
/// contents. A PATH may be a file, a folder of any of these, or `-` for standard input. On the screen F1 lists the
/// keys: charts are zoomed with + and -, the crosshair moves with the arrows, / filters runs and m metrics.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MonitorArgs {
    /// Files and folders; `-` reads standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print a summary of what is there and end
    #[arg(long)]
    once: bool,
    /// With --once: print every point as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Write what is seen to a file that ends in .csv (every point) or .svg (charts), and end
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Take everything for this format: bit-axon, jsonl, json, trainer-state, csv, log, mlx-lm, hf-trainer, tensorboard or wandb
    #[arg(long, value_name = "FORMAT", value_parser = |text: &str| text.parse::<Format>())]
    format: Option<Format>,
    /// Copy what comes from standard input to a file
    #[arg(long, value_name = "FILE")]
    tee: Option<PathBuf>,
    /// Only runs that fulfil all of these words: part of a name, setting:text, setting>=number, metric<number, !word
    #[arg(long = "filter", value_name = "WORDS", value_parser = words)]
    words: Option<String>,
    /// Only metrics whose names hold this; may be given several times
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    /// Let the shell run this for each alert; BIT_AXON_RUN and BIT_AXON_ALERT say of which run, and what
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["once", "export"])]
    on_alert: Option<String>,
    /// What is along the bottom [default: step, or what it was when these were watched last]
    #[arg(long, value_enum)]
    x: Option<X>,
    /// Begin without the axis, filters, order and colours that were chosen when these were watched last
    #[arg(long, conflicts_with_all = ["once", "export"])]
    fresh: bool,
}

/// The filter as it was written, once it is known to be one.
fn words(text: &str) -> Result<String, String> {
    text.parse::<Filter>().map(|_| text.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum X {
    /// The step, or the number of the line
    Step,
    /// Tokens that were trained on
    Tokens,
    /// Seconds since 1970
    Time,
    /// Seconds since the run began
    Relative,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon monitor runs/                                    Live, in the terminal
  ssh host tail -F train.log | bit-axon monitor -           The same through a pipe
  bit-axon monitor runs/mine --once                         A table, and a curve for each metric
  bit-axon monitor outputs/ --once --filter \"lr>=1e-4 qwen\"
  bit-axon monitor train.log --once --json | jq '.runs[0].metrics.loss[-1]'
  python train.py 2>&1 | bit-axon monitor - --once --tee train.log
  bit-axon monitor tensorboard/ --export curves.svg --metric loss";

/// Shows the runs.
pub fn run(args: MonitorArgs) -> Result<()> {
    let piped = args.paths.iter().any(|path| path.as_os_str() == "-");
    if args.tee.is_some() && !piped {
        return Err(Usage("--tee copies standard input: give `-` as the PATH".into()).into());
    }
    if piped && io::stdin().is_terminal() {
        return Err(Usage("`-` reads standard input, which is a terminal here: pipe a log into it".into()).into());
    }
    let kind = args.export.as_deref().map(kind).transpose()?;
    let axis = args.x.map(|x| match x {
        X::Step => Axis::Step,
        X::Tokens => Axis::Tokens,
        X::Time => Axis::Time,
        X::Relative => Axis::Relative,
    });
    if !args.once && kind.is_none() {
        live::check(piped)?;
        let watch = Watch::open(&args.paths, &Options { format: args.format, once: false, tee: args.tee })?;
        let metric = (!args.metric.is_empty()).then(|| args.metric.join(" "));
        let wishes = live::Wishes {
            paths: args.paths,
            filter: args.words,
            metric,
            axis,
            on_alert: args.on_alert,
            fresh: args.fresh,
        };
        return live::show(watch, wishes);
    }
    let filter: Filter = args.words.unwrap_or_default().parse().map_err(Usage)?;
    let choice = Choice { filter, metrics: args.metric, axis: axis.unwrap_or(Axis::Step) };
    let options = Options { format: args.format, once: true, tee: args.tee };
    let watch = Watch::open(&args.paths, &options)?;
    load(&watch)?;
    let runs = watch.runs();
    check(&runs, &args.paths)?;
    if let (Some(path), Some(kind)) = (&args.export, kind) {
        write_out(path, kind, &runs, &choice)?;
    }
    match (args.once, args.json) {
        (true, true) => {
            let mut out = BufWriter::with_capacity(1 << 16, output::stdout());
            export::json(&runs, &choice, &mut out)?;
            Ok(out.flush()?)
        }
        (true, false) => summary::print(&runs, &choice),
        (false, _) => Ok(()),
    }
}

/// Waits until all is read; Ctrl-C ends waiting for more, and what came until then is shown.
fn load(watch: &Watch) -> Result<()> {
    let mut progress: Option<Progress> = None;
    let mut before = 0;
    interrupt::catch();
    watch.wait(|read, total| {
        let shown = progress.get_or_insert_with(|| Progress::new((total > 0).then_some(total)));
        shown.add(read - before);
        before = read;
        interrupt::check().is_ok()
    });
    if let Some(progress) = progress {
        progress.clear();
    }
    let stopped = interrupt::take();
    interrupt::release();
    if stopped && watch.runs().iter().all(|run| run.lock().map_or(0, |run| run.rows()) == 0) {
        return Err(interrupt::Interrupted.into());
    }
    Ok(())
}

/// A log in which nothing was found is an error where it was named itself.
fn check(runs: &[Shared], paths: &[PathBuf]) -> Result<()> {
    let empty = |run: &Shared| run.lock().map_or(true, |run| run.rows() == 0 && run.settings().is_empty());
    if !runs.is_empty() && runs.iter().all(empty) {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let said: Vec<String> =
            runs.iter().filter_map(|run| Some(run.lock().ok()?.faults().0.first()?.clone())).collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join("; ")) };
        bail!(
            "no metric was found in {}{said}: lines should name a step and numbers, as `step=1 loss=2.5`; --format forces a format",
            names.join(", ")
        );
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Svg,
}

fn kind(path: &Path) -> Result<Kind> {
    match path.extension().and_then(|end| end.to_str()) {
        Some("csv") => Ok(Kind::Csv),
        Some("svg") => Ok(Kind::Svg),
        _ => Err(Usage(format!("--export takes a file that ends in .csv or .svg, not {}", path.display())).into()),
    }
}

/// Writes beside the file and renames, so that it is whole or not there.
fn write_out(path: &Path, kind: Kind, runs: &[Shared], choice: &Choice) -> Result<()> {
    let failed = || whole::cannot(path);
    let mut file = WholeFile::begin(path).with_context(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, &mut file);
    let written = match kind {
        Kind::Csv => export::csv(runs, choice, &mut out),
        Kind::Svg => export::svg(runs, choice, &mut out),
    };
    written.and_then(|()| out.flush()).with_context(failed)?;
    drop(out);
    file.replace().with_context(failed)
}
