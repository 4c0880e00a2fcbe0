//! The 4-bit quantisers: MLX's affine one, bit for bit, and NormalFloat.

use anyhow::{Result, ensure};
use half::f16;

use super::matrix::NF4;

/// Step and value of code 0 of one group, and its codes, one a byte.
///
/// ```text
/// scale = max((hi - lo) / 15, 1e-7), negated unless |lo| > |hi|
/// edge  = lo if |lo| > |hi| else hi       the value with the largest magnitude: it stays exact
/// q0    = round(edge / scale)
/// scale, bias = edge / q0, edge           if q0 != 0, else bias = 0
/// q     = clip(round((w - bias) / scale), 0, 15)
/// ```
pub fn affine4_group(weights: &[f32], codes: &mut [u8]) -> (f32, f32) {
    assert_eq!(weights.len(), codes.len());
    let (lo, hi) = range(weights);
    let from_low = lo.abs() > hi.abs();
    let step = ((hi - lo) / 15.0).max(1e-7);
    let (step, edge) = if from_low { (step, lo) } else { (-step, hi) };
    let q0 = (edge / step).round_ties_even();
    let (scale, bias) = if q0 == 0.0 { (step, 0.0) } else { (edge / q0, edge) };
    for (code, &w) in codes.iter_mut().zip(weights) {
        *code = to_code((w - bias) / scale);
    }
    (scale, bias)
}

/// `clip(round_ties_even(x), 0, 15)`. Clipped first, then rounded by adding 2^23, where f32 has no
/// fraction left: the compiler makes vector code of this, unlike of a call to round.
fn to_code(x: f32) -> u8 {
    const SHIFT: f32 = 8_388_608.0;
    let clipped = x.clamp(0.0, 15.0);
    ((clipped + SHIFT).to_bits() & 15) as u8
}

fn range(weights: &[f32]) -> (f32, f32) {
    // Eight at a time, so that minima need not wait for each other.
    let (mut lo, mut hi) = ([f32::INFINITY; 8], [f32::NEG_INFINITY; 8]);
    let (eights, rest) = weights.as_chunks::<8>();
    for eight in eights {
        for i in 0..8 {
            lo[i] = lo[i].min(eight[i]);
            hi[i] = hi[i].max(eight[i]);
        }
    }
    let all = |lanes: [f32; 8], pick: fn(f32, f32) -> f32| lanes.into_iter().chain(rest.iter().copied()).reduce(pick);
    (all(lo, f32::min).unwrap_or(0.0), all(hi, f32::max).unwrap_or(0.0))
}

/// One group as it is read again once it is stored, with its scale and bias in f16. Those are given as well, and
/// the codes are left in `codes`.
pub fn affine4_stored(weights: &[f32], codes: &mut [u8], stored: &mut [f32]) -> (f16, f16) {
    let (scale, bias) = affine4_group(weights, codes);
    let (scale, bias) = (f16::from_f32(scale), f16::from_f32(bias));
    let (step, first) = (scale.to_f32(), bias.to_f32());
    for (value, &code) in stored.iter_mut().zip(&*codes) {
        *value = step * f32::from(code) + first;
    }
    (scale, bias)
}

/// The same in NormalFloat, with the largest magnitude in f16.
pub fn nf4_stored(weights: &[f32], codes: &mut [u8], stored: &mut [f32]) -> f16 {
    let largest = f16::from_f32(absmax(weights));
    let unit = largest.to_f32();
    nf4_group(weights, unit, codes);
    for (value, &code) in stored.iter_mut().zip(&*codes) {
        *value = unit * NF4[usize::from(code)];
    }
    largest
}

/// Largest magnitude of one group.
pub fn absmax(weights: &[f32]) -> f32 {
    let (lo, hi) = range(weights);
    lo.abs().max(hi.abs())
}

/// Codes of one group: for each weight the nearest of `absmax * NF4`. `absmax` is given as it will
/// be stored, so that rounding it costs nothing more.
pub fn nf4_group(weights: &[f32], absmax: f32, codes: &mut [u8]) {
    assert_eq!(weights.len(), codes.len());
    let inverse = if absmax > 0.0 { absmax.recip() } else { 0.0 };
    for (code, &w) in codes.iter_mut().zip(weights) {
        let x = w * inverse;
        // The code is the number of midpoints below it.
        *code = NF4_MIDPOINTS.iter().map(|&middle| u8::from(x > middle)).sum();
    }
}

/// Half-way between neighbours of the codebook.
const NF4_MIDPOINTS: [f32; 15] = {
    let mut middle = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        middle[i] = (NF4[i] + NF4[i + 1]) / 2.0;
        i += 1;
    }
    middle
};

/// Two codes a byte, the first in the low nibble: eight in each little-endian u32, as MLX has it.
pub fn pack(codes: &[u8], packed: &mut [u8]) {
    assert_eq!(codes.len(), 2 * packed.len());
    for (byte, pair) in packed.iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = pair[0] | pair[1] << 4;
    }
}

/// An error unless groups may have this size.
pub fn check_group(group: usize) -> Result<()> {
    let allowed = super::checkpoint::GROUPS;
    ensure!(allowed.contains(&group), "a group of {group} is not supported; use 32, 64 or 128");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::config::Config;
    use crate::model::matrix::Data;
    use crate::model::tensors::{Kind, tensors};

    #[test]
    fn codes_round_half_to_even_and_clip() {
        let cases = [(-3.0, 0), (0.5, 0), (1.5, 2), (2.5, 2), (2.51, 3), (14.5, 14), (15.0, 15), (99.0, 15)];
        for (x, code) in cases {
            assert_eq!(to_code(x), code, "{x}");
        }
    }

    #[test]
    fn groups_without_a_range_are_kept() {
        let mut codes = [9; 32];
        assert_eq!(affine4_group(&[0.0; 32], &mut codes), (-1e-7, 0.0));
        assert_eq!(codes, [0; 32]);
        for constant in [1.5, -1.5] {
            let (scale, bias) = affine4_group(&[constant; 32], &mut codes);
            assert!(codes.iter().all(|&c| scale * f32::from(c) + bias == constant), "{constant}");
        }
        nf4_group(&[0.0; 32], 0.0, &mut codes);
        assert_eq!(codes, [7; 32]);
    }

    /// The fixture `tiny_q` was made by another implementation. A group whose codes reach from 0 to 15
    /// has the range that it was made from, so its values must give the same grid and codes again.
    #[test]
    fn another_implementations_groups_come_out_again() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_q");
        let spec = Config::read(&folder.join("config.json")).unwrap().spec();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let (mut compared, mut all) = (0, 0);
        for t in tensors(&spec).iter().filter(|t| t.quantised(64)) {
            let stack = match t.kind {
                Kind::ExpertStack => checkpoint.stack(t).unwrap(),
                _ => vec![checkpoint.matrix(t).unwrap()],
            };
            for matrix in stack {
                let Data::Affine4 { codes: wanted, scales, biases, .. } = &matrix.data else { panic!("{}", t.name) };
                let mut weights = vec![0.0; matrix.cols];
                let (mut codes, mut packed) = (vec![0; 64], vec![0; 32]);
                for row in 0..matrix.rows {
                    matrix.row_into(row, &mut weights);
                    for (i, group) in weights.chunks(64).enumerate() {
                        let g = row * matrix.cols / 64 + i;
                        let wanted = &wanted[32 * g..32 * (g + 1)];
                        let uses = |code| wanted.iter().any(|byte| byte & 15 == code || byte >> 4 == code);
                        all += 1;
                        if !(uses(0) && uses(15)) {
                            continue;
                        }
                        compared += 1;
                        let (scale, bias) = affine4_group(group, &mut codes);
                        pack(&codes, &mut packed);
                        assert_eq!(packed, wanted, "{} group {g}", t.name);
                        assert!((scale / scales.get(g) - 1.0).abs() < 1e-6, "{} group {g}", t.name);
                        assert_eq!(bias, biases.get(g), "{} group {g}", t.name);
                    }
                }
            }
        }
        assert!(compared > 1000, "{compared} of {all}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn affine_errors_stay_within_a_step(weights in prop::collection::vec(-1e3f32..1e3, 64)) {
            let mut codes = [0; 64];
            let (scale, bias) = affine4_group(&weights, &mut codes);
            // Fitting the grid to the edge changes the step a little, so the far end may be clipped.
            let (lo, hi) = range(&weights);
            let step = (hi - lo) / 15.0;
            for (&w, &code) in weights.iter().zip(&codes) {
                prop_assert!((scale * f32::from(code) + bias - w).abs() <= 1.01 * step);
            }
            let largest = weights.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
            prop_assert!(bias == 0.0 || bias.abs() == largest.abs());
        }

        #[test]
        fn nf4_takes_the_nearest(weights in prop::collection::vec(-5f32..5.0, 32)) {
            let largest = absmax(&weights);
            let mut codes = [0; 32];
            nf4_group(&weights, largest, &mut codes);
            for (&w, &code) in weights.iter().zip(&codes) {
                let error = |c: f32| (c * largest - w).abs();
                let best = NF4.iter().map(|&c| error(c)).fold(f32::INFINITY, f32::min);
                prop_assert!(error(NF4[code as usize]) <= best + 1e-5);
            }
        }

        #[test]
        fn packing_keeps_every_code(codes in prop::collection::vec(0u8..16, 32)) {
            let mut packed = [0; 16];
            pack(&codes, &mut packed);
            let back: Vec<u8> = (0..32).map(|i| packed[i / 2] >> (4 * (i % 2)) & 15).collect();
            prop_assert_eq!(back, codes);
        }
    }
}
