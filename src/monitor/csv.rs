//! Tables with a line of names above them: CSV, TSV and their kin.

use super::lines::Lines;
use super::number;
use super::parser::Parser;
use super::role::{self, Role};
use crate::metrics::{Row, Run};

/// Columns of a table that are read.
const MOST_COLUMNS: usize = 20_000;

/// Reads a table as it grows.
#[derive(Debug, Default)]
pub(super) struct Csv {
    lines: Lines,
    separator: u8,
    columns: Vec<Column>,
    number: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    role: Role,
}

/// What separates the fields of a line of names, if it is one.
pub(super) fn separator(line: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(line).ok()?;
    let separator = [b';', b'\t', b','].into_iter().max_by_key(|s| line.iter().filter(|b| *b == s).count())?;
    let names: Vec<String> = fields(line, separator).collect();
    let named = |name: &String| {
        !name.is_empty()
            && number::whole(name.as_bytes()).is_none()
            && name.len() <= 200
            && !name.contains(['{', '}', '\'', '='])
            && name.split(' ').count() <= 6
            && !name.contains(": ")
            && name.split(' ').all(|word| number::whole(word.as_bytes()).is_none())
    };
    // pandas writes an index whose name is empty.
    let known = names.iter().enumerate().all(|(i, name)| named(name) || (i == 0 && name.is_empty()));
    (names.len() >= 2 && known && !text.contains('\u{fffd}')).then_some(separator)
}

/// The fields of a line, without their quotes.
fn fields(line: &[u8], separator: u8) -> impl Iterator<Item = String> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let start = line.trim_ascii_start();
        if let Some(quoted) = start.strip_prefix(b"\"") {
            let mut text = Vec::new();
            let mut at = 0;
            while let Some(byte) = quoted.get(at) {
                match (byte, quoted.get(at + 1)) {
                    (b'"', Some(b'"')) => {
                        text.push(b'"');
                        at += 1;
                    }
                    (b'"', _) => break,
                    _ => text.push(*byte),
                }
                at += 1;
            }
            let after = &quoted[at.min(quoted.len())..];
            rest = memchr::memchr(separator, after).map(|end| &after[end + 1..]);
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
        let end = memchr::memchr(separator, line);
        rest = end.map(|end| &line[end + 1..]);
        Some(String::from_utf8_lossy(line[..end.unwrap_or(line.len())].trim_ascii()).into_owned())
    })
}

impl Csv {
    fn line(&mut self, line: &[u8], last: bool, run: &mut Run) {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            return;
        }
        // A run that goes on in the same file may write its names again, and others than before.
        let is_names = !line.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-') && separator(line).is_some();
        if self.columns.is_empty() || (is_names && !has_number(line, self.separator)) {
            if let Some(separator) = separator(line) {
                self.separator = separator;
                self.columns = fields(line, separator).take(MOST_COLUMNS).map(|name| column(&name)).collect();
            } else {
                run.fault(|| "the first line has no names of columns".into());
                self.separator = if line.contains(&b'\t') { b'\t' } else { b',' };
                let count = fields(line, self.separator).take(MOST_COLUMNS).count();
                self.columns = (1..=count).map(|i| column(&format!("column {i}"))).collect();
                self.row(line, last, run);
            }
            return;
        }
        self.row(line, last, run);
    }

    fn row(&mut self, line: &[u8], last: bool, run: &mut Run) {
        self.number += 1;
        let (mut row, mut best, mut points) = (Row::default(), u8::MAX, Vec::with_capacity(self.columns.len()));
        let mut rest = Some(line);
        let mut count = 0;
        let quoted = line.contains(&b'"');
        let mut slow = quoted.then(|| fields(line, self.separator).collect::<Vec<_>>().into_iter());
        for column in &mut self.columns {
            let owned;
            let field = if let Some(fields) = &mut slow {
                let Some(field) = fields.next() else { break };
                owned = field;
                owned.as_bytes()
            } else {
                let Some(bytes) = rest else { break };
                let end = memchr::memchr(self.separator, bytes);
                rest = end.map(|end| &bytes[end + 1..]);
                bytes[..end.unwrap_or(bytes.len())].trim_ascii()
            };
            count += 1;
            if field.is_empty() {
                continue;
            }
            let Some(x) = number::whole(field) else {
                if column.role == Role::Time {
                    row.time = std::str::from_utf8(field).ok().and_then(role::date);
                }
                continue;
            };
            match column.role {
                Role::Step(rank) if rank < best => (row.step, best) = (Some(x), rank),
                Role::Tokens => row.tokens = Some(x),
                Role::Time if role::time(x).is_some() => row.time = role::time(x),
                Role::Metric(id) => points.push((id, x)),
                Role::Step(_) | Role::Event => {}
                _ => {
                    if let Some(id) = run.series_id(&column.name) {
                        if column.role != Role::Time {
                            column.role = Role::Metric(id);
                        }
                        points.push((id, x));
                    }
                }
            }
        }
        if count < self.columns.len() {
            // The last line may be half written, and then its last number too.
            if last {
                return;
            }
            let (number, wanted) = (self.number + 1, self.columns.len());
            run.fault(|| format!("line {number} has {count} fields where {wanted} have names"));
        }
        row.step = row.step.or(Some(self.number as f64));
        if !points.is_empty() {
            run.add(row, &points);
        }
    }
}

fn column(name: &str) -> Column {
    // pandas calls the index of its rows nothing, or so.
    let index = name.is_empty() || name == "Unnamed: 0";
    Column {
        name: name.to_owned(),
        role: if index { Role::Step(u8::MAX - 1) } else { role::of(name).unwrap_or(Role::Nothing) },
    }
}

fn has_number(line: &[u8], separator: u8) -> bool {
    fields(line, separator).any(|field| number::whole(field.as_bytes()).is_some())
}

impl Parser for Csv {
    fn feed(&mut self, bytes: &[u8], _now: Option<f64>, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(bytes, |line| self.line(line, false, run));
        lines.report_too_long(run);
        self.lines = lines;
    }

    fn finish(&mut self, run: &mut Run) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.line(line, true, run));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parser::check::{points, read};
    use super::*;

    #[test]
    fn tables_with_gaps_quotes_and_a_second_line_of_names() {
        let text = b"step,loss,\"val, loss\",note\n1,2.5,,\"a, b\"\n2,2.0,2.25,\n\nstep,acc\n3,0.5\n4,0.6\n5,0.";
        for size in [1, 5, 1000] {
            let run = read(&mut Csv::default(), text, size);
            assert_eq!(points(&run), ["loss 1:2.5 2:2", "val, loss 2:2.25", "acc 3:0.5 4:0.6 5:0"], "{size}");
        }
    }

    #[test]
    fn other_separators_and_tables_without_names() {
        assert_eq!(
            points(&read(&mut Csv::default(), b"epoch\tloss\n1\t2\n2\t1\n", 3)),
            ["epoch 1:1 2:2", "loss 1:2 2:1"]
        );
        assert_eq!(points(&read(&mut Csv::default(), b",loss;x\n0,2\n1,3\n", 3)), ["loss;x 0:2 1:3"]);
        let run = read(&mut Csv::default(), b"1,2.5\n2,2.0\n", 3);
        assert_eq!(points(&run), ["column 1 1:1 2:2", "column 2 1:2.5 2:2"]);
        assert_eq!(run.faults().1, 1);
    }

    #[test]
    fn short_lines_are_said_and_a_torn_one_is_not() {
        let run = read(&mut Csv::default(), b"step,loss,lr\n1,2,3\n2,2\n3,2", 4);
        assert_eq!(points(&run), ["loss 1:2 2:2", "lr 1:3"]);
        assert_eq!(run.faults().0, ["line 3 has 2 fields where 3 have names"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_breaks_it(text in "[a-c,;\t\"\n0-9.é-]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            read(&mut Csv::default(), text.as_bytes(), 7);
            read(&mut Csv::default(), &bytes, 7);
        }
    }
}
