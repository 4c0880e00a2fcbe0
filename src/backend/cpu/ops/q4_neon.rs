//! 4-bit weights times int8 activations with NEON.

use core::arch::aarch64::*;

use super::q4::Q4;
use crate::backend::cpu::quantised_rows::Int8Row;

/// One row with `N` tokens.
pub(super) fn dots<const N: usize>(w: &Q4<'_>, row: usize, x: [Int8Row<'_>; N]) -> [f32; N] {
    let (codes, scales, biases) = w.row(row);
    for x in &x {
        assert!(x.codes.len() >= w.groups.div_ceil(2) * 128);
    }
    // SAFETY: every 64-bit Arm has NEON. A row has 32 bytes of codes for each group and the activations
    // 128 for each two (asserted), so the loads are inside them.
    unsafe {
        let mut sums = [vdupq_n_f32(0.0); N];
        let mut bias = [0.0; N];
        let low = vdupq_n_u8(15);
        for g in 0..w.groups {
            let (scale, b) = (scales[g].to_f32(), biases[g].to_f32());
            let halves = [vld1q_u8(codes.as_ptr().add(g * 32)), vld1q_u8(codes.as_ptr().add(g * 32 + 16))];
            for t in 0..N {
                let q = x[t].codes.as_ptr().add(g / 2 * 128 + g % 2 * 32);
                let mut dot = vdupq_n_s32(0);
                for (i, code) in halves.iter().enumerate() {
                    let even = vreinterpretq_s8_u8(vandq_u8(*code, low));
                    let odd = vreinterpretq_s8_u8(vshrq_n_u8::<4>(*code));
                    let (qe, qo) = (vld1q_s8(q.add(16 * i)), vld1q_s8(q.add(64 + 16 * i)));
                    // At most 4 * 15 * 127 in 16 bits: no overflow.
                    let mut pairs = vmull_s8(vget_low_s8(even), vget_low_s8(qe));
                    pairs = vmlal_s8(pairs, vget_high_s8(even), vget_high_s8(qe));
                    pairs = vmlal_s8(pairs, vget_low_s8(odd), vget_low_s8(qo));
                    pairs = vmlal_s8(pairs, vget_high_s8(odd), vget_high_s8(qo));
                    dot = vpadalq_s16(dot, pairs);
                }
                sums[t] = vfmaq_n_f32(sums[t], vcvtq_f32_s32(dot), scale * x[t].scales[g]);
                bias[t] += b * x[t].sums[g];
            }
        }
        let mut y = [0.0; N];
        for t in 0..N {
            y[t] = vaddvq_f32(sums[t]) + bias[t];
        }
        y
    }
}
