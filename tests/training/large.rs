//! Data that is larger than anyone wants to hold in memory.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::*;

/// The most that a process ever held, in bytes. Pages of mapped files count too.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Seconds from the start of the program to its first step, and its peak memory some steps later.
fn begin(place: &Place, data: &str) -> (f64, u64) {
    let args = "--max-seq-len 128 --batch-size 2 --grad-accum-steps 1 --max-steps 100000 --sensor none";
    let began = Instant::now();
    let mut child = place.spawn(&format!("train {data} --model model --output-dir run-{data} {args}"));
    let run = format!("run-{data}");
    place.until(&mut child, "the first step", |place| !place.steps(&run).is_empty());
    let seconds = began.elapsed().as_secs_f64();
    place.until(&mut child, "a hundred steps", |place| place.steps(&run).len() >= 100);
    let bytes = peak(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    (seconds, bytes)
}

#[test]
#[ignore = "writes a gigabyte; cargo test --release --test training -- --ignored a_gigabyte --nocapture"]
fn a_gigabyte_of_examples_is_never_held() {
    const GIGABYTE: u64 = 1_000_000_000;
    let place = Place::new();
    let row = |i: u64| {
        let talk: String = (0..12).map(|k| format!("and {} is {} ", i + k, (i * 31 + k * 7) % 9973)).collect();
        json!({"messages": [{"role": "user", "content": format!("What is number {i}?")}, {"role": "assistant", "content": talk}]})
    };
    let mut few = Vec::new();
    (0..2000).for_each(|i| writeln!(few, "{}", row(i)).unwrap());
    fs::write(place.path("few.jsonl"), few).unwrap();
    let mut file = BufWriter::new(File::create(place.path("many.jsonl")).unwrap());
    let (mut written, mut rows) = (0, 0);
    while written < GIGABYTE {
        let line = format!("{}\n", row(rows));
        file.write_all(line.as_bytes()).unwrap();
        (written, rows) = (written + line.len() as u64, rows + 1);
    }
    file.into_inner().unwrap();
    let (_, without) = begin(&place, "few.jsonl");
    let (seconds, with) = begin(&place, "many.jsonl");
    let more = with.saturating_sub(without);
    println!(
        "{rows} rows in {:.2} GB: the first step after {seconds:.2} s; {:.0} MB in all, {:.1} MB more than with 2000 rows",
        written as f64 / 1e9,
        with as f64 / 1e6,
        more as f64 / 1e6
    );
    assert!(more < 200_000_000, "{more} bytes for data");
    // A debug build is slower than what is promised.
    assert!(seconds < if cfg!(debug_assertions) { 30.0 } else { 3.0 }, "{seconds} s to the first step");
}
