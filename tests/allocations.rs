//! Decoding takes no memory from the system for each token.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bit_axon::backend::cpu::{CpuBackend, Options};
use bit_axon::backend::{Backend, Logits};
use bit_axon::model::checkpoint::Checkpoint;
use bit_axon::model::config::Config;

/// The system's allocator, counting.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as promised by the caller
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_takes_no_memory_for_each_token() {
    for name in ["tiny", "tiny_q"] {
        for exact in [false, true] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
            let spec = Config::read(&folder.join("config.json")).unwrap().spec();
            let options = Options { exact, threads: Some(2), rewind_budget: 1 << 20, ..Options::default() };
            let mut backend = CpuBackend::new(&Checkpoint::open(&folder).unwrap(), spec, &options).unwrap();
            // Every buffer has its size, the window is full, and the budget as well.
            for token in 0..512 {
                backend.forward(&[token % 96], Logits::Last, None).unwrap();
            }
            // Checkpoints come every 16 tokens and blocks of keys every 32: between them, nothing.
            backend.forward(&[0], Logits::Last, None).unwrap();
            let before = TAKEN.load(Ordering::Relaxed);
            for token in 1..15 {
                backend.forward(&[token], Logits::Last, None).unwrap();
            }
            let taken = TAKEN.load(Ordering::Relaxed) - before;
            assert_eq!(taken, 0, "{name}, exact {exact}: allocations in 14 tokens");
        }
    }
}
