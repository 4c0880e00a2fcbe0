//! Runs that are killed, interrupted, or run out of disk.

use super::*;

const RUN: &str = "train data.jsonl --model model --max-steps 40 --save-every 3 --eval-every 5 --val-split 0.1 \
                   --max-seq-len 48 --batch-size 2 --grad-accum-steps 2 --learning-rate 1e-3 --sensor none --threads 1";

#[test]
fn a_run_that_is_killed_again_and_again_is_the_run_that_never_was() {
    let place = Place::new();
    place.works(&format!("{RUN} --output-dir whole"));
    let mut kills = 0u64;
    let mut seen = 0;
    loop {
        let mut child = place.spawn(&format!("{RUN} --resume --output-dir killed"));
        // Somewhere in the steps to come.
        let (wanted, pause) = (seen + (kills % 3) as usize, Duration::from_micros(300 * (kills * 7 % 19)));
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if kills < 12 && place.steps("killed").len() > wanted {
                std::thread::sleep(pause);
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        seen = place.steps("killed").len().min(36);
        match ended {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
    }
    assert!(kills > 4, "it was killed {kills} times only");
    assert_eq!(place.course("killed"), place.course("whole"));
    let adapter = |run: &str| fs::read(place.path(run).join("adapter/adapters.safetensors")).unwrap();
    assert!(adapter("killed") == adapter("whole"));
}

/// The same at moments that nobody chose, in the real arithmetic: some before the first step, some in the middle of
/// a checkpoint. Prints what it found.
#[test]
#[ignore = "takes a minute; cargo test --test training -- --ignored thirty_random --nocapture"]
fn thirty_random_kills_change_no_step() {
    const KILLS: usize = 30;
    let place = Place::new();
    let run = RUN.replace("--max-steps 40", "--max-steps 300");
    place.works(&format!("{run} --output-dir whole"));
    // Another seed each time, which is said where it fails.
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    let random = |n: u64| std::hash::BuildHasher::hash_one(&Mixed(seed), n);
    let (mut moments, mut seen) = (Vec::new(), 0);
    for kill in 0..KILLS as u64 {
        let mut child = place.spawn(&format!("{run} --resume --output-dir killed"));
        // Every third while it begins; the others after up to eight more steps and a while.
        let (more, pause) = if kill % 3 == 0 { (0, 60_000) } else { (1 + random(kill) as usize % 8, 20_000) };
        let pause = Duration::from_micros(random(kill + 1000) % pause);
        while more > 0 && place.steps("killed").len() < seen + more {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed; seed {seed}");
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(pause);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it ended before it was killed; seed {seed}");
        seen = place.steps("killed").len();
        let unfinished = place.path("killed/checkpoints").read_dir().into_iter().flatten().flatten();
        let hidden = unfinished.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count();
        moments.push(if hidden > 0 { format!("{seen} (saving)") } else { seen.to_string() });
    }
    place.works(&format!("{run} --resume --output-dir killed"));
    let (killed, whole) = (place.course("killed"), place.course("whole"));
    assert_eq!(killed.len(), 300);
    assert_eq!(killed, whole, "seed {seed}, killed after {moments:?}");
    let adapter = |run: &str| fs::read(place.path(run).join("adapter/adapters.safetensors")).unwrap();
    assert!(adapter("killed") == adapter("whole"), "seed {seed}");
    println!("killed {KILLS} times, after steps {}: all 300 losses are the same", moments.join(", "));
}

/// Numbers that follow from a seed.
struct Mixed(u64);

impl std::hash::BuildHasher for Mixed {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hasher::write_u64(&mut hasher, self.0);
        hasher
    }
}

#[test]
fn ctrl_c_saves_and_a_second_trainer_waits_outside() {
    let place = Place::new();
    let args = RUN.replace("--max-steps 40", "--max-steps 1000000");
    let mut child = place.spawn(&format!("{args} --output-dir run"));
    place.until(&mut child, "four steps", |place| place.steps("run").len() > 4);
    let said = place.fails(1, &format!("{args} --resume --output-dir run"));
    assert!(said.contains("another trainer is at work") && said.contains(&child.id().to_string()), "{said}");
    // SAFETY: sends a signal to a process that this test began and has not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last = place.steps("run").last().unwrap().step;
    assert!(place.checkpoints("run").last().unwrap().ends_with(&format!("{last:08}")));
    place.works(&format!("train --resume --output-dir run --max-steps {}", last + 1));
    assert_eq!(place.steps("run").len() as u64, last + 1);
    // A finished run is not begun over by mistake.
    let said = place.fails(1, &format!("{args} --output-dir run"));
    assert!(said.contains("already holds a run"), "{said}");
}

/// Files may not grow beyond so many bytes: as on a disk that fills up while a checkpoint is written.
fn with_little_room(place: &Place, args: &str, kilobytes: u64) -> Output {
    let program = program();
    let program = program.display();
    // The signal would end the program; ignored, writing fails as it does on a full disk.
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec {program} {args}");
    // bash counts in kilobytes where it is not asked to be sh.
    Command::new("bash").args(["-c", &script]).current_dir(place.0.path()).output().unwrap()
}

#[test]
fn a_disk_that_fills_up_leaves_the_checkpoint_before() {
    let place = Place::new();
    place.works(&format!("{RUN} --output-dir whole"));
    let mut child = place.spawn(&format!("{RUN} --output-dir run"));
    place.until(&mut child, "seven steps", |place| place.steps("run").len() >= 7);
    child.kill().unwrap();
    child.wait().unwrap();
    let size = |file: &str| place.path(file).metadata().unwrap().len();
    let moments = size("whole/checkpoints/step-00000040/optimizer.safetensors");
    assert!(size("whole/metrics.jsonl") + 2000 < moments, "the metrics must still fit");
    let before = place.checkpoints("run");
    let output = with_little_room(&place, &format!("{RUN} --resume --output-dir run"), moments / 1024 - 1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["cannot write the checkpoint", "the newest whole checkpoint is of step", "--resume"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert_eq!(place.checkpoints("run"), before);
    // With room again, it is as if nothing had happened.
    place.works(&format!("{RUN} --resume --output-dir run"));
    assert_eq!(place.course("run"), place.course("whole"));
}
