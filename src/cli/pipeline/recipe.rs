//! What a pipeline shall do: a TOML file, with what the options say put over it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use toml::{Table, Value};

use super::super::Usage;
use super::super::merge::MergedFormat;
use crate::backend::cpu::learn::FourBits;
use crate::train::settings::{Adapter, Given, Method, Settings};

/// Everything that was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Recipe {
    /// The model to start from.
    pub(super) model: String,
    /// Examples that are measured before and after.
    pub(super) eval: Vec<PathBuf>,
    /// Settings of training on answers.
    pub(super) sft: Option<Given>,
    /// Settings of training on preferences.
    pub(super) orpo: Option<Given>,
    pub(super) merge: Merge,
    pub(super) quantize: Quantize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Merge {
    #[serde(deserialize_with = "named")]
    pub(super) format: Option<MergedFormat>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Quantize {
    #[serde(deserialize_with = "named")]
    pub(super) format: Option<Quantised>,
    pub(super) group_size: usize,
}

impl Default for Quantize {
    fn default() -> Self {
        Self { format: None, group_size: 64 }
    }
}

/// What becomes of the merged model in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Quantised {
    /// 4 bits, in even steps, as MLX has them
    Affine4,
    /// 4 bits from the NormalFloat codebook
    Nf4,
    /// It stays as it is
    None,
}

impl Quantised {
    pub(super) fn four_bits(self) -> Option<FourBits> {
        match self {
            Quantised::Affine4 => Some(FourBits::Affine4),
            Quantised::Nf4 => Some(FourBits::Nf4),
            Quantised::None => None,
        }
    }
}

/// A value by the name that the option has for it.
fn named<'d, T: ValueEnum, D: serde::Deserializer<'d>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    T::from_str(&text, false).map(Some).map_err(|_| {
        let all: Vec<String> =
            T::value_variants().iter().filter_map(|v| Some(v.to_possible_value()?.get_name().to_owned())).collect();
        serde::de::Error::custom(format!("`{text}` is not one of {}", all.join(", ")))
    })
}

impl Recipe {
    /// From a table, checked as far as it can be without opening anything.
    pub(super) fn new(table: &Table) -> Result<Self> {
        let recipe: Self = table.clone().try_into().context("the pipeline's settings cannot be used")?;
        let usage = |why: &str| -> Result<Self> { Err(Usage(why.into()).into()) };
        if recipe.model.is_empty() {
            return usage("--model is missing: which model shall be trained?");
        }
        if recipe.sft.is_none() && recipe.orpo.is_none() {
            return usage("there is nothing to train on: give --sft, --orpo, or both");
        }
        for (name, given, method) in [("sft", &recipe.sft, Method::Sft), ("orpo", &recipe.orpo, Method::Orpo)] {
            let Some(given) = given else { continue };
            if given.data.is_none() {
                return usage(&format!("[{name}] has no `data`: which file of examples shall be learned from?"));
            }
            for (there, key) in [
                (given.model.is_some(), "model"),
                (given.output_dir.is_some(), "output_dir"),
                (given.method.is_some_and(|m| m != method), "method"),
            ] {
                ensure!(!there, "[{name}] must not have `{key}`: the pipeline chooses it");
            }
        }
        recipe.agreed()?;
        crate::model::quant::check_group(recipe.quantize.group_size)?;
        Ok(recipe)
    }

    /// Preferences go on with the adapter that answers made, so that both stages must want the same one.
    fn agreed(&self) -> Result<()> {
        let (Some(sft), Some(orpo)) = (&self.sft, &self.orpo) else { return Ok(()) };
        let fixed = |given: &Given| {
            let mut settings = Settings::default();
            given.clone().apply(&mut settings);
            [
                ("adapter", settings.adapter().to_string()),
                ("lora_rank", settings.lora_rank.to_string()),
                ("lora_scale", settings.lora_scale.to_string()),
                ("lora_experts", settings.lora_experts.to_string()),
            ]
        };
        for ((key, before), (_, after)) in fixed(sft).into_iter().zip(fixed(&self.inherited(orpo))) {
            ensure!(
                before == after,
                "[orpo] goes on with the adapter of [sft], whose `{key}` is {before}: it cannot be {after}"
            );
        }
        Ok(())
    }

    /// The settings of the second training, with the adapter of the first.
    fn inherited(&self, orpo: &Given) -> Given {
        let mut given = orpo.clone();
        if let Some(sft) = &self.sft {
            given.adapter = given.adapter.or(sft.adapter);
            given.lora_rank = given.lora_rank.or(sft.lora_rank);
            given.lora_scale = given.lora_scale.or(sft.lora_scale);
            given.lora_experts = given.lora_experts.or(sft.lora_experts);
        }
        given
    }

    /// What a stage of training is given.
    pub(super) fn training(&self, method: Method) -> Option<Given> {
        let given = match method {
            Method::Orpo => self.inherited(self.orpo.as_ref()?),
            _ => self.sft.clone()?,
        };
        Some(Given { method: Some(method), model: Some(self.model.clone()), ..given })
    }

    /// True if whole models are trained: then there is nothing to merge.
    pub(super) fn whole(&self) -> bool {
        let given = self.sft.as_ref().or(self.orpo.as_ref());
        given.is_some_and(|given| given.adapter == Some(Adapter::Full))
    }
}

/// Reads a file of settings.
pub(super) fn read(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.to_string().trim_end()))
}

/// Puts a setting as `orpo.max_steps=200` into a table. What is no TOML value is taken for a text.
pub(super) fn set(table: &mut Table, setting: &str) -> Result<()> {
    let Some((key, value)) = setting.split_once('=') else {
        bail!("--set {setting}: a setting looks like sft.max_steps=300");
    };
    let parsed = toml::from_str::<Table>(setting);
    let parsed = parsed.or_else(|_| toml::from_str(&format!("{key} = {}", Value::from(value.trim()))));
    let parsed = parsed.map_err(|_| anyhow::anyhow!("--set {setting}: `{key}` is no name of a setting"))?;
    merge_tables(table, parsed);
    Ok(())
}

/// Puts what `over` says in place of what `table` says.
pub(super) fn merge_tables(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => merge_tables(below, over),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Makes paths absolute, so that whoever goes on may stand in another folder.
pub(super) fn absolute(table: &mut Table) -> Result<()> {
    let full = |value: &mut Value, must_exist: bool| -> Result<()> {
        if let Value::String(path) = value
            && (!must_exist || Path::new(&*path).exists())
        {
            *path = std::path::absolute(&*path)?.display().to_string();
        }
        Ok(())
    };
    // A model that is no folder may be a name on the hub.
    table.get_mut("model").map_or(Ok(()), |model| full(model, true))?;
    if let Some(Value::Array(files)) = table.get_mut("eval") {
        files.iter_mut().try_for_each(|file| full(file, false))?;
    }
    for stage in ["sft", "orpo"] {
        let Some(Value::Table(stage)) = table.get_mut(stage) else { continue };
        for key in ["data", "val_data"] {
            stage.get_mut(key).map_or(Ok(()), |path| full(path, false))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str, sets: &[&str]) -> Result<Recipe> {
        let mut table: Table = toml::from_str(text).unwrap();
        sets.iter().try_for_each(|setting| set(&mut table, setting))?;
        Recipe::new(&table)
    }

    const BOTH: &str = "model = \"m\"\n[sft]\ndata = \"a.jsonl\"\nlora_rank = 4\n[orpo]\ndata = \"b.jsonl\"\n";

    #[test]
    fn options_win_and_the_second_training_goes_on_with_the_first() {
        let found =
            recipe(BOTH, &["sft.max_steps=30", "quantize.format=nf4", "orpo.beta = 0.2", "eval=[\"e\"]"]).unwrap();
        let sft = found.training(Method::Sft).unwrap();
        assert_eq!((sft.max_steps, sft.method, sft.model.as_deref()), (Some(30), Some(Method::Sft), Some("m")));
        let orpo = found.training(Method::Orpo).unwrap();
        assert_eq!((orpo.lora_rank, orpo.beta, orpo.max_steps), (Some(4), Some(0.2), None));
        assert_eq!((found.quantize.format, found.eval.len()), (Some(Quantised::Nf4), 1));
        assert!(!found.whole());
        assert!(recipe(BOTH, &["sft.adapter=full"]).unwrap().whole());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, sets, want) in [
            ("", &[][..], "--model is missing"),
            ("model = \"m\"", &[], "nothing to train on"),
            ("model = \"m\"\n[sft]\n", &[], "[sft] has no `data`"),
            (BOTH, &["sft.max_step=3"], "max_step"),
            (BOTH, &["sft.max_steps=many"], "max_steps"),
            (BOTH, &["sft.output_dir=x"], "must not have `output_dir`"),
            (BOTH, &["sft.method=orpo"], "must not have `method`"),
            (BOTH, &["orpo.lora_rank=8"], "cannot be 8"),
            (BOTH, &["quantize.format=int8"], "not one of affine4, nf4, none"),
            (BOTH, &["merge.format=nf5"], "not one of f32"),
            (BOTH, &["quantize.group_size=7"], "7"),
            (BOTH, &["speed"], "sft.max_steps=300"),
            (BOTH, &["a b=1"], "no name of a setting"),
        ] {
            let said = format!("{:#}", recipe(text, sets).unwrap_err());
            assert!(said.contains(want), "{sets:?}: {said} lacks {want}");
        }
    }
}
