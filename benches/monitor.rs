//! Opening, drawing and following training runs, with figures for time and memory:
//!
//! ```text
//! cargo bench --bench monitor            20 runs of 100,000 steps and 50 metrics (2.2 GB of JSON in a temporary folder)
//! cargo bench --bench monitor -- 5 10000 5 runs of 10,000 steps
//! ```

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use bit_axon::metrics::{Axis, Dot, View, nearest, reduce};
use bit_axon::monitor::{Options, Shared, Watch};

const METRICS: usize = 50;
/// Columns of dots of a wide terminal, and charts on it.
const COLUMNS: usize = 380;
const CHARTS: usize = 6;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --benches` only wants to know that it builds.
        return;
    }
    let numbers: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let (runs, steps) = (numbers.first().copied().unwrap_or(20), numbers.get(1).copied().unwrap_or(100_000));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let began = Instant::now();
    thread::scope(|scope| {
        for worker in 0..2 {
            let dir = dir.path();
            scope.spawn(move || (worker..runs).step_by(2).for_each(|run| write_run(dir, run, steps)));
        }
    });
    let size: u64 =
        fs::read_dir(dir.path()).expect("the folder").flatten().filter_map(|e| Some(e.metadata().ok()?.len())).sum();
    println!(
        "{runs} runs, {steps} steps, {METRICS} metrics: {} MB of JSON, made in {:.1} s",
        size / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    open(dir.path(), runs, steps);
    drop(dir);
    live();
}

/// Half of the numbers as they are logged by `round(x, 4)`, half with all digits of a float.
fn write_run(dir: &Path, run: usize, steps: usize) {
    let mut out =
        BufWriter::with_capacity(1 << 20, File::create(dir.join(format!("run{run:02}.jsonl"))).expect("a file"));
    let mut seed = run as u64 * 7919 + 1;
    for step in 0..steps {
        write!(out, "{{\"step\": {step}").expect("room on the disk");
        for metric in 0..METRICS {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (seed >> 40) as f64 / f64::from(1u32 << 24);
            let value = 1.0 + 3.0 / (1.0 + step as f64 / 5000.0) + noise;
            let written = match metric {
                0 => write!(out, ", \"loss\": {value:.4}"),
                1 => write!(out, ", \"time\": {:.3}", 1.7e9 + step as f64 * 0.25),
                m if m % 2 == 0 => write!(out, ", \"metric_{m:02}\": {value:.4}"),
                m => write!(out, ", \"metric_{m:02}\": {}", f64::from(value as f32)),
            };
            written.expect("room on the disk");
        }
        out.write_all(b"}\n").expect("room on the disk");
    }
    out.flush().expect("room on the disk");
}

/// Kilobytes of a line of `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The shortest of five tries: what it costs where nobody else wants the processor meanwhile.
fn shortest(mut work: impl FnMut()) -> Duration {
    let tries = (0..5).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    tries.min().unwrap_or_default()
}

/// The middle one and the longest.
fn words(mut all: Vec<Duration>) -> String {
    all.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    format!("{:.2} ms, longest {:.2} ms", ms(all[all.len() / 2]), ms(all[all.len() - 1]))
}

fn frame(runs: &[Shared], charts: usize) -> (Duration, usize) {
    let began = Instant::now();
    let (mut dots, mut drawn): (Vec<Dot>, usize) = (Vec::new(), 0);
    for run in runs {
        let run = run.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((from, to)) = run.extent(Axis::Step) else { continue };
        let view = View { axis: Axis::Step, from, to, columns: COLUMNS };
        for series in run.series().iter().take(charts) {
            reduce(&run, series, view, &mut dots);
            drawn += dots.iter().filter(|dot| !dot.is_empty()).count();
            nearest(&run, series, Axis::Step, (from + to) / 3.0);
        }
    }
    (began.elapsed(), drawn)
}

fn open(dir: &Path, runs: usize, steps: usize) {
    let before = status("VmRSS");
    let (began, used) = (Instant::now(), cpu());
    let watch = Watch::open(&[dir.to_owned()], &Options::default()).expect("the folder is there");
    let mut first = None;
    let mut slowest = Duration::ZERO;
    while watch.loading().is_some() {
        let (took, drawn) = frame(&watch.runs(), 1);
        slowest = slowest.max(took);
        if drawn > 0 && first.is_none() {
            first = Some(began.elapsed());
        }
        thread::sleep(Duration::from_millis(33));
    }
    let (whole, used) = (began.elapsed(), cpu() - used);
    let all = watch.runs();
    let points: usize = all.iter().map(|run| run.lock().map_or(0, |run| run.points())).sum();
    assert_eq!(points, runs * steps * (METRICS - 1), "points were lost");
    let bytes: usize = all.iter().map(|run| run.lock().map_or(0, |run| run.bytes())).sum();
    println!("first frame    {:8.3} s   target 1 s", first.map_or(0.0, |first| first.as_secs_f64()));
    println!("complete       {:8.3} s   target 5 s ({used:.2} s of processors)", whole.as_secs_f64());
    println!(
        "memory         {:8.1} MB  target 400 MB ({:.1} MB in columns, {:.2} bytes a point)",
        (status("VmRSS") - before) as f64 / 1e3 * 1.024,
        bytes as f64 / 1e6,
        bytes as f64 / points as f64
    );
    println!("frame while it loads, longest {:.2} ms", slowest.as_secs_f64() * 1e3);
    let took = (0..5)
        .map(|_| {
            shortest(|| {
                frame(&all, CHARTS);
            })
        })
        .collect();
    println!("frame of {CHARTS} charts with {runs} runs each: {}   target 10 ms", words(took));
    // Zoomed: no part of history may cost more. Around a hundredth of it a column has the most points that are read
    // one by one.
    let mut dots = Vec::new();
    for axis in [Axis::Step, Axis::Time] {
        let mut zoomed = |share: f64| {
            for run in &all {
                let run = run.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((first, last)) = run.extent(axis) else { continue };
                let from = first + (last - first) * 0.4;
                let view = View { axis, from, to: from + (last - first) * share, columns: COLUMNS };
                for series in run.series().iter().take(CHARTS) {
                    reduce(&run, series, view, &mut dots);
                }
            }
        };
        let took = (0..24).map(|at| shortest(|| zoomed(0.6 / 1.4f64.powi(at)))).collect();
        println!("the same zoomed in, by {}: {}   target 10 ms", axis.name(), words(took));
    }
}

/// A file that grows by a thousand lines a second.
fn live() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("live.jsonl");
    fs::write(&path, "").expect("a file");
    let watch = Watch::open(std::slice::from_ref(&path), &Options::default()).expect("the file is there");
    let (seconds, line) = (5usize, "\"loss\": 2.3456, \"lr\": 0.0001, \"grad_norm\": 1.25, \"tok_s\": 1234.5}\n");
    let mut out = File::options().append(true).open(&path).expect("the file");
    let used = cpu();
    let began = Instant::now();
    let mut step = 0usize;
    while step < seconds * 1000 {
        thread::sleep(Duration::from_millis(10));
        let due = (began.elapsed().as_secs_f64() * 1000.0) as usize;
        let mut text = String::new();
        while step < due.min(seconds * 1000) {
            text.push_str(&format!("{{\"step\": {step}, {line}"));
            step += 1;
        }
        out.write_all(text.as_bytes()).expect("room on the disk");
    }
    thread::sleep(Duration::from_millis(500));
    let rows = watch.runs()[0].lock().map_or(0, |run| run.rows());
    let share = (cpu() - used) / began.elapsed().as_secs_f64() * 100.0;
    println!(
        "1,000 lines/s: {rows} of {} lines read, {share:.1}% of a core (the writer included)   target none lost, 10%",
        seconds * 1000
    );
}

/// Seconds of processor time of this process.
fn cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
