//! Giving each task of a fork-join its own part of shared buffers.
//!
//! A [`Split`] is something that falls into parts which do not overlap; [`for_each`] hands part `i`
//! to task `i`, once. Tuples of splits split together.

use std::marker::PhantomData;

use super::pool::Pool;

/// Something that falls into parts which do not overlap.
pub(crate) trait Split: Sync {
    /// One part.
    type Part;
    /// How many there are; none if it does not care.
    fn parts(&self) -> Option<usize>;
    /// Part `index`.
    ///
    /// # Safety
    /// Each index below `parts` is asked for at most once.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// Runs `f(i, part i)` for every part, on the pool's threads.
pub(crate) fn for_each<S: Split>(pool: &Pool, split: S, f: impl Fn(usize, S::Part) + Sync) {
    let parts = split.parts().unwrap_or(0);
    // SAFETY: the pool runs each index once
    pool.run(parts, |i| f(i, unsafe { split.part(i) }));
}

/// Consecutive pieces of a slice, each `len` long but perhaps the last.
pub(crate) struct Pieces<'a, T> {
    start: *mut T,
    total: usize,
    len: usize,
    lives: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks only reach disjoint parts of it
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T: Send> Pieces<'a, T> {
    pub(crate) fn new(slice: &'a mut [T], len: usize) -> Self {
        assert!(len > 0);
        Self { start: slice.as_mut_ptr(), total: slice.len(), len, lives: PhantomData }
    }
}

impl<'a, T: Send> Split for Pieces<'a, T> {
    type Part = &'a mut [T];

    fn parts(&self) -> Option<usize> {
        Some(self.total.div_ceil(self.len))
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let first = index * self.len;
        assert!(first < self.total);
        let len = self.len.min(self.total - first);
        // SAFETY: inside the slice, and no two indices overlap
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

/// Blocks of columns of a row-major matrix, each `width` wide but perhaps the last.
pub(crate) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    /// The first column, and how many there are.
    columns: (usize, usize),
    width: usize,
    lives: PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks only reach disjoint columns of it
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// `matrix` has rows of `stride` values.
    pub(crate) fn new(matrix: &'a mut [f32], stride: usize, width: usize) -> Self {
        assert!(width > 0 && stride > 0 && matrix.len().is_multiple_of(stride));
        let (start, rows) = (matrix.as_mut_ptr(), matrix.len() / stride);
        Self { start, rows, stride, columns: (0, stride), width, lives: PhantomData }
    }

    /// The left and the right half of the columns, each in blocks of `width`.
    pub(crate) fn halves(matrix: &'a mut [f32], stride: usize, width: usize) -> (Self, Self) {
        let whole = Self::new(matrix, stride, width);
        let half = |first, count| Self { columns: (first, count), lives: PhantomData, ..whole };
        (half(0, stride / 2), half(stride / 2, stride - stride / 2))
    }
}

impl<'a> Split for Columns<'a> {
    type Part = ColumnBlock<'a>;

    fn parts(&self) -> Option<usize> {
        Some(self.columns.1.div_ceil(self.width))
    }

    unsafe fn part(&self, index: usize) -> ColumnBlock<'a> {
        let (from, count) = (index * self.width, self.columns.1);
        assert!(from < count);
        ColumnBlock {
            start: self.start,
            rows: self.rows,
            stride: self.stride,
            first: self.columns.0 + from,
            width: self.width.min(count - from),
            lives: PhantomData,
        }
    }
}

/// Some columns of a row-major matrix.
pub(crate) struct ColumnBlock<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    first: usize,
    width: usize,
    lives: PhantomData<&'a mut [f32]>,
}

impl ColumnBlock<'_> {
    /// `rows` rows of `width` numbers, `stride` apart.
    ///
    /// # Safety
    /// All of them must be writable for as long as the block lives, and nobody else's.
    pub(crate) unsafe fn from_raw(start: *mut f32, rows: usize, stride: usize, width: usize) -> Self {
        Self { start, rows, stride, first: 0, width, lives: PhantomData }
    }

    /// These columns of one row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: inside the matrix; nobody else has these columns
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + self.first), self.width) }
    }
}

impl<A: Split, B: Split> Split for (A, B) {
    type Part = (A::Part, B::Part);

    fn parts(&self) -> Option<usize> {
        match (self.0.parts(), self.1.parts()) {
            (Some(a), Some(b)) => {
                assert_eq!(a, b, "buffers that are split together must have as many parts");
                Some(a)
            }
            (a, b) => a.or(b),
        }
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: as promised by the caller
        unsafe { (self.0.part(index), self.1.part(index)) }
    }
}

/// Nothing, for each of the others' parts: where a buffer is only sometimes there.
impl<S: Split> Split for Option<S> {
    type Part = Option<S::Part>;

    fn parts(&self) -> Option<usize> {
        self.as_ref().and_then(Split::parts)
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: as promised by the caller
        self.as_ref().map(|s| unsafe { s.part(index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        let pool = Pool::new(2);
        let mut pieces = vec![0u32; 103];
        let mut matrix = vec![0.0f32; 7 * 103];
        let split = (Pieces::new(&mut pieces, 10), Columns::new(&mut matrix, 103, 10));
        for_each(&pool, split, |i, (piece, mut columns)| {
            piece.iter_mut().for_each(|v| *v += 1 + i as u32);
            for row in 0..7 {
                columns.row(row).iter_mut().for_each(|v| *v += 1.0 + i as f32);
            }
        });
        for (i, v) in pieces.iter().enumerate() {
            assert_eq!(*v, 1 + i as u32 / 10);
        }
        for (i, v) in matrix.iter().enumerate() {
            assert_eq!(*v, 1.0 + ((i % 103) / 10) as f32);
        }
    }
}
