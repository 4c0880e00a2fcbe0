//! Keeps the rooms of the crate apart: who may import whom, and who may touch threads, clocks and the
//! terminal. One crate cannot enforce this by itself, so this test reads the source.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// What a room may do. `imports` are other rooms; `never` are beginnings of paths, with the reason.
struct Rule {
    room: &'static str,
    imports: &'static [&'static str],
    never: &'static [(&'static [&'static str], &'static str)],
}

const ALL: &[&str] = &["*"];
/// Scoped threads end with the call that began them: a writer may quantise blocks side by side.
const NO_LASTING_THREADS: (&[&str], &str) =
    (&["std::thread::spawn", "tokio", "rayon"], "threads that outlive a call belong to backend, engine and run");
const NO_THREADS: (&[&str], &str) =
    (&["std::thread", "tokio", "rayon"], "threads and tasks belong to backend, engine and run");
const NO_CHANNELS: (&[&str], &str) = (&["std::sync::mpsc", "tokio"], "channels belong to engine and run");
const NO_CLOCKS: (&[&str], &str) = (
    &["std::time::Instant", "std::time::SystemTime", "tokio"],
    "clocks belong to engine, train and run; time arrives as data",
);
const NO_FILES: (&[&str], &str) =
    (&["std::fs", "std::io", "tempfile", "memmap2"], "files belong to model, session and cli");
const NO_NETWORK: (&[&str], &str) = (&["std::net", "ureq"], "only cli/hub may use the network");
const NO_SCREEN: (&[&str], &str) = (&["ratatui", "crossterm"], "only ui, term and run know the screen");
const NO_PRINTING: (&[&str], &str) = (
    &[
        "println!",
        "print!",
        "eprintln!",
        "eprint!",
        "dbg!",
        "io::stdout",
        "io::stderr",
        "std::io::stdout",
        "std::io::stderr",
    ],
    "only cli prints, through cli/output.rs",
);

/// One line a room; the rooms of later work have theirs already.
const RULES: &[Rule] = &[
    Rule {
        room: "protocol",
        imports: &[],
        never: &[NO_THREADS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "config", imports: &["protocol"], never: &[NO_THREADS, NO_NETWORK, NO_SCREEN, NO_PRINTING] },
    Rule {
        room: "model",
        imports: &["protocol", "whole"],
        never: &[NO_LASTING_THREADS, NO_CHANNELS, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule {
        room: "backend",
        imports: &["model", "protocol"],
        never: &[NO_CHANNELS, NO_CLOCKS, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "backend/cpu/ops", imports: &["model", "protocol"], never: &[NO_THREADS, NO_FILES] },
    Rule {
        room: "engine",
        imports: &["backend", "model", "protocol", "rng"],
        never: &[NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule {
        room: "train",
        imports: &["backend", "model", "protocol", "rng", "telemetry", "whole"],
        never: &[NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "telemetry", imports: &["protocol"], never: &[NO_NETWORK, NO_SCREEN, NO_PRINTING] },
    Rule {
        room: "metrics",
        imports: &[],
        never: &[NO_THREADS, NO_CHANNELS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "monitor", imports: &["metrics", "protocol"], never: &[NO_NETWORK, NO_SCREEN, NO_PRINTING] },
    Rule {
        room: "chat",
        imports: &["protocol"],
        never: &[NO_THREADS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule {
        room: "session",
        imports: &["chat", "protocol", "whole"],
        never: &[NO_THREADS, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule {
        room: "app",
        imports: &["chat", "config", "metrics", "protocol"],
        never: &[NO_THREADS, NO_CHANNELS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_PRINTING],
    },
    Rule {
        room: "ui",
        imports: &["app", "chat", "metrics", "protocol"],
        never: &[NO_THREADS, NO_CHANNELS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_PRINTING],
    },
    Rule {
        room: "whole",
        imports: &[],
        never: &[NO_THREADS, NO_CHANNELS, NO_CLOCKS, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "term", imports: &[], never: &[NO_NETWORK] },
    Rule { room: "rng", imports: &[], never: &[NO_THREADS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_SCREEN, NO_PRINTING] },
    Rule {
        room: "pico",
        imports: &["rng", "app", "config"],
        never: &[NO_THREADS, NO_CLOCKS, NO_FILES, NO_NETWORK, NO_SCREEN, NO_PRINTING],
    },
    Rule { room: "run", imports: ALL, never: &[NO_NETWORK] },
    Rule { room: "cli", imports: ALL, never: &[] },
];

/// What is wrong with a file at this path below `src`, one line a fault.
fn faults(file: &str, source: &str) -> Vec<String> {
    if matches!(file, "lib.rs" | "main.rs") {
        return Vec::new();
    }
    let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let mut faults = Vec::new();
    let inside = |rule: &&Rule| module == rule.room || module.starts_with(&format!("{}/", rule.room));
    let rules: Vec<&Rule> = RULES.iter().filter(inside).collect();
    if rules.is_empty() {
        return vec![format!("src/{file}: no rule for this room; say in tests/rooms/main.rs what it may do")];
    }
    let home = module.split('/').next().unwrap_or_default();
    for named in source::paths(source) {
        let mut fault = |why: String| faults.push(format!("src/{file}:{}: {}: {why}", named.line, named.path));
        let path = absolute(module, &named.path);
        let room = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
        for rule in &rules {
            if let Some(room) = room
                && room != home
                && RULES.iter().any(|other| other.room == room)
                && rule.imports != ALL
                && !rule.imports.contains(&room)
            {
                let may = if rule.imports.is_empty() { "nothing".into() } else { rule.imports.join(", ") };
                fault(format!("{} may not import {room} (only {may})", rule.room));
            }
            for (beginnings, why) in rule.never {
                if beginnings.iter().any(|b| path == *b || path.starts_with(&format!("{b}::"))) {
                    fault(format!("{}: {why}", rule.room));
                    break;
                }
            }
        }
    }
    faults
}

/// `super::super::x` in `model/config` is `crate::x`. Inside a module within the file it is one step
/// further down, where no room is called so.
fn absolute(module: &str, path: &str) -> String {
    let supers = path.split("::").take_while(|part| *part == "super").count();
    let parts: Vec<&str> = module.split('/').collect();
    if supers == 0 || supers > parts.len() {
        return path.to_owned();
    }
    let rest = path.split("::").skip(supers);
    std::iter::once("crate")
        .chain(parts[..parts.len() - supers].iter().copied())
        .chain(rest)
        .collect::<Vec<_>>()
        .join("::")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_rooms_keep_to_themselves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 10, "the source is not where it was");
    let mut all = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        all.extend(faults(&name, &fs::read_to_string(&file).unwrap()));
    }
    assert!(all.is_empty(), "{} faults:\n{}", all.len(), all.join("\n"));
}

#[test]
fn every_kind_of_fault_is_found() {
    for (file, source, want) in [
        (
            "model/spec.rs",
            "\nuse crate::backend::Backend;",
            "src/model/spec.rs:2: crate::backend::Backend: model may not import",
        ),
        ("model/mod.rs", "use super::engine::Handle;", "model may not import engine"),
        ("model/a/b.rs", "super::super::super::cli::run()", "model may not import cli"),
        ("model/x.rs", "use crate::{protocol::Role, ui::draw};", "model may not import ui"),
        ("model/x.rs", "use std::{fs, thread::{self, spawn}};", "threads that outlive"),
        ("session/mod.rs", "use std::{fs, thread};", "threads"),
        ("protocol.rs", "use crate::model::spec;", "protocol may not import model (only nothing)"),
        ("protocol.rs", "use std::fs::File;", "files"),
        ("backend/cpu/mod.rs", "let t = std::time::Instant::now();", "clocks"),
        ("backend/cpu/mod.rs", "use std::sync::mpsc::channel;", "channels"),
        ("backend/cpu/ops/dot.rs", "std::thread::spawn(f)", "threads"),
        ("engine/mod.rs", "use crate::cli::output;", "engine may not import cli"),
        ("engine/mod.rs", "println!(\"x\")", "only cli prints"),
        ("engine/mod.rs", "use ratatui::Frame;", "screen"),
        ("app/update.rs", "use std::time::{Duration, Instant};", "clocks"),
        ("app/update.rs", "use crate::engine::Handle;", "app may not import engine"),
        ("ui/chat.rs", "std::fs::read(p)", "files"),
        ("ui/chat.rs", "use crate::backend;", "ui may not import backend"),
        ("newroom/mod.rs", "", "no rule for this room"),
    ] {
        let found = faults(file, source);
        assert!(found.iter().any(|fault| fault.contains(want)), "{file} {source}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_no_fault() {
    for (file, source) in [
        ("model/config.rs", "use crate::protocol::Role; use super::spec::ModelSpec; use std::fs::File;"),
        ("model/config.rs", "mod tests { use super::super::spec::Mixer; }"),
        ("backend/cpu/pool.rs", "use std::thread; use std::time::Duration; use crate::model::matrix::Matrix;"),
        ("model/convert.rs", "std::thread::scope(|scope| work(scope))"),
        ("engine/mod.rs", "use crate::backend::Backend; // crate::cli is not for us\nlet s = \"crate::ui\";"),
        ("ui/chat.rs", "use crate::app::App; use ratatui::Frame; use std::time::Duration;"),
        ("cli/run.rs", "use crate::engine::Handle; use crate::protocol::Role;"),
    ] {
        assert_eq!(faults(file, source), Vec::<String>::new(), "{file}");
    }
}
