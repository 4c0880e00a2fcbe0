//! AdamW over all parameters, after clipping their gradients' common norm.

use anyhow::Result;
use mlx_rs::Array;

use super::super::ops::{self, number};
use crate::backend::learn::{Parameter, Update};

/// The norm of the gradients, divided by `units`.
pub(super) fn norm(gradients: &[Array], units: f64) -> Result<f64> {
    let squares = gradients.iter().map(|g| ops::sum(&ops::square(g)?)).collect::<Result<Vec<_>>>()?;
    ops::eval(&squares)?;
    let mut sum = 0.0;
    for square in &squares {
        sum += ops::floats(square)?.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    Ok(sum.sqrt() / units)
}

/// One parameter's value and moments after a step; `norm` is that of all gradients.
pub(super) fn moved(
    parameter: &Parameter,
    [value, first, second]: [&Array; 3],
    gradient: &Array,
    norm: f64,
    update: &Update,
) -> Result<[Array; 3]> {
    let clip = if norm > f64::from(update.max_grad_norm) { f64::from(update.max_grad_norm) / norm } else { 1.0 };
    let gradient = ops::multiply(gradient, &number((clip / update.units) as f32))?;
    let (b1, b2) = update.betas;
    let correct = |beta: f32| number((1.0 - f64::from(beta).powf(update.step as f64)) as f32);
    let mixed = |old: &Array, new: &Array, beta: f32| -> Result<Array> {
        ops::add(&ops::multiply(old, &number(beta))?, &ops::multiply(new, &number(1.0 - beta))?)
    };
    let first = mixed(first, &gradient, b1)?;
    let second = mixed(second, &ops::square(&gradient)?, b2)?;
    let root = ops::sqrt(&ops::divide(&second, &correct(b2))?)?;
    let step = ops::divide(&ops::divide(&first, &correct(b1))?, &ops::add(&root, &number(update.epsilon))?)?;
    let keep = 1.0 - update.learning_rate * if parameter.decays { update.weight_decay } else { 0.0 };
    let value = ops::multiply(value, &number(keep))?;
    let value = ops::subtract(&value, &ops::multiply(&step, &number(update.learning_rate))?)?;
    Ok([value, first, second])
}
