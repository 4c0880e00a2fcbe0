//! How fast a model trains on this machine, and in how much memory.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::backend::cpu::Options;
use crate::backend::cpu::learn::{AdapterOptions, CpuLearner, LearnOptions, Train};
use crate::backend::learn::{Learner, Objective, RouterLosses, Sequence, Update};
use crate::backend::{Which, mlx};
use crate::cli::open::Files;
use crate::cli::progress::count;
use crate::cli::{interrupt, output, resources};
use crate::model::tensors::parameters;

/// Models above this are measured with adapters alone: all of their gradients and moments would need
/// hundreds of times the memory.
const LARGE: u64 = 500_000_000;

/// One way to train.
#[derive(Debug, Serialize)]
struct Figures {
    method: &'static str,
    batch: usize,
    length: usize,
    recompute: bool,
    /// Medians, over whole steps: forward, backward and update.
    tokens_per_s: f64,
    step_s: f64,
    trained_parameters: u64,
    frozen: u64,
    trained: u64,
    gradients: u64,
    moments: u64,
    activations: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    threads: usize,
    ways: Vec<Figures>,
    peak_resident_bytes: Option<u64>,
}

/// Measures a model's training and prints it.
pub(super) fn run(files: Files, options: &Options, json: bool) -> Result<()> {
    let spec = files.config.spec();
    let large = parameters(&spec).0 > LARGE;
    let (name, checkpoint) = (files.name, files.checkpoint);
    let lora = || Train::Lora(AdapterOptions::default());
    let dora = || Train::Dora(AdapterOptions::default());
    let ways: Vec<(&'static str, Train, usize, usize, bool)> = if large {
        vec![("lora", lora(), 1, 512, true), ("dora", dora(), 1, 512, true)]
    } else {
        let mut all = Vec::new();
        for recompute in [true, false] {
            all.push(("lora", lora(), 1, 256, recompute));
            all.push(("dora", dora(), 1, 256, recompute));
            all.push(("full", Train::Full, 8, 256, recompute));
        }
        all
    };
    let mut report = Report { model: name, threads: 0, ways: Vec::new(), peak_resident_bytes: None };
    for (method, train, batch, length, recompute) in ways {
        let learn =
            LearnOptions { recompute, threads: options.threads, level: options.level, ..LearnOptions::new(train) };
        let (mut learner, threads): (Box<dyn Learner>, usize) = if options.which == Which::Mlx {
            // It trains adapters alone, and keeps what it needs.
            if learn.train == Train::Full || !recompute {
                continue;
            }
            (mlx::learner(&checkpoint, spec.clone(), learn)?, 1)
        } else {
            let learner = CpuLearner::new(checkpoint.clone(), spec.clone(), learn)?;
            let threads = learner.threads();
            (Box::new(learner), threads)
        };
        if !json && report.threads == 0 {
            output::line(format_args!(
                "{}: {} parameters; {}, {} threads\n",
                output::safe(&report.model),
                count(parameters(&spec).0),
                learner.name(),
                threads,
            ))?;
            output::line(
                "method batch length recompute  tokens/s   trained  memory in MB: frozen trained gradients moments activations",
            )?;
        }
        report.threads = threads;
        let figures = one(&mut *learner, (method, batch, length, recompute), large)?;
        if !json {
            figures.print()?;
        }
        report.ways.push(figures);
    }
    report.peak_resident_bytes = resources::peak_resident();
    if json {
        return output::json_line(&report);
    }
    if let Some(peak) = report.peak_resident_bytes {
        output::line(format_args!("\npeak resident memory of all: {:.0} MB", peak as f64 / 1e6))?;
    }
    Ok(())
}

fn one(
    learner: &mut dyn Learner,
    (method, batch, length, recompute): (&'static str, usize, usize, bool),
    large: bool,
) -> Result<Figures> {
    let vocab = learner.spec().vocab;
    let token = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % vocab) as u32;
    let sequence = |s: usize| Sequence {
        tokens: (0..=length).map(|i| token(s * 7919 + i)).collect(),
        mask: vec![true; length + 1],
        starts: Vec::new(),
    };
    let sequences: Vec<Sequence> = (0..batch).map(sequence).collect();
    let router = match method {
        "full" => RouterLosses { balance: 0.01, z: 0.001 },
        _ => RouterLosses::default(),
    };
    // The first step fills the caches and makes the buffers; in a minute of work that is nothing.
    let (first, rounds) = if large { (0, 1) } else { (1, 7) };
    let mut seconds = Vec::new();
    for step in 1..=first + rounds {
        interrupt::check()?;
        let start = Instant::now();
        let losses = learner.accumulate(&sequences, Objective::Tokens, router, step, &|| false)?.unwrap_or_default();
        let update = Update {
            units: losses.units,
            learning_rate: 1e-4,
            max_grad_norm: 1.0,
            weight_decay: 0.01,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            step,
        };
        learner.step(&update)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.drain(..first as usize);
    seconds.sort_by(f64::total_cmp);
    let step_s = seconds[seconds.len() / 2];
    let memory = learner.memory();
    Ok(Figures {
        method,
        batch,
        length,
        recompute,
        tokens_per_s: (batch * length) as f64 / step_s,
        step_s,
        trained_parameters: learner.parameters().iter().map(|p| p.shape.iter().product::<usize>() as u64).sum(),
        frozen: memory.frozen,
        trained: memory.trained,
        gradients: memory.gradients,
        moments: memory.moments,
        activations: memory.activations,
    })
}

impl Figures {
    fn print(&self) -> std::io::Result<()> {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        output::line(format_args!(
            "{:<6} {:>5} {:>6} {:>9} {:>9.1} {:>9} {:>20} {:>7} {:>9} {:>7} {:>11}",
            self.method,
            self.batch,
            self.length,
            if self.recompute { "on" } else { "off" },
            self.tokens_per_s,
            count(self.trained_parameters),
            mb(self.frozen),
            mb(self.trained),
            mb(self.gradients),
            mb(self.moments),
            mb(self.activations),
        ))
    }
}
