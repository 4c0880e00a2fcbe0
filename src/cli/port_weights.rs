//! `port-weights`: a model that begins with what a transformer knows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::init::{COMPANIONS, FormatArg, GROUP, read, tokenizer_files, write_weights};
use super::progress::{bytes, count};
use super::{interrupt, model_arg, output};
use crate::model::checkpoint::{Checkpoint, Format, StagedFolder, plan_new};
use crate::model::config::{Config, PRESETS};
use crate::model::port::{Ported, SourceConfig, VocabularyMap, layers};
use crate::model::tensors::parameters;
use crate::model::tokenizer::Tokenizer;

/// Begin a model with the weights of a transformer
///
/// Reads a checkpoint as Qwen2.5's are and writes a Bit-Axon model: rows of the embedding table (and of the head)
/// are taken over, through a map of vocabularies where the model has another one; norms are taken over and padded
/// with ones; each layer's MLP becomes the shared expert, and the routed experts are copies of it with noise. State
/// spaces, attention and routers have no counterpart and begin as in `bit-axon init`. Such a model says nothing
/// sensible before it is trained, but learns from there sooner than from nothing.
///
/// A vocabulary map is a JSON file: a list with the source's token at each place, or null, or an object such as
/// {"0": 151643, "1": 17}, from the model's tokens to the source's. Tokens without one begin as the mean of the
/// others, and a little random. Without a map the vocabulary is the source's own.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PortWeightsArgs {
    /// The source: a folder, or a hub name such as owner/name
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Shape of the model; its embedding gets the width of the source
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS), default_value = "3b", conflicts_with = "config")]
    preset: String,
    /// Shape of the model, as a config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which token of the source each token of the model is
    #[arg(long, value_name = "FILE.json")]
    vocab_map: Option<PathBuf>,
    /// The model's tokenizer.json, where its vocabulary is not the source's
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// How weights are stored
    #[arg(long, value_enum, default_value = "f16")]
    format: FormatArg,
    /// Size of the noise in the routed experts, relative to their weights
    #[arg(long, value_name = "X", default_value_t = 0.02)]
    noise: f32,
    /// Seed of the noise and of what is new
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace a model that is already in the folder
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon port-weights Qwen/Qwen2.5-3B --out models/ported
  bit-axon port-weights models/qwen --preset medium --vocab-map map.json --tokenizer tokenizer.json --out models/mine
  bit-axon port-weights models/qwen --config shape.json --format affine4 --out models/mine
  bit-axon train text.jsonl --model models/mine --method pretrain --max-seq-len 256";

/// Writes the model.
pub fn run(args: PortWeightsArgs) -> Result<()> {
    ensure!((0.0..=1.0).contains(&args.noise), "--noise is {}: it must lie between 0 and 1", args.noise);
    let path = model_arg::resolve(&args.source)?;
    let source = Checkpoint::open(&path)?;
    let from = source.folder().to_owned();
    let about = SourceConfig::read(&from.join("config.json"))?;
    let map = args.vocab_map.as_deref().map(|path| VocabularyMap::read(path, about.vocab_size)).transpose()?;
    let config = shape(&args, &about, map.as_ref())?;
    let spec = config.spec();
    let own_vocabulary = map.is_none();
    let map = map.unwrap_or_else(|| VocabularyMap::same(about.vocab_size));
    ensure!(
        map.len() <= spec.vocab,
        "the vocabulary map goes to token {}, and the model has tokens 0 to {}",
        map.len() - 1,
        spec.vocab - 1
    );
    let mapped = map.sources().flatten().count();
    let tokenizer = match &args.tokenizer {
        Some(path) => tokenizer_files(Some(path), config.vocab_size)?,
        None if own_vocabulary => companions(&from, config.vocab_size)?,
        None => Vec::new(),
    };
    if tokenizer.is_empty() {
        output::note("the model gets no tokenizer: give one with --tokenizer to train it or to run it on text");
    }
    interrupt::catch();
    let folder = StagedFolder::begin(&args.out, args.force)?;
    folder.put("config.json", format!("{}\n", serde_json::to_string_pretty(&config)?).as_bytes())?;
    for (name, contents) in &tokenizer {
        folder.put(name, contents)?;
    }
    let ported = Ported::new(&source, &about, &spec, map, args.noise, args.seed)?;
    let format = Format::from(args.format);
    let written = write_weights(&folder, &args.out, &ported, &plan_new(&spec, format, GROUP)?, |_, _| {})?;
    folder.finish()?;

    let (total, _) = parameters(&spec);
    let taken = layers(spec.layers.len(), about.num_hidden_layers);
    let taken: Vec<String> = taken.into_iter().map(|layer| layer.to_string()).collect();
    let room = config.moe_intermediate_dim;
    let text = [
        format!("tokens      {mapped} of {} from the source", spec.vocab),
        format!("layers      {} from the source's {}", taken.len(), taken.join(" ")),
        format!(
            "experts     {} of {} neurons, {room} wide",
            about.intermediate_size.min(room),
            about.intermediate_size
        ),
        format!("{}: {} parameters in {format}, {}", args.out.display(), count(total), bytes(written)),
    ];
    Ok(output::line(output::safe(&text.join("\n")))?)
}

/// The model's settings.
fn shape(args: &PortWeightsArgs, source: &SourceConfig, map: Option<&VocabularyMap>) -> Result<Config> {
    let Some(path) = &args.config else {
        let config = Config {
            d_source_model: source.hidden_size,
            vocab_size: map.map_or(source.vocab_size, VocabularyMap::len),
            weight_tying: source.tie_word_embeddings,
            ..Config::preset(&args.preset)?
        };
        ensure!(
            config.hidden_dim >= source.hidden_size,
            "the source is {} wide, and the preset {} only {}: choose a wider one, or give a shape with --config",
            source.hidden_size,
            args.preset,
            config.hidden_dim
        );
        config.check()?;
        return Ok(config);
    };
    let config = Config::read(path)?;
    ensure!(
        config.weight_tying || !source.tie_word_embeddings,
        "{} wants a head of its own (weight_tying false), and the source has none",
        path.display()
    );
    ensure!(
        map.is_some() || config.vocab_size >= source.vocab_size,
        "{} has {} tokens and the source {}: say with --vocab-map which of them the model takes",
        path.display(),
        config.vocab_size,
        source.vocab_size
    );
    Ok(config)
}

/// The source's own tokenizer, if it has one.
fn companions(from: &Path, vocabulary: usize) -> Result<Vec<(String, Vec<u8>)>> {
    if !from.join("tokenizer.json").is_file() {
        return Ok(Vec::new());
    }
    Tokenizer::open(from)
        .and_then(|tokenizer| tokenizer.check_fits(vocabulary))
        .with_context(|| format!("the tokenizer of {} cannot be used", from.display()))?;
    let there = COMPANIONS.iter().filter(|name| from.join(name).is_file());
    there.map(|name| Ok(((*name).to_owned(), read(&from.join(name))?))).collect()
}
