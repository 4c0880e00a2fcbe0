//! Training runs that are watched: what was read of them goes to the screen, alerts to whoever wants them.

use std::future::pending;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::layouts::{self, Layouts};
use crate::app::msg::{Msg, TrainSaid};
use crate::app::training::{Runs, Shared, Training, folder, lock};
use crate::metrics::alerts::Disk;
use crate::metrics::{Row, Run};
use crate::monitor::Watch;
use crate::protocol::SensorState;
use crate::train::folder::is_alive;

/// Between looks at what was read: a few frames.
const LOOK: Duration = Duration::from_millis(100);
/// Looks between questions after the disk.
const DISK: u64 = 300;
/// Looks in a second.
const SECOND: u64 = 10;
/// Looks between questions after who is at work.
const ALIVE: u64 = 10;

/// Training runs that shall be watched.
pub struct Watched {
    /// Reads them.
    pub watch: Watch,
    /// What the shell runs for each alert.
    pub on_alert: Option<String>,
    /// Where the disk is asked for room.
    pub folder: std::path::PathBuf,
    /// The file that keeps how they are looked at.
    pub layout: Option<std::path::PathBuf>,
}

/// The same, as long as the workbench runs.
pub(super) struct Watching {
    watched: Option<Watched>,
    tick: Interval,
    version: u64,
    loading: bool,
    machine: Shared,
    disk: Disk,
    looks: u64,
    layouts: Option<Layouts>,
    /// Folders in which trainers were at work when it was looked last.
    alive: Option<Vec<String>>,
    /// Runs that there were then.
    known: usize,
}

impl Watching {
    pub(super) fn new(watched: Option<Watched>) -> Self {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let machine = Arc::new(Mutex::new(Run::new("this machine", "machine")));
        let layout = watched.as_ref().and_then(|watched| watched.layout.clone());
        let layouts = layout.map(|path| Layouts::new(path.clone(), layouts::read(&path)));
        Self {
            watched,
            tick,
            version: u64::MAX,
            loading: true,
            machine,
            disk: Disk::default(),
            looks: 0,
            layouts,
            alive: None,
            known: 0,
        }
    }

    /// Keeps how runs are looked at, once a second.
    fn remember(&mut self, training: &Training) {
        if let Some(layouts) = self.layouts.as_mut().filter(|_| self.looks.is_multiple_of(SECOND)) {
            layouts.keep(training.layout());
        }
    }

    /// Keeps it for the last time.
    pub(super) fn close(&mut self, training: &Training) {
        if let Some(mut layouts) = self.layouts.take() {
            layouts.keep(training.layout());
            layouts.close();
        }
    }

    /// Whether runs are watched.
    pub(super) fn is_open(&self) -> bool {
        self.watched.is_some()
    }

    /// Watches these from now on.
    pub(super) fn open(&mut self, watch: Watch, folder: std::path::PathBuf) {
        self.watched = Some(Watched { watch, on_alert: None, folder, layout: None });
    }

    /// The folders in which trainers are at work, if these are others than before.
    fn living(&mut self) -> Option<Msg> {
        let watched = self.watched.as_ref()?;
        let folders = watched.watch.runs().iter().filter_map(|run| folder(&lock(run))).collect::<Vec<_>>();
        let alive: Vec<String> = folders.into_iter().filter(|f| is_alive(std::path::Path::new(f))).collect();
        if self.alive.as_ref() == Some(&alive) {
            return None;
        }
        self.alive = Some(alive.clone());
        Some(Msg::Train(TrainSaid::Alive(alive)))
    }

    /// Waits until it is time to look.
    pub(super) async fn due(&mut self) {
        if self.watched.is_none() {
            pending().await
        }
        self.tick.tick().await;
    }

    /// What is new: messages for the screen, and notices of alerts.
    pub(super) fn look(&mut self) -> (Vec<Msg>, Vec<String>) {
        // Who is alive is asked with the first lines that were read, so that both are known at once.
        let mut said = Vec::new();
        let count = self.watched.as_ref().map_or(0, |watched| watched.watch.runs().len());
        if self.looks.is_multiple_of(ALIVE) || self.known != count {
            self.known = count;
            said.extend(self.living());
        }
        let Some(watched) = &self.watched else { return (said, Vec::new()) };
        let (version, loading) = (watched.watch.version(), watched.watch.loading());
        let mut notices: Vec<(String, String)> = watched
            .watch
            .raised()
            .into_iter()
            .map(|(run, alert)| (run, format!("{}: {}", alert.kind.name(), alert.text)))
            .collect();
        if self.looks.is_multiple_of(DISK)
            && let Some((free, total)) = room(&watched.folder)
            && let Some(words) = self.disk.look(free, total)
        {
            notices.push(("this machine".into(), words));
        }
        self.looks += 1;
        for (run, words) in &notices {
            if let Some(command) = &watched.on_alert {
                call(command, run, words);
            }
        }
        let notices = notices.into_iter().map(|(run, words)| format!("{run}: {words}")).collect();
        if version == self.version && loading.is_some() == self.loading && loading.is_none() {
            return (said, notices);
        }
        (self.version, self.loading) = (version, loading.is_some());
        let mut runs = watched.watch.runs();
        if self.machine.lock().is_ok_and(|run| run.rows() > 0) {
            runs.push(self.machine.clone());
        }
        said.insert(0, Msg::Runs(Runs { runs, loading }));
        (said, notices)
    }

    /// Keeps what is sensed, on the same axis of time.
    pub(super) fn sense(&mut self, msg: &Msg) {
        if self.watched.is_none() {
            return;
        }
        let mut points: Vec<(&str, f64)> = Vec::new();
        match msg {
            Msg::Heat(sensed) => {
                if let SensorState::Reading { reading, .. } = &sensed.sensor {
                    points.extend(reading.celsius.map(|c| ("machine_celsius", f64::from(c))));
                    points.extend(reading.watts.map(|w| ("machine_watts", f64::from(w))));
                }
            }
            Msg::Machine(memory) => points.push(("machine_memory_gb", memory.used as f64 / 1e9)),
            _ => {}
        }
        if points.is_empty() {
            return;
        }
        let mut run = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs_f64());
        let step = Some(run.rows() as f64 + 1.0);
        let points: Vec<_> = points.into_iter().filter_map(|(name, x)| Some((run.series_id(name)?, x))).collect();
        run.add(Row { step, time, tokens: None }, &points);
    }
}

impl super::Loop {
    /// Tells what was sensed, and keeps it beside the runs.
    pub(super) fn sensed(&mut self) {
        for msg in super::sensing::take(&mut self.sensing) {
            self.watching.sense(&msg);
            self.tell(msg);
        }
    }

    /// Tells what was read of the runs, and cries out what went wrong with them.
    pub(super) fn read_runs(&mut self) {
        self.watching.remember(&self.app.training);
        let (read, notices) = self.watching.look();
        read.into_iter().for_each(|msg| self.tell(msg));
        for notice in notices {
            self.output.send(crate::term::notify(&notice));
            self.tell(Msg::Notice(notice));
        }
    }
}

/// Free and all bytes of the disk that holds a folder.
#[allow(clippy::useless_conversion, reason = "these numbers have other sizes on other systems")]
fn room(folder: &std::path::Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
        // SAFETY: an all-zero statvfs is a valid value of this plain C struct; the path ends with a zero byte, and
        // both pointers are valid for the call.
        let about = unsafe {
            let mut about: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(path.as_ptr(), &raw mut about) == 0).then_some(about)?
        };
        let block = u64::from(about.f_frsize);
        Some((block.saturating_mul(u64::from(about.f_bavail)), block.saturating_mul(u64::from(about.f_blocks))))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Runs the user's command, without waiting for it.
fn call(command: &str, run: &str, words: &str) {
    let child = Command::new("sh")
        .args(["-c", command])
        .env("BIT_AXON_RUN", run)
        .env("BIT_AXON_ALERT", words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = child {
        std::thread::spawn(move || child.wait());
    }
}
