//! A small pool of threads for work that is split many times a token.
//!
//! A general pool costs microseconds a call, and decoding a small model makes hundreds of calls a
//! token. Here the helpers wait by spinning for a moment, so that a call costs a fraction of a
//! microsecond while the program is busy, and go to sleep soon after, so that an idle program uses no
//! processor time.
//!
//! Each thread has a share of the tasks, one after another, so that it reads one long stretch of memory;
//! when its own share is done it takes from the others'.
//!
//! The caller never waits for a helper to *arrive*: tasks are claimed one at a time, and a helper that
//! was slow to wake finds the work closed. So nothing stalls where the machine has fewer free cores
//! than the pool has threads.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Rounds that a helper spins, at some 50 ns each, before it starts to give way to other threads.
const SPINS: usize = 400;
/// Rounds of giving way, at a microsecond or less each, before it sleeps.
const YIELDS: usize = 300;

/// In `Shared::state`: the number of helpers inside the current work.
const INSIDE: u64 = 0xffff;
/// In `Shared::state`: helpers may still enter.
const OPEN: u64 = 1 << 16;
/// In `Shared::state`: one more piece of work.
const EPOCH: u64 = 1 << 17;

/// Keeps what different threads write on different cache lines (pairs of them, as they are fetched).
#[repr(align(128))]
struct Apart<T>(T);

/// What a task is, without its type: a pointer to the closure and how to call it.
#[derive(Clone, Copy)]
struct Work {
    closure: *const (),
    call: unsafe fn(*const (), usize),
    tasks: usize,
}

/// What every thread looks at, on one cache line.
struct Call {
    /// `EPOCH * number | OPEN | helpers inside`.
    state: AtomicU64,
    /// Written by the caller alone, while the work is closed and nobody is inside.
    work: UnsafeCell<Work>,
}

struct Shared {
    call: Apart<Call>,
    /// For each thread, the caller first, the next task of its share that nobody has claimed.
    next: Vec<Apart<AtomicUsize>>,
    /// One for each helper: it sleeps, or is about to.
    asleep: Vec<Apart<AtomicBool>>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is the only part that is not `Sync` by itself. It is written only by the thread that
// holds `Pool::busy`, while `state` is closed with nobody inside, and read only by threads that entered
// an open state; entering (acquire) follows opening (release). Its closure is `Sync`, as `run` demands.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `work` is used only between opening and closing.
unsafe impl Send for Shared {}

impl Shared {
    /// The first task of a thread's share, or the end of the last share.
    fn share(&self, work: Work, thread: usize) -> usize {
        work.tasks * thread / self.next.len()
    }

    /// Claims tasks until there are none: of the share of `thread`, then of the next ones.
    fn help(&self, work: Work, thread: usize) {
        for other in 0..self.next.len() {
            let share = (thread + other) % self.next.len();
            let end = self.share(work, share + 1);
            let next = &self.next[share].0;
            // Looked at first, since claiming takes the cache line away from those who work on it.
            while next.load(Relaxed) < end {
                let task = next.fetch_add(1, Relaxed);
                if task >= end {
                    break;
                }
                // SAFETY: the work is open or this thread is inside, so `run` still holds the closure.
                let done = catch_unwind(AssertUnwindSafe(|| unsafe { (work.call)(work.closure, task) }));
                if let Err(payload) = done {
                    self.next.iter().for_each(|next| next.0.store(work.tasks, Relaxed));
                    self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
                }
            }
        }
    }

    /// What a helper thread does.
    fn serve(&self, helper: usize) {
        let mut seen = 0;
        while !self.stop.load(Relaxed) {
            let state = self.call.0.state.load(Acquire);
            if state & OPEN == 0 || state / EPOCH == seen {
                self.wait(helper, seen);
                continue;
            }
            if self.call.0.state.compare_exchange(state, state + 1, Acquire, Relaxed).is_err() {
                continue;
            }
            seen = state / EPOCH;
            // SAFETY: this thread is inside an open state: `work` was written before it was opened and
            // is not written again until this thread has left.
            let work = unsafe { *self.call.0.work.get() };
            self.help(work, helper + 1);
            self.call.0.state.fetch_sub(1, Release);
        }
    }

    /// True if there is something to do for a helper that last entered the epoch `seen`.
    fn calls(&self, seen: u64) -> bool {
        let state = self.call.0.state.load(SeqCst);
        state & OPEN != 0 && state / EPOCH != seen || self.stop.load(SeqCst)
    }

    /// Spins, then gives way, then sleeps, until there is something to do.
    fn wait(&self, helper: usize, seen: u64) {
        for round in 0..SPINS + YIELDS {
            if self.calls(seen) {
                return;
            }
            spin_loop();
            if round >= SPINS {
                thread::yield_now();
            }
        }
        // The caller opens the work and then looks for sleepers; a helper says that it sleeps and then
        // looks for work. Both in sequentially consistent order, so one of them sees the other.
        self.asleep[helper].0.store(true, SeqCst);
        while !self.calls(seen) && self.asleep[helper].0.load(SeqCst) {
            thread::park();
        }
        self.asleep[helper].0.store(false, SeqCst);
    }
}

/// A caller and its helpers.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<(Thread, Option<JoinHandle<()>>)>,
    busy: AtomicBool,
}

impl Pool {
    /// A pool of `threads`, the caller among them: 1 does everything on the caller.
    pub fn new(threads: usize) -> Self {
        let helpers = threads.clamp(1, 1024) - 1;
        unsafe fn nothing(_: *const (), _: usize) {}
        let shared = Arc::new(Shared {
            call: Apart(Call {
                state: AtomicU64::new(0),
                work: UnsafeCell::new(Work { closure: std::ptr::null(), call: nothing, tasks: 0 }),
            }),
            next: (0..=helpers).map(|_| Apart(AtomicUsize::new(0))).collect(),
            asleep: (0..helpers).map(|_| Apart(AtomicBool::new(false))).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let spawn = |helper: usize| {
            let shared = shared.clone();
            let builder = thread::Builder::new().name(format!("bit-axon-cpu-{}", helper + 1));
            // A system that gives no more threads leaves a smaller pool.
            let handle = builder.spawn(move || shared.serve(helper)).ok()?;
            Some((handle.thread().clone(), Some(handle)))
        };
        let helpers = (0..helpers).map_while(spawn).collect();
        Self { shared, helpers, busy: AtomicBool::new(false) }
    }

    /// How many threads work at once.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `f` once with each index below `tasks`, on all threads, and returns when all are done. A
    /// panic of a task is passed on to the caller. Called from inside a task, it runs on that thread
    /// alone.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, f: F) {
        if tasks < 2 || self.helpers.is_empty() || self.busy.swap(true, Acquire) {
            (0..tasks).for_each(f);
            return;
        }
        /// # Safety
        /// `closure` must point to a living `F`.
        unsafe fn call<F: Fn(usize)>(closure: *const (), task: usize) {
            // SAFETY: demanded above.
            unsafe { (*closure.cast::<F>())(task) }
        }
        let shared = &*self.shared;
        let work = Work { closure: (&raw const f).cast(), call: call::<F>, tasks };
        // SAFETY: `busy` makes this the only caller, and the last one left the state closed and empty.
        unsafe { *shared.call.0.work.get() = work };
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.share(work, thread), Relaxed);
        }
        let state = shared.call.0.state.load(Relaxed);
        shared.call.0.state.store(((state / EPOCH + 1) * EPOCH) | OPEN, SeqCst);
        for (asleep, (thread, _)) in shared.asleep.iter().zip(&self.helpers).take(tasks - 1) {
            if asleep.0.load(SeqCst) && asleep.0.swap(false, SeqCst) {
                thread.unpark();
            }
        }
        // `help` catches every panic, so `f` outlives all who can see it.
        shared.help(work, 0);
        let mut inside = shared.call.0.state.fetch_and(!OPEN, Acquire) & INSIDE;
        let mut round = 0;
        while inside != 0 {
            spin_loop();
            round += 1;
            if round > SPINS {
                thread::yield_now();
            }
            inside = shared.call.0.state.load(Acquire) & INSIDE;
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.store(false, Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Splits `out`, rows of `row_len`, into pieces of `rows_per_task` rows and calls `f` with the first
    /// row and the values of each piece.
    pub fn split<T: Send>(
        &self,
        out: &mut [T],
        row_len: usize,
        rows_per_task: usize,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let len = out.len();
        let piece = (row_len * rows_per_task).max(1);
        let base = Shareable(out.as_mut_ptr());
        self.run(len.div_ceil(piece), |task| {
            let first = task * piece;
            // SAFETY: pieces of different tasks do not overlap, each task runs once, and `out` is
            // borrowed until all are done.
            let rows = unsafe { std::slice::from_raw_parts_mut(base.get().add(first), piece.min(len - first)) };
            f(task * rows_per_task, rows);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for (thread, _) in &self.helpers {
            thread.unpark();
        }
        for handle in self.helpers.iter_mut().filter_map(|(_, handle)| handle.take()) {
            // A helper catches the panics of its tasks, so it ends well.
            let _ = handle.join();
        }
    }
}

/// A pointer whose users see to it that no two of them touch the same place.
#[derive(Clone, Copy)]
pub(super) struct Shareable<T>(pub(super) *mut T);

impl<T> Shareable<T> {
    /// The pointer. A method, so that a closure captures the whole and not the bare pointer.
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: it is only a number; whoever reads or writes through it says why that is sound.
unsafe impl<T: Send> Sync for Shareable<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shareable<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 9] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 5, 100, 1000] {
                let seen: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |i| {
                    seen[i].fetch_add(1, Relaxed);
                });
                assert!(seen.iter().all(|n| n.load(Relaxed) == 1), "{threads} threads, {tasks} tasks");
            }
        }
    }

    #[test]
    fn many_short_runs_after_pauses() {
        let pool = Pool::new(4);
        let sum = AtomicUsize::new(0);
        for round in 0..2000 {
            pool.run(7, |i| {
                sum.fetch_add(i, Relaxed);
            });
            if round % 500 == 0 {
                thread::sleep(std::time::Duration::from_millis(3));
            }
        }
        assert_eq!(sum.into_inner(), 2000 * 21);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| pool.run(50, |i| assert_ne!(i, 17, "seventeen"))));
            let payload = result.unwrap_err();
            assert!(payload.downcast_ref::<String>().unwrap().contains("seventeen"));
            let count = AtomicUsize::new(0);
            pool.run(50, |_| {
                count.fetch_add(1, Relaxed);
            });
            assert_eq!(count.into_inner(), 50);
        }
    }

    #[test]
    fn a_task_may_run_tasks() {
        let pool = Pool::new(2);
        let count = AtomicUsize::new(0);
        pool.run(4, |_| {
            pool.run(3, |_| {
                count.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 12);
    }

    #[test]
    fn split_gives_each_row_to_one_task() {
        let pool = Pool::new(3);
        for (rows, row_len, per_task) in [(10, 3, 4), (1, 5, 8), (0, 3, 1), (7, 1, 1), (8, 2, 100)] {
            let mut out = vec![0; rows * row_len];
            pool.split(&mut out, row_len, per_task, |first, part| {
                for (i, row) in part.chunks_mut(row_len).enumerate() {
                    row.iter_mut().for_each(|v| *v += 1 + first + i);
                }
            });
            let want: Vec<usize> = (0..rows * row_len).map(|i| 1 + i / row_len).collect();
            assert_eq!(out, want);
        }
    }
}
