//! What a step is made of, in order, and the place in the data after each.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::encode::{Encoder, Example};
use super::lines::{LONGEST_LINE, Line, Lines};
use super::order::Order;
use super::pack::{Packed, Packer, limit};
use super::prepared::Prepared;
use super::rows::Row;
use crate::backend::learn::Sequence;
use crate::model::template::Labelled;
use crate::train::fingerprint::mix;
use crate::train::settings::{Method, OverLong, Settings};

/// Rows that are looked at to see what they are.
const LOOKED_AT: u64 = 1000;

/// Where examples come from.
pub enum Source {
    /// A file of lines.
    Lines(Lines),
    /// Sequences that were packed before.
    Prepared(Prepared),
}

impl Source {
    /// Opens a file of either kind. `tick` hears how far a long search is, in bytes done and in all.
    pub fn open(path: &Path, tick: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Self> {
        let source = match Prepared::is_one(path)? {
            true => Self::Prepared(Prepared::open(path)?),
            false => Self::Lines(Lines::open(path, tick)?),
        };
        ensure!(source.count() > 0, "{} is empty: it holds no example", path.display());
        Ok(source)
    }

    /// The same for another reader.
    pub fn again(&self) -> Result<Self> {
        Ok(match self {
            Self::Lines(lines) => Self::Lines(lines.again()?),
            Self::Prepared(prepared) => Self::Prepared(Prepared::open(prepared.path())?),
        })
    }

    /// Rows that it has: lines, or sequences (pairs).
    pub fn count(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.count(),
            Self::Prepared(prepared) => prepared.count(),
        }
    }

    /// What tells its content from others.
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.fingerprint(),
            Self::Prepared(prepared) => prepared.fingerprint(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Lines(lines) => lines.path(),
            Self::Prepared(prepared) => prepared.path(),
        }
    }

    /// What a model that learns from it with this method can be asked: the first rows have it. Nothing where rows are
    /// tokens already, or texts that are not learned as texts.
    pub fn question(&mut self, method: Method) -> Result<Option<String>> {
        let Self::Lines(lines) = self else { return Ok(None) };
        let mut buffer = Vec::new();
        for line in 0..lines.count().min(LOOKED_AT) {
            let Some(Ok(row)) = read_row(lines, line, &mut buffer)? else { continue };
            if matches!(row, Row::Text(_)) == (method == Method::Pretrain)
                && let Some(question) = row.question()
            {
                return Ok(Some(question));
            }
        }
        Ok(None)
    }

    /// What can be learned from it: told by the first rows that can be read.
    pub fn method(&mut self) -> Result<Method> {
        let lines = match self {
            Self::Prepared(prepared) => return Ok(prepared.about().method),
            Self::Lines(lines) => lines,
        };
        let mut buffer = Vec::new();
        let mut first_error = None;
        for line in 0..lines.count().min(LOOKED_AT) {
            match read_row(lines, line, &mut buffer)? {
                Some(Ok(row)) => return Ok(if row.is_pair() { Method::Orpo } else { Method::Sft }),
                Some(Err(error)) => {
                    first_error.get_or_insert((line + 1, error));
                }
                None => {}
            }
        }
        let path = lines.path().display();
        match first_error {
            Some((line, error)) => {
                Err(error).with_context(|| format!("{path} holds no example that can be used; line {line}"))
            }
            None => bail!("{path} is empty: it holds no example"),
        }
    }
}

/// A line as a row, or what is wrong with it; none if it is blank.
pub(in crate::train) fn read_row(lines: &mut Lines, line: u64, buffer: &mut Vec<u8>) -> Result<Option<Result<Row>>> {
    Ok(match lines.read(line, buffer)? {
        Line::Whole([]) => None,
        Line::Whole(text) => Some(Row::parse(text)),
        Line::TooLong => Some(Err(anyhow::anyhow!("it is longer than {} MiB", LONGEST_LINE >> 20))),
    })
}

/// Which rows of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// All of them.
    All,
    /// Those that are not held out.
    Trained {
        /// How many are held out.
        held: u64,
    },
    /// Those that are.
    Held {
        /// How many.
        held: u64,
    },
}

impl Part {
    /// Of so many rows, this share is held out.
    pub fn held(count: u64, share: f64) -> u64 {
        match (count as f64 * share).round() as u64 {
            0 if share > 0.0 => 1.min(count),
            held => held,
        }
    }
}

/// How sequences are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Tokens of a sequence.
    pub length: usize,
    /// Examples do not see each other.
    pub isolate: bool,
    /// What becomes of longer examples.
    pub over_long: OverLong,
    /// Bad lines that are borne.
    pub max_bad_lines: u64,
    /// Orders the rows.
    pub seed: u64,
}

impl Shape {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            length: settings.max_seq_len,
            isolate: settings.isolate,
            over_long: settings.over_long,
            max_bad_lines: settings.max_bad_lines,
            seed: settings.seed,
        }
    }
}

/// A place in the data: all that comes after it follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Passes that are complete.
    pub epoch: u64,
    /// The next row, in the order of this pass.
    pub row: u64,
    /// Tokens of it that are packed already. What the packing buffer holds is the rest of this one row.
    pub offset: u64,
    /// What was met so far.
    pub counts: Counts,
}

/// What was met in the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Examples read.
    pub examples: u64,
    /// Bad lines of the first pass.
    pub bad: u64,
    /// Examples of the first pass that are longer than a sequence.
    pub over_long: u64,
    /// Sequences of the first pass without a label: they are left out.
    pub unlabelled: u64,
}

/// A sequence, or a pair of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// One sequence, or the chosen and the rejected.
    pub sequences: Vec<Sequence>,
    /// The rows that it holds parts of, from 0.
    pub rows: Vec<u64>,
    /// The place after it.
    pub after: Place,
}

/// What comes out of the data.
#[derive(Debug, Clone, PartialEq)]
pub enum Fed {
    /// A part of a step.
    Unit(Unit),
    /// A line that was skipped, and why.
    Bad {
        /// From 1.
        line: u64,
        /// In words.
        why: String,
    },
    /// A pass is complete.
    Epoch(Place),
}

/// Goes through the data.
pub struct Units {
    source: Source,
    part: Part,
    encoder: Encoder,
    shape: Shape,
    /// Rows are shuffled.
    shuffled: bool,
    place: Place,
    packer: Packer,
    /// Something of this pass could be used.
    fruitful: bool,
    /// The pass whose beginning was told.
    told: u64,
    ready: VecDeque<Fed>,
    order: Order,
    split: Order,
    buffer: Vec<u8>,
}

impl Units {
    /// From this place on.
    pub fn new(
        mut source: Source,
        part: Part,
        encoder: Encoder,
        shape: Shape,
        shuffled: bool,
        place: Place,
    ) -> Result<Self> {
        if let Source::Prepared(prepared) = &mut source {
            prepared.check(&encoder, shape)?;
            prepared.for_vocabulary(encoder.vocab());
        }
        let count = source.count();
        let split = Order::new(count, mix(shape.seed ^ mix(SPLIT)));
        let packer = Packer::new(shape.length, encoder.end_token(), shape.isolate);
        let order = Order::new(1, 0);
        // Places inside a pass, be it inside its first row, are those of units that it gave.
        let fruitful = (place.row, place.offset) != (0, 0);
        let (ready, buffer) = (VecDeque::new(), Vec::new());
        let told = if fruitful { place.epoch } else { place.epoch.saturating_sub(1) };
        let mut units =
            Self { source, part, encoder, shape, shuffled, place, packer, fruitful, told, ready, order, split, buffer };
        ensure!(
            units.rows() > 0,
            "{} has {count} rows, too few to hold some out: lower --val-split",
            units.source.path().display()
        );
        units.order = units.order_of(place.epoch);
        Ok(units)
    }

    /// Rows of a pass.
    pub fn rows(&self) -> u64 {
        match self.part {
            Part::All => self.source.count(),
            Part::Trained { held } => self.source.count().saturating_sub(held),
            Part::Held { held } => held.min(self.source.count()),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    fn order_of(&self, epoch: u64) -> Order {
        Order::new(self.rows(), mix(self.shape.seed ^ mix(epoch)))
    }

    /// The row of the source at this place of the pass.
    fn row_at(&self, place: u64) -> u64 {
        let place = if self.shuffled { self.order.at(place) } else { place };
        match self.part {
            Part::All => place,
            Part::Trained { held } => self.split.at(held + place),
            Part::Held { .. } => self.split.at(place),
        }
    }

    /// What comes next; the data never ends.
    pub fn take(&mut self) -> Result<Fed> {
        loop {
            if let Some(fed) = self.ready.pop_front() {
                return Ok(fed);
            }
            let Place { epoch, row, offset, .. } = self.place;
            if (row, offset) == (0, 0) && epoch > self.told {
                self.told = epoch;
                return Ok(Fed::Epoch(self.place));
            }
            if row < self.rows() {
                self.read_row()?;
            } else {
                self.end_pass()?;
            }
        }
    }

    fn read_row(&mut self) -> Result<()> {
        let row = self.row_at(self.place.row);
        let next = Place { row: self.place.row + 1, offset: 0, ..self.place };
        let parsed = match &mut self.source {
            Source::Prepared(prepared) => {
                let sequences = prepared.read(row)?;
                self.place = next;
                self.place.counts.examples += 1;
                self.push_unit(sequences, vec![row], self.place);
                return Ok(());
            }
            Source::Lines(lines) => read_row(lines, row, &mut self.buffer)?,
        };
        // A line of many megabytes is rare: its memory is not kept.
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        match parsed.map(|parsed| parsed.and_then(|row| self.encoder.encode(&row))) {
            None => self.place = next,
            Some(Ok(Example::One(labelled))) => self.push_one(labelled, row),
            Some(Ok(Example::Pair(chosen, rejected))) => self.push_pair(chosen, rejected, row),
            Some(Err(error)) => {
                self.place = next;
                self.skip(row, &error)?;
            }
        }
        Ok(())
    }

    fn push_one(&mut self, mut labelled: Labelled, row: u64) {
        let before = self.place;
        let long = limit(&mut labelled, self.shape.length, self.shape.over_long);
        // A row that was begun before was counted then.
        if before.offset == 0 {
            self.count_example(long);
        }
        let next = Place { row: before.row + 1, offset: 0, ..before };
        let total = labelled.tokens.len();
        let from = total.min(before.offset as usize);
        for Packed { sequence, rows, consumed } in self.packer.push(&labelled, from, row) {
            let mut after = if consumed < total { Place { offset: consumed as u64, ..before } } else { next };
            after.counts = self.place.counts;
            if consumed == 0 {
                // It will be read, and counted, once more.
                (after.counts.examples, after.counts.over_long) = (before.counts.examples, before.counts.over_long);
            }
            self.push_unit(vec![sequence], rows, after);
        }
        self.place = Place { counts: self.place.counts, ..next };
    }

    fn push_pair(&mut self, mut chosen: Labelled, mut rejected: Labelled, row: u64) {
        let long = [&mut chosen, &mut rejected].map(|answer| limit(answer, self.shape.length, OverLong::Cut));
        self.count_example(long.contains(&true));
        (self.place.row, self.place.offset) = (self.place.row + 1, 0);
        let sequence = |answer: Labelled| {
            let mut mask = answer.mask;
            if let Some(first) = mask.first_mut() {
                *first = false;
            }
            Sequence { tokens: answer.tokens, mask, starts: Vec::new() }
        };
        self.push_unit(vec![sequence(chosen), sequence(rejected)], vec![row], self.place);
    }

    fn count_example(&mut self, long: bool) {
        self.place.counts.examples += 1;
        self.place.counts.over_long += u64::from(long && self.place.epoch == 0);
    }

    /// Units without a label teach nothing: they are counted and left out. Of a pair, both sides need one.
    fn push_unit(&mut self, sequences: Vec<Sequence>, rows: Vec<u64>, after: Place) {
        if sequences.iter().any(|sequence| sequence.labels() == 0) {
            self.place.counts.unlabelled += u64::from(self.place.epoch == 0);
            return;
        }
        self.fruitful = true;
        self.ready.push_back(Fed::Unit(Unit { sequences, rows, after }));
    }

    fn skip(&mut self, row: u64, error: &anyhow::Error) -> Result<()> {
        if self.place.epoch > 0 {
            return Ok(());
        }
        self.place.counts.bad += 1;
        let (most, path, line) = (self.shape.max_bad_lines, self.source.path().display(), row + 1);
        ensure!(
            self.place.counts.bad <= most,
            "{path}:{line}: {error:#}; more than {most} lines are bad (--max-bad-lines)"
        );
        self.ready.push_back(Fed::Bad { line, why: format!("{error:#}") });
        Ok(())
    }

    fn end_pass(&mut self) -> Result<()> {
        let next = Place { epoch: self.place.epoch + 1, row: 0, offset: 0, counts: self.place.counts };
        if let Some(Packed { sequence, rows, .. }) = self.packer.flush() {
            self.push_unit(vec![sequence], rows, next);
        }
        let (path, bad) = (self.source.path().display(), self.place.counts.bad);
        ensure!(self.fruitful, "{path} holds no example that can be used ({bad} bad lines)");
        self.place = Place { counts: self.place.counts, ..next };
        self.order = self.order_of(self.place.epoch);
        self.fruitful = false;
        Ok(())
    }
}

/// Sets the seed of the split apart from those of the passes.
const SPLIT: u64 = u64::MAX;
