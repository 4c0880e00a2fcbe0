//! What `inspect` says of memory before a model is run, against what is held when it runs.

mod backends;

use std::io::Cursor;

use backends::on_mlx;
use bit_axon::backend::cpu::{KvFormat, Options};
use bit_axon::backend::{Backend, Logits};
use bit_axon::model::checkpoint::{Checkpoint, Format, plan_new, write_tensors};
use bit_axon::model::config::Config;
use bit_axon::model::footprint::footprint;
use bit_axon::model::init::RandomWeights;
use bit_axon::protocol::{LayerMemory, MemoryReport, TokenId};

fn backend(config: &Config, format: Format, options: &Options) -> Box<dyn Backend> {
    let spec = config.spec();
    let jobs = plan_new(&spec, format, 64).unwrap();
    let weights = RandomWeights::new(&spec, 1);
    let bytes = write_tensors(Cursor::new(Vec::new()), &weights, &jobs, 2, &mut |_, _, _| Ok(())).unwrap();
    let checkpoint = Checkpoint::from_bytes("made here", bytes.into_inner()).unwrap();
    backends::new(&checkpoint, spec, options)
}

#[test]
fn memory_is_as_predicted() {
    let small = Config::preset("small").unwrap();
    let wide = Config { ssm_d_state: 16, ssm_d_conv: 4, ssm_expand: 1, swa_window_size: 256, ..small.clone() };
    let cases = [(&small, Format::F32, 1000, 64), (&wide, Format::Affine4, 200, 64), (&wide, Format::Nf4, 1500, 2)];
    for (config, format, context, budget) in cases {
        for kv in [KvFormat::F32, KvFormat::F16, KvFormat::Q8] {
            if on_mlx() && (format == Format::Nf4 || kv == KvFormat::Q8) {
                continue;
            }
            let budget = budget << 20;
            let options =
                Options { exact: kv == KvFormat::F32, kv: Some(kv), rewind_budget: budget, ..Options::default() };
            let mut backend = backend(config, format, &options);
            let ids: Vec<TokenId> = (0..context).map(|i| i * 7 % 1024).collect();
            for piece in ids.chunks(backend.chunk()) {
                backend.forward(piece, Logits::Last, None).unwrap();
            }
            let found = backend.memory();
            let said = footprint(backend.spec(), found.weights, context as usize, kv, budget as u64);
            let sum = |m: &MemoryReport, part: fn(&LayerMemory) -> u64| m.layers.iter().map(part).sum::<u64>();
            for (part, found, said, tolerance) in [
                // Keys and values come in blocks.
                ("kv", sum(&found, |l| l.kv), sum(&said, |l| l.kv), 0.4),
                ("ssm", sum(&found, |l| l.ssm), sum(&said, |l| l.ssm), 0.0),
                ("rewind", found.rewind, said.rewind, 0.25),
                ("scratch", found.scratch, said.scratch, 0.25),
            ] {
                // Estimates of what each backend has in its own way are of the CPU's.
                if on_mlx() && matches!(part, "rewind" | "scratch") {
                    continue;
                }
                let off = (found as f64 - said as f64).abs() / found as f64;
                assert!(off <= tolerance, "{context} tokens, {format}, {kv:?}: {part} {found}, predicted {said}");
            }
        }
    }
}
