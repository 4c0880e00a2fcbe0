//! The workbench against its targets: the real program in a pseudo-terminal of 120x36 with all panes
//! in sight. `cargo bench --bench workbench [FILTER]`; two minutes on a quiet machine.
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "processor time is read from /proc"))]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../../tests/common/lossless.rs"]
mod lossless;
#[path = "../../tests/common/pty.rs"]
mod pty;
#[path = "../../tests/common/recital.rs"]
mod recital;
#[path = "../../tests/common/stream.rs"]
mod stream;

mod echo;
mod frames;
mod processor;
mod start;
mod streaming;
mod table;

use std::path::{Path, PathBuf};

use bit_axon::model::checkpoint::Format;
use table::Table;

/// Models that the measurements run.
struct Models(tempfile::TempDir);

impl Models {
    /// As many layers and experts as the `3b` preset has, so that its heatmap is as large, and so small
    /// that it does not disturb; it says some Markdown.
    fn prose(&self) -> PathBuf {
        let shape = recital::Shape { layers: 24, ..recital::SMALL };
        self.made("prose", shape, &recital::pieces(&streaming::text()))
    }

    /// Large enough to keep all cores busy for as long as is needed.
    fn busy(&self) -> PathBuf {
        let shape = recital::Shape { layers: 12, hidden: 512, intermediate: 1024, format: Format::Affine4 };
        self.made("busy", shape, &recital::counting(30_000))
    }

    fn counting(&self) -> PathBuf {
        self.made("recital", recital::SMALL, &recital::counting(lossless::WORDS))
    }

    fn made(&self, name: &str, shape: recital::Shape, pieces: &[String]) -> PathBuf {
        let folder = self.0.path().join(name);
        if !folder.exists() {
            recital::write(&folder, shape, pieces);
        }
        folder
    }
}

/// The workbench with this model, which always says the most likely word, as long as it likes.
fn chat(model: &Path) -> pty::Start {
    pty::start(&["chat", "--temperature", "0", "--max-tokens", "1000000"]).arg(model)
}

#[cfg(target_os = "linux")]
fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let models = Models(tempfile::tempdir().expect("there is a place for temporary files"));
    let mut table = Table::new(filter);
    table.run("start", start::measure);
    table.run("streaming", |table| streaming::measure(table, &models.prose(), false));
    table.run("slow-link", |table| streaming::measure(table, &models.prose(), true));
    table.run("idle", |table| streaming::idle(table, &models.prose()));
    table.run("echo", |table| echo::measure(table, &models.busy()));
    table.run("frames", frames::measure);
    table.run("lossless", |table| {
        let mut pty = chat(&models.counting()).size(lossless::SIZE.0, lossless::SIZE.1).spawn();
        let done = lossless::walk(&mut pty, 10_000);
        let what = format!(
            "tokens lost or reordered of {}, {} sizes, {} stopped, {} forked",
            done.tokens, done.resized, done.stopped, done.forked
        );
        table.row(&what, "0".into(), "0", true);
    });
    std::process::exit(i32::from(!table.all_met()));
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this benchmark reads processor times from /proc: it needs Linux");
}
