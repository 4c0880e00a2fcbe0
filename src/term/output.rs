//! Writing to the terminal on a thread of its own: a terminal that is far away may take its time, and
//! the workbench never waits for it. One frame is on its way at a time; what changes meanwhile is
//! drawn in the next one.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A write that takes longer than this has stalled.
const STALL: Duration = Duration::from_millis(150);
/// After this long without a stall the link counts as fast again.
const FAST_AFTER: Duration = Duration::from_secs(60);

/// Whether writes have stalled of late.
struct Stalls {
    last: Option<Instant>,
    fast_after: Duration,
}

impl Stalls {
    /// A write took so long, and ended now; true if the link counts as slow.
    fn wrote(&mut self, took: Duration, now: Instant) -> bool {
        if took > STALL {
            self.last = Some(now);
        }
        self.last = self.last.filter(|at| now.duration_since(*at) < self.fast_after);
        self.last.is_some()
    }

    /// How long from now until the link counts as fast, even if nothing is written; none if it does.
    fn fast_in(&self, now: Instant) -> Option<Duration> {
        self.last.map(|at| self.fast_after.saturating_sub(now.duration_since(at)))
    }
}

#[derive(Default)]
struct Shared {
    busy: AtomicBool,
    slow: AtomicBool,
    broken: AtomicBool,
    bytes: AtomicU64,
    done: Notify,
}

/// The terminal's input end.
pub struct Output {
    frames: Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Output {
    /// Starts the thread that writes.
    pub fn new(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        Self::with(out, FAST_AFTER)
    }

    fn with(mut out: impl Write + Send + 'static, fast_after: Duration) -> std::io::Result<Self> {
        let (frames, incoming) = channel::<Vec<u8>>();
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        std::thread::Builder::new().name("terminal".into()).spawn(move || {
            let mut stalls = Stalls { last: None, fast_after };
            loop {
                let frame = match stalls.fast_in(Instant::now()) {
                    None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(wait) => incoming.recv_timeout(wait),
                };
                let frame = match frame {
                    Ok(frame) => frame,
                    // A screen on which nothing happens shall not say for ever that the link is slow.
                    Err(RecvTimeoutError::Timeout) => {
                        its.slow.store(stalls.wrote(Duration::ZERO, Instant::now()), Ordering::Relaxed);
                        its.done.notify_one();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let begun = Instant::now();
                let written = out.write_all(&frame).and_then(|()| out.flush());
                its.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                its.slow.store(stalls.wrote(begun.elapsed(), Instant::now()), Ordering::Relaxed);
                its.broken.fetch_or(written.is_err(), Ordering::Relaxed);
                its.busy.store(false, Ordering::Release);
                its.done.notify_one();
            }
        })?;
        Ok(Self { frames, shared })
    }

    /// True while a frame is on its way.
    pub fn busy(&self) -> bool {
        self.shared.busy.load(Ordering::Acquire)
    }

    /// Sends bytes; they follow what is on its way.
    pub fn send(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.shared.busy.store(true, Ordering::Release);
        let _ = self.frames.send(bytes);
    }

    /// Waits until a frame has been written, or the link counts as fast again.
    pub async fn written(&self) {
        self.shared.done.notified().await;
    }

    /// Waits until nothing is on its way, but not for long.
    pub fn settle(&self) {
        let until = Instant::now() + Duration::from_millis(500);
        while self.busy() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes have stalled of late.
    pub fn slow(&self) -> bool {
        self.shared.slow.load(Ordering::Relaxed)
    }

    /// The terminal takes nothing any more.
    pub fn broken(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Slow(Arc<std::sync::Mutex<Vec<u8>>>, Duration);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(self.1);
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stall_makes_the_link_slow_until_a_minute_goes_well() {
        let begun = Instant::now();
        let mut stalls = Stalls { last: None, fast_after: FAST_AFTER };
        let mut wrote =
            |at_s: u64, took_ms: u64| stalls.wrote(Duration::from_millis(took_ms), begun + Duration::from_secs(at_s));
        let seen = [(0, 5), (1, 150), (2, 151), (3, 1), (61, 1), (62, 1), (63, 2000), (100, 900), (150, 0), (160, 0)];
        let slow = seen.map(|(at_s, took_ms)| wrote(at_s, took_ms));
        assert_eq!(slow, [false, false, true, true, true, false, true, true, true, false]);
    }

    #[test]
    fn stalls_are_noticed_and_nothing_is_lost() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let output = Output::new(Slow(Arc::clone(&seen), Duration::from_millis(200))).unwrap();
        output.send(b"one".to_vec());
        assert!(output.busy() && !output.slow());
        output.settle();
        assert!(output.slow() && !output.broken());
        assert_eq!((seen.lock().unwrap().as_slice(), output.bytes()), (&b"one"[..], 3));
    }

    #[tokio::test]
    async fn a_link_counts_as_fast_again_without_another_frame() {
        let slow = Slow(Arc::default(), Duration::from_millis(200));
        let output = Output::with(slow, Duration::from_millis(300)).unwrap();
        output.send(b"one".to_vec());
        output.written().await;
        assert!(output.slow());
        // Nobody writes, and whoever waits hears of it all the same.
        output.written().await;
        assert!(!output.slow() && !output.busy());
    }
}
