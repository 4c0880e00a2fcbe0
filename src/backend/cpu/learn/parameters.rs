//! What is trained: values, gradients and moments, in a fixed order.

use anyhow::{Result, ensure};

use crate::backend::learn::{Parameter, Part};

/// A part of a parameter: the whole, or one expert's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parameter: usize,
    pub(super) first: usize,
    pub(super) len: usize,
}

impl Place {
    /// Piece `index` of `count` equal ones.
    pub(super) fn piece(self, index: usize, count: usize) -> Self {
        let len = self.len / count;
        Self { first: self.first + index * len, len, ..self }
    }
}

/// A number for each trained value.
#[derive(Default)]
pub(super) struct Numbers(pub(super) Vec<Vec<f32>>);

impl Numbers {
    /// Those of one place.
    pub(super) fn at(&self, place: Place) -> &[f32] {
        &self.0[place.parameter][place.first..][..place.len]
    }

    /// See `at`.
    pub(super) fn at_mut(&mut self, place: Place) -> &mut [f32] {
        &mut self.0[place.parameter][place.first..][..place.len]
    }

    /// As many zeros.
    pub(super) fn zeros_like(&self) -> Self {
        Self(self.0.iter().map(|v| vec![0.0; v.len()]).collect())
    }

    /// Zeros everywhere.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(|v| v.fill(0.0));
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|v| 4 * v.len() as u64).sum()
    }
}

/// All trained parameters.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) list: Vec<Parameter>,
    pub(super) values: Numbers,
    pub(super) gradients: Numbers,
    pub(super) first: Numbers,
    pub(super) second: Numbers,
    /// True if a gradient was added since they were cleared.
    pub(super) any: bool,
}

impl Parameters {
    /// Adds a parameter and says where it is.
    pub(super) fn add(&mut self, name: String, shape: &[usize], decays: bool, values: Vec<f32>) -> Place {
        let len = values.len();
        assert_eq!(len, shape.iter().product::<usize>(), "{name}");
        self.list.push(Parameter { name, shape: shape.to_vec(), decays });
        self.values.0.push(values);
        Place { parameter: self.list.len() - 1, first: 0, len }
    }

    /// Makes room for gradients and moments, once all are there.
    pub(super) fn complete(&mut self) {
        self.gradients = self.values.zeros_like();
        self.first = self.values.zeros_like();
        self.second = self.values.zeros_like();
    }

    /// See [`crate::backend::learn::Learner::read`].
    pub(super) fn read(&self, index: usize, part: Part) -> Result<Vec<f32>> {
        ensure!(index < self.list.len(), "there is no parameter {index}: {} are trained", self.list.len());
        let numbers = match part {
            Part::Value => &self.values,
            Part::Moment1 => &self.first,
            Part::Moment2 => &self.second,
        };
        Ok(numbers.0[index].clone())
    }

    /// See [`crate::backend::learn::Learner::write`].
    pub(super) fn write(&mut self, index: usize, part: Part, values: &[f32]) -> Result<()> {
        ensure!(index < self.list.len(), "there is no parameter {index}: {} are trained", self.list.len());
        let numbers = match part {
            Part::Value => &mut self.values,
            Part::Moment1 => &mut self.first,
            Part::Moment2 => &mut self.second,
        };
        let (to, name) = (&mut numbers.0[index], &self.list[index].name);
        ensure!(to.len() == values.len(), "`{name}` has {} values, not {}", to.len(), values.len());
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        ensure!(bad == 0, "{bad} of {} values for `{name}` are infinite or not a number", values.len());
        to.copy_from_slice(values);
        Ok(())
    }
}
