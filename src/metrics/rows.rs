//! The rows to which the points of a metric belong.

use super::column::Column;

/// Growing numbers of rows. Most metrics are logged with every line, or with every tenth: that is a straight line,
/// which takes no memory and no time. The first point beside it makes a column of it.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    /// The first, how far each is from the one before, and how many.
    Line { first: u32, stride: u32, count: usize },
    /// In no such order.
    Column(Column),
}

impl Default for Rows {
    fn default() -> Self {
        Rows::Line { first: 0, stride: 1, count: 0 }
    }
}

impl Rows {
    #[inline]
    pub(super) fn push(&mut self, row: u32) {
        match self {
            Rows::Line { first, stride, count } => {
                match *count {
                    0 => *first = row,
                    1 => *stride = row.wrapping_sub(*first),
                    n if row as usize == *first as usize + *stride as usize * n => {}
                    n => {
                        let mut column = Column::of_line(f64::from(*first), f64::from(*stride), n);
                        column.push(f64::from(row));
                        *self = Rows::Column(column);
                        return;
                    }
                }
                *count += 1;
            }
            Rows::Column(column) => column.push(f64::from(row)),
        }
    }

    /// The row of a point; of one beyond the last none that there is.
    #[inline]
    pub(super) fn get(&self, at: usize) -> usize {
        match self {
            Rows::Line { first, stride, .. } => *first as usize + *stride as usize * at,
            Rows::Column(column) => column.get(at) as usize,
        }
    }

    /// Adds the rows of the points from one place up to another to `out`.
    pub(super) fn read(&self, from: usize, to: usize, out: &mut Vec<f64>) {
        match self {
            Rows::Line { count, .. } => out.extend((from..to.min(*count)).map(|at| self.get(at) as f64)),
            Rows::Column(column) => column.read(from, to, out),
        }
    }

    /// The first point that belongs to `row` or one after it.
    pub(super) fn at(&self, row: usize) -> usize {
        match self {
            Rows::Line { first, stride, count } => {
                row.saturating_sub(*first as usize).div_ceil((*stride as usize).max(1)).min(*count)
            }
            Rows::Column(column) => column.partition(0, column.len(), |r| r < row as f64),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Rows::Line { .. } => 0,
            Rows::Column(column) => column.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_line_and_a_column_say_the_same(first in 0u32..50, stride in 1u32..20, line in 0usize..3000, gaps in prop::collection::vec(1u32..40, 0..30)) {
            let mut want: Vec<u32> = (0..line as u32).map(|i| first + stride * i).collect();
            for gap in gaps {
                want.push(want.last().map_or(first, |last| last + gap));
            }
            let mut rows = Rows::default();
            want.iter().for_each(|row| rows.push(*row));
            let mut read = Vec::new();
            rows.read(want.len() / 3, want.len(), &mut read);
            for (at, row) in want.iter().enumerate() {
                prop_assert_eq!(rows.get(at), *row as usize);
                if at >= want.len() / 3 {
                    prop_assert_eq!(read[at - want.len() / 3], f64::from(*row));
                }
            }
            for row in [0, first, first + 1, first + stride * 7, first + stride * 7 + 1, u32::MAX] {
                prop_assert_eq!(rows.at(row as usize), want.partition_point(|r| *r < row));
            }
        }
    }
}
