//! Against the CPU's learner, whose gradients are compared with slopes.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::backend::Logits;
use crate::backend::cpu::Options;
use crate::backend::cpu::learn::CpuLearner;
use crate::model::config::Config;
use crate::model::footprint::KvFormat;

fn fixture(name: &str) -> (Arc<Checkpoint>, ModelSpec) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let spec = Config::read(&folder.join("config.json")).unwrap().spec();
    (Arc::new(Checkpoint::open(&folder).unwrap()), spec)
}

fn both(name: &str, train: Train) -> (CpuLearner, MlxLearner) {
    let (files, spec) = fixture(name);
    let options = LearnOptions { threads: Some(1), seed: 7, ..LearnOptions::new(train) };
    let cpu = CpuLearner::new(files.clone(), spec.clone(), options.clone()).unwrap();
    (cpu, MlxLearner::new(&files, spec, options).unwrap())
}

fn adapters() -> AdapterOptions {
    AdapterOptions { rank: 3, scale: 2.0, experts: true, ..AdapterOptions::default() }
}

fn sequence(count: usize, seed: usize, starts: &[usize]) -> Sequence {
    let tokens = (0..count).map(|i| ((i * 31 + seed * 17) % 96) as u32).collect();
    Sequence { tokens, mask: (0..count).map(|i| !(i + seed).is_multiple_of(4)).collect(), starts: starts.to_vec() }
}

fn update(step: u64, units: f64) -> Update {
    let (learning_rate, max_grad_norm, weight_decay) = (3e-3, 1.0, 0.01);
    Update { units, learning_rate, max_grad_norm, weight_decay, betas: (0.9, 0.999), epsilon: 1e-8, step }
}

fn trained(
    learner: &mut dyn Learner,
    batch: &[Sequence],
    objective: Objective,
    router: RouterLosses,
    step: u64,
) -> (Losses, f64) {
    let losses = learner.accumulate(batch, objective, router, 1, &|| false).unwrap().unwrap();
    let norm = learner.step(&update(step, losses.units)).unwrap();
    (losses, norm)
}

fn near(what: &str, a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{what}: {a} and {b}");
}

/// Gradients, as the first moments have them after one step.
fn gradients_agree(cpu: &CpuLearner, mlx: &MlxLearner, what: &str) {
    assert_eq!(cpu.parameters(), mlx.parameters());
    for (i, parameter) in cpu.parameters().iter().enumerate() {
        let [a, b] = [cpu as &dyn Learner, mlx].map(|l| l.read(i, Part::Moment1).unwrap());
        let largest = a.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 2e-3 * largest, "{what}, {}: off by {worst} of {largest}", parameter.name);
    }
}

#[test]
fn ten_steps_are_those_of_the_cpu() {
    let batch = [sequence(40, 1, &[]), sequence(33, 2, &[10, 21])];
    let router = RouterLosses { balance: 0.01, z: 0.001 };
    for (name, train) in [
        ("tiny_q", Train::Dora(adapters())),
        ("tiny_q", Train::Lora(AdapterOptions { experts: false, ..adapters() })),
        ("tiny", Train::Dora(adapters())),
    ] {
        for (objective, router) in [
            (Objective::Tokens, router),
            (Objective::Tokens, RouterLosses::default()),
            (Objective::Preference { beta: 0.1 }, RouterLosses::default()),
        ] {
            let what = format!("{name}, {objective:?}, {router:?}");
            let (mut cpu, mut mlx) = both(name, train.clone());
            for step in 1..=10 {
                let (a, norm_a) = trained(&mut cpu, &batch, objective, router, step);
                let (b, norm_b) = trained(&mut mlx, &batch, objective, router, step);
                if step == 1 {
                    gradients_agree(&cpu, &mlx, &what);
                    near(&what, norm_a, norm_b, 1e-3);
                }
                assert_eq!((a.units, a.tokens), (b.units, b.tokens), "{what}");
                near(&what, a.loss / a.units, b.loss / b.units, 1e-3);
                near(&what, a.router / a.units, b.router / b.units, 1e-3);
                near(&what, a.preference.odds, b.preference.odds, 1e-3);
                let sums = |l: &Losses| l.experts.iter().map(|e| e.iter().sum::<u64>()).collect::<Vec<_>>();
                assert_eq!(sums(&a), sums(&b), "{what}");
                if step == 1 {
                    assert_eq!(a.experts, b.experts, "{what}");
                }
            }
            let [a, b] = [&mut cpu as &mut dyn Learner, &mut mlx].map(|l| l.evaluate(&batch, objective).unwrap());
            near(&what, a.loss / a.units, b.loss / b.units, 1e-3);
        }
    }
}

#[test]
fn one_goes_on_where_the_other_stopped() {
    let batch = [sequence(40, 3, &[])];
    let (mut cpu, mut mlx) = both("tiny_q", Train::Dora(adapters()));
    (1..=3).for_each(|step| {
        trained(&mut cpu, &batch, Objective::Tokens, RouterLosses::default(), step);
    });
    for i in 0..cpu.parameters().len() {
        for part in [Part::Value, Part::Moment1, Part::Moment2] {
            mlx.write(i, part, &cpu.read(i, part).unwrap()).unwrap();
        }
    }
    for step in 4..=6 {
        let (a, _) = trained(&mut cpu, &batch, Objective::Tokens, RouterLosses::default(), step);
        let (b, _) = trained(&mut mlx, &batch, Objective::Tokens, RouterLosses::default(), step);
        near("after the change", a.loss / a.units, b.loss / b.units, 1e-3);
    }
    // The live models say the same.
    let ids: Vec<u32> = (0..30).map(|i| i * 7 % 96).collect();
    let mut live = [cpu.model().unwrap(), mlx.model().unwrap()];
    let [a, b] = [0, 1].map(|i| live[i].forward(&ids, Logits::Last, None).unwrap().to_vec());
    let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    // The CPU's live model is the fast one, which rounds.
    let apart = a.iter().zip(&b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(apart < 0.1 * largest, "{apart} of {largest}");
}

#[test]
fn dropout_cancelling_and_bad_input() {
    let dropping = AdapterOptions { dropout: 0.3, ..adapters() };
    let (_, mut mlx) = both("tiny", Train::Lora(dropping));
    let batch = [sequence(30, 4, &[]), sequence(20, 5, &[])];
    let none = RouterLosses::default();
    // A step, so that the adapters' branch says something.
    trained(&mut mlx, &batch, Objective::Tokens, none, 1);
    let mut loss = |seed: u64| {
        let losses = mlx.accumulate(&batch, Objective::Tokens, none, seed, &|| false).unwrap().unwrap();
        mlx.discard();
        losses.loss
    };
    assert_eq!(loss(1), loss(1));
    assert_ne!(loss(1), loss(2));
    assert!(mlx.accumulate(&batch, Objective::Tokens, none, 1, &|| true).unwrap().is_none());
    assert!(mlx.gradients.is_none());
    let nothing = Sequence { mask: vec![false; 5], ..sequence(5, 1, &[]) };
    let losses = mlx.accumulate(&[nothing], Objective::Tokens, none, 1, &|| false).unwrap().unwrap();
    assert_eq!((losses.units, losses.tokens), (0.0, 5));
    let outside = Sequence { tokens: vec![1, 200], mask: vec![true; 2], starts: Vec::new() };
    assert!(mlx.evaluate(&[outside], Objective::Tokens).unwrap_err().to_string().contains("200"));
    assert!(mlx.write(0, Part::Value, &[f32::NAN]).is_err());
    assert!(mlx.write(999, Part::Value, &[]).is_err());
    let (files, spec) = fixture("tiny");
    let said = MlxLearner::new(&files, spec, LearnOptions::new(Train::Full)).err().unwrap().to_string();
    assert!(said.contains("--backend cpu"), "{said}");
    assert!(mlx.memory().frozen > 0 && mlx.memory().activations > 0);
}

#[test]
fn the_live_model_keeps_keys_and_values_as_is_asked() {
    let (files, spec) = fixture("tiny_q");
    let live = |kv| {
        let inference = Options { kv, ..Options::default() };
        let options = LearnOptions { inference, ..LearnOptions::new(Train::Lora(adapters())) };
        MlxLearner::new(&files, spec.clone(), options).unwrap().model()
    };
    let kept = |kv| live(kv).unwrap().is_exact();
    assert_eq!([None, Some(KvFormat::F32), Some(KvFormat::F16)].map(kept), [true, true, false]);
    assert!(live(Some(KvFormat::Q8)).err().unwrap().to_string().contains("--kv q8"));
}
