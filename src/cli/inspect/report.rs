//! What `inspect` finds out, as data.

use std::path::PathBuf;

use serde::Serialize;

use crate::model::checkpoint::{Checkpoint, Problem, ProblemKind, printable};
use crate::model::config::Config;
use crate::model::footprint::{KvFormat, footprint};
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Kind, TensorSpec, layer_index, role, tensors};
use crate::model::tokenizer::Tokenizer;

/// Contexts for which memory is predicted.
pub(super) const CONTEXTS: [usize; 3] = [4096, 16384, 65536];
/// What states kept for rewinding may take where nothing else is said.
const REWIND_BUDGET: u64 = 256 << 20;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub path: PathBuf,
    pub usable: bool,
    /// Its settings, if they can be read.
    pub config: Option<Config>,
    /// The kind of each layer.
    pub layers: Vec<String>,
    /// Counted from the tensors that fit the settings.
    pub parameters: Option<Parameters>,
    pub bytes_on_disk: u64,
    pub files: Vec<FileSize>,
    pub kinds: Vec<KindRow>,
    pub memory: Vec<Memory>,
    /// Tokens in the tokenizer, if there is one.
    pub tokenizer: Option<usize>,
    pub problems: Vec<ProblemRow>,
    pub tensors: Vec<TensorRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct FileSize {
    pub name: String,
    pub bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Parameters {
    pub total: u64,
    /// Used for one token.
    pub active: u64,
    /// Values of a 4-bit head that repeats the embedding table: not in `total`.
    pub head_copy: u64,
}

/// All tensors of one role that are stored alike.
#[derive(Debug, Serialize)]
pub(super) struct KindRow {
    pub kind: String,
    pub stored: String,
    pub tensors: usize,
    pub values: u64,
    pub bytes: u64,
}

/// Bytes that the model will hold after so many tokens.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub context: usize,
    pub weights: u64,
    pub kv_f16: u64,
    /// Instead of `kv_f16`, where 8-bit keys and values are asked for.
    pub kv_q8: u64,
    pub ssm_state: u64,
    pub rewind: u64,
    /// An estimate.
    pub buffers: u64,
    /// With keys and values in f16.
    pub total: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ProblemRow {
    pub kind: &'static str,
    pub fatal: bool,
    pub file: PathBuf,
    pub tensor: Option<String>,
    pub found: Option<String>,
    pub wanted: Option<String>,
    pub text: String,
}

#[derive(Debug, Serialize)]
pub(super) struct TensorRow {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: u64,
    pub file: PathBuf,
}

impl Report {
    pub(super) fn of(checkpoint: &Checkpoint, deep: bool) -> Self {
        let files = checkpoint.files().map(|path| FileSize {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: path.metadata().map_or(0, |about| about.len()),
        });
        let files: Vec<FileSize> = files.collect();
        let mut report = Self {
            path: checkpoint.path().to_owned(),
            usable: true,
            config: None,
            layers: Vec::new(),
            parameters: None,
            bytes_on_disk: files.iter().map(|file| file.bytes).sum(),
            files,
            kinds: Vec::new(),
            memory: Vec::new(),
            tokenizer: None,
            problems: Vec::new(),
            tensors: checkpoint.tensors().map(|t| TensorRow::of(&t)).collect(),
        };
        match Config::read(&checkpoint.folder().join("config.json")) {
            Ok(config) => report.model(checkpoint, config),
            Err(error) => report.trouble("config", checkpoint.folder().join("config.json"), &error),
        }
        if deep {
            let found: Vec<Problem> = checkpoint.search_not_finite().collect();
            report.problems.extend(found.into_iter().map(ProblemRow::from));
        }
        report.usable = !report.problems.iter().any(|problem| problem.fatal);
        report
    }

    /// What the settings allow to say.
    fn model(&mut self, checkpoint: &Checkpoint, config: Config) {
        let spec = config.spec();
        self.layers = spec.layers.iter().map(ToString::to_string).collect();
        self.problems.extend(checkpoint.check(&spec).into_iter().map(ProblemRow::from));
        self.count(checkpoint, &spec);
        let weights = self.kinds.iter().map(|kind| kind.bytes).sum();
        self.memory = CONTEXTS.iter().map(|&context| Memory::at(&spec, weights, context)).collect();
        let file = checkpoint.folder().join("tokenizer.json");
        if file.is_file() {
            match Tokenizer::open(&file) {
                Ok(tokenizer) => {
                    self.tokenizer = Some(tokenizer.size());
                    if let Err(error) = tokenizer.check_fits(config.vocab_size) {
                        self.trouble("tokenizer", file, &error);
                    }
                }
                Err(error) => self.trouble("tokenizer", file, &error),
            }
        }
        self.config = Some(config);
    }

    /// Sums over the tensors that are there and as they should be.
    fn count(&mut self, checkpoint: &Checkpoint, spec: &ModelSpec) {
        let mut parameters = Parameters::default();
        let (mut own_head, mut embedding) = (false, 0);
        for t in tensors(spec) {
            let Some(held) = checkpoint.holding(&t) else { continue };
            let values = t.len() as u64;
            own_head |= t.kind == Kind::Head;
            if t.kind == Kind::Embedding {
                embedding = values;
            }
            if t.kind == Kind::Head && spec.tied_head && held.quantised {
                parameters.head_copy = values;
            } else {
                parameters.total += values;
            }
            parameters.active += used_by_a_token(spec, &t);
            let kind = role(&t.name);
            match self.kinds.iter_mut().find(|row| row.kind == kind && row.stored == held.format) {
                Some(row) => {
                    row.tensors += 1;
                    row.values += values;
                    row.bytes += held.bytes;
                }
                None => {
                    self.kinds.push(KindRow { kind, stored: held.format, tensors: 1, values, bytes: held.bytes });
                }
            }
        }
        if !own_head && spec.tied_head {
            // The embedding table is the head: every token uses all of it.
            parameters.active += embedding;
        }
        self.parameters = Some(parameters);
    }

    fn trouble(&mut self, kind: &'static str, file: PathBuf, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let (tensor, found, wanted) = (None, None, None);
        self.problems.push(ProblemRow { kind, fatal: true, file, tensor, found, wanted, text });
    }

    /// Why the model cannot be used, in a few words.
    pub(super) fn reason(&self) -> String {
        let fatal: Vec<&ProblemRow> = self.problems.iter().filter(|problem| problem.fatal).collect();
        match fatal[..] {
            [] => String::new(),
            [one] => one.text.clone(),
            [first, ..] => format!("{} problems, first {}", fatal.len(), first.text),
        }
    }
}

/// Parameters of a tensor that one token uses.
fn used_by_a_token(spec: &ModelSpec, t: &TensorSpec) -> u64 {
    let len = t.len() as u64;
    match t.kind {
        Kind::Embedding => 0,
        Kind::ExpertStack => {
            let moe = layer_index(&t.name).and_then(|i| spec.layers.get(i)?.feed_forward);
            moe.map_or(len, |moe| len / moe.experts as u64 * moe.top_k as u64)
        }
        _ => len,
    }
}

impl Memory {
    fn at(spec: &ModelSpec, weights: u64, context: usize) -> Self {
        let report = footprint(spec, weights, context, KvFormat::F16, REWIND_BUDGET);
        let small = footprint(spec, weights, context, KvFormat::Q8, REWIND_BUDGET);
        Self {
            context,
            weights,
            kv_f16: report.layers.iter().map(|l| l.kv).sum(),
            kv_q8: small.layers.iter().map(|l| l.kv).sum(),
            ssm_state: report.layers.iter().map(|l| l.ssm).sum(),
            rewind: report.rewind,
            buffers: report.scratch,
            total: report.total(),
        }
    }
}

impl From<Problem> for ProblemRow {
    fn from(problem: Problem) -> Self {
        let kind = match problem.kind {
            ProblemKind::Missing => "missing",
            ProblemKind::Unexpected => "unexpected",
            ProblemKind::Misshapen => "misshapen",
            ProblemKind::WrongDtype => "wrong_dtype",
            ProblemKind::NotFinite => "not_finite",
        };
        Self {
            kind,
            fatal: problem.is_fatal(),
            text: problem.to_string(),
            file: problem.file,
            tensor: Some(problem.tensor),
            found: Some(problem.found),
            wanted: Some(problem.wanted),
        }
    }
}

impl TensorRow {
    fn of(t: &crate::model::checkpoint::TensorInfo<'_>) -> Self {
        Self {
            name: printable(t.name),
            dtype: t.dtype.name(),
            shape: t.shape.to_vec(),
            bytes: t.data.len() as u64,
            file: t.file.to_owned(),
        }
    }
}
