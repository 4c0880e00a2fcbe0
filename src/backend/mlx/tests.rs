//! What is only true of this backend; the rest is in `tests/fixtures.rs`, which runs on both.

mod scan;

use std::io::Cursor;

use mlx_rs::Array;

use super::*;
use crate::backend::cpu::CpuBackend;
use crate::model::checkpoint::{Format, plan_new, write_tensors};
use crate::model::config::Config;
use crate::model::init::RandomWeights;
use crate::protocol::Alteration;

/// A small model of random weights.
fn made(format: Format) -> (Checkpoint, ModelSpec) {
    let small = Config::preset("small").unwrap();
    let config = Config { hidden_dim: 128, num_layers: 3, moe_intermediate_dim: 64, vocab_size: 96, ..small };
    let spec = config.spec();
    let jobs = plan_new(&spec, format, 64).unwrap();
    let weights = RandomWeights::new(&spec, 3);
    let bytes = write_tensors(Cursor::new(Vec::new()), &weights, &jobs, 1, &mut |_, _, _| Ok(())).unwrap();
    (Checkpoint::from_bytes("made here", bytes.into_inner()).unwrap(), spec)
}

/// The same with every tensor in brain floats, which no format of ours has.
fn in_bf16(files: &Checkpoint) -> Checkpoint {
    use safetensors::tensor::{Dtype, TensorView};
    let halved = |t: &[u8]| {
        let numbers = t.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        numbers.flat_map(|v| half::bf16::from_f32(v).to_le_bytes()).collect::<Vec<u8>>()
    };
    let all: Vec<_> = files.tensors().map(|t| (t.name.to_owned(), t.shape.to_vec(), halved(t.data))).collect();
    let views = all
        .iter()
        .map(|(name, shape, bytes)| (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap()));
    Checkpoint::from_bytes("in brain floats", safetensors::serialize(views, None).unwrap()).unwrap()
}

fn exact() -> Options {
    Options { exact: true, threads: Some(1), ..Options::default() }
}

fn ids(count: usize) -> Vec<TokenId> {
    (0..count as u32).map(|i| i * 37 % 96).collect()
}

/// All logits, read in pieces, and the routing.
fn read(backend: &mut dyn Backend, ids: &[TokenId], piece: usize) -> (Vec<f32>, Vec<TokenRouting>) {
    let (mut logits, mut routing) = (Vec::new(), Vec::new());
    for piece in ids.chunks(piece) {
        logits.extend_from_slice(backend.forward(piece, Logits::All, Some(&mut routing)).unwrap());
    }
    (logits, routing)
}

/// The largest difference, as a part of the largest number.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn every_format_gives_what_the_cpu_backend_gives() {
    let brain = in_bf16(&made(Format::F32).0);
    let formats = [Format::F32, Format::F16, Format::Affine4].map(|format| made(format).0);
    for (files, format) in formats.into_iter().chain([brain]).zip(["f32", "f16", "affine4", "bf16"]) {
        let spec = made(Format::F32).1;
        let ids = ids(70);
        let (want, _) = read(&mut CpuBackend::new(&files, spec.clone(), &exact()).unwrap(), &ids, 70);
        for piece in [70, 33, 1] {
            let (found, _) = read(&mut MlxBackend::new(&files, spec.clone(), &exact()).unwrap(), &ids, piece);
            assert!(apart(&want, &found) < 1e-4, "{format}, pieces of {piece}: {}", apart(&want, &found));
        }
        // Halves, as a GPU takes them, stay near.
        let mut halves =
            MlxBackend::with(&files, spec, &Options::default(), Ways { halves: true, compiled: false }).unwrap();
        assert!(!halves.is_exact());
        let (found, _) = read(&mut halves, &ids, 70);
        let v = want.len() / ids.len();
        let near = want.chunks(v).zip(found.chunks(v)).filter(|(a, b)| apart(a, b) < 0.05).count();
        assert!(near * 10 >= ids.len() * 8, "{format} in halves: {near} tokens near");
    }
}

#[test]
fn nf4_is_refused_with_what_to_do() {
    let (files, spec) = made(Format::Nf4);
    let said = MlxBackend::new(&files, spec, &exact()).err().unwrap().to_string();
    for part in ["made here", "NF4", "--backend cpu", "bit-axon quantize"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    let (files, spec) = made(Format::F32);
    let q8 = Options { kv: Some(KvFormat::Q8), ..Options::default() };
    assert!(MlxBackend::new(&files, spec, &q8).err().unwrap().to_string().contains("q8"));
}

#[test]
fn altered_routing_is_that_of_the_cpu_backend() {
    let (files, spec) = made(Format::Affine4);
    let mut cpu = CpuBackend::new(&files, spec.clone(), &exact()).unwrap();
    let mut mlx = MlxBackend::new(&files, spec, &exact()).unwrap();
    let none = Alteration::default;
    for all in [
        none(),
        Alteration { mute: vec![0, 3], ..none() },
        Alteration { force: vec![1], ..none() },
        Alteration { force: vec![2], mute: vec![1], top_k: Some(3), ..none() },
        Alteration { top_k: Some(4), temperature: 3.0, ..none() },
        Alteration { top_k: Some(1), no_shared: true, ..none() },
    ] {
        let alterations = Alterations { all: all.clone(), ..Alterations::default() };
        let mut both = [&mut cpu as &mut dyn Backend, &mut mlx].map(|backend| {
            backend.rewind(0).unwrap();
            backend.alter(&alterations).unwrap();
            read(backend, &ids(20), 7)
        });
        let [(want, wanted), (found, routing)] = &mut both;
        assert!(apart(want, found) < 1e-4, "{all:?}: {}", apart(want, found));
        for (want, found) in wanted.iter().flatten().zip(routing.iter().flatten()) {
            assert_eq!((want.layer, &want.experts), (found.layer, &found.experts), "{all:?}");
            assert!(apart(&want.weights, &found.weights) < 1e-4);
            assert!((want.entropy - found.entropy).abs() < 1e-4);
            assert_eq!(want.shared_gate.is_some(), found.shared_gate.is_some());
        }
    }
    assert!(mlx.alter(&Alterations { all: Alteration { mute: vec![9], ..none() }, ..Alterations::default() }).is_err());
}

#[test]
fn errors_name_the_operation_and_the_shapes() {
    let (a, b) = (ops::zeros(&[2, 3], Dtype::Float32).unwrap(), ops::zeros(&[4, 5], Dtype::Float32).unwrap());
    let said = ops::matmul(&a, &b).unwrap_err().to_string();
    for part in ["matmul", "float32 (2, 3)", "float32 (4, 5)"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    // The thread can go on.
    assert_eq!(ops::floats(&ops::add(&a, &a).unwrap()).unwrap(), vec![0.0; 6]);
}

#[test]
fn what_is_held_is_said() {
    let (files, spec) = made(Format::Affine4);
    let mut backend = MlxBackend::new(&files, spec, &Options { rewind_budget: 1 << 20, ..exact() }).unwrap();
    backend.forward(&ids(200), Logits::Last, None).unwrap();
    let memory = backend.memory();
    assert!(memory.weights > 0 && memory.layers.iter().all(|l| l.kv + l.ssm > 0));
    assert!(memory.rewind > 0 && memory.rewind <= 1 << 20);
    let device = memory.device.unwrap();
    assert!(device.active > 0 && device.peak >= device.active);
}

#[test]
fn arrays_are_shared_by_snapshots_and_copied_when_they_differ() {
    let (files, spec) = made(Format::F32);
    let mut backend = MlxBackend::new(&files, spec, &exact()).unwrap();
    backend.forward(&ids(40), Logits::Last, None).unwrap();
    let kept = backend.snapshot();
    let (first, _) = read(&mut backend, &[1, 2, 3], 1);
    backend.restore(&kept).unwrap();
    backend.forward(&[9, 8, 7, 6], Logits::Last, None).unwrap();
    backend.restore(&kept).unwrap();
    assert_eq!(read(&mut backend, &[1, 2, 3], 1).0, first);
    let other = CpuBackend::new(&made(Format::F32).0, made(Format::F32).1, &exact()).unwrap().snapshot();
    assert!(backend.restore(&other).unwrap_err().to_string().contains("another backend"));
}

#[test]
fn arrays_can_be_described() {
    assert_eq!(ops::describe(&Array::from_slice(&[1u32, 2], &[1, 2])), "uint32 (1, 2)");
}
