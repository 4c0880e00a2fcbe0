//! A temperature that a command prints.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::number::{self, short};
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// A command that takes longer is killed.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Runs the command for each reading: one at a time, never past its time.
pub(super) struct CommandSensor {
    words: Vec<String>,
    stop: Arc<AtomicBool>,
}

impl CommandSensor {
    /// Splits the line into words as a shell would. No shell takes part: nothing is expanded, piped or
    /// redirected unless the line itself begins with `sh -c`.
    pub(super) fn new(line: &str, stop: Arc<AtomicBool>) -> Result<Self, String> {
        let words = shlex::split(line).filter(|words| words.first().is_some_and(|program| !program.is_empty()));
        let words = words.ok_or_else(|| format!("`{}` is no command: a quote may be missing", short(line)))?;
        Ok(Self { words, stop })
    }
}

impl Sensor for CommandSensor {
    fn source(&self) -> String {
        format!("command {}", short(&self.words.join(" ")))
    }

    fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
        let text = run(&self.words, TIME_LIMIT, &self.stop)?;
        let celsius = number::temperature(&text).map_err(|why| format!("printed what is no temperature: {why}"))?;
        Ok(HeatReading { celsius: Some(celsius), ..HeatReading::default() })
    }
}

/// Runs a command to its end and gives what it printed; kills it, and all that it started, when it
/// takes too long, prints too much, or `stop` becomes true.
#[cfg(unix)]
pub(super) fn run(words: &[String], limit: Duration, stop: &AtomicBool) -> Result<String, String> {
    unix::run(words, limit, stop)
}

/// Commands cannot be stopped with all that they started on this system, so none are run.
#[cfg(not(unix))]
pub(super) fn run(_words: &[String], _limit: Duration, _stop: &AtomicBool) -> Result<String, String> {
    Err("commands as sensors need a Unix system".into())
}

#[cfg(unix)]
mod unix {
    use std::io::Read;
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, ExitStatus, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::short;

    /// No temperature takes more bytes.
    const LONGEST: usize = 4096;

    /// How often `stop` is looked at.
    const LOOK_EVERY: Duration = Duration::from_millis(50);

    /// A child and all that it started; killed at the latest when dropped.
    struct Group {
        child: Child,
        buried: bool,
    }

    impl Group {
        /// True once the child has ended. It is not buried, so that its number stays its own.
        fn ended(&self) -> bool {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            // SAFETY: waitid fills the struct it is given, which is all plain numbers; zeroed is a valid
            // value of it, and what it holds if the child still runs. si_pid reads one of them.
            unsafe {
                libc::waitid(libc::P_PID, self.child.id(), info.as_mut_ptr(), flags) == 0
                    && info.assume_init().si_pid() != 0
            }
        }

        /// Kills what is left of the group, then buries the child.
        fn end(&mut self) -> std::io::Result<ExitStatus> {
            if let Ok(group) = libc::pid_t::try_from(self.child.id())
                && !self.buried
            {
                // SAFETY: kill takes no pointers. The child is not buried yet, so the number is its own.
                unsafe {
                    libc::kill(-group, libc::SIGKILL);
                }
            }
            self.buried = true;
            self.child.wait()
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = self.end();
        }
    }

    pub(super) fn run(words: &[String], limit: Duration, stop: &AtomicBool) -> Result<String, String> {
        let (program, args) = words.split_first().ok_or("is empty")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().map_err(|e| format!("cannot be run: {e}; what needs a shell begins with sh -c"))?;
        let mut group = Group { child, buried: false };
        let (mut out, mut err) =
            (group.child.stdout.take().ok_or("has no output")?, group.child.stderr.take().ok_or("has no output")?);
        let deadline = Instant::now() + limit;
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let (mut out_open, mut err_open) = (true, true);
        while out_open || err_open {
            let left = left(deadline, stop).ok_or_else(|| too_slow(limit, stop))?;
            let (out_ready, err_ready) =
                ready(out_open.then(|| out.as_raw_fd()), err_open.then(|| err.as_raw_fd()), left);
            if out_ready {
                out_open = take(&mut out, &mut said)?;
            }
            if err_ready {
                err_open = take(&mut err, &mut complained)?;
            }
        }
        // It closed its output: most end with that, some go on.
        while !group.ended() {
            let left = left(deadline, stop).ok_or_else(|| too_slow(limit, stop))?;
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
        let status = group.end().map_err(|e| format!("cannot be waited for: {e}"))?;
        verdict(status, said, &complained)
    }

    fn verdict(status: ExitStatus, said: Vec<u8>, complained: &[u8]) -> Result<String, String> {
        if !status.success() {
            let complaint = String::from_utf8_lossy(complained);
            let first = complaint.lines().find(|line| !line.trim().is_empty());
            let first = first.map_or_else(String::new, |line| format!(": {}", short(line)));
            return Err(format!("failed ({status}){first}"));
        }
        String::from_utf8(said).map_err(|_| "printed what is no text".into())
    }

    fn too_slow(limit: Duration, stop: &AtomicBool) -> String {
        match stop.load(Ordering::Relaxed) {
            true => "was stopped".into(),
            false => format!("took longer than {} s and was killed", limit.as_secs_f32()),
        }
    }

    /// How long to wait at most before looking again; none when there is no time left.
    fn left(deadline: Instant, stop: &AtomicBool) -> Option<Duration> {
        let left = deadline.saturating_duration_since(Instant::now());
        (!stop.load(Ordering::Relaxed) && !left.is_zero()).then(|| left.min(LOOK_EVERY))
    }

    /// Which of the two can be read without waiting, after waiting for one of them.
    fn ready(out: Option<RawFd>, err: Option<RawFd>, wait: Duration) -> (bool, bool) {
        // A negative number is skipped by poll.
        let entry = |fd: Option<RawFd>| libc::pollfd { fd: fd.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
        let mut entries = [entry(out), entry(err)];
        let wait_ms = libc::c_int::try_from(wait.as_millis().max(1)).unwrap_or(libc::c_int::MAX);
        // SAFETY: poll reads and writes the two entries it is given, which live through the call.
        let count = unsafe { libc::poll(entries.as_mut_ptr(), 2, wait_ms) };
        let is = |entry: &libc::pollfd| count > 0 && entry.revents != 0;
        (is(&entries[0]), is(&entries[1]))
    }

    /// Takes what is there; false at the end.
    fn take(from: &mut impl Read, into: &mut Vec<u8>) -> Result<bool, String> {
        let mut buffer = [0; 1024];
        let count = from.read(&mut buffer).map_err(|e| format!("cannot be heard: {e}"))?;
        into.extend_from_slice(&buffer[..count]);
        if into.len() > LONGEST {
            return Err(format!("printed more than {LONGEST} bytes and was killed"));
        }
        Ok(count > 0)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use super::*;

    fn read(line: &str) -> Result<f32, String> {
        let mut sensor = CommandSensor::new(line, Arc::default())?;
        sensor.read(0.0).map(|reading| reading.celsius.unwrap())
    }

    fn sh(script: &str, limit_ms: u64) -> Result<String, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        run(&words, Duration::from_millis(limit_ms), &AtomicBool::new(false))
    }

    #[test]
    fn words_are_split_without_a_shell() {
        assert_eq!(read("echo 48.5"), Ok(48.5));
        assert_eq!(read("printf '%s\\n' \"temp=51 C\""), Ok(51.0));
        assert!(read("echo $HOME").unwrap_err().contains("$HOME"));
        assert!(read("echo 50 | cat").unwrap_err().contains("50 | cat"));
        assert_eq!(read("sh -c 'echo 50 | cat'"), Ok(50.0));
        for bad in ["echo 'x", "", "''"] {
            assert!(read(bad).unwrap_err().contains("no command"), "{bad}");
        }
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let error = read("/no/such/program").unwrap_err();
        assert!(error.contains("cannot be run") && error.contains("sh -c"), "{error}");
        assert!(read("true").unwrap_err().contains("empty"));
        assert!(read("echo hot").unwrap_err().contains("hot"));
        assert!(read("echo 5000.0").unwrap_err().contains("between"));
        let error = read("sh -c 'echo 50; echo no such chip >&2; exit 3'").unwrap_err();
        assert!(error.contains("3") && error.contains("no such chip"), "{error}");
        assert!(sh("printf '\\377'", 2000).unwrap_err().contains("no text"));
        assert!(sh("yes", 2000).unwrap_err().contains("4096"));
        assert!(sh("yes >&2", 2000).unwrap_err().contains("4096"));
    }

    #[test]
    fn slow_commands_are_killed_with_all_that_they_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = sh(&script, 300).unwrap_err();
        assert!(error.contains("longer than 0.3 s"), "{error}");
        let pid: libc::pid_t = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // Whoever adopted it may take a moment to bury it.
        let gone = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // SAFETY: signal 0 only asks whether the process is there.
            let there = unsafe { libc::kill(pid, 0) } == 0;
            !there || state.contains(") Z ")
        });
        assert!(gone, "{pid} lives on");
    }

    #[test]
    fn a_child_that_keeps_the_pipe_cannot_keep_us() {
        let started = Instant::now();
        assert!(sh("echo 50; sleep 1000 &", 300).unwrap_err().contains("longer"));
        assert!(sh("echo 50; exec >&- 2>&-; sleep 1000", 300).unwrap_err().contains("longer"));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn stopping_ends_the_wait() {
        let stop = Arc::new(AtomicBool::new(false));
        let from_outside = stop.clone();
        let other = std::thread::spawn(move || from_outside.store(true, Ordering::Relaxed));
        let words = ["sleep", "1000"].map(str::to_owned);
        let error = run(&words, Duration::from_secs(1000), &stop).unwrap_err();
        other.join().unwrap();
        assert!(error.contains("stopped"));
    }
}
