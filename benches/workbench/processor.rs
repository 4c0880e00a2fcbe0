//! Processor time of a process, thread by thread.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Pid;

/// Milliseconds of processor time that each thread has had, by its number: its name and the time.
pub(super) fn times(pid: Pid) -> BTreeMap<u32, (String, f64)> {
    let mut times = BTreeMap::new();
    let folder = format!("/proc/{}/task", pid.as_raw_nonzero());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // The first number is nanoseconds, exact to the last switch; `stat` has hundredths of a second.
        let exact = read("schedstat").split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map(|ns| ns / 1e6);
        let time = exact.or_else(|| ticks(&read("stat"))).unwrap_or(0.0);
        times.insert(thread, (read("comm").trim().to_owned(), time));
    }
    times
}

/// `utime` and `stime` of a line of `/proc/PID/stat`, in milliseconds.
fn ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) * 10.0)
}

/// Milliseconds that threads of these names had between two looks.
pub(super) fn between(
    before: &BTreeMap<u32, (String, f64)>,
    after: &BTreeMap<u32, (String, f64)>,
    wanted: impl Fn(&str) -> bool,
) -> f64 {
    let had = |thread: &u32| before.get(thread).map_or(0.0, |(_, time)| *time);
    after.iter().filter(|(_, (name, _))| wanted(name)).map(|(thread, (_, time))| time - had(thread)).sum()
}

/// True for threads that the model computes on; all others are the screen's.
pub(super) fn computes(name: &str) -> bool {
    name == "engine" || name.starts_with("bit-axon-cpu")
}
