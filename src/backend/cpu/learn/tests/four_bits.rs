//! Learning for 4 bits: what is computed is what the quantised model will compute.

use super::behaviour::{accumulate, exact, loss_of, update};
use super::*;
use crate::backend::cpu::CpuBackend;
use crate::backend::cpu::learn::FourBits;
use crate::backend::learn::Objective;
use crate::model::checkpoint::plan_quantised;
use crate::model::matrix::Float;

#[test]
fn losses_are_those_of_the_model_once_it_is_quantised() {
    let cases = [("tiny", FourBits::Affine4, Format::Affine4), ("untied", FourBits::Nf4, Format::Nf4)];
    for (name, bits, format) in cases {
        let (checkpoint, spec) = fixture(name);
        let sequences = [sequence(40, spec.vocab, 1, &[]), sequence(30, spec.vocab, 4, &[])];
        let options = LearnOptions {
            threads: Some(2),
            rounded: Some(bits),
            inference: exact(),
            ..LearnOptions::new(Train::Full)
        };
        let mut learner = CpuLearner::new(checkpoint.clone(), spec.clone(), options).unwrap();
        let before = learner.evaluate(&sequences, Objective::Tokens).unwrap().loss;
        accumulate(&mut learner, &sequences);
        learner.step(&update(1, 30.0)).unwrap();
        // Asked right after a step, when what is kept is still that of the values before.
        let live = loss_of(&mut *learner.model().unwrap(), &sequences);
        let own = learner.evaluate(&sequences, Objective::Tokens).unwrap().loss;

        let mut plain = self::learner(&(checkpoint, spec.clone()), Train::Full);
        for i in 0..plain.parameters().len() {
            plain.write(i, Part::Value, &learner.read(i, Part::Value).unwrap()).unwrap();
        }
        let float = plain.evaluate(&sequences, Objective::Tokens).unwrap().loss;
        let jobs = plan_quantised(&spec, format, 64, |_| Some(Float::F32)).unwrap();
        let source = plain.copied().unwrap();
        let bytes = write_tensors(Cursor::new(Vec::new()), &source, &jobs, 1, &mut |_, _, _| Ok(())).unwrap();
        let quantised = Checkpoint::from_bytes("quantised", bytes.into_inner()).unwrap();
        let mut backend = CpuBackend::new(&quantised, spec.clone(), &exact()).unwrap();
        let want = loss_of(&mut backend, &sequences);

        // The table of embeddings is stored in f16, which is all that differs.
        for found in [own, live] {
            assert!((found / want - 1.0).abs() < 2e-3, "{name}: {found}, should be {want}");
        }
        assert!((float / want - 1.0).abs() > 1e-2, "{name}: rounding {want} is not told from {float}");
        assert!(own < before, "{name}: {own} after a step, {before} before it");
    }
}

#[test]
fn adapters_cannot_learn_for_them() {
    let (checkpoint, spec) = fixture("tiny_q");
    let lora = Train::Lora(super::super::AdapterOptions::default());
    let options = LearnOptions { rounded: Some(FourBits::Affine4), ..LearnOptions::new(lora) };
    let said = CpuLearner::new(checkpoint, spec, options).err().unwrap().to_string();
    assert!(said.contains("4 bits"), "{said}");
}
