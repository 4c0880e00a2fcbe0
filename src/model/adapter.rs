//! Adapters in files: `adapters.safetensors`, with `adapter_config.json` beside it.
//!
//! ```text
//! PATH.lora_a (in, r)    PATH.lora_b (r, out)    PATH.m (out), for DoRA
//! ```
//!
//! PATH is a projection, as `layer_0.ssm.in_proj`. Where the model has a stack of matrices, one an expert, each
//! tensor has the experts as its first dimension.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::checkpoint::{Checkpoint, printable};
use super::matrix::Floats;
use super::spec::ModelSpec;
use super::tensors::{Kind, TensorSpec, tensors};

/// The file of an adapter's tensors.
pub const WEIGHTS: &str = "adapters.safetensors";
/// What must be known beside them.
pub const CONFIG: &str = "adapter_config.json";

const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A LoRA or DoRA adapter of some of a model's projections, whole in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    path: PathBuf,
    scale: f32,
    rank: usize,
    base: Option<String>,
    modules: BTreeMap<String, Module>,
}

/// The adapter of one projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Matrices, where the projection is a stack of them.
    pub stack: Option<usize>,
    /// Inputs of each.
    pub inputs: usize,
    /// Outputs of each.
    pub outputs: usize,
    /// A: (in, r), for each matrix.
    pub a: Vec<f32>,
    /// B: (r, out), for each matrix.
    pub b: Vec<f32>,
    /// m: (out), for each matrix.
    pub m: Option<Vec<f32>>,
}

/// What the files say beside the tensors; ours, and those of mlx-lm.
#[derive(Deserialize)]
struct About {
    #[serde(alias = "model")]
    base_model: Option<String>,
    lora_parameters: Scale,
}

#[derive(Deserialize)]
struct Scale {
    scale: f32,
}

/// The tensors of one module: shapes and values, by the last part of their names.
type Parts = BTreeMap<&'static str, (Vec<usize>, Vec<f32>)>;

impl Adapter {
    /// Reads a file of adapters, and what lies beside it.
    pub fn open(file: &Path) -> Result<Self> {
        let about = about(&file.with_file_name(CONFIG))?;
        let checkpoint = Checkpoint::open(file)?;
        Self::read(file, about, &checkpoint).with_context(|| format!("{} cannot be used", file.display()))
    }

    fn read(file: &Path, about: About, checkpoint: &Checkpoint) -> Result<Self> {
        let mut parts: BTreeMap<String, Parts> = BTreeMap::new();
        for t in checkpoint.tensors() {
            let found = ["lora_a", "lora_b", "m"].into_iter().find_map(|part| {
                let path = t.name.strip_suffix(part)?.strip_suffix('.')?;
                (!path.is_empty()).then_some((path, part))
            });
            let Some((path, part)) = found else {
                bail!("its tensor `{}` is no part of an adapter (`lora_a`, `lora_b`, `m`)", printable(t.name));
            };
            let format = t.dtype.float();
            let format = format.with_context(|| format!("`{}` holds {}, no numbers", printable(t.name), t.dtype))?;
            let bytes = checkpoint.tensor(t.name).context("a tensor is gone")?.bytes;
            let values = Floats { format, bytes }.to_f32();
            let bad = values.iter().filter(|value| !value.is_finite()).count();
            ensure!(bad == 0, "{bad} values of `{}` are infinite or not a number", printable(t.name));
            parts.entry(path.to_owned()).or_default().insert(part, (t.shape.to_vec(), values));
        }
        let mut modules = BTreeMap::new();
        let mut ranks = BTreeSet::new();
        for (path, parts) in parts {
            let (rank, module) = module(parts).with_context(|| format!("the adapter of `{}`", printable(&path)))?;
            ranks.insert(rank);
            modules.insert(path, module);
        }
        let rank = *ranks.first().context("it holds no adapter")?;
        ensure!(ranks.len() == 1, "its adapters have several ranks ({ranks:?}): only one is possible");
        let magnitudes = modules.values().filter(|module| module.m.is_some()).count();
        ensure!(
            magnitudes == 0 || magnitudes == modules.len(),
            "{magnitudes} of its {} adapters have magnitudes (`m`): all must, or none",
            modules.len()
        );
        let scale = about.lora_parameters.scale;
        Ok(Self { path: file.to_owned(), scale, rank, base: about.base_model, modules })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the adapters' branch is multiplied by.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Columns of A.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// True if the lengths of rows were trained too.
    pub fn is_dora(&self) -> bool {
        self.modules.values().any(|module| module.m.is_some())
    }

    /// The model that it was trained on, as it was called then.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// The projections, by their paths.
    pub fn modules(&self) -> &BTreeMap<String, Module> {
        &self.modules
    }

    /// The adapter of a tensor.
    pub fn of(&self, tensor: &TensorSpec) -> Option<&Module> {
        self.modules.get(tensor.name.strip_suffix(".weight")?)
    }

    /// An error if a model of this shape is not the kind that it was trained on.
    pub fn ensure_fits(&self, spec: &ModelSpec) -> Result<()> {
        let all = tensors(spec);
        let advice = match &self.base {
            Some(base) => format!("it was trained on {}: use that as --model", printable(base)),
            None => "use the model that it was trained on as --model".to_owned(),
        };
        for (path, module) in &self.modules {
            let wanted = all.iter().find(|t| t.name.strip_suffix(".weight") == Some(path.as_str()));
            let what = format!("the adapter {} does not fit this model", self.path.display());
            let Some(wanted) = wanted.filter(|t| matches!(t.kind, Kind::Linear | Kind::ExpertStack)) else {
                bail!("{what}: it has an adapter for `{}`, which the model does not have; {advice}", printable(path));
            };
            let shape = [module.stack.as_slice(), &[module.outputs, module.inputs]].concat();
            ensure!(
                wanted.shape == shape,
                "{what}: its adapter for `{path}` is made for a matrix of shape {shape:?}, and the model's has {:?}; \
                 {advice}",
                wanted.shape
            );
        }
        Ok(())
    }
}

/// As `dora, rank 8, scale 20`.
impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_dora() { "dora" } else { "lora" };
        write!(f, "{kind}, rank {}, scale {}", self.rank, self.scale)
    }
}

impl Module {
    /// Turns a row of matrix `index` into that of the merged one: `(m / n) (W + s (A B)^T)`, where n is the length
    /// of the row in brackets.
    pub fn merge_row(&self, scale: f32, index: usize, row: usize, w: &mut [f32]) {
        let count = self.stack.unwrap_or(1);
        let (a, b) = (part(&self.a, index, count), part(&self.b, index, count));
        // (r)
        let column: Vec<f32> = b.iter().skip(row).step_by(self.outputs).map(|b| scale * b).collect();
        for (w, a) in w.iter_mut().zip(a.chunks_exact(column.len())) {
            *w += a.iter().zip(&column).map(|(a, b)| a * b).sum::<f32>();
        }
        if let Some(m) = &self.m {
            let square: f64 = w.iter().map(|w| f64::from(*w).powi(2)).sum();
            // As training has it, so that a row of zeros is no division by zero.
            let factor = part(m, index, count)[row] / square.sqrt().max(1e-12) as f32;
            w.iter_mut().for_each(|w| *w *= factor);
        }
    }
}

/// Piece `index` of `count` equal ones.
fn part(values: &[f32], index: usize, count: usize) -> &[f32] {
    let len = values.len() / count;
    &values[index * len..][..len]
}

/// Puts the tensors of a projection together, and gives their rank.
fn module(mut parts: BTreeMap<&str, (Vec<usize>, Vec<f32>)>) -> Result<(usize, Module)> {
    let mut take = |part| parts.remove(part);
    let (a_shape, a) = take("lora_a").context("its `lora_a` is missing")?;
    let (b_shape, b) = take("lora_b").context("its `lora_b` is missing")?;
    let m = take("m");
    let (stack, inputs, rank) = match a_shape[..] {
        [inputs, rank] => (None, inputs, rank),
        [count, inputs, rank] => (Some(count), inputs, rank),
        _ => bail!("its `lora_a` has the shape {a_shape:?}: (inputs, rank) is wanted"),
    };
    let outputs = *b_shape.last().unwrap_or(&0);
    ensure!(inputs > 0 && rank > 0 && outputs > 0 && stack != Some(0), "its matrices are empty");
    let wanted = [stack.as_slice(), &[rank, outputs]].concat();
    ensure!(b_shape == wanted, "its `lora_b` has the shape {b_shape:?}, which does not go with {a_shape:?}");
    let m = m.map(|(shape, m)| {
        let wanted = [stack.as_slice(), &[outputs]].concat();
        ensure!(shape == wanted, "its `m` has the shape {shape:?}: {wanted:?} is wanted");
        Ok(m)
    });
    Ok((rank, Module { stack, inputs, outputs, a, b, m: m.transpose()? }))
}

fn about(path: &Path) -> Result<About> {
    let size = std::fs::metadata(path).map(|about| about.len());
    let size = size.with_context(|| {
        format!("cannot read {}: it must lie beside the adapter, since it has the scale", path.display())
    })?;
    ensure!(size <= MAX_CONFIG_BYTES, "{} has {size} bytes: it is no adapter's configuration", path.display());
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let about: About = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no adapter's configuration (it needs `lora_parameters`)", path.display()))?;
    let scale = about.lora_parameters.scale;
    ensure!(scale.is_finite(), "{}: a scale of {scale} is no number", path.display());
    Ok(about)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;

    use super::*;
    use crate::model::checkpoint::{Dtype, Planned, TensorWriter};
    use crate::model::config::Config;

    type Tensor<'a> = (&'a str, &'a [usize], f32);

    fn written(config: &str, tensors: &[Tensor<'_>]) -> Result<Adapter> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join(CONFIG), config)?;
        let plan = tensors.iter().map(|(name, shape, _)| Planned {
            name: (*name).into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        });
        let file = dir.path().join(WEIGHTS);
        let mut writer = TensorWriter::new(File::create(&file)?, plan.collect(), &BTreeMap::new())?;
        for (name, shape, value) in tensors {
            writer.append(name, bytemuck::cast_slice(&vec![*value; shape.iter().product()]))?;
        }
        writer.finish()?;
        Adapter::open(&file)
    }

    const GOOD: &str = r#"{"base_model": "models/x", "lora_parameters": {"rank": 2, "scale": 0.5}}"#;
    const NAME: &str = "layer_0.ssm.in_proj";

    #[test]
    fn rows_are_merged_as_the_formula_says() {
        let adapter = written(
            GOOD,
            &[
                (&format!("{NAME}.lora_a"), &[3, 2], 2.0),
                (&format!("{NAME}.lora_b"), &[2, 4], 3.0),
                (&format!("{NAME}.m"), &[4], 10.0),
            ],
        )
        .unwrap();
        assert_eq!((adapter.to_string().as_str(), adapter.base()), ("dora, rank 2, scale 0.5", Some("models/x")));
        let module = &adapter.modules()[NAME];
        let mut row = [1.0, -1.0, 0.0];
        module.merge_row(0.5, 0, 1, &mut row);
        // W + 0.5 * (2*3 + 2*3) = [7, 5, 6], of length sqrt(110).
        let n = 110f32.sqrt();
        for (found, want) in row.iter().zip([70.0 / n, 50.0 / n, 60.0 / n]) {
            assert!((found - want).abs() < 1e-5, "{row:?}");
        }
        let plain = Module { m: None, ..module.clone() };
        let mut row = [1.0, -1.0, 0.0];
        plain.merge_row(0.5, 0, 1, &mut row);
        assert_eq!(row, [7.0, 5.0, 6.0]);
    }

    #[test]
    fn what_is_no_adapter_is_refused_by_name() {
        let (a, b, m) = (format!("{NAME}.lora_a"), format!("{NAME}.lora_b"), format!("{NAME}.m"));
        let good: [Tensor<'_>; 2] = [(&a, &[3, 2], 1.0), (&b, &[2, 4], 1.0)];
        for (config, tensors, want) in [
            ("{}", &good[..], "lora_parameters"),
            (r#"{"lora_parameters": {"scale": 1e99}}"#, &good, CONFIG),
            (GOOD, &[(&a, &[3, 2], 1.0)], "`lora_b` is missing"),
            (GOOD, &[good[0], (&b, &[3, 4], 1.0)], "does not go with"),
            (GOOD, &[good[0], good[1], (&m, &[5], 1.0)], "[4] is wanted"),
            (GOOD, &[good[0], (&b, &[2, 4], f32::NAN)], "not a number"),
            (GOOD, &[("weird.weight", &[2], 1.0)], "`weird.weight`"),
            (GOOD, &[good[0], good[1], ("x.lora_a", &[3, 1], 1.0), ("x.lora_b", &[1, 2], 1.0)], "several ranks"),
            (GOOD, &[(&a, &[6], 1.0), (&b, &[2, 4], 1.0)], "(inputs, rank)"),
        ] {
            let said = format!("{:#}", written(config, tensors).unwrap_err());
            assert!(said.contains(want), "{said} lacks {want}");
        }
    }

    #[test]
    fn another_models_adapter_is_told_by_its_shapes() {
        let spec = Config::preset("small").unwrap().spec();
        let (a, b) = (format!("{NAME}.lora_a"), format!("{NAME}.lora_b"));
        let said = |tensors: &[Tensor<'_>]| written(GOOD, tensors).unwrap().ensure_fits(&spec).unwrap_err().to_string();
        let shapes = said(&[(&a, &[3, 2], 1.0), (&b, &[2, 4], 1.0)]);
        assert!(shapes.contains("[4, 3]") && shapes.contains("[1024, 256]") && shapes.contains("models/x"), "{shapes}");
        let gone = said(&[("layer_9.ssm.in_proj.lora_a", &[3, 2], 1.0), ("layer_9.ssm.in_proj.lora_b", &[2, 4], 1.0)]);
        assert!(gone.contains("`layer_9.ssm.in_proj`, which the model does not have"), "{gone}");
        let right = written(GOOD, &[(&a, &[256, 2], 1.0), (&b, &[2, 1024], 1.0)]).unwrap();
        right.ensure_fits(&spec).unwrap();
    }
}
