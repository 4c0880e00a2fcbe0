//! Runs in folders.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::format::{Detect, ENOUGH, Format, tell};
use super::parser::Parser;
use crate::metrics::Run;

/// Folders within folders that are looked into.
const DEEPEST: usize = 8;
/// Files and folders that are looked at.
const MOST: usize = 50_000;

/// A run that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// By which it is known at the next look.
    pub(super) key: PathBuf,
    pub(super) name: String,
    pub(super) files: Vec<PathBuf>,
    /// Where its settings may lie.
    pub(super) folder: PathBuf,
    pub(super) format: Option<Format>,
}

/// Names that say nothing of a run: that of their folder is taken.
const NAMELESS: [&str; 16] = [
    "metrics",
    "log",
    "train",
    "training",
    "output",
    "stdout",
    "stderr",
    "console",
    "history",
    "trainer_log",
    "trainer_state",
    "training_metrics",
    "results",
    "progress",
    "logs",
    "run",
];
/// Ends of names of files that may be logs.
const ENDS: [&str; 8] = ["jsonl", "ndjson", "csv", "tsv", "log", "txt", "out", "json"];
/// JSON files that belong to models, not to runs.
const NOT_RUNS: [&str; 12] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "args.json",
    "adapter_config.json",
    "wandb-summary.json",
    "wandb-metadata.json",
    "requirements.txt",
    "control.jsonl",
];

/// What was found out about files, so that it need not be found out at every look: their lengths and formats.
pub(super) type Known = HashMap<PathBuf, (u64, Option<Format>)>;

/// The runs that lie at a path.
pub(super) fn find(path: &Path, format: Option<Format>, known: &mut Known) -> Result<Vec<Found>> {
    let about = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !about.is_dir() {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let name = name_of(path, &folder);
        return Ok(vec![Found { key: path.to_owned(), name, files: vec![path.to_owned()], folder, format }]);
    }
    let mut search = Search { root: path, format, left: MOST, states: BTreeMap::new(), found: Vec::new(), known };
    search.folder(path, 0);
    search.take_states();
    search.found.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.key.cmp(&b.key)));
    Ok(search.found)
}

struct Search<'a> {
    root: &'a Path,
    format: Option<Format>,
    left: usize,
    /// For each run the newest state of its trainer: the number of its checkpoint, and the file.
    states: BTreeMap<PathBuf, (u64, PathBuf)>,
    found: Vec<Found>,
    known: &'a mut Known,
}

impl Search<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        for entry in entries.flatten() {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Links to folders are how loops come about, and W&B's `latest-run` would show a run twice.
            let Ok(kind) = entry.file_type() else { continue };
            if name.starts_with('.') || name == "node_modules" || name == "__pycache__" {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() || (kind.is_symlink() && entry.path().is_file()) {
                files.push((name, entry.path()));
            }
        }
        folders.sort();
        files.sort();
        if self.files(folder, &files) && depth < DEEPEST {
            for inner in folders {
                self.folder(&inner, depth + 1);
            }
        }
    }

    /// Takes the runs among the files of a folder. False if what lies below belongs to one of them.
    fn files(&mut self, folder: &Path, files: &[(String, PathBuf)]) -> bool {
        let events = files.iter().filter(|(name, _)| name.contains("tfevents")).map(|(_, path)| path.clone());
        let events: Vec<PathBuf> = events.collect();
        if !events.is_empty() {
            let name = name_of(folder, folder.parent().unwrap_or(folder));
            let name = self.shown(folder).unwrap_or(name);
            self.push(folder.to_owned(), name, events, folder, Some(Format::TensorBoard));
        }
        let mut inside = true;
        for (name, path) in files {
            let end = name.rsplit_once('.').map_or("", |(_, end)| end);
            if name == "trainer_state.json" {
                let number = folder.file_name().and_then(|n| n.to_str()?.strip_prefix("checkpoint-")?.parse().ok());
                let of = if number.is_some() { folder.parent().unwrap_or(folder) } else { folder };
                let number: u64 = number.unwrap_or(u64::MAX);
                let newest = self.states.entry(of.to_owned()).or_insert((0, path.clone()));
                if number >= newest.0 {
                    *newest = (number, path.clone());
                }
            } else if end == "wandb" {
                inside = false;
                let name = self.shown(folder).unwrap_or_else(|| name_of(path, folder));
                self.push(path.clone(), name, vec![path.clone()], folder, Some(Format::Wandb));
            } else if !name.contains("tfevents")
                && (ENDS.contains(&end) || name == "nohup.out")
                && !NOT_RUNS.contains(&name.as_str())
            {
                let Some(format) = self.format.or_else(|| self.kind(path, end)) else { continue };
                if format == Format::BitAxon {
                    inside = false;
                }
                let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
                let nameless = NAMELESS.contains(&stem);
                let shown = if nameless { self.shown(folder) } else { self.shown(&path.with_extension("")) };
                self.push(
                    path.clone(),
                    shown.unwrap_or_else(|| name_of(path, folder)),
                    vec![path.clone()],
                    folder,
                    Some(format),
                );
            }
        }
        if !inside {
            // In a folder that is a run of its own, other logs say the same again.
            let of_run = |found: &Found| matches!(found.format, Some(Format::BitAxon | Format::Wandb));
            self.found.retain(|found| found.folder != folder || of_run(found));
        }
        inside
    }

    fn kind(&mut self, path: &Path, end: &str) -> Option<Format> {
        let length = fs::metadata(path).map_or(0, |about| about.len());
        match self.known.get(path) {
            // What is a run stays one; what is none yet may become one as it grows.
            Some((before, format)) if format.is_some() || *before == length => *format,
            _ => {
                let format = a_run(path, end);
                self.known.insert(path.to_owned(), (length, format));
                format
            }
        }
    }

    fn push(&mut self, key: PathBuf, name: String, files: Vec<PathBuf>, folder: &Path, format: Option<Format>) {
        let format = self.format.or(format);
        self.found.push(Found { key, name, files, folder: folder.to_owned(), format });
    }

    fn take_states(&mut self) {
        for (folder, (_, path)) in std::mem::take(&mut self.states) {
            let name = self.shown(&folder).unwrap_or_else(|| name_of(&path, &folder));
            self.push(folder.join("trainer_state.json"), name, vec![path], &folder, Some(Format::TrainerState));
        }
    }

    /// The path below the one that was asked for; none for that itself.
    fn shown(&self, path: &Path) -> Option<String> {
        let below = path.strip_prefix(self.root).ok()?;
        (!below.as_os_str().is_empty()).then(|| below.to_string_lossy().into_owned())
    }
}

/// The name of a file without its end, or that of its folder where it says nothing.
fn name_of(path: &Path, folder: &Path) -> String {
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    if !stem.is_empty() && !NAMELESS.contains(&stem.as_str()) && !stem.starts_with("events.out") {
        return stem;
    }
    // `.` and `..` have names too.
    let folder = if stem.is_empty() { path } else { folder };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let number = |name: &str| name.starts_with("checkpoint-");
    let mut parts = whole.components().rev().filter_map(|part| part.as_os_str().to_str()).filter(|part| *part != "/");
    let folder = parts.next().map(|name| if number(name) { parts.next().unwrap_or(name) } else { name });
    folder.map_or(stem, str::to_owned)
}

/// The format of a file, if it holds metrics. Lines for people may be about anything, so they must have some.
fn a_run(path: &Path, end: &str) -> Option<Format> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(ENOUGH as u64).read_to_end(&mut head).ok()?;
    let all = head.len() < ENOUGH;
    let format = tell(&head, all)?;
    let fits = match end {
        "json" => matches!(format, Format::Json | Format::TrainerState | Format::Jsonl | Format::BitAxon),
        "jsonl" | "ndjson" => matches!(format, Format::Jsonl | Format::BitAxon),
        "csv" | "tsv" => format == Format::Csv,
        _ => true,
    };
    if !fits {
        return None;
    }
    if end == "json" && !all {
        // Too long to try here, and a list of objects.
        return (format != Format::Json || head.trim_ascii_start().starts_with(b"[")).then_some(format);
    }
    let mut run = Run::new("", "");
    let mut detect = Detect::of_a_pipe(Some(format));
    detect.feed(&head, None, &mut run);
    detect.finish(&mut run);
    // Data sets are JSONL too, with a number here and there: a run has lines that count, or a loss.
    let counts = run.series().iter().any(|s| !s.is_empty() && crate::metrics::names::rank(s.name()) < 6);
    let stepped = matches!(format, Format::Jsonl | Format::Json | Format::Csv) && says_steps(&head);
    let ours = format == Format::BitAxon;
    (ours || (run.rows() > 0 && (counts || stepped))).then_some(format)
}

fn says_steps(head: &[u8]) -> bool {
    ["step", "iter", "epoch"].iter().any(|word| memchr::memmem::find(head, word.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::tensorboard::tests::scalar;
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let format = |found: &Found| found.format.map_or("-", Format::name);
        find(path, None, &mut Known::new())
            .unwrap()
            .iter()
            .map(|found| format!("{} {}", found.name, format(found)))
            .collect()
    }

    #[test]
    fn runs_are_found_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        put("board/a/events.out.tfevents.1.host", &scalar("loss", 1, 1.0));
        put("board/a/events.out.tfevents.2.host", &scalar("loss", 2, 1.0));
        put("board/b/events.out.tfevents.1.host", b"");
        put("hf/checkpoint-9/trainer_state.json", b"{}");
        put("hf/checkpoint-10/trainer_state.json", b"{}");
        put("hf/checkpoint-10/config.json", b"{\"layers\": 3}");
        put("ours/sky/metrics.jsonl", b"{\"event\":\"start\",\"step\":0,\"time\":1}\n");
        put("ours/sky/run.log", b"step 1 loss 2\n");
        put("ours/sky/checkpoints/x/trainer.log", b"step 1 loss 2\n");
        put("wb/offline-run-1/run-abc.wandb", b":W&B");
        put("wb/offline-run-1/files/output.log", b"step 1 loss 2\n");
        put("nano/train.log", b"iter 0: loss 4.2\niter 1: loss 4.1\n");
        put("nano/README.txt", b"This is a text with 3 words, or 12.\n");
        put("nano/data.jsonl", b"{\"text\": \"a\", \"id\": 3}\n");
        put("table.csv", b"step,loss\n1,2\n");
        put("people.csv", b"name,age\nbob,20\n");
        put("old.json", b"[{\"step\":1,\"loss\":2}]");
        put("package.json", b"{\"version\": 1}");
        put(".hidden/train.log", b"step 1 loss 2\n");
        assert_eq!(
            names(dir.path()),
            [
                "board/a tensorboard",
                "board/b tensorboard",
                "hf trainer-state",
                "nano log",
                "old json",
                "ours/sky bit-axon",
                "table csv",
                "wb/offline-run-1 wandb"
            ]
        );
        let states = find(&dir.path().join("hf"), None, &mut Known::new()).unwrap();
        assert!(states[0].files[0].ends_with("checkpoint-10/trainer_state.json"));
        assert_eq!(states[0].name, "hf");
        let events = find(&dir.path().join("board/a"), None, &mut Known::new()).unwrap();
        assert_eq!((events[0].name.as_str(), events[0].files.len()), ("a", 2));
        assert_eq!(names(&dir.path().join("nano/train.log")), ["nano -"]);
        assert_eq!(names(&dir.path().join("hf/checkpoint-9/trainer_state.json")), ["hf -"]);
        assert!(find(&dir.path().join("nothing"), None, &mut Known::new()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        fs::write(dir.path().join("train.log"), "step 1 loss 2\n").unwrap();
        assert_eq!(find(dir.path(), None, &mut Known::new()).unwrap().len(), 1);
    }
}
