//! AdamW over all parameters, after clipping their gradients' common norm.

use super::parameters::Parameters;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::split::{Pieces, for_each};
use crate::backend::learn::Update;

/// Numbers of a task.
const PIECE: usize = 1 << 14;

/// The norm of the gradients, divided by `units`; always summed in the same order.
fn norm(pool: &Pool, parameters: &Parameters, units: f64) -> f64 {
    let mut square = 0.0;
    for gradient in &parameters.gradients.0 {
        let mut sums = vec![0.0f64; gradient.len().div_ceil(PIECE)];
        for_each(pool, Pieces::new(&mut sums, 1), |i, sum| {
            let piece = &gradient[i * PIECE..gradient.len().min((i + 1) * PIECE)];
            // Eight sums, so that one addition need not wait for the one before it.
            let mut lanes = [0.0f64; 8];
            for eight in piece.chunks(8) {
                for (lane, v) in lanes.iter_mut().zip(eight) {
                    *lane += f64::from(*v) * f64::from(*v);
                }
            }
            sum[0] = lanes.iter().sum();
        });
        square += sums.iter().sum::<f64>();
    }
    square.sqrt() / units
}

/// One step; see [`crate::backend::learn::Learner::step`].
pub(super) fn step(pool: &Pool, parameters: &mut Parameters, update: &Update) -> f64 {
    let norm = norm(pool, parameters, update.units);
    if !norm.is_finite() {
        parameters.gradients.clear();
        return norm;
    }
    let clip = if norm > f64::from(update.max_grad_norm) { f64::from(update.max_grad_norm) / norm } else { 1.0 };
    let scale = (clip / update.units) as f32;
    let (b1, b2) = update.betas;
    let correct = |beta: f32| (1.0 - f64::from(beta).powf(update.step as f64)) as f32;
    let (correct1, correct2) = (correct(b1), correct(b2));
    let Parameters { list, values, gradients, first, second, .. } = parameters;
    for (i, parameter) in list.iter().enumerate() {
        let keep = 1.0 - update.learning_rate * if parameter.decays { update.weight_decay } else { 0.0 };
        let split = (
            (Pieces::new(&mut values.0[i], PIECE), Pieces::new(&mut gradients.0[i], PIECE)),
            (Pieces::new(&mut first.0[i], PIECE), Pieces::new(&mut second.0[i], PIECE)),
        );
        for_each(pool, split, |_, ((values, gradients), (first, second))| {
            for (((w, g), m), v) in values.iter_mut().zip(gradients).zip(first).zip(second) {
                let gradient = *g * scale;
                *g = 0.0;
                *m = b1 * *m + (1.0 - b1) * gradient;
                *v = b2 * *v + (1.0 - b2) * gradient * gradient;
                let step = (*m / correct1) / ((*v / correct2).sqrt() + update.epsilon);
                *w = *w * keep - update.learning_rate * step;
            }
        });
    }
    norm
}
