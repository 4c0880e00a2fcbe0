//! How far stored values are from those that they stand for.

/// Sums from which the error of storing follows; they can be added up over blocks and tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ErrorSums {
    /// Of the squares of the differences.
    squares: f64,
    /// Of the squares of the values.
    reference: f64,
    /// The largest difference.
    largest: f32,
    values: u64,
}

impl ErrorSums {
    /// Counts values and what they became.
    pub fn add(&mut self, values: &[f32], stored: &[f32]) {
        assert_eq!(values.len(), stored.len());
        // Eight sums side by side, so that they need not wait for each other.
        let (mut squares, mut reference, mut largest) = ([0f32; 8], [0f32; 8], [0f32; 8]);
        let (values8, rest) = values.as_chunks::<8>();
        let (stored8, stored_rest) = stored.as_chunks::<8>();
        let mut lane = |i: usize, v: f32, s: f32| {
            let d = v - s;
            squares[i] += d * d;
            reference[i] += v * v;
            largest[i] = largest[i].max(d.abs());
        };
        for (v, s) in values8.iter().zip(stored8) {
            for i in 0..8 {
                lane(i, v[i], s[i]);
            }
        }
        for (i, (&v, &s)) in rest.iter().zip(stored_rest).enumerate() {
            lane(i, v, s);
        }
        self.merge(&Self {
            squares: squares.iter().map(|&s| f64::from(s)).sum(),
            reference: reference.iter().map(|&s| f64::from(s)).sum(),
            largest: largest.into_iter().fold(0.0, f32::max),
            values: values.len() as u64,
        });
    }

    /// Adds the sums of other values.
    pub fn merge(&mut self, other: &Self) {
        self.squares += other.squares;
        self.reference += other.reference;
        self.largest = self.largest.max(other.largest);
        self.values += other.values;
    }

    /// Root of the mean square of the differences, as a part of that of the values.
    pub fn relative(&self) -> f64 {
        if self.reference > 0.0 { (self.squares / self.reference).sqrt() } else { 0.0 }
    }

    /// The largest difference.
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// How many values were counted.
    pub fn values(&self) -> u64 {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_definition() {
        let values: Vec<f32> = (0..19).map(|i| i as f32).collect();
        let stored: Vec<f32> = values.iter().map(|v| v + if *v == 17.0 { 3.0 } else { 0.5 }).collect();
        let (mut whole, mut parts) = (ErrorSums::default(), ErrorSums::default());
        whole.add(&values, &stored);
        parts.add(&values[..5], &stored[..5]);
        parts.add(&values[5..], &stored[5..]);
        assert_eq!(whole, parts);
        let reference: f32 = values.iter().map(|v| v * v).sum();
        assert!((whole.relative() - f64::from((9.0 + 18.0 * 0.25) / reference).sqrt()).abs() < 1e-6);
        assert_eq!((whole.largest(), whole.values()), (3.0, 19));
        assert_eq!(ErrorSums::default().relative(), 0.0);
    }
}
