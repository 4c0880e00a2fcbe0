//! What the model does on this machine.

use std::time::Instant;

use anyhow::Result;

use super::machine::{self, Machine};
use super::report::{Context, Prefill, Report};
use super::subject::Subject;
use crate::backend::{Backend, Logits};
use crate::cli::resources;
use crate::cli::{interrupt, output};
use crate::model::tensors::parameters;
use crate::protocol::TokenId;

/// Times that a figure is taken; the median counts.
const ROUNDS: usize = 7;
/// Tokens decoded in one round.
const DECODED: usize = 24;

/// Ids that look like text to a model of random weights: anything, the same every time.
fn ids(vocab: usize, from: usize, count: usize) -> Vec<TokenId> {
    let id = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % vocab;
    (from..from + count).map(|i| id(i) as TokenId).collect()
}

/// Seconds from `opening` to the logits of a prompt of 16 tokens.
pub(super) fn first_token(backend: &mut dyn Backend, opening: Instant) -> Result<f64> {
    let ids = ids(backend.spec().vocab, 0, 16);
    backend.forward(&ids, Logits::Last, None)?;
    Ok(opening.elapsed().as_secs_f64())
}

/// Reads `count` more tokens in chunks.
fn read(backend: &mut dyn Backend, count: usize) -> Result<()> {
    let ids = ids(backend.spec().vocab, backend.tokens().len(), count);
    for piece in ids.chunks(backend.chunk()) {
        interrupt::check()?;
        backend.forward(piece, Logits::None, None)?;
    }
    Ok(())
}

/// Seconds for decoding `count` tokens, with or without the routing tap.
fn decode(backend: &mut dyn Backend, count: usize, tap: bool) -> Result<f64> {
    let ids = ids(backend.spec().vocab, backend.tokens().len(), count);
    let mut routing = Vec::new();
    let start = Instant::now();
    for id in ids {
        interrupt::check()?;
        routing.clear();
        backend.forward(&[id], Logits::Last, tap.then_some(&mut routing))?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn timed(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A model to be measured.
pub(super) struct Bench {
    pub(super) subject: Subject,
    /// Go on to the longest context.
    pub(super) long: bool,
    /// Print nothing of what is measured, only what is being done.
    pub(super) quiet: bool,
}

impl Bench {
    /// Measures everything, and prints each figure when it is known.
    pub(super) fn measure(mut self, name: &str, first_token_s: f64) -> Result<Report> {
        let (quiet, subject) = (self.quiet, &mut self.subject);
        let (threads, weight_bytes_per_token) = (subject.compute().pool.threads(), subject.weight_bytes_per_token);
        let backend = subject.backend();
        let (total_parameters, active_parameters) = parameters(backend.spec());
        let mut report = Report {
            model: name.to_owned(),
            backend: backend.name(),
            threads,
            exact: backend.is_exact(),
            total_parameters,
            active_parameters,
            first_token_s,
            weight_bytes_per_token,
            ..Report::default()
        };
        output::note("measuring the machine, and decoding beside it");
        decoding(subject, &mut report)?;
        if !quiet {
            report.print_rates()?;
        }
        let longest = subject.backend().spec().max_seq_len;
        for tokens in [128, 512, 1024, 2048, 4096].into_iter().filter(|n| *n <= longest) {
            let prefill = prompt(subject, tokens, active_parameters)?;
            if !quiet {
                report.print_prefill(&prefill)?;
            }
            report.prefill.push(prefill);
        }
        let backend = subject.backend();
        returning(backend, &mut report)?;
        if !quiet {
            report.print_returning()?;
            report.contexts.iter().try_for_each(|c| report.print_context(c))?;
        }
        let stops: &[usize] = if self.long { &[8192, 16384, 28672, 32768, 65536] } else { &[8192] };
        for stop in stops.iter().filter(|n| **n <= longest) {
            let from = backend.tokens().len();
            let seconds = timed(|| read(backend, stop - from))?;
            let context = context_memory(backend, Some((stop - from) as f64 / seconds));
            if !quiet {
                report.print_context(&context)?;
            }
            report.contexts.push(context);
        }
        report.peak_resident_bytes = resources::peak_resident();
        Ok(report)
    }
}

/// The machine's rates, and decoding in between, so that each share is of its own moment.
fn decoding(subject: &mut Subject, report: &mut Report) -> Result<()> {
    let mut machine = Machine::new();
    let (mut reads, mut floats, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rates, mut shares, mut taps) = (Vec::new(), Vec::new(), Vec::new());
    subject.backend().rewind(0)?;
    read(subject.backend(), 16)?;
    decode(subject.backend(), DECODED, false)?;
    for _ in 0..ROUNDS {
        subject.backend().rewind(0)?;
        read(subject.backend(), 16)?;
        let before = machine.read_rate(subject.compute());
        let seconds = decode(subject.backend(), DECODED, false)?;
        let after = machine.read_rate(subject.compute());
        let rate = DECODED as f64 / seconds;
        rates.push(rate);
        shares.push(rate * report.weight_bytes_per_token as f64 / ((before + after) / 2.0));
        reads.extend([before, after]);
        floats.push(machine.float_rate(subject.compute()));
        bytes.push(machine::byte_rate(subject.compute()));
        // With the tap, between two runs without it.
        let count = DECODED.max((0.1 * rate) as usize);
        let without = decode(subject.backend(), count, false)?;
        let with = decode(subject.backend(), count, true)?;
        let again = decode(subject.backend(), count, false)?;
        taps.push(with / ((without + again) / 2.0) - 1.0);
    }
    report.read_bytes_per_s = median(reads);
    report.float_ops_per_s = median(floats);
    report.int8_ops_per_s = median(bytes);
    report.decode_tokens_per_s = median(rates);
    report.decode_share_of_read_rate = median(shares);
    report.tap_cost = median(taps);
    Ok(())
}

/// Reading a prompt of so many tokens.
fn prompt(subject: &mut Subject, tokens: usize, active_parameters: u64) -> Result<Prefill> {
    // Small ones often, since they are noisy; large ones once.
    let rounds = (2048 / tokens).clamp(1, ROUNDS);
    let (mut rates, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        subject.backend().rewind(0)?;
        let before = machine::byte_rate(subject.compute());
        let seconds = timed(|| read(subject.backend(), tokens))?;
        let after = machine::byte_rate(subject.compute());
        let rate = tokens as f64 / seconds;
        rates.push(rate);
        shares.push(2.0 * active_parameters as f64 * rate / ((before + after) / 2.0));
    }
    Ok(Prefill { tokens, tokens_per_s: median(rates), share_of_int8_rate: median(shares) })
}

/// Snapshots, restores and rewinds after a context of 4096 tokens, or as many as there are.
fn returning(backend: &mut dyn Backend, report: &mut Report) -> Result<()> {
    let context = backend.spec().max_seq_len.min(4096);
    backend.rewind(0)?;
    read(backend, context)?;
    report.contexts.push(context_memory(backend, None));
    let (mut keeping, mut restoring, mut rewinding) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let kept = backend.snapshot();
        keeping.push(start.elapsed().as_secs_f64());
        restoring.push(timed(|| backend.restore(&kept))?);
    }
    // Distances up to 64, each from a state that was read on to the same place.
    for back in (1..=64.min(context - 1)).rev().step_by(3) {
        let left = context - backend.tokens().len();
        read(backend, left)?;
        let mut reached = 0;
        rewinding.push(timed(|| {
            reached = backend.rewind(context - back)?;
            Ok(())
        })?);
        report.rewind_replayed_tokens = report.rewind_replayed_tokens.max(context - back - reached);
    }
    report.snapshot_s = median(keeping);
    report.restore_s = median(restoring);
    report.rewind_worst_s = rewinding.iter().copied().fold(0.0, f64::max);
    report.rewind_s = median(rewinding);
    Ok(())
}

fn context_memory(backend: &dyn Backend, tokens_per_s: Option<f64>) -> Context {
    let memory = backend.memory();
    Context {
        tokens: backend.tokens().len(),
        tokens_per_s,
        resident_bytes: resources::resident(),
        weights: memory.weights,
        kv: memory.layers.iter().map(|l| l.kv).sum(),
        ssm: memory.layers.iter().map(|l| l.ssm).sum(),
        rewind: memory.rewind,
        scratch: memory.scratch,
    }
}
