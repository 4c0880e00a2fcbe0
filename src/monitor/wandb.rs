//! Offline runs of Weights & Biases: a LevelDB log of protocol buffers.

use super::crc;
use super::json::{Cursor, Scalar, unescape};
use super::parser::Parser;
use super::proto::{Field, Fields};
use super::text::Text;
use crate::metrics::{Row, Run, SeriesId, State};

const MAGIC: &[u8] = b":W&B";
/// Bytes before the first record: the magic, a number and a version.
const FILE_HEAD: usize = 7;
/// Bytes of a block; no piece of a record lies in two.
const BLOCK: u64 = 32 << 10;
/// Bytes before each piece: check sum, length and kind.
const HEAD: usize = 7;
/// Longer records hold no metrics.
const LONGEST: usize = 16 << 20;

/// Reads `.wandb` files.
#[derive(Default)]
pub(super) struct Wandb {
    held: Vec<u8>,
    /// Where in the file the held bytes begin.
    position: u64,
    /// Pieces of a record whose end has not come.
    record: Vec<u8>,
    whole: bool,
    console: Text,
}

/// True if a file begins as these do.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Parser for Wandb {
    fn feed(&mut self, bytes: &[u8], _now: Option<f64>, run: &mut Run) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            if self.position == 0 {
                if self.held.len() < FILE_HEAD {
                    break;
                }
                if !begins(&self.held) {
                    run.fault(|| "the file does not begin as an offline run of W&B".into());
                }
                (at, self.position) = (FILE_HEAD, FILE_HEAD as u64);
            }
            let left = (BLOCK - self.position % BLOCK) as usize;
            let rest = &self.held[at..];
            if left < HEAD {
                if rest.len() < left {
                    break;
                }
                (at, self.position) = (at + left, self.position + left as u64);
                continue;
            }
            let Some(head) = rest.first_chunk::<HEAD>() else { break };
            let length = usize::from(u16::from_le_bytes([head[4], head[5]]));
            let kind = head[6];
            let sum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let fits = HEAD + length <= left && (1..=4).contains(&kind);
            if fits && rest.len() < HEAD + length {
                break;
            }
            if !fits || crc::zip(crc::zip(0, &[kind]), &rest[HEAD..HEAD + length]) != sum {
                // A block that is not filled yet may hold zeros; a damaged one is given up.
                if rest.len() < left {
                    break;
                }
                run.fault(|| "a block of the file is damaged and was passed over".into());
                self.record.clear();
                (at, self.position) = (at + left, self.position + left as u64);
                continue;
            }
            let data = HEAD..HEAD + length;
            // 1 whole, 2 first, 3 in between, 4 last.
            if matches!(kind, 1 | 2) {
                self.record.clear();
                self.whole = true;
            }
            if self.record.len() + length > LONGEST {
                self.whole = false;
                self.record = Vec::new();
            } else if self.whole {
                self.record.extend_from_slice(&rest[data]);
            }
            if matches!(kind, 1 | 4) && std::mem::take(&mut self.whole) {
                let record = std::mem::take(&mut self.record);
                self.take(&record, run);
                self.record = record;
            }
            (at, self.position) = (at + HEAD + length, self.position + (HEAD + length) as u64);
        }
        self.held.drain(..at);
    }

    fn finish(&mut self, run: &mut Run) {
        self.console.finish_console(run);
    }
}

impl Wandb {
    fn take(&mut self, record: &[u8], run: &mut Run) {
        for (number, field) in Fields(record) {
            let Field::Bytes(message) = field else { continue };
            match number {
                2 => history(message, run),
                7 => stats(message, run),
                13 => {
                    if let Some(line) = find(message, 3).and_then(Field::text) {
                        self.console.console(line, run);
                    }
                }
                17 => about(message, run),
                18 => {
                    let code = find(message, 1).and_then(Field::integer).unwrap_or(0);
                    run.state = if code == 0 { State::Finished } else { State::Failed(format!("exit code {code}")) };
                }
                _ => {}
            }
        }
    }
}

fn find(message: &[u8], wanted: u32) -> Option<Field<'_>> {
    Fields(message).find(|(number, _)| *number == wanted).map(|(_, field)| field)
}

/// The items of a message: their name and JSON value.
fn items(message: &[u8], number: u32) -> impl Iterator<Item = (String, &[u8])> {
    let items = Fields(message).filter(move |(n, _)| *n == number).filter_map(|(_, field)| field.bytes());
    items.filter_map(|item| {
        let key = find(item, 1).and_then(Field::text).map(str::to_owned).filter(|key| !key.is_empty());
        let nested = || {
            let parts = Fields(item).filter(|(n, _)| *n == 2).filter_map(|(_, field)| field.text());
            parts.collect::<Vec<_>>().join(".")
        };
        Some((key.unwrap_or_else(nested), find(item, 16)?.bytes()?))
    })
}

fn numbers(items: impl Iterator<Item = (String, f64)>, row: &mut Row, run: &mut Run) -> Vec<(SeriesId, f64)> {
    let mut points = Vec::new();
    for (name, x) in items {
        match name.as_str() {
            "_step" => row.step = Some(x),
            "_timestamp" => row.time = Some(x),
            "_runtime" => {}
            name => points.extend(run.series_id(name).map(|id| (id, x))),
        }
    }
    points
}

fn history(message: &[u8], run: &mut Run) {
    let step = find(message, 2).and_then(Field::bytes).and_then(|step| find(step, 1)).and_then(Field::integer);
    let mut row = Row { step: step.map(|step| step as f64), ..Row::default() };
    let mut found = Vec::new();
    for (name, value) in items(message, 1) {
        let _ = Cursor::new(value).leaves(&mut name.clone(), &mut |path, scalar| match scalar {
            Scalar::Number(x) => found.push((path.to_owned(), x)),
            // Numbers that JSON cannot hold are quoted.
            Scalar::Text(raw @ (b"NaN" | b"Infinity" | b"-Infinity")) => {
                found.extend(super::number::whole(raw).map(|x| (path.to_owned(), x)));
            }
            _ => {}
        });
    }
    let points = numbers(found.into_iter(), &mut row, run);
    if !points.is_empty() {
        run.add(row, &points);
    }
}

/// What the machine did meanwhile.
fn stats(message: &[u8], run: &mut Run) {
    let time = find(message, 2).and_then(Field::bytes).map(|time| {
        let part = |number| find(time, number).and_then(Field::integer).unwrap_or(0) as f64;
        part(1) + part(2) / 1e9
    });
    let mut found = Vec::new();
    for (name, value) in items(message, 3) {
        let _ = Cursor::new(value).leaves(&mut format!("system.{name}"), &mut |path, scalar| {
            if let Scalar::Number(x) = scalar {
                found.push((path.to_owned(), x));
            }
        });
    }
    let mut row = Row { step: Some(run.last_step().unwrap_or(0.0)), time, tokens: None };
    let points = numbers(found.into_iter(), &mut row, run);
    if !points.is_empty() {
        run.add(row, &points);
    }
}

fn about(message: &[u8], run: &mut Run) {
    for (number, field) in Fields(message) {
        match (number, field) {
            (1, field) => run.set("wandb.id", field.text().unwrap_or("")),
            (3, field) => run.set("wandb.project", field.text().unwrap_or("")),
            (8, field) => {
                if let Some(name) = field.text().filter(|name| !name.is_empty()) {
                    name.clone_into(&mut run.name);
                }
            }
            (4, Field::Bytes(config)) => {
                for (name, value) in items(config, 1).filter(|(name, _)| name != "_wandb") {
                    let _ = Cursor::new(value).leaves(&mut name.clone(), &mut |path, scalar| match scalar {
                        Scalar::Number(x) => run.set(path, x.to_string()),
                        Scalar::Text(raw) => run.set(path, unescape(raw)),
                        Scalar::Bool(is) => run.set(path, is.to_string()),
                        Scalar::Null => {}
                    });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parser::check::{points, read};
    use super::*;

    fn bytes(number: u8, data: &[u8]) -> Vec<u8> {
        let key = u16::from(number) << 3 | 2;
        let mut all = if key < 128 { vec![key as u8] } else { vec![key as u8 & 0x7f | 0x80, (key >> 7) as u8] };
        all.extend([(data.len() & 0x7f) as u8 | 0x80, (data.len() >> 7) as u8]);
        all.extend_from_slice(data);
        all
    }

    fn item(key: &str, json: &str) -> Vec<u8> {
        [bytes(2, key.as_bytes()), bytes(16, json.as_bytes())].concat()
    }

    fn step(step: usize, loss: &str) -> Vec<u8> {
        let items = [item("_step", &step.to_string()), item("loss", loss)];
        bytes(2, &items.map(|item| bytes(1, &item)).concat())
    }

    /// A log of records, cut into blocks.
    fn log(records: &[Vec<u8>]) -> Vec<u8> {
        let mut file = b":W&B\xe1\xbe\x00".to_vec();
        for record in records {
            let mut rest = &record[..];
            let mut first = true;
            loop {
                let left = BLOCK as usize - file.len() % BLOCK as usize;
                if left < HEAD {
                    file.resize(file.len() + left, 0);
                    continue;
                }
                let count = rest.len().min(left - HEAD);
                let (now, later) = rest.split_at(count);
                let kind = match (first, later.is_empty()) {
                    (true, true) => 1u8,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                file.extend(crc::zip(crc::zip(0, &[kind]), now).to_le_bytes());
                file.extend((count as u16).to_le_bytes());
                file.push(kind);
                file.extend_from_slice(now);
                (rest, first) = (later, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        file
    }

    #[test]
    fn records_may_lie_in_several_blocks() {
        let filler = vec![0u8; 10_000];
        let records: Vec<_> = (0..20).flat_map(|i| [step(i, &format!("{i}.5")), bytes(99, &filler)]).collect();
        let file = log(&records);
        assert!(file.len() > 5 * BLOCK as usize);
        for size in [11, 4096, 1 << 20] {
            let run = read(&mut Wandb::default(), &file, size);
            assert_eq!((run.points(), run.faults().1), (20, 0), "{size}");
        }
        // One damaged block costs its own records only.
        let mut bad = file.clone();
        bad[BLOCK as usize + 100] ^= 1;
        let run = read(&mut Wandb::default(), &bad, 4096);
        assert!(run.points() >= 14 && run.faults().1 == 1, "{} {:?}", run.points(), run.faults());
        let torn = read(&mut Wandb::default(), &file[..file.len() - 1000], 4096);
        assert_eq!((torn.points(), torn.faults().1), (20, 0));
    }

    #[test]
    fn a_run_tells_its_name_settings_console_and_end() {
        let config = bytes(4, &bytes(1, &item("optim", r#"{"lr": 0.001, "name": "adamw"}"#)));
        let about = bytes(17, &[bytes(1, b"abc"), config, bytes(8, b"brave-dawn-3")].concat());
        let out = bytes(13, &bytes(3, b"Step 1 | loss: 9.5\n"));
        let exit = bytes(18, &[0x08, 3]);
        let run = read(&mut Wandb::default(), &log(&[about, step(1, "2.5"), step(2, "\"NaN\""), out, exit]), 50);
        assert_eq!((run.name.as_str(), run.setting("lr")), ("brave-dawn-3", Some("0.001")));
        assert_eq!(points(&run), ["loss 1:2.5 2:NaN"]);
        assert_eq!(run.console(), &["Step 1 | loss: 9.5"]);
        assert_eq!(run.state, State::Failed("exit code 3".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_break_it(noise in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..200, size in 1usize..90) {
            read(&mut Wandb::default(), &noise, size);
            let mut file = log(&[step(1, "2.5"), step(2, "2.0")]);
            let at = at.min(file.len());
            file.splice(at..at, noise);
            read(&mut Wandb::default(), &file, size);
        }
    }
}
