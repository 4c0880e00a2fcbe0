//! What a model needs of a checkpoint, compared with what the checkpoint holds.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use super::{Checkpoint, Dtype, Store, TensorInfo, printable};
use crate::model::matrix::Float;
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Companion, TensorSpec, tensors};

/// Inputs that may share a scale.
pub const GROUPS: [usize; 3] = [32, 64, 128];

/// Something about a tensor that is not as the model needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// The file with the tensor, or what was searched for it.
    pub file: PathBuf,
    /// The tensor's name, safe to print.
    pub tensor: String,
    /// Format and shape that are there.
    pub found: String,
    /// Format and shape that the model needs.
    pub wanted: String,
    /// What to do, where there is more to say than to use another file.
    pub advice: &'static str,
}

/// What can be wrong with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// The model has no such tensor.
    Unexpected,
    /// Its shape is another.
    Misshapen,
    /// Its numbers are in a format that cannot be used there.
    WrongDtype,
    /// It holds infinities or values that are not numbers.
    NotFinite,
}

impl Problem {
    /// True if the model cannot run because of it. A tensor too many is only worth a notice.
    pub fn is_fatal(&self) -> bool {
        self.kind != ProblemKind::Unexpected
    }

    pub(super) fn at(kind: ProblemKind, t: &TensorInfo<'_>, found: String, wanted: String) -> Self {
        let advice = match kind {
            ProblemKind::Misshapen => "config.json belongs to another model, or the file is damaged",
            ProblemKind::WrongDtype => "convert it, or make it again with `bit-axon quantize`",
            ProblemKind::NotFinite => "the weights are damaged, or their training diverged",
            ProblemKind::Missing | ProblemKind::Unexpected => "",
        };
        Self { kind, file: t.file.to_owned(), tensor: printable(t.name), found, wanted, advice }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, tensor, found, wanted, advice, .. } = self;
        write!(f, "{}: tensor `{tensor}`: found {found}, wanted {wanted}", file.display())?;
        if advice.is_empty() { Ok(()) } else { write!(f, "; {advice}") }
    }
}

impl std::error::Error for Problem {}

/// Where a tensor's values lie, once format and shape were found right.
pub(super) enum Stored<'a> {
    Dense(TensorInfo<'a>, Float),
    Affine4 { group: usize, codes: TensorInfo<'a>, scales: (TensorInfo<'a>, Float), biases: (TensorInfo<'a>, Float) },
    Nf4 { group: usize, codes: TensorInfo<'a>, absmax: (TensorInfo<'a>, Float) },
}

impl<'a> Stored<'a> {
    pub(super) fn parts(&self) -> Vec<&TensorInfo<'a>> {
        match self {
            Stored::Dense(t, _) => vec![t],
            Stored::Affine4 { codes, scales, biases, .. } => vec![codes, &scales.0, &biases.0],
            Stored::Nf4 { codes, absmax, .. } => vec![codes, &absmax.0],
        }
    }

    pub(super) fn store(&self) -> Store {
        match *self {
            Stored::Dense(_, float) => Store::Dense(float),
            Stored::Affine4 { group, .. } => Store::Affine4 { group },
            Stored::Nf4 { group, .. } => Store::Nf4 { group },
        }
    }
}

const FLOATS: &str = "F32, F16 or BF16";

impl Checkpoint {
    /// Everything about the tensors that is not as a model of this shape needs it. The values are
    /// not read.
    pub fn check(&self, spec: &ModelSpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut known: HashSet<String> = HashSet::new();
        for t in tensors(spec) {
            known.insert(t.name.clone());
            if !t.required && !self.contains(&t.name) {
                continue;
            }
            match self.locate(&t) {
                Ok(stored) => known.extend(stored.parts().iter().map(|part| part.name.to_owned())),
                Err(problem) => {
                    problems.push(problem);
                    // One word about a tensor is enough.
                    let parts = [Companion::Scales, Companion::Biases, Companion::Absmax];
                    known.extend(parts.map(|part| t.companion(part)));
                }
            }
        }
        for t in self.tensors().filter(|t| !known.contains(t.name)) {
            let wanted = "no tensor of this name in a model of this config.json".to_owned();
            problems.push(Problem::at(ProblemKind::Unexpected, &t, describe(t.dtype, t.shape), wanted));
        }
        problems
    }

    /// Finds a tensor and its companions, and checks their formats and shapes.
    pub(super) fn locate(&self, t: &TensorSpec) -> Result<Stored<'_>, Problem> {
        let wanted = || {
            let four_bits = if t.kind.can_quantise() { ", or 4 bits in U32" } else { "" };
            format!("{FLOATS} of shape {}{four_bits}", dims(&t.shape))
        };
        let found = self.info(&t.name).ok_or_else(|| self.missing(&t.name, wanted()))?;
        if let Some(float) = found.dtype.float() {
            if found.shape != t.shape {
                return Err(misshapen(&found, wanted()));
            }
            return Ok(Stored::Dense(found, float));
        }
        if found.dtype != Dtype::U32 || !t.kind.can_quantise() {
            return Err(Problem::at(ProblemKind::WrongDtype, &found, describe(found.dtype, found.shape), wanted()));
        }
        // Eight codes in each u32, along the inputs.
        let cols = t.cols();
        let mut packed = t.shape.clone();
        packed.last_mut().expect("matrices have dimensions").clone_from(&(cols / 8));
        if found.shape != packed || !cols.is_multiple_of(8) {
            let wanted = format!("4-bit codes in U32 of shape {}", dims(&packed));
            let advice = "config.json belongs to another model, or these are not 4 bits a weight";
            return Err(Problem { advice, ..misshapen(&found, wanted) });
        }
        let (scales, absmax) = (t.companion(Companion::Scales), t.companion(Companion::Absmax));
        match (self.contains(&scales), self.contains(&absmax)) {
            (true, false) => {
                let (scales, group) = self.companion(t, &scales, None)?;
                let (biases, _) = self.companion(t, &t.companion(Companion::Biases), Some(group))?;
                Ok(Stored::Affine4 { group, codes: found, scales, biases })
            }
            (false, true) => {
                let (absmax, group) = self.companion(t, &absmax, None)?;
                Ok(Stored::Nf4 { group, codes: found, absmax })
            }
            (false, false) => {
                let why = format!("it, because `{}` is quantised (or `{absmax}` if that is NF4)", t.name);
                Err(self.missing(&scales, why))
            }
            (true, true) => {
                let wanted = format!("either scales and biases (affine) or absmax (NF4) for `{}`", t.name);
                let found = "both".to_owned();
                let (file, tensor) = (self.path().to_owned(), t.name.clone());
                Err(Problem { kind: ProblemKind::WrongDtype, file, tensor, found, wanted, advice: "" })
            }
        }
    }

    /// One value a group beside the codes of `t`, and the size of the groups, which is `group` if given.
    fn companion(
        &self,
        t: &TensorSpec,
        name: &str,
        group: Option<usize>,
    ) -> Result<((TensorInfo<'_>, Float), usize), Problem> {
        let cols = t.cols();
        let shape = |last: String| {
            let mut parts: Vec<String> = t.shape[..t.shape.len() - 1].iter().map(ToString::to_string).collect();
            parts.push(last);
            format!("({})", parts.join(", "))
        };
        let wanted = || match group {
            Some(group) => format!("{FLOATS} of shape {}", shape((cols / group).to_string())),
            None => format!("{FLOATS} of shape {} with groups of 32, 64 or 128", shape(format!("{cols}/group"))),
        };
        let found = self.info(name).ok_or_else(|| self.missing(name, wanted()))?;
        let Some(float) = found.dtype.float() else {
            return Err(Problem::at(ProblemKind::WrongDtype, &found, describe(found.dtype, found.shape), wanted()));
        };
        let fits = |group: usize| {
            cols.is_multiple_of(group)
                && found.shape.len() == t.shape.len()
                && found.shape.last() == Some(&(cols / group))
                && found.shape[..found.shape.len() - 1] == t.shape[..t.shape.len() - 1]
        };
        match GROUPS.into_iter().find(|&g| fits(g) && group.is_none_or(|wanted| wanted == g)) {
            Some(group) => Ok(((found, float), group)),
            None => Err(misshapen(&found, wanted())),
        }
    }

    fn missing(&self, name: &str, wanted: String) -> Problem {
        Problem {
            kind: ProblemKind::Missing,
            file: self.path().to_owned(),
            tensor: name.to_owned(),
            found: "nothing".into(),
            wanted,
            advice: "the checkpoint is not complete, or config.json belongs to another model",
        }
    }
}

fn misshapen(found: &TensorInfo<'_>, wanted: String) -> Problem {
    Problem::at(ProblemKind::Misshapen, found, describe(found.dtype, found.shape), wanted)
}

pub(super) fn describe(dtype: Dtype, shape: &[usize]) -> String {
    format!("{dtype} of shape {}", dims(shape))
}

fn dims(shape: &[usize]) -> String {
    let parts: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("({})", parts.join(", "))
}
