//! Axon-SSM: projections, the short convolution and the recurrence.
//!
//! ```text
//! [xb | z] = u in_proj^T          xc = silu(conv(xb))        [B | C | dt] = xc x_proj^T
//! h = exp(dt A) h + (dt xc) B     y = h C + D xc             out = (y silu(z)) out_proj^T
//! ```
//!
//! The forward pass keeps the state before each stretch of tokens; the backward pass computes those within a
//! stretch again.

use std::ops::Range;

use super::buffers::Buffer;
use super::linear::{Kept, Linear};
use super::parameters::Numbers;
use super::rows::Rows;
use super::weight::{Few, To};
use super::work::Pass;
use crate::backend::cpu::ops::{self, ChannelSums, Conv, ConvBack, Scan, ScanBack};
use crate::backend::cpu::split::{Columns, Pieces, for_each};
use crate::backend::cpu::state::CHANNELS;
use crate::backend::cpu::weights::{decay, transposed};
use crate::model::spec::SsmSpec;

/// Tokens between states that are kept.
const STRETCH: usize = 32;

/// The layer.
pub(super) struct Ssm {
    pub(super) spec: SsmSpec,
    pub(super) in_proj: Linear,
    /// (E, K)
    pub(super) conv_weight: Few,
    pub(super) conv_bias: Few,
    pub(super) x_proj: Linear,
    pub(super) dt_weight: Few,
    pub(super) dt_bias: Few,
    /// (E, N)
    pub(super) a_log: Few,
    pub(super) skip: Few,
    pub(super) out_proj: Linear,
}

/// What the backward pass needs.
pub(super) struct Saved {
    /// [xb | z]: (T, 2E)
    xz: Buffer,
    /// (T, E)
    xc: Buffer,
    /// [B | C | dt]: (T, 2N + 1)
    dbc: Buffer,
    /// The state before each stretch: (stretches, E N)
    states: Buffer,
    /// y silu(z): (T, E)
    gated: Buffer,
    in_kept: Option<Kept>,
    out_kept: Option<Kept>,
}

/// Stretches of tokens within one example each, in order.
fn stretches(rows: &Rows<'_>) -> Vec<Range<usize>> {
    let of = |e: &Range<usize>| {
        let end = e.end;
        e.clone().step_by(STRETCH).map(move |from| from..(from + STRETCH).min(end))
    };
    rows.examples.iter().flat_map(of).collect()
}

impl Ssm {
    /// Reads `u` (T, D), writes `out` (T, D).
    pub(super) fn forward(&self, pass: &Pass<'_>, rows: &Rows<'_>, u: &[f32], out: &mut [f32]) -> Saved {
        let SsmSpec { inner: e, state: n, conv: taps } = self.spec;
        let (t, level, pool) = (rows.len(), pass.work.level(), pass.work.pool());
        let mut xz = pass.work.buffers.get(t * 2 * e);
        let in_kept = self.in_proj.forward(pass, u, &mut xz);

        let mut xc = pass.work.buffers.get(t * e);
        let (weight, bias) = (transposed(self.conv_weight.of(pass.values), taps), self.conv_bias.of(pass.values));
        let nothing = vec![0.0; (taps - 1) * e];
        for example in &rows.examples {
            let out = &mut xc[example.start * e..example.end * e];
            for_each(pool, Columns::new(out, e, CHANNELS), |i, mut out| {
                let args = Conv {
                    first: i * CHANNELS,
                    inner: e,
                    weight: &weight,
                    bias,
                    history: &nothing,
                    x: &xz[example.start * 2 * e..],
                    stride: 2 * e,
                    count: example.len(),
                };
                ops::conv(level, &args, &mut out);
            });
        }

        let mut dbc = pass.work.buffers.get(t * (2 * n + 1));
        self.x_proj.forward(pass, &xc, &mut dbc);

        let stretches = stretches(rows);
        let mut states = pass.work.buffers.get(stretches.len() * e * n);
        let mut gated = pass.work.buffers.get(t * e);
        let mut h = pass.work.buffers.get(e * n);
        let decay = decay(self.a_log.of(pass.values), n);
        let (dt_weight, dt_bias) = (self.dt_weight.of(pass.values), self.dt_bias.of(pass.values));
        let skip = self.skip.of(pass.values);
        let split = (
            Pieces::new(&mut h, CHANNELS * n),
            (Columns::new(&mut gated, e, CHANNELS), Columns::new(&mut states, e * n, CHANNELS * n)),
        );
        for_each(pool, split, |i, (h, (mut out, mut states))| {
            for (index, tokens) in stretches.iter().enumerate() {
                if rows.sees_from[tokens.start] == tokens.start {
                    h.fill(0.0);
                }
                states.row(index).copy_from_slice(h);
                let mut args = Scan {
                    first: i * CHANNELS,
                    inner: e,
                    states: n,
                    decay: &decay[i * CHANNELS * n..][..h.len()],
                    dt_weight,
                    dt_bias,
                    skip,
                    xc: &xc,
                    dbc: &dbc,
                    xz: &xz,
                    tokens: tokens.clone(),
                    state: h,
                };
                ops::scan(level, &mut args, Some(&mut out));
            }
        });
        let out_kept = self.out_proj.forward(pass, &gated, out);
        Saved { xz, xc, dbc, states, gated, in_kept, out_kept }
    }

    /// From `d_out` (T, D) to `d_u` (T, D), which is written.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        (u, saved): (&[f32], &Saved),
        d_out: &[f32],
        d_u: &mut [f32],
    ) {
        let SsmSpec { inner: e, state: n, .. } = self.spec;
        let t = rows.len();
        let mut d_gated = pass.work.buffers.get(t * e);
        self.out_proj.backward(pass, gradients, &saved.gated, saved.out_kept.as_ref(), d_out, To::Set(&mut d_gated));

        let mut d_xc = pass.work.buffers.get(t * e);
        let mut d_xz = pass.work.buffers.zeros(t * 2 * e);
        let mut d_dbc = pass.work.buffers.get(t * (2 * n + 1));
        self.scan_back(pass, gradients, rows, saved, &d_gated, (&mut d_xc, &mut d_xz, &mut d_dbc));
        self.x_proj.backward(pass, gradients, &saved.xc, None, &d_dbc, To::Add(&mut d_xc));
        self.conv_back(pass, gradients, rows, saved, &d_xc, &mut d_xz);
        self.in_proj.backward(pass, gradients, u, saved.in_kept.as_ref(), &d_xz, To::Set(d_u));
    }

    /// The recurrence: writes the gradients of `xc`, of the right half of `xz`, and of `dbc`.
    fn scan_back(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        saved: &Saved,
        d_gated: &[f32],
        (d_xc, d_xz, d_dbc): (&mut [f32], &mut [f32], &mut [f32]),
    ) {
        let SsmSpec { inner: e, state: n, .. } = self.spec;
        let (t, level, pool) = (rows.len(), pass.work.level(), pass.work.pool());
        let (blocks, width) = (e.div_ceil(CHANNELS), 2 * n + 1);
        let stretches = stretches(rows);
        let decay = decay(self.a_log.of(pass.values), n);
        let (dt_weight, dt_bias) = (self.dt_weight.of(pass.values), self.dt_bias.of(pass.values));
        let skip = self.skip.of(pass.values);
        // Each block's part of what all channels share.
        let mut parts = pass.work.buffers.get(blocks * t * width);
        let mut carry = pass.work.buffers.get(e * n);
        let mut sums = pass.work.buffers.zeros(blocks * CHANNELS * (n + 3));
        let room = ScanBack::scratch(STRETCH, n, CHANNELS);
        let mut scratch = pass.work.buffers.get(blocks * room);
        let (_, d_z) = Columns::halves(d_xz, 2 * e, CHANNELS);
        let split = (
            (Columns::new(d_xc, e, CHANNELS), d_z),
            (
                (Pieces::new(&mut parts, t * width), Pieces::new(&mut carry, CHANNELS * n)),
                (Pieces::new(&mut sums, CHANNELS * (n + 3)), Pieces::new(&mut scratch, room)),
            ),
        );
        for_each(pool, split, |i, ((mut d_xc, mut d_z), ((part, carry), (sums, scratch)))| {
            let channels = carry.len() / n;
            let (of_decay, rest) = sums.split_at_mut(channels * n);
            let (of_weight, rest) = rest.split_at_mut(channels);
            let (of_bias, rest) = rest.split_at_mut(channels);
            for (index, tokens) in stretches.iter().enumerate().rev() {
                let ends = rows.sees_from.get(tokens.end).is_none_or(|first| *first == tokens.end);
                if ends {
                    carry.fill(0.0);
                }
                let start = &saved.states[index * e * n + i * CHANNELS * n..][..carry.len()];
                let mut args = ScanBack {
                    first: i * CHANNELS,
                    inner: e,
                    states: n,
                    decay: &decay[i * CHANNELS * n..][..carry.len()],
                    dt_weight,
                    dt_bias,
                    skip,
                    xc: &saved.xc,
                    dbc: &saved.dbc,
                    xz: &saved.xz,
                    tokens: tokens.clone(),
                    start,
                    d_out: d_gated,
                    carry,
                    d_dbc: part,
                    sums: ChannelSums {
                        decay: of_decay,
                        dt_weight: of_weight,
                        dt_bias: of_bias,
                        skip: &mut rest[..channels],
                    },
                    scratch: &mut scratch[..ScanBack::scratch(tokens.len(), n, channels)],
                };
                ops::scan_back(level, &mut args, &mut d_xc, &mut d_z);
            }
        });
        pass.by_rows(d_dbc, width, |row, out| {
            out.fill(0.0);
            for part in parts.chunks_exact(t * width) {
                ops::add(level, out, &part[row * width..][..out.len()]);
            }
        });
        if self.a_log.is_trained() {
            self.add_sums(pass.values, gradients, &sums);
        }
    }

    /// The blocks' sums to where the parameters are.
    fn add_sums(&self, values: &Numbers, gradients: &mut Numbers, sums: &[f32]) {
        let SsmSpec { inner: e, state: n, .. } = self.spec;
        let a_log = self.a_log.of(values);
        let at = |channel: usize| {
            let block = channel / CHANNELS;
            let channels = CHANNELS.min(e - block * CHANNELS);
            (&sums[block * CHANNELS * (n + 3)..], channels, channel % CHANNELS)
        };
        let mut each = |few: &Few, value: &dyn Fn(usize) -> f32| {
            if let Some(gradient) = few.gradient(gradients) {
                gradient.iter_mut().enumerate().for_each(|(i, g)| *g += value(i));
            }
        };
        each(&self.a_log, &|i| {
            let (sums, channels, c) = at(i / n);
            // A = -exp(A_log), which is its own slope.
            -a_log[i].exp() * sums[(i % n) * channels + c]
        });
        for (index, few) in [&self.dt_weight, &self.dt_bias, &self.skip].into_iter().enumerate() {
            each(few, &|channel| {
                let (sums, channels, c) = at(channel);
                sums[(n + index) * channels + c]
            });
        }
    }

    /// The convolution: adds to the left half of `d_xz`.
    fn conv_back(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        saved: &Saved,
        d_xc: &[f32],
        d_xz: &mut [f32],
    ) {
        let SsmSpec { inner: e, conv: taps, .. } = self.spec;
        let (weight, bias) = (transposed(self.conv_weight.of(pass.values), taps), self.conv_bias.of(pass.values));
        let mut sums = pass.work.buffers.zeros(e.div_ceil(CHANNELS) * CHANNELS * (taps + 1));
        let (d_x, _) = Columns::halves(d_xz, 2 * e, CHANNELS);
        let split = (d_x, Pieces::new(&mut sums, CHANNELS * (taps + 1)));
        for_each(pass.work.pool(), split, |i, (mut d_x, sums)| {
            let channels = CHANNELS.min(e - i * CHANNELS);
            let (d_weight, rest) = sums.split_at_mut(channels * taps);
            for example in &rows.examples {
                let mut args = ConvBack {
                    first: i * CHANNELS,
                    inner: e,
                    weight: &weight,
                    bias,
                    x: &saved.xz,
                    d_out: d_xc,
                    tokens: example.clone(),
                    d_weight,
                    d_bias: &mut rest[..channels],
                };
                ops::conv_back(pass.work.level(), &mut args, &mut d_x);
            }
        });
        let at = |channel: usize| {
            let channels = CHANNELS.min(e - channel / CHANNELS * CHANNELS);
            (&sums[channel / CHANNELS * CHANNELS * (taps + 1)..], channels, channel % CHANNELS)
        };
        if let Some(gradient) = self.conv_weight.gradient(gradients) {
            for (i, g) in gradient.iter_mut().enumerate() {
                let (sums, channels, c) = at(i / taps);
                *g += sums[(i % taps) * channels + c];
            }
        }
        if let Some(gradient) = self.conv_bias.gradient(gradients) {
            for (channel, g) in gradient.iter_mut().enumerate() {
                let (sums, channels, c) = at(channel);
                *g += sums[taps * channels + c];
            }
        }
    }
}
