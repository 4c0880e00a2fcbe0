//! Torn files, losses that are no numbers, disks that are full, shapes that do not fit.

use super::*;
use crate::backend::learn::Learner;
use crate::protocol::Happening;

/// A run stopped after step 11, with checkpoints of steps 4, 8 and 11.
fn stopped(dir: &Path) -> PathBuf {
    let mut rig = Rig::new(dir);
    rig.interrupt_after = 11;
    let folder = rig.folder();
    rig.start().unwrap();
    assert_eq!(checkpoints(&folder), [11, 8, 4]);
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_checkpoint_that_is_cut_short_or_damaged_is_passed_over() {
    let whole = tempfile::tempdir().unwrap();
    let want = Rig::new(whole.path()).folder();
    Rig::new(whole.path()).start().unwrap();
    let origin = tempfile::tempdir().unwrap();
    stopped(origin.path());
    let cut: fn(&Path) = |file| {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    let flip: fn(&Path) = |file| {
        let mut bytes = std::fs::read(file).unwrap();
        let at = bytes.len() - 3;
        bytes[at] ^= 4;
        std::fs::write(file, bytes).unwrap();
    };
    let empty: fn(&Path) = |file| std::fs::write(file, "").unwrap();
    let remove: fn(&Path) = |file| std::fs::remove_file(file).unwrap();
    for file in ["adapters.safetensors", "optimizer.safetensors", "state.json", "adapter_config.json"] {
        for harm in [cut, flip, empty, remove] {
            let dir = tempfile::tempdir().unwrap();
            copy(origin.path(), dir.path());
            let folder = Rig::new(dir.path()).folder();
            harm(&folder.join("checkpoints/step-00000011").join(file));
            // One that was being written when the power went.
            std::fs::create_dir(folder.join("checkpoints/.unfinished-step-00000012")).unwrap();
            let mut said = Vec::new();
            let found = newest_whole(&folder.join("checkpoints"), &mut |line| said.push(line)).unwrap().unwrap();
            if found.1.step == 11 {
                // The state itself, changed where it is still JSON of the same step.
                assert_eq!(file, "state.json");
                continue;
            }
            assert_eq!((found.1.step, said.len()), (8, 1));
            assert!(said[0].contains("step-00000011") && said[0].contains("the one before"), "{said:?}");
            Rig::new(dir.path()).resume().unwrap();
            assert_eq!(course(&folder), course(&want), "{file}");
            assert_eq!(adapter(&folder), adapter(&want), "{file}");
            assert!(!folder.join("checkpoints/.unfinished-step-00000012").exists());
        }
    }
}

#[test]
fn with_no_whole_checkpoint_it_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = stopped(dir.path());
    for step in checkpoints(&folder) {
        std::fs::remove_file(folder.join("checkpoints").join(checkpoint::folder_name(step)).join("state.json"))
            .unwrap();
    }
    let (outcome, seen) = Rig::new(dir.path()).resume().unwrap();
    assert_eq!((outcome.step, steps(&seen).len()), (12, 12));
    assert_eq!(steps(&lines(&folder)).len(), 12);
}

#[test]
fn a_loss_that_is_no_number_stops_it_and_the_last_good_checkpoint_stays() {
    let whole = tempfile::tempdir().unwrap();
    let want = Rig::new(whole.path()).folder();
    Rig::new(whole.path()).start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path());
    rig.poisoned_from = 6;
    let folder = rig.folder();
    let said = format!("{:#}", rig.start().unwrap_err());
    for part in
        ["the loss of step 7 is not a number", "it read lines ", "data.jsonl", "checkpoint is of step 4", "--resume"]
    {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert_eq!(checkpoints(&folder), [4]);
    let all = lines(&folder);
    assert_eq!(steps(&all).len(), 6);
    assert!(
        matches!(&events(&all).last().unwrap().what, Happening::Stop { message, .. } if message.contains("step 7"))
    );
    Rig::new(dir.path()).resume().unwrap();
    assert_eq!(course(&folder), course(&want));
}

#[test]
fn numbers_that_are_none_are_never_saved() {
    let dir = tempfile::tempdir().unwrap();
    let folder = stopped(dir.path());
    let (_, state) = newest_whole(&folder.join("checkpoints"), &mut |_| {}).unwrap().unwrap();
    let mut learner = Bigram::new();
    learner.write(1, crate::backend::learn::Part::Value, &vec![f32::NAN; 16 * Bigram::VOCAB]).unwrap();
    let output = Output { weights: "adapters.safetensors".into(), metadata: BTreeMap::new(), beside: vec![] };
    let said = format!("{:#}", checkpoint::save(&folder.join("checkpoints"), &learner, &output, state).unwrap_err());
    assert!(said.contains("table holds numbers"), "{said}");
    assert_eq!(checkpoints(&folder), [11, 8, 4]);
    assert!(newest_whole(&folder.join("checkpoints"), &mut |said| panic!("{said}")).unwrap().is_some());
}

#[test]
fn a_checkpoint_of_another_shape_is_refused_before_anything_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = stopped(dir.path());
    let path = folder.join("checkpoints/step-00000011");
    let refused = |from: &str, to: &str| {
        let file = path.join("adapters.safetensors");
        let whole = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&whole[..400]).into_owned();
        let other = text.replacen(from, to, 1);
        assert_ne!(text, other);
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let mut bytes = whole.clone();
        bytes[8..header].copy_from_slice(&other.as_bytes()[text.find('{').unwrap()..][..header - 8]);
        std::fs::write(&file, bytes).unwrap();
        let mut learner = Bigram::new();
        let output = Output { weights: "adapters.safetensors".into(), metadata: BTreeMap::new(), beside: vec![] };
        let said = format!("{:#}", checkpoint::restore(&path, &mut learner, &output).unwrap_err());
        std::fs::write(&file, whole).unwrap();
        assert!(learner.read(0, crate::backend::learn::Part::Value).unwrap().iter().all(|x| *x == 0.0));
        said
    };
    let said = refused("[16,300]", "[30,160]");
    assert!(said.contains("`table` has the shape [30, 160]") && said.contains("[16, 300]"), "{said}");
    let said = refused("\"table\"", "\"tabel\"");
    assert!(said.contains("no tensor `table`"), "{said}");
}
