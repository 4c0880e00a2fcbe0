//! All runs that are watched, and the threads that read them.
//!
//! ```text
//!   paths ── discover ──> sources ──> ready ──> workers read a few pieces of each in turn
//!               ^                       ^            │
//!            every 0.5 s                └── 0.2 s <──┘ once all is read
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::discover::{self, Found, Known};
use super::follow::{Follower, lock, seconds};
use super::format::{Detect, Format};
use super::parser::Parser;
use super::settings;
use crate::metrics::Run;
use crate::metrics::alerts::{Alert, Watcher};

/// Between looks at a file that was read to its end.
const LOOK: Duration = Duration::from_millis(200);
/// Between looks for new runs, and how much longer than a look took where that is more: folders may be large, or lie
/// on a slow disk.
const SEARCH: Duration = Duration::from_millis(500);
const REST: u32 = 20;
/// Pieces of a file that are read before the next has its turn.
const TURN: usize = 16;

/// A run that others are adding to.
pub type Shared = Arc<Mutex<Run>>;

/// How runs are watched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Taken for this, whatever it looks like.
    pub format: Option<Format>,
    /// Read what is there and no more.
    pub once: bool,
    /// What comes from standard input also goes to this file.
    pub tee: Option<PathBuf>,
}

/// Watches runs until it is dropped.
pub struct Watch {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    once: bool,
    pool: Mutex<Pool>,
    wake: Condvar,
    runs: Mutex<Vec<Shared>>,
    /// The files of each run, as the last search found them.
    wanted: Mutex<HashMap<PathBuf, Vec<PathBuf>>>,
    raised: Mutex<Vec<(String, Alert)>>,
    read: AtomicU64,
    total: AtomicU64,
    /// Runs that were not read to their end yet.
    behind: AtomicUsize,
    version: AtomicU64,
    stop: AtomicBool,
}

#[derive(Default)]
struct Pool {
    ready: VecDeque<Source>,
    idle: VecDeque<(Instant, Source)>,
}

struct Source {
    key: PathBuf,
    format: Option<Format>,
    run: Shared,
    files: Vec<Follower>,
    /// It was read to its end once: what comes now is new.
    live: bool,
    watcher: Watcher,
}

impl Watch {
    /// Begins to watch: files, folders, and `-` for standard input.
    pub fn open(paths: &[PathBuf], options: &Options) -> Result<Self> {
        let state = Arc::new(State { once: options.once, ..State::default() });
        let mut threads = Vec::new();
        let mut known = Known::new();
        let mut keys = HashSet::new();
        let piped = |path: &&PathBuf| path.as_os_str() == "-";
        ensure!(paths.iter().filter(piped).count() <= 1, "standard input can be read only once: `-` is given twice");
        let mut folders = Vec::new();
        for path in paths {
            if piped(&path) {
                let tee = options.tee.as_deref().map(|tee| {
                    std::fs::File::create(tee).with_context(|| format!("cannot write the copy {}", tee.display()))
                });
                state.stream("standard input", Box::new(std::io::stdin()), options.format, tee.transpose()?);
                continue;
            }
            if is_stream(path) {
                let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                state.stream(&path.display().to_string(), Box::new(file), options.format, None);
                continue;
            }
            let found = discover::find(path, options.format, &mut known)?;
            if path.is_dir() {
                folders.push(path.clone());
                ensure!(
                    !(options.once && found.is_empty() && paths.len() == 1),
                    "{} holds no training run that can be read: name the log itself, with --format if need be",
                    path.display()
                );
            }
            state.add(found, &mut keys);
        }
        let workers = thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
        for _ in 0..workers {
            let state = state.clone();
            threads.push(thread::Builder::new().name("monitor".into()).spawn(move || state.work())?);
        }
        if !options.once && !folders.is_empty() {
            let (state, format) = (state.clone(), options.format);
            let search = move || state.search(&folders, format, known, keys);
            threads.push(thread::Builder::new().name("monitor-search".into()).spawn(search)?);
        }
        Ok(Self { state, threads })
    }

    /// All runs, in the order in which they were found.
    pub fn runs(&self) -> Vec<Shared> {
        guard(&self.state.runs).clone()
    }

    /// Grows whenever anything was read.
    pub fn version(&self) -> u64 {
        self.state.version.load(Ordering::Relaxed)
    }

    /// Bytes that were read, of how many; none once every run was read to its end.
    pub fn loading(&self) -> Option<(u64, u64)> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let behind = self.state.behind.load(Ordering::Acquire) > 0;
        behind.then(|| (load(&self.state.read), load(&self.state.total).max(load(&self.state.read))))
    }

    /// Alerts that were raised since this was last asked, with the names of their runs.
    pub fn raised(&self) -> Vec<(String, Alert)> {
        std::mem::take(&mut *guard(&self.state.raised))
    }

    /// Waits until all is read, or `go_on` says no. It is asked ten times a second, with bytes read and in all.
    pub fn wait(&self, mut go_on: impl FnMut(u64, u64) -> bool) {
        let mut asked = Instant::now();
        while let Some((read, total)) = self.loading() {
            if asked.elapsed() >= Duration::from_millis(100) {
                asked = Instant::now();
                if !go_on(read, total) {
                    return;
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.state.wake.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has nothing to say that matters now.
            let _ = thread.join();
        }
    }
}

impl State {
    fn add(&self, found: Vec<Found>, keys: &mut HashSet<PathBuf>) {
        for found in found {
            guard(&self.wanted).insert(found.key.clone(), found.files.clone());
            if !keys.insert(found.key.clone()) {
                continue;
            }
            let mut run = Run::new(found.name, found.format.map_or("", Format::name));
            run.source = found.files.first().map_or_else(String::new, |path| path.display().to_string());
            settings::read(&found.folder, &mut run);
            let run: Shared = Arc::new(Mutex::new(run));
            guard(&self.runs).push(run.clone());
            let files: Vec<Follower> = found.files.iter().map(|path| Follower::new(path, found.format)).collect();
            self.total.fetch_add(files.iter().map(Follower::left).sum(), Ordering::Relaxed);
            self.behind.fetch_add(1, Ordering::Release);
            let source =
                Source { key: found.key, format: found.format, run, files, live: false, watcher: Watcher::default() };
            guard(&self.pool).ready.push_back(source);
            self.wake.notify_one();
            self.version.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What a worker does.
    fn work(&self) {
        while let Some(mut source) = self.next() {
            let more = self.turn(&mut source);
            if more {
                guard(&self.pool).ready.push_back(source);
                continue;
            }
            if self.once {
                source.files.iter_mut().for_each(|file| file.finish(&source.run));
                self.watch(&mut source);
            }
            if !std::mem::replace(&mut source.live, true) {
                self.version.fetch_add(1, Ordering::Relaxed);
                self.behind.fetch_sub(1, Ordering::Release);
            }
            if !self.once {
                self.watch(&mut source);
                guard(&self.pool).idle.push_back((Instant::now() + LOOK, source));
            }
        }
    }

    /// The source whose turn it is; none once it is time to stop.
    fn next(&self) -> Option<Source> {
        let mut pool = guard(&self.pool);
        loop {
            if self.stopped() {
                return None;
            }
            if let Some(source) = pool.ready.pop_front() {
                return Some(source);
            }
            let now = Instant::now();
            let wait = match pool.idle.front() {
                Some((due, _)) if *due <= now => return pool.idle.pop_front().map(|(_, source)| source),
                Some((due, _)) => *due - now,
                None => LOOK,
            };
            pool = self.wake.wait_timeout(pool, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads a few pieces; true if there are more.
    fn turn(&self, source: &mut Source) -> bool {
        if source.live {
            self.new_files(source);
        }
        let now = source.live.then(now);
        let mut left = TURN;
        for file in &mut source.files {
            loop {
                if left == 0 || self.stopped() {
                    return !self.stopped();
                }
                left -= 1;
                let looked = file.look(now, &source.run);
                self.read.fetch_add(looked.read, Ordering::Relaxed);
                if looked.read > 0 {
                    self.version.fetch_add(1, Ordering::Relaxed);
                }
                if !looked.more {
                    break;
                }
            }
        }
        false
    }

    /// A run may go on in another file: the next event file, the state of the next checkpoint.
    fn new_files(&self, source: &mut Source) {
        let wanted = guard(&self.wanted);
        let Some(files) = wanted.get(&source.key) else { return };
        if files.iter().map(PathBuf::as_path).eq(source.files.iter().map(Follower::path)) {
            return;
        }
        if source.format == Some(Format::TrainerState) {
            source.files.clear();
        }
        for path in files {
            if !source.files.iter().any(|file| file.path() == path) {
                source.files.push(Follower::new(path, source.format));
            }
        }
    }

    fn watch(&self, source: &mut Source) {
        let mut run = lock(&source.run);
        let raised = source.watcher.look(&mut run, now());
        if !raised.is_empty() {
            self.version.fetch_add(1, Ordering::Relaxed);
            // What was wrong before anyone looked is shown, not cried out.
            if source.live {
                guard(&self.raised).extend(raised.into_iter().map(|alert| (run.name.clone(), alert)));
            }
        }
    }

    /// Looks for new runs, again and again.
    fn search(&self, folders: &[PathBuf], format: Option<Format>, mut known: Known, mut keys: HashSet<PathBuf>) {
        let mut due = Instant::now() + SEARCH;
        while !self.stopped() {
            thread::sleep(Duration::from_millis(50));
            if Instant::now() < due {
                continue;
            }
            let began = Instant::now();
            for folder in folders {
                // It may be gone for a while.
                if let Ok(found) = discover::find(folder, format, &mut known) {
                    self.add(found, &mut keys);
                }
            }
            due = Instant::now() + SEARCH.max(began.elapsed() * REST);
        }
    }

    /// Reads a pipe on a thread of its own, which waits for it: it ends with the program.
    fn stream(
        self: &Arc<Self>,
        name: &str,
        from: Box<dyn Read + Send>,
        format: Option<Format>,
        tee: Option<std::fs::File>,
    ) {
        let mut run = Run::new(name, format.map_or("", Format::name));
        name.clone_into(&mut run.source);
        let run: Shared = Arc::new(Mutex::new(run));
        guard(&self.runs).push(run.clone());
        self.behind.fetch_add(1, Ordering::Release);
        let state = self.clone();
        thread::spawn(move || {
            state.pump(from, format, tee, &run);
            state.behind.fetch_sub(1, Ordering::Release);
            state.version.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn pump(
        &self,
        mut from: Box<dyn Read + Send>,
        format: Option<Format>,
        mut tee: Option<std::fs::File>,
        run: &Shared,
    ) {
        let (mut parser, mut watcher) = (Detect::of_a_pipe(format), Watcher::default());
        let mut buffer = vec![0; 64 << 10];
        let mut looked = Instant::now();
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    lock(run).fault(|| format!("reading ended: {error}"));
                    break;
                }
            };
            let bytes = &buffer[..read];
            if let Some(file) = &mut tee
                && let Err(error) = file.write_all(bytes)
            {
                lock(run).fault(|| format!("the copy is not complete: {error}"));
                tee = None;
            }
            let mut run = lock(run);
            let time = (!self.once).then(now);
            parser.feed(bytes, time, &mut run);
            run.heard = time.or(run.heard);
            if !self.once && looked.elapsed() >= LOOK {
                looked = Instant::now();
                let raised = watcher.look(&mut run, now());
                guard(&self.raised).extend(raised.into_iter().map(|alert| (run.name.clone(), alert)));
            }
            self.read.fetch_add(read as u64, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        let mut run = lock(run);
        parser.finish(&mut run);
        watcher.look(&mut run, now());
    }
}

fn is_stream(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        std::fs::metadata(path).is_ok_and(|about| {
            let kind = about.file_type();
            kind.is_fifo() || kind.is_char_device() || kind.is_socket()
        })
    }
    #[cfg(not(unix))]
    false
}

fn now() -> f64 {
    seconds(Some(SystemTime::now())).unwrap_or(0.0)
}

/// What the lock protects is sound after any panic: lists that are pushed to and swapped.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::parser::check::points;
    use super::super::tensorboard::tests::scalar;
    use super::*;

    fn until(watch: &Watch, what: impl Fn(&[Shared]) -> bool) {
        for _ in 0..1000 {
            if what(&watch.runs()) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not come to pass");
    }

    #[test]
    fn everything_there_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..5 {
            let line = |step: i32| format!("{{\"step\":{step},\"loss\":{i}}}");
            let text: Vec<String> = (0..20_000).map(line).collect();
            fs::write(dir.path().join(format!("run{i}.jsonl")), text.join("\n")).unwrap();
        }
        let watch = Watch::open(&[dir.path().into()], &Options { once: true, ..Options::default() }).unwrap();
        watch.wait(|read, total| read <= total);
        let runs = watch.runs();
        assert_eq!(runs.len(), 5);
        for (i, run) in runs.iter().enumerate() {
            let run = lock(run);
            assert_eq!((run.name.as_str(), run.points()), (format!("run{i}").as_str(), 20_000));
        }
    }

    #[test]
    fn new_lines_new_files_and_new_runs_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/events.out.tfevents.1.host");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(&file, scalar("loss", 1, 3.0)).unwrap();
        let watch = Watch::open(&[dir.path().into()], &Options::default()).unwrap();
        until(&watch, |runs| points(&lock(&runs[0])) == ["loss 1:3"]);
        fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(&scalar("loss", 2, 2.0)).unwrap();
        until(&watch, |runs| points(&lock(&runs[0])) == ["loss 1:3 2:2"]);
        fs::write(dir.path().join("a/events.out.tfevents.2.host"), scalar("loss", 3, 1.0)).unwrap();
        fs::write(dir.path().join("b.csv"), "step,loss\n1,2\n").unwrap();
        until(&watch, |runs| points(&lock(&runs[0])) == ["loss 1:3 2:2 3:1"] && runs.len() == 2);
        until(&watch, |runs| points(&lock(&runs[1])) == ["loss 1:2"]);
        assert!(watch.version() > 0);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let open = |path: &Path, once| Watch::open(&[path.into()], &Options { once, ..Options::default() });
        let dir = tempfile::tempdir().unwrap();
        let said = format!("{:#}", open(&dir.path().join("nothing"), true).err().unwrap());
        assert!(said.contains("nothing"), "{said}");
        assert!(open(dir.path(), true).err().unwrap().to_string().contains("--format"));
        // Later there may be one.
        assert!(open(dir.path(), false).is_ok());
    }
}
