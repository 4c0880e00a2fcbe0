//! Makes prepared files: every line read, checked, tokenised and packed, and counted.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::encode::{Encoder, Example};
use super::lines::Lines;
use super::pack::{Packer, limit};
use super::prepared::{About, KEY, VERSION};
use super::units::{Shape, read_row};
use crate::backend::learn::Sequence;
use crate::model::checkpoint::{Dtype, Planned, TensorWriter};
use crate::model::template::Labelled;
use crate::train::fingerprint::Fingerprint;
use crate::train::settings::OverLong;
use crate::whole::{self, WholeFile};

/// How a file is prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareOptions {
    /// The file to write.
    pub out: PathBuf,
    /// How sequences are made.
    pub shape: Shape,
    /// Leave out examples that came before.
    pub drop_duplicates: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Lines, blank ones included.
    pub lines: u64,
    /// Examples (pairs) that can be used.
    pub examples: u64,
    /// Lines that cannot.
    pub bad: u64,
    /// Examples that came before, word for word.
    pub duplicates: u64,
    /// Examples longer than a sequence: split or cut.
    pub over_long: u64,
    /// Tokens that were cut off.
    pub cut_tokens: u64,
    /// Tokens of the examples, as they came.
    pub tokens: u64,
    /// Tokens that bear loss.
    pub labels: u64,
    /// Sequences written.
    pub sequences: u64,
    /// Sequences (pairs) left out, since no token of theirs bears loss.
    pub unlabelled: u64,
    /// Tokens that only fill up the last sequence.
    pub padding: u64,
    /// Lengths of examples: the shortest, a tenth, half, nine tenths, ninety-nine hundredths, and the longest.
    pub lengths: [u64; 6],
}

/// Reads all lines and writes the file, whole or not at all. `bad` hears of lines that cannot be used; `tick` of
/// lines done and in all, and its error ends the work.
pub fn prepare(
    lines: &mut Lines,
    encoder: &Encoder,
    options: &PrepareOptions,
    bad: &mut dyn FnMut(u64, String),
    tick: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Report> {
    ensure!(lines.count() > 0, "{} is empty: it holds no example", lines.path().display());
    let folder = whole::folder(&options.out);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let cannot = || whole::cannot(&options.out);
    let mut work = Work {
        report: Report { lines: lines.count(), ..Report::default() },
        spool: Spool::new(folder, options.shape.isolate).with_context(cannot)?,
        packer: Packer::new(options.shape.length, encoder.end_token(), options.shape.isolate),
        lengths: BTreeMap::new(),
        seen: HashSet::new(),
    };
    let mut buffer = Vec::new();
    for line in 0..lines.count() {
        tick(line, lines.count())?;
        let Some(row) = read_row(lines, line, &mut buffer)? else { continue };
        match row.and_then(|row| encoder.encode(&row)) {
            Ok(example) => work.add(example, line, options).with_context(cannot)?,
            Err(error) => {
                work.report.bad += 1;
                let most = options.shape.max_bad_lines;
                if work.report.bad > most {
                    bail!(
                        "{}:{}: {error:#}; more than {most} lines are bad (--max-bad-lines)",
                        lines.path().display(),
                        line + 1
                    );
                }
                bad(line + 1, format!("{error:#}"));
            }
        }
    }
    tick(lines.count(), lines.count())?;
    if let Some(last) = work.packer.flush() {
        let end = encoder.end_token();
        work.report.padding = last.sequence.tokens.iter().rev().take_while(|token| **token == end).count() as u64;
        work.put(&[last.sequence]).with_context(cannot)?;
    }
    ensure!(
        work.report.sequences > 0,
        "{} holds no example that can be used ({} bad lines)",
        lines.path().display(),
        work.report.bad
    );
    work.report.lengths = quantiles(&work.lengths);
    let about = About {
        version: VERSION,
        method: encoder.method(),
        max_seq_len: options.shape.length,
        isolate: options.shape.isolate,
        encoder: encoder.fingerprint()?,
        sequences: work.report.sequences,
        examples: work.report.examples,
    };
    work.spool.write(&options.out, &about).with_context(cannot)?;
    Ok(work.report)
}

struct Work {
    report: Report,
    spool: Spool,
    packer: Packer,
    /// How many examples have each length.
    lengths: BTreeMap<u64, u64>,
    /// Fingerprints of examples.
    seen: HashSet<u64>,
}

impl Work {
    fn add(&mut self, example: Example, line: u64, options: &PrepareOptions) -> Result<()> {
        if !self.seen.insert(fingerprint(&example)) {
            self.report.duplicates += 1;
            if options.drop_duplicates {
                return Ok(());
            }
        }
        self.report.examples += 1;
        let length = options.shape.length;
        match example {
            Example::One(mut labelled) => {
                self.count(labelled.tokens.len());
                let over_long = options.shape.over_long;
                self.limit(&mut [&mut labelled], length, over_long);
                let full = self.packer.push(&labelled, 0, line);
                let sequences: Vec<Sequence> = full.into_iter().map(|packed| packed.sequence).collect();
                sequences.into_iter().try_for_each(|sequence| self.put(&[sequence]))
            }
            Example::Pair(mut chosen, mut rejected) => {
                self.count(chosen.tokens.len().max(rejected.tokens.len()));
                self.limit(&mut [&mut chosen, &mut rejected], length, OverLong::Cut);
                self.put(&[chosen, rejected].map(|Labelled { tokens, mut mask }| {
                    mask[0] = false;
                    Sequence { tokens, mask, starts: Vec::new() }
                }))
            }
        }
    }

    fn count(&mut self, length: usize) {
        *self.lengths.entry(length as u64).or_default() += 1;
    }

    fn limit(&mut self, answers: &mut [&mut Labelled], length: usize, over_long: OverLong) {
        let mut any = false;
        for answer in answers {
            let before = answer.tokens.len();
            self.report.tokens += before as u64;
            any |= limit(answer, length, over_long);
            self.report.cut_tokens += (before - answer.tokens.len()) as u64;
        }
        self.report.over_long += u64::from(any);
    }

    /// A sequence, or both of a pair.
    fn put(&mut self, sequences: &[Sequence]) -> Result<()> {
        if sequences.iter().any(|sequence| sequence.labels() == 0) {
            self.report.unlabelled += 1;
            return Ok(());
        }
        for sequence in sequences {
            self.report.labels += sequence.labels() as u64;
            self.report.sequences += 1;
            self.spool.put(sequence)?;
        }
        Ok(())
    }
}

fn fingerprint(example: &Example) -> u64 {
    let mut all = Fingerprint::new();
    let mut add = |labelled: &Labelled| {
        labelled.tokens.iter().for_each(|token| all.add(&token.to_le_bytes()));
        labelled.mask.iter().for_each(|bears| all.add(&[u8::from(*bears)]));
        all.add(&[2]);
    };
    match example {
        Example::One(labelled) => add(labelled),
        Example::Pair(chosen, rejected) => [chosen, rejected].map(add).into_iter().collect(),
    }
    all.finish()
}

fn quantiles(lengths: &BTreeMap<u64, u64>) -> [u64; 6] {
    let total: u64 = lengths.values().sum();
    [0.0, 0.1, 0.5, 0.9, 0.99, 1.0].map(|share| {
        let rank = ((total.saturating_sub(1)) as f64 * share).round() as u64;
        let mut before = 0;
        for (length, count) in lengths {
            before += count;
            if before > rank {
                return *length;
            }
        }
        0
    })
}

/// What is written goes to files without a name first, since the header must know how much it is.
struct Spool {
    tokens: BufWriter<File>,
    mask: BufWriter<File>,
    starts: Option<(BufWriter<File>, Vec<u64>)>,
    offsets: Vec<u64>,
}

impl Spool {
    fn new(folder: &Path, isolate: bool) -> std::io::Result<Self> {
        let file = || tempfile::tempfile_in(folder).map(BufWriter::new);
        let starts = isolate.then(|| file().map(|file| (file, vec![0]))).transpose()?;
        Ok(Self { tokens: file()?, mask: file()?, starts, offsets: vec![0] })
    }

    fn put(&mut self, sequence: &Sequence) -> Result<()> {
        for token in &sequence.tokens {
            self.tokens.write_all(&token.to_le_bytes())?;
        }
        for bears in &sequence.mask {
            self.mask.write_all(&[u8::from(*bears)])?;
        }
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end + sequence.tokens.len() as u64);
        if let Some((file, offsets)) = &mut self.starts {
            for start in &sequence.starts {
                file.write_all(&u32::try_from(*start)?.to_le_bytes())?;
            }
            let end = offsets.last().copied().unwrap_or(0);
            offsets.push(end + sequence.starts.len() as u64);
        }
        Ok(())
    }

    fn write(self, out: &Path, about: &About) -> Result<()> {
        let total = self.offsets.last().copied().unwrap_or(0) as usize;
        let plan = |name: &str, dtype, len| Planned { name: name.into(), dtype, shape: vec![len] };
        let mut planned = vec![
            plan("tokens", Dtype::U32, total),
            plan("mask", Dtype::U8, total),
            plan("offsets", Dtype::U64, self.offsets.len()),
        ];
        if let Some((_, offsets)) = &self.starts {
            planned.push(plan("starts", Dtype::U32, offsets.last().copied().unwrap_or(0) as usize));
            planned.push(plan("start_offsets", Dtype::U64, offsets.len()));
        }
        let metadata = BTreeMap::from([(KEY.to_owned(), serde_json::to_string(about)?)]);
        let mut writer = TensorWriter::new(BufWriter::new(WholeFile::begin(out)?), planned, &metadata)?;
        copy(self.tokens, "tokens", &mut writer)?;
        copy(self.mask, "mask", &mut writer)?;
        append_words(&self.offsets, "offsets", &mut writer)?;
        if let Some((starts, offsets)) = self.starts {
            copy(starts, "starts", &mut writer)?;
            append_words(&offsets, "start_offsets", &mut writer)?;
        }
        Ok(writer.finish()?.into_inner().map_err(|error| error.into_error())?.replace()?)
    }
}

fn copy<W: Write + Seek>(from: BufWriter<File>, name: &str, to: &mut TensorWriter<W>) -> Result<()> {
    let mut from = from.into_inner().map_err(|error| error.into_error())?;
    from.rewind()?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => to.append(name, &piece[..read])?,
        }
    }
}

fn append_words<W: Write + Seek>(words: &[u64], name: &str, to: &mut TensorWriter<W>) -> Result<()> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    to.append(name, &bytes)
}
