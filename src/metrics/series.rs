//! One metric of a run.

use super::column::Column;
use super::pyramid::{BASE, Pyramid};
use super::rows::Rows;

/// Places of values that are no numbers which are kept.
const ODD_KEPT: usize = 64;

/// The points of a metric, in the order in which they were logged.
#[derive(Debug, Clone)]
pub struct Series {
    name: String,
    rows: Rows,
    values: Column,
    pub(super) pyramid: Pyramid,
    last_row: Option<u32>,
    last: f64,
    least: (f64, u32),
    greatest: (f64, u32),
    odd: Vec<u32>,
    odd_count: usize,
}

impl Series {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            rows: Rows::default(),
            values: Column::default(),
            pyramid: Pyramid::default(),
            last_row: None,
            last: f64::NAN,
            least: (f64::INFINITY, 0),
            greatest: (f64::NEG_INFINITY, 0),
            odd: Vec::new(),
            odd_count: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, row: u32, value: f64) {
        let at = self.values.len() as u32;
        self.rows.push(row);
        self.values.push_then(value, BASE, |newest| self.pyramid.push(newest));
        self.last_row = Some(row);
        self.last = value;
        if value < self.least.0 {
            self.least = (value, at);
        }
        if value > self.greatest.0 {
            self.greatest = (value, at);
        }
        if !value.is_finite() {
            self.odd_count += 1;
            if self.odd.len() < ODD_KEPT {
                self.odd.push(at);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(std::mem::take(&mut self.name));
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Points.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True if there is no point.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a point; NaN beyond the last.
    #[inline]
    pub fn value(&self, at: usize) -> f64 {
        self.values.get(at)
    }

    /// Adds the values of the points from one place up to another, and their rows.
    pub(super) fn read(&self, from: usize, to: usize, rows: &mut Vec<f64>, values: &mut Vec<f64>) {
        self.rows.read(from, to, rows);
        self.values.read(from, to, values);
    }

    /// The row of a point.
    #[inline]
    pub fn row(&self, at: usize) -> usize {
        self.rows.get(at)
    }

    /// The first point that belongs to `row` or one after it.
    pub fn at_row(&self, row: usize) -> usize {
        self.rows.at(row)
    }

    pub(super) fn last_row(&self) -> Option<u32> {
        self.last_row
    }

    /// The newest value; NaN if there is none.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// The smallest value that is a number, and its place.
    pub fn least(&self) -> Option<(f64, usize)> {
        self.least.0.is_finite().then_some((self.least.0, self.least.1 as usize))
    }

    /// The largest value that is a number, and its place.
    pub fn greatest(&self) -> Option<(f64, usize)> {
        self.greatest.0.is_finite().then_some((self.greatest.0, self.greatest.1 as usize))
    }

    /// Values that are NaN or infinite: the places of the first, and how many there are in all.
    pub fn odd(&self) -> (&[u32], usize) {
        (&self.odd, self.odd_count)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.values.bytes() + self.pyramid.bytes() + self.odd.capacity() * 4 + size_of::<Self>()
    }
}
