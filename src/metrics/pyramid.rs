//! Smallest, largest and mean of ever more points, so that a chart never reads them all.

/// Points in a block of the lowest level.
pub(super) const BASE: usize = 16;
/// Blocks of a level in one of the next.
const FAN: usize = 8;

/// What is known of the finite points of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) mean: f32,
}

const EMPTY: Block = Block { min: f32::INFINITY, max: f32::NEG_INFINITY, mean: f32::NAN };

/// Whole blocks only; the points after the last are read themselves.
#[derive(Debug, Clone, Default)]
pub(super) struct Pyramid {
    levels: Vec<Vec<Block>>,
}

impl Pyramid {
    /// Takes the next `BASE` values.
    pub(super) fn push(&mut self, values: &[f64]) {
        let (mut finite, mut min, mut max, mut sum) = (0u32, f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for value in values.iter().copied().filter(|value| value.is_finite()) {
            finite += 1;
            min = if value < min { value } else { min };
            max = if value > max { value } else { max };
            sum += value;
        }
        self.add(
            0,
            match finite {
                0 => EMPTY,
                n => Block { min: min as f32, max: max as f32, mean: (sum / f64::from(n)) as f32 },
            },
        );
    }

    fn add(&mut self, level: usize, block: Block) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let blocks = &mut self.levels[level];
        blocks.push(block);
        if blocks.len().is_multiple_of(FAN) {
            let above = blocks[blocks.len() - FAN..].iter().fold((EMPTY, 0u32), |(all, n), b| {
                let mean = match (all.mean.is_nan(), b.mean.is_nan()) {
                    (_, true) => all.mean,
                    (true, false) => b.mean,
                    (false, false) => all.mean + (b.mean - all.mean) / (n + 1) as f32,
                };
                let block = Block { min: all.min.min(b.min), max: all.max.max(b.max), mean };
                (block, n + u32::from(!b.mean.is_nan()))
            });
            self.add(level + 1, above.0);
        }
    }

    /// The level with the largest blocks of which `points` points are at least `blocks`; none if points should
    /// be read themselves.
    pub(super) fn level(&self, points: usize, blocks: usize) -> Option<usize> {
        (0..self.levels.len()).rev().find(|level| points / size(*level) >= blocks)
    }

    pub(super) fn blocks(&self, level: usize) -> &[Block] {
        &self.levels[level]
    }

    pub(super) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.capacity() * size_of::<Block>()).sum()
    }
}

/// Points in a block of a level.
pub(super) fn size(level: usize) -> usize {
    BASE * FAN.pow(level as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_knows_its_points() {
        let value = |i: usize| if i == 777 { f64::NAN } else { ((i * 7919) % 10_007) as f64 };
        let mut pyramid = Pyramid::default();
        let values: Vec<f64> = (0..BASE * FAN * FAN * 2).map(value).collect();
        values.chunks(BASE).for_each(|values| pyramid.push(values));
        for level in 0..3 {
            let size = size(level);
            assert_eq!(pyramid.blocks(level).len(), BASE * FAN * FAN * 2 / size);
            for (at, block) in pyramid.blocks(level).iter().enumerate() {
                let points: Vec<f64> = (at * size..(at + 1) * size).map(value).filter(|v| v.is_finite()).collect();
                let mean = points.iter().sum::<f64>() / points.len() as f64;
                assert_eq!(f64::from(block.min), points.iter().copied().fold(f64::INFINITY, f64::min));
                assert_eq!(f64::from(block.max), points.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                assert!((f64::from(block.mean) - mean).abs() < 20.0, "{} {mean}", block.mean);
            }
        }
        assert_eq!(pyramid.level(2048, 200), None);
        assert_eq!(pyramid.level(2048, 128), Some(0));
        assert_eq!(pyramid.level(2048, 16), Some(1));
        let mut nothing = Pyramid::default();
        nothing.push(&[f64::NAN; BASE]);
        assert!(nothing.blocks(0)[0].min > nothing.blocks(0)[0].max);
    }
}
