//! Memory for activations, used again and again: fresh pages would cost more than the arithmetic on them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where buffers come from and return to.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    free: Vec<Vec<f32>>,
    /// Numbers in use, the most that ever were, and those that lie free.
    used: usize,
    most: usize,
    spare: usize,
}

/// Some numbers; their memory returns to the shelf when they are dropped.
pub(super) struct Buffer {
    values: Vec<f32>,
    home: Buffers,
}

impl Buffers {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` numbers, whatever they are: the caller writes each before reading any.
    pub(super) fn get(&self, len: usize) -> Buffer {
        let mut shelf = self.shelf();
        // The smallest that will do, and none that would waste more than it serves.
        let fits = |v: &Vec<f32>| v.capacity() >= len && v.capacity() <= 2 * len + 1024;
        let best = shelf.free.iter().enumerate().filter(|(_, v)| fits(v)).min_by_key(|(_, v)| v.capacity());
        let mut values = match best.map(|(i, _)| i) {
            Some(i) => {
                let values = shelf.free.swap_remove(i);
                shelf.spare -= values.capacity();
                values
            }
            None => Vec::with_capacity(len),
        };
        // Lengths that are asked for no more must not keep memory.
        while shelf.spare > shelf.most / 2 + (1 << 16) {
            let smallest = shelf.free.iter().enumerate().min_by_key(|(_, v)| v.capacity()).map(|(i, _)| i);
            let Some(i) = smallest else { break };
            let dropped = shelf.free.swap_remove(i);
            shelf.spare -= dropped.capacity();
        }
        shelf.used += values.capacity();
        shelf.most = shelf.most.max(shelf.used);
        drop(shelf);
        values.resize(len, 0.0);
        // In tests what was left must not pass for a result.
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Buffer { values, home: self.clone() }
    }

    /// `len` zeros.
    pub(super) fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.get(len);
        buffer.fill(0.0);
        buffer
    }

    /// A copy of `values`.
    pub(super) fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.get(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// Bytes in use at once, at most so far.
    pub(super) fn most_bytes(&self) -> usize {
        4 * self.shelf().most
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let mut shelf = self.home.shelf();
        shelf.used -= values.capacity();
        shelf.spare += values.capacity();
        shelf.free.push(values);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_counted() {
        let buffers = Buffers::default();
        let a = buffers.get(1000);
        let at = a.as_ptr();
        drop(a);
        let b = buffers.zeros(900);
        assert_eq!((b.as_ptr(), b.len()), (at, 900));
        assert!(b.iter().all(|v| *v == 0.0));
        let c = buffers.copy(&[1.0; 50]);
        assert_eq!(&*c, &[1.0; 50]);
        assert_eq!(buffers.most_bytes(), 4 * 1050);
        drop((b, c));
        // A far smaller one does not take a large one's place.
        assert_ne!(buffers.get(10).as_ptr(), at);
    }
}
