//! `pico examine`: what the built-in model knows, in figures that must not fall.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::backend::{Backend, Logits};
use crate::cli::{built_in, eval, interrupt, open, output};
use crate::engine::Loaded;
use crate::model::template::Tail;
use crate::model::tokenizer::Tokenizer;
use crate::pico::{Example, Topic, corpus, exam};
use crate::protocol::{Message, Role, TokenId, TokenRouting};

/// Examine the built-in model: what it knows, declines and routes, against what it must reach
///
/// Asks the questions of the examination, which are worded as none of the training was, and takes the most
/// likely token each time. An answer is right if it holds the exact facts: key names, command names, numbers. Ends
/// with 1 if a figure is below its target.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExamineArgs {
    /// Examine this model instead of the built-in one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Tell how much worse this model in 4 bits is than the same in floats, of which this is the folder
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// Use the fast arithmetic that `run` uses, instead of the exact one
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    backend: open::BackendArg,
    /// Write every question with its answer to this file, one JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    answers: Option<PathBuf>,
    /// Write the figures to this file too, as one JSON object
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon pico examine
  bit-axon pico examine --model runs/pico/model --answers answers.jsonl
  bit-axon pico examine --model runs/pico/model --against runs/pico/settle/model
  bit-axon pico examine --json | jq .figures";

/// The topics that routing must tell apart.
const TOPICS: [Topic; 4] = [Topic::Help, Topic::Numbers, Topic::Stories, Topic::Unknown];
/// Longer answers are not right anyway.
const LONGEST: usize = 160;

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    what: &'static str,
    value: f64,
    target: Target,
    ok: bool,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It is only told.
    None,
}

impl Figure {
    fn new(what: &'static str, value: f64, target: Target) -> Self {
        let ok = match target {
            Target::AtLeast(least) => value >= least,
            Target::AtMost(most) => value <= most,
            Target::None => true,
        };
        Self { what, value, target, ok }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Answered<'a> {
    topic: Topic,
    question: &'a str,
    answer: &'a str,
    must: &'a [String],
    right: bool,
}

/// Runs the command.
pub(super) fn run(args: &ExamineArgs) -> Result<()> {
    let options = open::options(!args.fast, None, args.backend);
    let mut loaded = match &args.model {
        Some(model) => open::loaded(open::files(model)?, &options)?,
        None => built_in::loaded(&options)?,
    };
    let tokenizer = loaded.tokenizer.clone().context("this model has no tokenizer, so it cannot be asked anything")?;
    let made = corpus(&super::tables(), 0)?;
    let questions = &made.examination;
    let mut seen = Seen::default();
    let mut lines = Vec::new();
    for (at, example) in questions.iter().enumerate() {
        interrupt::check()?;
        let answer = ask(&mut loaded, &tokenizer, example, &mut seen)?;
        let right = exam::is_right(example, &answer);
        seen.marks.push((example.topic, right));
        let question = &example.turns[0].0;
        let line = Answered { topic: example.topic, question, answer: &answer, must: &example.must, right };
        lines.push(serde_json::to_string(&line)?);
        if (at + 1) % 50 == 0 {
            output::note(format!("asked {} of {}", at + 1, questions.len()));
        }
    }
    if let Some(path) = &args.answers {
        std::fs::write(path, lines.join("\n") + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut figures = seen.figures();
    let held: String = made.validation.iter().map(|example| super::messages(example).to_string() + "\n").collect();
    let loss = |loaded: &mut Loaded| -> Result<f64> {
        let tokenizer = loaded.tokenizer.clone().context("a model has no tokenizer")?;
        eval::mean_loss(loaded.backend.as_mut(), &tokenizer, &loaded.template, &held)
    };
    let own = loss(&mut loaded)?;
    figures.push(Figure::new("loss of held-out conversations, nats", own, Target::None));
    if let Some(float) = &args.against {
        let exact = loss(&mut open::loaded(open::files(float)?, &options)?)?;
        // 3 percent of a small loss are less than can be told: 0.02 nats will do.
        let allowed = (0.03 * exact).max(0.02);
        figures.push(Figure::new("the same of the model in floats", exact, Target::None));
        figures.push(Figure::new("what 4 bits add to it", own - exact, Target::AtMost(allowed)));
    }
    let report = Report { model: loaded.info.name.clone(), figures };
    tell(&report, args.json)?;
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let low = report.figures.iter().filter(|figure| !figure.ok).count();
    if low > 0 {
        bail!("{low} figures are not what they must be");
    }
    Ok(())
}

fn tell(report: &Report, json: bool) -> Result<()> {
    if json {
        return output::json_line(report);
    }
    output::line(&report.model)?;
    for figure in &report.figures {
        let target = match figure.target {
            Target::AtLeast(least) => format!("at least {least}"),
            Target::AtMost(most) => format!("at most {most:.3}"),
            Target::None => String::new(),
        };
        let mark = if figure.ok { "" } else { "  MISSED" };
        output::line(format!("  {:<44} {:>10.3}  {target}{mark}", figure.what, figure.value))?;
    }
    Ok(())
}

/// What was seen while asking.
#[derive(Default)]
struct Seen {
    marks: Vec<(Topic, bool)>,
    /// For each MoE layer, how often each expert was chosen.
    counts: Vec<Vec<u64>>,
    /// For each question: its topic, and the experts' shares of it, layer after layer.
    shares: Vec<(Topic, Vec<f64>)>,
    decoded: usize,
    decoding_s: f64,
    first_s: Vec<f64>,
}

impl Seen {
    fn count(&mut self, topic: Topic, routing: &[TokenRouting], experts: &[usize]) {
        let mut own: Vec<Vec<u64>> = experts.iter().map(|n| vec![0; *n]).collect();
        for token in routing {
            for (layer, counts) in token.iter().zip(&mut own) {
                for expert in &layer.experts {
                    counts[*expert] += 1;
                }
            }
        }
        self.counts.resize_with(own.len(), Vec::new);
        for (all, own) in self.counts.iter_mut().zip(&own) {
            all.resize(own.len(), 0);
            all.iter_mut().zip(own).for_each(|(all, own)| *all += own);
        }
        let shares = own.iter().flat_map(|counts| {
            let total = counts.iter().sum::<u64>().max(1) as f64;
            counts.iter().map(move |count| *count as f64 / total)
        });
        self.shares.push((topic, shares.collect()));
    }

    fn right(&self, topic: Topic) -> f64 {
        let of: Vec<bool> = self.marks.iter().filter(|(own, _)| *own == topic).map(|(_, right)| *right).collect();
        of.iter().filter(|right| **right).count() as f64 / of.len().max(1) as f64
    }

    fn figures(&self) -> Vec<Figure> {
        let figure =
            |what, value, least: Option<f64>| Figure::new(what, value, least.map_or(Target::None, Target::AtLeast));
        let alive = |counts: &Vec<u64>| counts.iter().filter(|count| **count > 0).count() as f64 / counts.len() as f64;
        let least = |of: &dyn Fn(&Vec<u64>) -> f64| self.counts.iter().map(of).fold(1.0, f64::min);
        let even =
            self.counts.iter().map(|counts| exam::evenness(counts)).sum::<f64>() / self.counts.len().max(1) as f64;
        let mut first = self.first_s.clone();
        first.sort_by(f64::total_cmp);
        vec![
            figure("questions about the workbench, right", self.right(Topic::Help), Some(0.9)),
            figure("unknown topics, declined", self.right(Topic::Unknown), Some(0.9)),
            figure("sums, right", self.right(Topic::Numbers), None),
            figure("small talk, right", self.right(Topic::Talk), None),
            figure("stories about what was asked", self.right(Topic::Stories), None),
            figure("experts that are used, least of all layers", least(&alive), Some(1.0)),
            figure("evenness of their load, mean over layers", even, Some(0.85)),
            figure("topics told apart by routing", exam::told_apart(&self.shares, &TOPICS), Some(0.8)),
            figure("tokens a second", self.decoded as f64 / self.decoding_s.max(1e-9), None),
            figure("seconds to the first token, median", first.get(first.len() / 2).copied().unwrap_or(0.0), None),
        ]
    }
}

/// Asks one question of a fresh state, and takes the most likely token each time.
fn ask(loaded: &mut Loaded, tokenizer: &Tokenizer, example: &Example, seen: &mut Seen) -> Result<String> {
    let message = Message { role: Role::User, content: example.turns[0].0.clone() };
    let prompt = loaded.template.encode(tokenizer, &[message], Tail::Reply)?;
    let experts: Vec<usize> = loaded.backend.spec().moe_layers().map(|(_, moe)| moe.experts).collect();
    let backend: &mut dyn Backend = loaded.backend.as_mut();
    backend.rewind(0)?;
    let mut routing = Vec::new();
    let began = Instant::now();
    let chunk = backend.chunk();
    let mut next = 0;
    for piece in prompt.chunks(chunk) {
        next = most_likely(backend.forward(piece, Logits::Last, Some(&mut routing))?);
    }
    seen.first_s.push(began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut answer = Vec::new();
    while !tokenizer.end_tokens().contains(&next) && answer.len() < LONGEST {
        answer.push(next);
        next = most_likely(backend.forward(&[next], Logits::Last, Some(&mut routing))?);
    }
    seen.decoding_s += began.elapsed().as_secs_f64();
    seen.decoded += answer.len();
    seen.count(example.topic, &routing, &experts);
    Ok(tokenizer.decode(&answer))
}

fn most_likely(logits: &[f32]) -> TokenId {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(id, _)| id as TokenId)
}
