//! `trace`: which experts each token of an input takes, and the logits if wanted.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::adapter_arg::AdapterArg;
use super::logits_file::LogitsFile;
use super::{Usage, interrupt, open, output};
use crate::backend::{Backend, Logits};
use crate::protocol::{LayerRouting, TokenId, TokenRouting};

/// Show which experts each token of an input takes
///
/// Reads the input once, token by token or in pieces (the result is the same), and prints for each
/// token what every MoE layer did with it: the chosen experts, their gate probabilities, the entropy
/// of the whole gate distribution in nats, and the shared expert's gate. Arithmetic is exact unless
/// --fast is given.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    #[arg(long, help = super::model_arg::HELP, required_unless_present = "adapter")]
    model: Option<String>,
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    input: Input,
    /// Print one `pos,layer,expert,weight` row for each activation instead of JSON lines
    #[arg(long)]
    csv: bool,
    /// Also write a safetensors file with `logits` (tokens x vocabulary, f32)
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Use the fast arithmetic that `run` uses: inputs of matrices are rounded to 8 bits
    #[arg(long)]
    fast: bool,
    /// How many threads to use on the CPU backend; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    backend: open::BackendArg,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// Text to read, as it is: no chat template is put around it
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Token ids to read; needs no tokenizer, and `text` is null then
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    ids: Option<Vec<TokenId>>,
    /// File whose text to read; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon trace --model models/tiny --ids 1,2,3
  bit-axon trace --model models/mine --prompt \"The sea is\" | head -1
  bit-axon trace --model models/mine --file story.txt --csv > activations.csv
  bit-axon trace --model models/mine --ids 1,2,3 --logits logits.safetensors > /dev/null
  bit-axon trace --adapter runs/chats-dora --prompt \"The sea is\" | head -1

A line looks like this, with one entry in `layers` for each MoE layer:
  {\"pos\":0,\"token\":5,\"text\":\"..\",\"layers\":[{\"layer\":2,\"experts\":[1,3],\"weights\":[0.41,0.22],
   \"entropy\":1.1,\"shared_gate\":0.6}]}";

impl Input {
    /// The text that is meant; none for ids.
    fn text(&self) -> Result<Option<String>> {
        let Some(path) = &self.file else { return Ok(self.prompt.clone()) };
        let bytes = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            std::fs::read(path)
        };
        let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8 text", path.display()))?))
    }
}

/// Opens the model, reads the input and prints what happened.
pub fn run(args: TraceArgs) -> Result<()> {
    let text = args.input.text()?;
    if text.as_ref().is_some_and(String::is_empty) {
        return Err(Usage("the text to trace is empty, so there are no tokens".into()).into());
    }
    let files = open::files_with(args.model.as_deref(), args.adapter.open()?)?;
    // Ids are traced as numbers: their text is null even where it is known.
    let tokenizer = if text.is_some() { Some(files.require_tokenizer()?) } else { None };
    let ids = match (text, tokenizer) {
        (Some(text), Some(tokenizer)) => tokenizer.encode(&text)?,
        _ => args.input.ids.unwrap_or_default(),
    };
    let mut backend = open::backend(&files, &open::options(!args.fast, args.threads, args.backend))?;
    let mut logits = match &args.logits {
        Some(path) => {
            // So that half a file is removed again.
            interrupt::catch();
            Some(LogitsFile::create(path, ids.len(), backend.spec().vocab)?)
        }
        None => None,
    };
    let text_of = |id| tokenizer.filter(|t| t.has(id)).map(|t| t.token_text(id));
    let format = if args.csv { Format::Csv } else { Format::JsonLines };
    let mut out = BufWriter::new(output::stdout());
    trace(&mut *backend, &ids, &text_of, format, &mut out, logits.as_mut())?;
    logits.map_or(Ok(()), LogitsFile::finish)
}

/// How tokens are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    JsonLines,
    Csv,
}

/// One line of output.
#[derive(Serialize)]
struct Line<'a> {
    pos: usize,
    token: TokenId,
    text: Option<String>,
    layers: &'a [LayerRouting],
}

/// Reads the tokens from the beginning and writes what happened, piece by piece as it is known.
fn trace(
    backend: &mut dyn Backend,
    ids: &[TokenId],
    text_of: &dyn Fn(TokenId) -> Option<String>,
    format: Format,
    out: &mut dyn Write,
    mut logits: Option<&mut LogitsFile>,
) -> Result<()> {
    let limit = backend.spec().max_seq_len;
    ensure!(!ids.is_empty(), "the input is empty: there is no token to trace");
    ensure!(ids.len() <= limit, "the input has {} tokens; this model reads at most {limit}", ids.len());
    let vocab = backend.spec().vocab;
    if let Some((pos, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
        bail!("token {id} at position {pos} is outside the vocabulary: the model has tokens 0 to {}", vocab - 1);
    }
    backend.rewind(0)?;
    if format == Format::Csv {
        writeln!(out, "pos,layer,expert,weight")?;
    }
    let wanted = if logits.is_some() { Logits::All } else { Logits::None };
    let mut routing: Vec<TokenRouting> = Vec::new();
    let chunk = backend.chunk().max(1);
    for (n, tokens) in ids.chunks(chunk).enumerate() {
        interrupt::check()?;
        routing.clear();
        let rows = backend.forward(tokens, wanted, Some(&mut routing))?;
        if let Some(file) = &mut logits {
            file.push(rows)?;
        }
        ensure!(routing.len() == tokens.len(), "the backend routed {} of {} tokens", routing.len(), tokens.len());
        for (i, (token, layers)) in tokens.iter().zip(&routing).enumerate() {
            let pos = n * chunk + i;
            match format {
                Format::JsonLines => {
                    let line = Line { pos, token: *token, text: text_of(*token), layers };
                    writeln!(out, "{}", output::json(&line)?)?;
                }
                Format::Csv => {
                    for (layer, expert, weight) in activations(layers) {
                        writeln!(out, "{pos},{layer},{expert},{weight}")?;
                    }
                }
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn activations(layers: &[LayerRouting]) -> impl Iterator<Item = (usize, usize, f32)> {
    layers.iter().flat_map(|l| l.experts.iter().zip(&l.weights).map(|(expert, weight)| (l.layer, *expert, *weight)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mock::Mock;

    fn traced(ids: &[TokenId], format: Format, logits: Option<&mut LogitsFile>) -> Result<String> {
        let mut out = Vec::new();
        let text_of = |id| (id != 9).then(|| format!("<{id}>"));
        trace(&mut Mock::new(10), ids, &text_of, format, &mut out, logits)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn lines_are_exactly_as_promised() {
        let lines = traced(&[5, 9], Format::JsonLines, None).unwrap();
        let layers = r#""layers":[{"layer":2,"experts":[0,1],"weights":[0.5,0.25],"entropy":1.0,"shared_gate":0.75}]"#;
        let first = format!(r#"{{"pos":0,"token":5,"text":"<5>",{layers}}}"#);
        let second = format!(r#"{{"pos":1,"token":9,"text":null,{layers}}}"#).replace("[0,1]", "[1,2]");
        assert_eq!(lines, format!("{first}\n{second}\n"));
    }

    #[test]
    fn long_inputs_are_read_in_pieces_and_positions_go_on() {
        let ids: Vec<TokenId> = (0..10).collect();
        let lines = traced(&ids, Format::JsonLines, None).unwrap();
        let parsed: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 10);
        assert!(parsed.iter().enumerate().all(|(i, line)| line["pos"] == i && line["token"] == i));
    }

    #[test]
    fn csv_has_a_row_for_each_activation() {
        let rows = traced(&[5, 9], Format::Csv, None).unwrap();
        assert_eq!(rows, "pos,layer,expert,weight\n0,2,0,0.5\n0,2,1,0.25\n1,2,1,0.5\n1,2,2,0.25\n");
    }

    #[test]
    fn logits_of_every_token_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.safetensors");
        let ids = [1, 2, 3, 4, 5, 6];
        let mut file = LogitsFile::create(&path, ids.len(), 10).unwrap();
        traced(&ids, Format::Csv, Some(&mut file)).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = tensors.tensor("logits").unwrap().data().to_vec();
        let at = |pos: usize, next: usize| {
            let i = (pos * 10 + next) * 4;
            f32::from_le_bytes(data[i..i + 4].try_into().unwrap())
        };
        assert_eq!(at(5, 3), Mock::logit(5, 6, 3));
        assert_eq!(at(0, 9), Mock::logit(0, 1, 9));
    }

    #[test]
    fn impossible_inputs_are_refused_with_numbers() {
        let said = |ids: &[TokenId]| traced(ids, Format::Csv, None).unwrap_err().to_string();
        assert!(said(&[]).contains("empty"));
        assert!(said(&[0; 65]).contains("65 tokens; this model reads at most 64"));
        assert!(said(&[1, 10]).contains("token 10 at position 1 is outside"));
    }
}
