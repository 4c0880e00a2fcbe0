//! `run --session` and `sessions` of the real program: killed at any moment, on a full disk, in scripts.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use bit_axon::session::load;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_bit-axon");

/// A model with random weights, made once: it says anything, and goes on for long.
fn random_weights() -> &'static Path {
    static MODEL: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = MODEL.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("small");
        let init = ["init", "--preset", "small", "--format", "affine4", "--out"];
        let done = Command::new(PROGRAM).args(init).arg(&out).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        dir
    });
    made.path()
}

fn run(session: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--temperature", "1", "--threads", "1", "--session"]).arg(session).args(args);
    command.arg("--model").arg(random_weights().join("small"));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn sessions(folder: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("sessions").args(args).arg("--folder").arg(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[cfg(unix)]
#[test]
fn a_killed_program_has_saved_all_that_it_showed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("killed.jsonl");
    let (mut kills, mut messages) = (0, 0);
    for round in 0..40 {
        let question = format!("Question {round}");
        let mut child = run(&path, &[&question, "-n", "100000"]).stdout(Stdio::piped()).spawn().unwrap();
        // Killed once it has said so much, in the middle of whatever it does then.
        let mut out = child.stdout.take().unwrap();
        let mut shown = Vec::new();
        let wanted = [1, 70, 3, 40, 200][round % 5];
        (&mut out).take(wanted).read_to_end(&mut shown).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_end(&mut shown).unwrap();
        let loaded = load(&path).unwrap();
        // At most the line that was being written is torn, and that is told.
        let notes = &loaded.notes;
        assert!(notes.len() <= 1 && notes.iter().all(|note| note.contains("cut off")), "{notes:?}");
        // The next round mends the end, and goes on below the answer that was cut off.
        messages += 2;
        assert_eq!(loaded.chat.path().len(), messages);
        assert_eq!(loaded.chat.at(messages - 2).unwrap().text, question);
        let answer = loaded.chat.at(messages - 1).unwrap();
        // An answer that ended by itself had its last line ended too.
        let said = answer.text.clone() + if answer.end.is_some() { "\n" } else { "" };
        assert!(said.as_bytes().starts_with(&shown), "shown but not saved: {shown:?} of {said:?}");
        let tokens: String = answer.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(tokens, answer.text);
        if answer.text.is_empty() {
            // A question without an answer is asked again beside it.
            messages -= 2;
        }
        kills += usize::from(answer.end.is_none());
        if kills == 8 {
            return;
        }
    }
    panic!("the model never said enough to be killed: {kills}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_what_was_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    let made = Command::new(PROGRAM).args(["init", "--preset", "small", "--out"]).arg(&model).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let path = dir.path().join("full.jsonl");
    // Random weights may end their turn early; one of these seeds says enough to fill the disk.
    for seed in 1..20 {
        let _ = fs::remove_file(&path);
        let mut limited = Command::new("sh");
        // In units of 512 or 1024 bytes, as the shell pleases.
        limited.args(["-c", "ulimit -f 16; exec \"$@\"", "sh", PROGRAM, "run", "Hi", "-n", "400", "--seed"]);
        limited.arg(seed.to_string()).arg("--model").arg(&model).arg("--session").arg(&path);
        let output = limited.output().unwrap();
        let errors = text(&output.stderr);
        assert!(output.status.success(), "the answer must not end for it: {errors}");
        let loaded = load(&path).unwrap();
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
        if !errors.contains("error:") {
            continue;
        }
        assert!(errors.contains("what was saved before is there"), "{errors}");
        assert_eq!(errors.matches("error:").count(), 1, "said once: {errors}");
        let answer = loaded.chat.at(1).unwrap();
        assert!(answer.tokens.len() > 10 && answer.end.is_none());
        assert!(text(&output.stdout).starts_with(&answer.text));
        return;
    }
    panic!("no answer was long enough");
}

#[test]
fn a_session_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("talk.jsonl");
    said(&run(&path, &["First", "-n", "5", "--system", "Be brief."]).output().unwrap());
    said(&run(&path, &["Second", "-n", "5"]).output().unwrap());
    let loaded = load(&path).unwrap();
    let said_by_user: Vec<&str> =
        loaded.chat.path().iter().map(|id| loaded.chat.node(*id).unwrap().text.as_str()).step_by(2).collect();
    assert_eq!((said_by_user, loaded.chat.system.as_str()), (vec!["First", "Second"], "Be brief."));
    let answer = loaded.chat.at(3).unwrap();
    assert!(answer.tokens.iter().all(|token| token.alternatives.len() == 5 && token.routing.len() == 3));
    assert!(answer.stats.is_some() && answer.sampling.is_some());
    // Plain conversations keep theirs too, and what begins anew is another branch.
    let mut chat = run(&path, &["--chat", "-n", "5"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    chat.stdin.take().unwrap().write_all(b"Third\n/reset\nFourth\n").unwrap();
    assert!(chat.wait().unwrap().success());
    let loaded = load(&path).unwrap();
    assert_eq!((loaded.chat.nodes().len(), loaded.chat.path().len()), (8, 2));
    assert_eq!(loaded.chat.node(4).unwrap().text, "Third");
    // A file that is something else is not touched.
    let other = dir.path().join("other.txt");
    fs::write(&other, "mine\n").unwrap();
    let refused = run(&other, &["Hi"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("this is not a session"));
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine\n");
}

/// A folder with one session, made by hand: nothing in it is to be trusted.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("20260726-154233-sky.jsonl");
    let lines = [
        r#"{"bit-axon-session":1,"created":1785080553000}"#,
        r#"{"at":0,"add":{"m":0,"role":"user","text":"Why is the sky \u001b[31mBLUE?\u001b[2J"}}"#,
        r#"{"at":5,"add":{"m":1,"parent":0,"role":"assistant","text":""}}"#,
        r#"{"at":9,"tok":{"m":1,"i":5,"x":"Rayleigh scat","p":-0.1}}"#,
        r#"{"at":9,"tok":{"m":1,"i":6,"x":"tering."}}"#,
        r#"{"at":2000,"end":{"m":1,"how":{"done":"end_of_text"}}}"#,
    ];
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    (dir, path)
}

#[test]
fn scripts_list_search_show_and_export() {
    let (dir, path) = folder();
    let list = said(&sessions(dir.path(), &[]));
    assert!(list.starts_with("2026-07-26 15:42     2 messages  Why is the sky "), "{list:?}");
    assert!(!list.contains('\u{1b}') && list.lines().count() == 1, "{list:?}");
    let json: Value = serde_json::from_str(&said(&sessions(dir.path(), &["list", "--json"]))).unwrap();
    assert_eq!((&json["id"], &json["messages"]), (&"20260726-154233-sky".into(), &2.into()));
    let found = said(&sessions(dir.path(), &["search", "SCATTER"]));
    assert_eq!(found, "20260726-154233-sky  Model 1: Rayleigh scattering.\n");
    let found = said(&sessions(dir.path(), &["search", "blue", "--json"]));
    assert!(!found.contains('\u{1b}'));
    let hit: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&hit["found"], &hit["message"], &hit["role"]), (&"BLUE".into(), &0.into(), &"user".into()));
    let nothing = sessions(dir.path(), &["search", "green"]);
    assert!(nothing.status.success() && nothing.stdout.is_empty());
    for id in ["latest", "sky", path.to_str().unwrap()] {
        let shown = said(&sessions(dir.path(), &["show", id]));
        assert!(shown.ends_with("\nModel: Rayleigh scattering.\n"), "{shown}");
    }
    let out = dir.path().join("out.md");
    said(&sessions(dir.path(), &["export", "sky", "--format", "md", "--out", out.to_str().unwrap()]));
    assert!(fs::read_to_string(&out).unwrap().contains("## Model\n\nRayleigh scattering.\n"));
    let json: Value =
        serde_json::from_str(&said(&sessions(dir.path(), &["export", "sky", "--format", "json"]))).unwrap();
    assert_eq!(json["messages"][1]["text"], "Rayleigh scattering.");
}

#[test]
fn sessions_are_renamed_and_deleted_only_if_that_is_meant() {
    let (dir, path) = folder();
    said(&sessions(dir.path(), &["rename", "sky", "Heaven"]));
    assert!(said(&sessions(dir.path(), &[])).contains("Heaven"));
    let asked = sessions(dir.path(), &["delete", "sky"]);
    assert!(asked.status.code() == Some(2) && text(&asked.stderr).contains("--yes") && path.exists());
    said(&sessions(dir.path(), &["delete", "sky", "--yes"]));
    assert!(!path.exists());
    for (args, code) in [
        (&["show", "sky"][..], 1),
        (&["export", "sky"], 2),
        (&["export", "sky", "--format", "md", "--tokens"], 2),
        (&["search", " "], 1),
        (&["frobnicate"], 2),
    ] {
        let output = sessions(dir.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
    }
    let empty = Command::new(PROGRAM).arg("sessions").env("BIT_AXON_HOME", dir.path().join("none")).output().unwrap();
    assert!(said(&empty).is_empty() && text(&empty.stderr).contains("none"));
}

fn tour(name: &str) -> String {
    format!("{}/sessions/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn routing_is_exported_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let export = |args: &[&str]| sessions(dir.path(), &[&["export"], args].concat());
    for (tour, layers, experts) in [(tour("pico-chat"), 4, 8), (tour("pico-trace"), 4, 8)] {
        let csv = said(&export(&[&tour, "--routing", "csv"]));
        assert_eq!(csv.lines().count(), 1 + layers * experts, "{csv}");
        let columns = csv.lines().next().unwrap().split(',').count();
        assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
        let jsonl = said(&export(&[&tour, "--routing", "jsonl"]));
        let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), layers);
        assert!(lines[0]["tokens"].as_u64().unwrap() >= 30 && lines[0]["experts"].as_array().unwrap().len() == experts);
        let svg = said(&export(&[&tour, "--routing", "svg", "--choices"]));
        assert!(roxmltree::Document::parse(&svg).is_ok());
    }
    let all = said(&export(&[&tour("pico-chat"), "--routing", "csv"]));
    let one = said(&export(&[&tour("pico-chat"), "--routing", "csv", "--message", "1"]));
    assert!(all != one && one.lines().nth(1).unwrap().starts_with("message 1,2,0,"), "{one}");
    let file = dir.path().join("x.svg");
    let out = file.to_str().unwrap();
    said(&export(&[&tour("pico-trace"), "--routing", "svg", "--out", out]));
    let before = fs::read(&file).unwrap();
    for (args, wanted) in [
        (vec![tour("pico-chat"), "--routing".into(), "svg".into(), "--out".into(), out.into()], "stays as it is"),
        (vec![tour("pico-chat"), "--routing".into(), "svg".into(), "--message".into(), "0".into()], "no answer"),
        (vec![tour("pico-chat")], "--format"),
        (vec![tour("pico-chat"), "--format".into(), "md".into(), "--routing".into(), "csv".into()], "cannot be used"),
    ] {
        let output = export(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!output.status.success() && text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn replays_say_what_is_wrong_and_what_to_use_instead() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name).to_string_lossy().into_owned()
    };
    let header = "{\"bit-axon-session\":1,\"created\":0}\n";
    // A model of a thousand layers with a thousand experts each would fill the memory with its sums.
    let layers = |n: usize| {
        (0..n).map(|l| format!(r#"{{"layer":{l},"experts":[1023],"weights":[1],"entropy":0,"shared_gate":null}}"#))
    };
    let huge = format!(
        "{{\"pos\":0,\"token\":1,\"text\":\"x\",\"layers\":[{}]}}\n",
        layers(1000).collect::<Vec<_>>().join(",")
    );
    for (path, wanted) in [
        (file("rubbish.jsonl", b"\x00\x1b[2Jrubbish"), "not a session"),
        (file("empty.jsonl", b""), "nothing to play"),
        (file("torn.jsonl", &header.as_bytes()[..20]), "nothing to play"),
        (file("header.jsonl", header.as_bytes()), "nothing to play"),
        (file("newer.jsonl", b"{\"bit-axon-session\":9,\"created\":0}\n"), "newer bit-axon"),
        (file("trace.jsonl", b"{\"pos\":0,rubbish\n"), "no line of this trace"),
        (file("huge.jsonl", huge.as_bytes()), "more layers and experts than can be shown"),
        (dir.path().to_string_lossy().into_owned(), "not a file"),
        ("not-there.jsonl".into(), "cannot open"),
        ("not-there".into(), "no session of that name"),
        (tour("pico-chat"), "sessions show"),
        (tour("pico-trace"), "needs a terminal"),
    ] {
        let output = Command::new(PROGRAM).args(["replay", &path]).stdin(Stdio::null()).output().unwrap();
        let errors = text(&output.stderr);
        let wanted = wanted.replace("needs a terminal", "on a terminal");
        assert!(!output.status.success() && errors.contains(&wanted), "{path}: {errors}");
        assert!(!errors.contains('\u{1b}'));
    }
    for (option, value) in
        [("--speed", "0"), ("--speed", "nan"), ("--speed", "100"), ("--from", "x"), ("--from", "200%")]
    {
        let output = Command::new(PROGRAM).args(["replay", &tour("pico-chat"), option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
    }
}
