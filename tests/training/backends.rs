//! Which backend trains: chosen, said, and changed in the middle of a run.

use super::*;

const SHORT_RUN: &str = "--max-steps 8 --save-every 4 --max-seq-len 48 --batch-size 2 --grad-accum-steps 1 \
                         --learning-rate 1e-3 --val-split 0.1 --sensor none --threads 1";

/// What the environment says is for the tests that do not choose.
fn plan(place: &Place, rest: &str) -> Output {
    let args = format!("train data.jsonl --model model --plan {SHORT} {rest}");
    place.command(&args).env_remove("BIT_AXON_BACKEND").output().unwrap()
}

#[test]
fn a_plan_says_what_computes() {
    let place = Place::new();
    let said = |rest: &str| String::from_utf8(plan(&place, rest).stdout).unwrap();
    let line = said("--backend cpu");
    assert!(line.contains("backend     cpu ") && line.contains(", 1 threads\n"), "{line}");
    // Where MLX is not there.
    #[cfg(all(target_os = "linux", not(feature = "mlx-linux")))]
    assert!(said("").contains("backend     cpu "), "{}", said(""));
    // MLX trains adapters alone: left to itself, the program takes what can do it.
    let line = said("--adapter full");
    assert!(line.contains("backend     cpu "), "{line}");
    place.write("run.toml", "backend = \"cpu\"\n");
    assert!(said("--config run.toml").contains("backend     cpu "));
    let output = plan(&place, "--backend gpu");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("auto"));
}

#[test]
fn the_choice_is_kept_with_the_run() {
    let place = Place::new();
    place.works(&format!("train data.jsonl --model model --backend cpu {SHORT_RUN} --output-dir run"));
    let settings = fs::read_to_string(place.path("run/settings.toml")).unwrap();
    assert!(settings.contains("backend = \"cpu\""), "{settings}");
    let starts = place.events("run");
    let Happening::Start { backend, .. } = &starts[0].what else { panic!("{starts:?}") };
    assert!(backend.starts_with("cpu "), "{backend}");
}

#[cfg(not(any(feature = "mlx-linux", all(feature = "mlx", target_os = "macos", target_arch = "aarch64"))))]
#[test]
fn without_mlx_it_is_said_how_to_get_it() {
    let place = Place::new();
    let args = format!("train data.jsonl --model model --backend mlx {SHORT_RUN}");
    let said = place.fails(1, &args);
    assert!(said.contains("without its MLX backend") && said.contains("--backend cpu"), "{said}");
    assert!(!place.path("runs").exists());
}

#[cfg(any(feature = "mlx-linux", all(feature = "mlx", target_os = "macos", target_arch = "aarch64")))]
mod with_mlx {
    use super::*;

    #[test]
    fn what_mlx_cannot_train_is_refused_before_anything_is_made() {
        let place = Place::new();
        let train = format!("train data.jsonl --model model --backend mlx {SHORT_RUN}");
        let said = place.fails(1, &format!("{train} --adapter full"));
        assert!(said.contains("--adapter dora or lora") && said.contains("--backend cpu"), "{said}");
        model(&place.path("wide"), 1, 32);
        place.works("quantize wide --out nf4 --format nf4 --group-size 32");
        let said = place.fails(1, &train.replace("--model model", "--model nf4"));
        assert!(said.contains("NF4") && said.contains("--backend cpu"), "{said}");
        assert!(!place.path("runs").exists());
        let said = String::from_utf8(plan(&place, "--backend mlx").stdout).unwrap();
        assert!(said.contains("backend     mlx "), "{said}");
    }

    /// A run of eight steps on one backend, and the same with its last four on the other.
    fn changed(place: &Place, data: &str, model: &str, first: &str, second: &str) {
        let (whole, run) = (format!("{model}-{first}"), format!("{model}-{first}-{second}"));
        let train = |folder: &str, rest: &str| {
            place.works(&format!("train {data} --model {model} {SHORT_RUN} --output-dir {folder} {rest}"));
        };
        train(&whole, &format!("--backend {first}"));
        train(&run, &format!("--backend {first}"));
        // As if it had been killed after its fifth step.
        fs::remove_dir_all(place.path(&run).join("checkpoints/step-00000008")).unwrap();
        train(&run, &format!("--resume --backend {second}"));
        let (one, both) = (place.course(&whole), place.course(&run));
        assert_eq!((one.len(), both.len()), (8, 8));
        assert_eq!(one[..4], both[..4]);
        for (a, b) in one.iter().zip(&both) {
            assert_eq!((a.0, a.3, a.4), (b.0, b.3, b.4), "step, rate and tokens");
            assert!((a.1 - b.1).abs() < 1e-3 * a.1.abs(), "{first} {a:?}, then {second} {b:?}");
            assert!((a.2 - b.2).abs() < 1e-2 * a.2.abs(), "{first} {a:?}, then {second} {b:?}");
        }
        let said: Vec<String> = place
            .events(&run)
            .into_iter()
            .filter_map(|event| if let Happening::Warning { message } = event.what { Some(message) } else { None })
            .collect();
        let told = |said: &String| said.contains(&format!("made by {first}")) && said.contains(&format!("{second} "));
        assert!(said.iter().any(told), "{said:?}");
    }

    #[test]
    fn a_checkpoint_of_one_goes_on_with_the_other() {
        let place = Place::new();
        model(&place.path("wide"), 1, 32);
        place.works("quantize wide --out four --format affine4 --group-size 32");
        let pair = |i: usize| json!({"prompt": format!("q{i}"), "chosen": format!("yes {i}"), "rejected": "no"});
        place.write("pairs.jsonl", &(0..40).map(|i| format!("{}\n", pair(i))).collect::<String>());
        for (first, second) in [("cpu", "mlx"), ("mlx", "cpu")] {
            changed(&place, "data.jsonl", "model", first, second);
            changed(&place, "pairs.jsonl", "four", first, second);
        }
    }
}
