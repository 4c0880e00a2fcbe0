//! TensorBoard's event files: records with check sums, of which the scalars are taken.

use super::crc;
use super::parser::Parser;
use super::proto::{Field, Fields};
use crate::metrics::{Row, Run};

/// Bytes before the data of a record: its length and the length's check sum.
const HEAD: usize = 12;
/// Records longer than this hold pictures, not scalars: they are passed over without being held.
const LONGEST: u64 = 4 << 20;

/// Reads event files.
#[derive(Debug, Default)]
pub(super) struct TensorBoard {
    held: Vec<u8>,
    /// Bytes that are passed over before the next record.
    skip: u64,
    /// The place is lost until a head fits again.
    lost: bool,
}

/// True if a file begins as an event file does.
pub(super) fn begins(bytes: &[u8]) -> bool {
    head(bytes).is_some_and(|length| length < LONGEST)
}

/// The length that a head tells, if its check sum is right.
fn head(bytes: &[u8]) -> Option<u64> {
    let length = bytes.first_chunk::<8>()?;
    let sum = bytes.get(8..HEAD)?;
    (crc::masked(length).to_le_bytes() == sum).then(|| u64::from_le_bytes(*length))
}

impl Parser for TensorBoard {
    fn feed(&mut self, bytes: &[u8], _now: Option<f64>, run: &mut Run) {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let jump = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.held.len() - at);
            (at, self.skip) = (at + jump, self.skip - jump as u64);
            let rest = &self.held[at..];
            if self.skip > 0 || rest.len() < HEAD {
                break;
            }
            let Some(length) = head(rest) else {
                if !std::mem::replace(&mut self.lost, true) {
                    run.fault(|| "a part of the event file is damaged and was passed over".into());
                }
                at += 1;
                continue;
            };
            self.lost = false;
            if length > LONGEST {
                self.skip = (HEAD as u64).saturating_add(length).saturating_add(4);
                continue;
            }
            let end = HEAD + length as usize;
            let (Some(data), Some(sum)) = (rest.get(HEAD..end), rest.get(end..end + 4)) else { break };
            if crc::masked(data).to_le_bytes() == sum {
                event(data, run);
            } else {
                run.fault(|| "a record of the event file has a wrong check sum and was left out".into());
            }
            at += end + 4;
        }
        self.held.drain(..at);
    }
}

fn event(data: &[u8], run: &mut Run) {
    let (mut time, mut step) = (None, 0);
    let mut points = Vec::new();
    for (number, field) in Fields(data) {
        match (number, field) {
            (1, field) => time = field.f64(),
            (2, field) => step = field.integer().unwrap_or(0),
            (5, Field::Bytes(summary)) => {
                for value in Fields(summary).filter(|(number, _)| *number == 1).filter_map(|(_, field)| field.bytes()) {
                    points.extend(scalar(value, run));
                }
            }
            _ => {}
        }
    }
    if !points.is_empty() {
        run.add(Row { step: Some(step as f64), time: time.filter(|t| *t > 0.0), tokens: None }, &points);
    }
}

fn scalar(value: &[u8], run: &mut Run) -> Option<(crate::metrics::SeriesId, f64)> {
    let (mut tag, mut scalar, mut plugin) = ("", None, None);
    for (number, field) in Fields(value) {
        match (number, field) {
            (1, field) => tag = field.text().unwrap_or(""),
            (2, field) => scalar = field.f32(),
            (8, Field::Bytes(tensor)) => scalar = self::tensor(tensor),
            (9, Field::Bytes(metadata)) => {
                plugin = Fields(metadata).find(|(n, _)| *n == 1).and_then(|(_, f)| f.bytes())
            }
            _ => {}
        }
    }
    if let Some(plugin) = plugin {
        let name = Fields(plugin).find(|(number, _)| *number == 1).and_then(|(_, field)| field.text());
        if name == Some("hparams") {
            let content = Fields(plugin).find(|(number, _)| *number == 2).and_then(|(_, field)| field.bytes());
            settings(content.unwrap_or(&[]), run);
            return None;
        }
        if !matches!(name, Some("scalars" | "") | None) {
            return None;
        }
    }
    Some((run.series_id(tag)?, scalar?))
}

/// The only element of a tensor.
fn tensor(tensor: &[u8]) -> Option<f64> {
    let mut kind = 0;
    let mut elements = Vec::new();
    for (number, field) in Fields(tensor) {
        match (number, field) {
            (1, field) => kind = field.integer().unwrap_or(0),
            // Its bytes as they lie in memory.
            (4, Field::Bytes(bytes)) => elements.push(match (kind, bytes.len()) {
                (1, 4) => f64::from(f32::from_le_bytes(*bytes.first_chunk()?)),
                (2, 8) => f64::from_le_bytes(*bytes.first_chunk()?),
                (3, 4) => f64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
                (9, 8) => i64::from_le_bytes(*bytes.first_chunk()?) as f64,
                (19, 2) => f64::from(half::f16::from_le_bytes(*bytes.first_chunk()?).to_f32()),
                (14, 2) => f64::from(half::bf16::from_le_bytes(*bytes.first_chunk()?).to_f32()),
                _ => return None,
            }),
            (5, Field::Bytes(packed)) if packed.len() == 4 => {
                elements.push(f64::from(f32::from_le_bytes(*packed.first_chunk()?)));
            }
            (5, field @ Field::Fixed32(_)) => elements.extend(field.f32()),
            (6, Field::Bytes(packed)) if packed.len() == 8 => elements.push(f64::from_le_bytes(*packed.first_chunk()?)),
            (6, field @ Field::Fixed64(_)) => elements.extend(field.f64()),
            (7 | 10, Field::Varint(number)) => elements.push(number.cast_signed() as f64),
            _ => {}
        }
    }
    (elements.len() == 1).then(|| elements[0])
}

/// What the hyper-parameter plugin knows of a run: a map of names to values.
fn settings(content: &[u8], run: &mut Run) {
    let sessions = Fields(content).filter(|(number, _)| *number == 3).filter_map(|(_, field)| field.bytes());
    for entry in sessions.flat_map(Fields).filter(|(number, _)| *number == 1).filter_map(|(_, field)| field.bytes()) {
        let name = Fields(entry).find(|(number, _)| *number == 1).and_then(|(_, field)| field.text());
        let value = Fields(entry).find(|(number, _)| *number == 2).and_then(|(_, field)| field.bytes());
        if let (Some(name), Some(value)) = (name, value) {
            for (number, field) in Fields(value) {
                match (number, field) {
                    (2, field) => run.set(name, field.f64().unwrap_or(f64::NAN).to_string()),
                    (3, field) => run.set(name, field.text().unwrap_or("")),
                    (4, field) => run.set(name, (field.integer() == Some(1)).to_string()),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::parser::check::{points, read};
    use super::*;

    fn record(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        [&length[..], &crc::masked(&length).to_le_bytes(), data, &crc::masked(data).to_le_bytes()].concat()
    }

    fn bytes(number: u8, data: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, data.len() as u8], data].concat()
    }

    /// An event with one scalar.
    pub(crate) fn scalar(tag: &str, step: u8, value: f32) -> Vec<u8> {
        let value = [bytes(1, tag.as_bytes()), vec![0x15], value.to_le_bytes().to_vec()].concat();
        let time = [vec![0x09], 1_732_171_234.5f64.to_le_bytes().to_vec()].concat();
        record(&[time, vec![0x10, step], bytes(5, &bytes(1, &value))].concat())
    }

    fn file() -> Vec<u8> {
        let version = record(&bytes(3, b"brain.Event:2"));
        [version, scalar("loss", 1, 2.5), scalar("acc", 1, 0.5), scalar("loss", 2, 2.0)].concat()
    }

    #[test]
    fn scalars_come_out_however_the_bytes_are_cut() {
        assert!(begins(&file()));
        for size in [1, 10, 1000] {
            let run = read(&mut TensorBoard::default(), &file(), size);
            assert_eq!(points(&run), ["loss 1:2.5 2:2", "acc 1:0.5"], "{size}");
            assert_eq!(run.rows(), 2);
        }
        let torn = &file()[..file().len() - 3];
        let run = read(&mut TensorBoard::default(), torn, 9);
        assert_eq!((points(&run), run.faults().1), (vec!["loss 1:2.5".to_owned(), "acc 1:0.5".to_owned()], 0));
    }

    #[test]
    fn damage_costs_what_is_damaged_and_no_more() {
        let good = file();
        for (at, left) in [(0, 3), (8, 3), (13, 3)] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let run = read(&mut TensorBoard::default(), &bad, 16);
            assert_eq!((run.points(), run.faults().1), (left, 1), "{at}");
        }
        let holed = [&good[..], b"some garbage in between", &scalar("loss", 3, 1.0)].concat();
        let run = read(&mut TensorBoard::default(), &holed, 16);
        assert_eq!((run.points(), run.faults().1), (4, 1));
    }

    #[test]
    fn gigantic_records_are_passed_over() {
        let length = (LONGEST + 10).to_le_bytes();
        let head = [&length[..], &crc::masked(&length).to_le_bytes()].concat();
        let mut all = [head, vec![7; LONGEST as usize + 14]].concat();
        all.extend(scalar("loss", 1, 1.0));
        assert_eq!(points(&read(&mut TensorBoard::default(), &all, 1 << 16)), ["loss 1:1"]);
        let endless = u64::MAX.to_le_bytes();
        let mut all = [&endless[..], &crc::masked(&endless).to_le_bytes()].concat();
        all.extend(file());
        assert_eq!(read(&mut TensorBoard::default(), &all, 100).points(), 0);
    }

    #[test]
    fn scalars_may_be_tensors() {
        for (kind, data, want) in [
            (1u8, bytes(4, &2.5f32.to_le_bytes()), Some(2.5)),
            (2, bytes(4, &2.5f64.to_le_bytes()), Some(2.5)),
            (1, bytes(5, &2.5f32.to_le_bytes()), Some(2.5)),
            (9, bytes(4, &7i64.to_le_bytes()), Some(7.0)),
            (1, bytes(4, &[0; 8]), None),
            (7, bytes(8, b"text"), None),
        ] {
            assert_eq!(tensor(&[vec![0x08, kind], data].concat()), want);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_break_it(noise in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..200, size in 1usize..60) {
            read(&mut TensorBoard::default(), &noise, size);
            event(&noise, &mut Run::new("a", "test"));
            let mut file = file();
            let at = at.min(file.len());
            file.splice(at..at, noise);
            read(&mut TensorBoard::default(), &file, size);
        }
    }
}
