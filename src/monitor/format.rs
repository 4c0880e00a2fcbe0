//! Which kind of log it is, told from its first bytes.

use std::fmt;
use std::str::FromStr;

use super::csv::{self, Csv};
use super::json::Cursor;
use super::jsonl::Jsonl;
use super::parser::Parser;
use super::tensorboard::{self, TensorBoard};
use super::text::Text;
use super::wandb::{self, Wandb};
use super::whole_json::WholeJson;
use crate::metrics::Run;

/// A kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The metrics of a run folder of ours.
    BitAxon,
    /// One JSON object a line.
    Jsonl,
    /// A list of JSON objects.
    Json,
    /// The state of Hugging Face's trainer.
    TrainerState,
    /// A table.
    Csv,
    /// What a trainer prints.
    Log,
    /// The same, of mlx-lm.
    MlxLm,
    /// The same, of Hugging Face's trainer.
    HfTrainer,
    /// An event file of TensorBoard.
    TensorBoard,
    /// An offline run of W&B.
    Wandb,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 10] = [
        Format::BitAxon,
        Format::Jsonl,
        Format::Json,
        Format::TrainerState,
        Format::Csv,
        Format::Log,
        Format::MlxLm,
        Format::HfTrainer,
        Format::TensorBoard,
        Format::Wandb,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Format::BitAxon => "bit-axon",
            Format::Jsonl => "jsonl",
            Format::Json => "json",
            Format::TrainerState => "trainer-state",
            Format::Csv => "csv",
            Format::Log => "log",
            Format::MlxLm => "mlx-lm",
            Format::HfTrainer => "hf-trainer",
            Format::TensorBoard => "tensorboard",
            Format::Wandb => "wandb",
        }
    }

    fn parser(self) -> Box<dyn Parser> {
        match self {
            Format::BitAxon | Format::Jsonl => Box::<Jsonl>::default(),
            Format::Json | Format::TrainerState => Box::new(WholeJson),
            Format::Csv => Box::<Csv>::default(),
            Format::Log | Format::MlxLm | Format::HfTrainer => Box::<Text>::default(),
            Format::TensorBoard => Box::<TensorBoard>::default(),
            Format::Wandb => Box::<Wandb>::default(),
        }
    }

    /// True for lines for people, which may also be lines about something else.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Format::Log | Format::MlxLm | Format::HfTrainer)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Format::ALL.map(Format::name).join(", ");
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("there is no format {text}: there are {}", names()))
    }
}

/// Bytes with which any kind can be told.
pub(super) const ENOUGH: usize = 64 << 10;

/// The kind of a log that begins so; none if more must be seen. `all` says that there is no more.
pub(super) fn tell(head: &[u8], all: bool) -> Option<Format> {
    let all = all || head.len() >= ENOUGH;
    if wandb::begins(head) {
        return Some(Format::Wandb);
    }
    if tensorboard::begins(head) {
        return Some(Format::TensorBoard);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let mut lines = text.split(|b| *b == b'\n');
    let (first, more) = (lines.next()?.trim_ascii_end(), text.contains(&b'\n'));
    match text.first()? {
        b'{' => {
            let mut cursor = Cursor::new(first);
            if cursor.skip().is_ok() {
                // `{"loss": 1} trailing words` is a line for people.
                cursor.skip_blanks();
                let alone = cursor.at == first.len();
                let ours = contains(first, b"\"event\":\"start\"") || contains(first, b"\"temp_c\":");
                let kind = if ours { Format::BitAxon } else { Format::Jsonl };
                let whole = contains(first, b"\"log_history\"");
                return match (alone, whole) {
                    (true, true) => Some(Format::TrainerState),
                    (true, false) => (more || all).then_some(kind),
                    (false, _) => Some(Format::Log),
                };
            }
            if matches!(text.get(1..).map(<[u8]>::trim_ascii_start).and_then(<[u8]>::first), Some(b'"' | b'}'))
                && first.len() <= 2
            {
                return Some(if contains(text, b"\"global_step\"") { Format::TrainerState } else { Format::Json });
            }
        }
        b'[' => {
            let inside = text[1..].trim_ascii_start();
            match inside.first() {
                Some(b'{') => return Some(Format::Json),
                None if !all => return None,
                _ => {}
            }
        }
        _ => {}
    }
    if csv::separator(first).is_some() {
        match lines.next() {
            // A line of names alone is followed by more, or is no table.
            None | Some([]) if !all => return None,
            Some(second) if csv::separator(second).is_none() && second.iter().any(u8::is_ascii_digit) => {
                let counted = |line: &[u8], s: u8| line.iter().filter(|b| **b == s).count();
                let separator = csv::separator(first)?;
                if counted(first, separator).abs_diff(counted(second, separator)) <= 1 {
                    return Some(Format::Csv);
                }
            }
            _ => {}
        }
    }
    let binary = head.iter().take(4096).filter(|b| **b == 0 || **b == 0xff).count();
    if binary * 50 > head.len().min(4096) {
        // An event file or W&B's would have been known by its head, once that is whole.
        return all.then_some(Format::Log);
    }
    (more || all || memchr::memchr(b'\r', head).is_some()).then_some(Format::Log)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}

/// A reader that waits until it can tell what it reads.
pub(super) struct Detect {
    forced: Option<Format>,
    held: Vec<u8>,
    inner: Option<Box<dyn Parser>>,
    /// It comes from a pipe: what means something only as a whole is held until its end.
    piped: bool,
}

/// Bytes of a pipe that are held at most.
const MOST_HELD: usize = 256 << 20;

impl Detect {
    pub(super) fn new(forced: Option<Format>) -> Self {
        Self { forced, held: Vec::new(), inner: None, piped: false }
    }

    pub(super) fn of_a_pipe(forced: Option<Format>) -> Self {
        Self { piped: true, ..Self::new(forced) }
    }

    fn decide(&mut self, all: bool, now: Option<f64>, run: &mut Run) {
        let Some(format) = self.forced.or_else(|| tell(&self.held, all)) else { return };
        let mut parser = format.parser();
        run.format = format.name();
        let held = std::mem::take(&mut self.held);
        if parser.is_whole() {
            self.held = if self.piped { held } else { Vec::new() };
        } else {
            let text = if format.is_text() { held.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&held) } else { &held };
            parser.feed(text, now, run);
        }
        self.inner = Some(parser);
    }
}

impl Parser for Detect {
    fn feed(&mut self, bytes: &[u8], now: Option<f64>, run: &mut Run) {
        match &mut self.inner {
            Some(inner) if self.piped && inner.is_whole() => {
                if self.held.len() + bytes.len() <= MOST_HELD {
                    self.held.extend_from_slice(bytes);
                } else {
                    run.fault(|| format!("more than {} MiB of JSON in a pipe: give the file itself", MOST_HELD >> 20));
                }
            }
            Some(inner) => inner.feed(bytes, now, run),
            None => {
                self.held.extend_from_slice(bytes);
                self.decide(false, now, run);
            }
        }
    }

    fn finish(&mut self, run: &mut Run) {
        if self.inner.is_none() && !self.held.is_empty() {
            self.decide(true, None, run);
        }
        if let Some(inner) = &mut self.inner {
            if self.piped && inner.is_whole() {
                inner.feed(&self.held, None, run);
            }
            inner.finish(run);
        }
    }

    fn is_whole(&self) -> bool {
        !self.piped && self.inner.as_ref().is_some_and(|inner| inner.is_whole())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parser::check::points;
    use super::super::tensorboard::tests::scalar;
    use super::*;

    #[test]
    fn kinds_are_told_by_their_beginning() {
        for (text, want) in [
            ("{\"step\":1,\"loss\":2}\n", Some(Format::Jsonl)),
            ("{\"event\":\"start\",\"step\":0}\n", Some(Format::BitAxon)),
            ("{\"step\":1,\"temp_c\":null}\n{", Some(Format::BitAxon)),
            ("{\"step\":1,", None),
            ("[\n  {\"step\": 1", Some(Format::Json)),
            ("[{\"step\": 1}]", Some(Format::Json)),
            ("{\n  \"best_metric\": null, \"global_step\": 5", Some(Format::TrainerState)),
            ("{'loss': 2.13}\n", Some(Format::Log)),
            ("step,loss\n1,2.5\n", Some(Format::Csv)),
            ("step,loss\n", None),
            ("epoch\tloss\n0\t2\n", Some(Format::Csv)),
            ("[2024-01-01 10:00] step 1 loss 2\n", Some(Format::Log)),
            ("Hello, world\nno numbers, here\n", Some(Format::Log)),
            ("Iter 1: Val loss 2.813, Val took 1.274s\n", Some(Format::Log)),
            (":W&B", Some(Format::Wandb)),
            ("", None),
            ("half a line", None),
        ] {
            assert_eq!(tell(text.as_bytes(), false), want, "{text}");
        }
        assert_eq!(tell(&scalar("loss", 1, 1.0), false), Some(Format::TensorBoard));
        assert_eq!(tell(b"half a line", true), Some(Format::Log));
        assert_eq!(tell(&[0; 100], false), None);
        assert_eq!("csv".parse(), Ok(Format::Csv));
        assert!("xml".parse::<Format>().unwrap_err().contains("trainer-state"));
    }

    #[test]
    fn what_is_held_until_the_kind_is_known_is_not_lost() {
        let read = |text: &str, piped: bool| {
            let mut run = Run::new("a", "");
            let mut detect = if piped { Detect::of_a_pipe(None) } else { Detect::new(None) };
            text.as_bytes().chunks(3).for_each(|piece| detect.feed(piece, None, &mut run));
            detect.finish(&mut run);
            (run.format, points(&run).join(" "))
        };
        assert_eq!(read("step,loss\n1,2.5\n2,2\n", false), ("csv", "loss 1:2.5 2:2".into()));
        assert_eq!(read("{\"step\":1,\"loss\":2}", false), ("jsonl", "loss 1:2".into()));
        assert_eq!(read("\u{feff}step 1 loss 2\n", true), ("log", "loss 1:2".into()));
        assert_eq!(read("[{\"step\":1,\"loss\":2}]", true), ("json", "loss 1:2".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{\\[\"a,\n\t1: ']{0,40}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                tell(bytes, false);
                prop_assert!(bytes.trim_ascii().is_empty() || tell(bytes, true).is_some() || bytes.starts_with(b"\xef\xbb\xbf"));
                let mut run = Run::new("a", "");
                let mut detect = Detect::of_a_pipe(None);
                bytes.chunks(5).for_each(|piece| detect.feed(piece, None, &mut run));
                detect.finish(&mut run);
            }
        }
    }
}
