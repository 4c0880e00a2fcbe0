//! The real program against a local server that plays the Hugging Face hub.
#![cfg(feature = "hub")]

mod server;
mod upload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use server::{COMMIT, Files, Reply, Request, Server};

/// A home with an empty cache, and the program in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, endpoint: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
        command.env_clear().env("HF_HOME", self.0.path()).env("HF_ENDPOINT", endpoint).args(args);
        command
    }

    fn download(&self, server: &Server) -> Output {
        self.command(&server.address, &["download", "owner/name"]).output().unwrap()
    }

    fn cache(&self, path: &str) -> PathBuf {
        self.0.path().join("hub/models--owner--name").join(path)
    }

    fn snapshot(&self, name: &str) -> PathBuf {
        self.cache(&format!("snapshots/{COMMIT}/{name}"))
    }

    /// As if an earlier download of the file had been broken off.
    fn leave_partial(&self, etag: &str, contents: &[u8]) -> PathBuf {
        let partial = self.cache(&format!("blobs/{etag}.incomplete"));
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, contents).unwrap();
        partial
    }
}

const WEIGHTS: &str = "model.safetensors";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

fn assert_failed(output: &Output, wants: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
    for want in wants {
        assert!(said.contains(want), "no `{want}` in: {said}");
    }
}

fn is_get_of_weights(request: &Request) -> bool {
    request.method == "GET" && request.path.ends_with(WEIGHTS)
}

#[test]
fn a_whole_model_comes_into_the_shared_cache_and_is_used_without_network_afterwards() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| served.answer(request));
    let home = Home::new();
    let output = home.download(&server);
    assert_done(&output);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim_end(),
        home.snapshot("").to_str().unwrap().trim_end_matches('/')
    );
    for name in ["README.md", "config.json", WEIGHTS] {
        assert_eq!(fs::read(home.snapshot(name)).unwrap(), files.contents(name), "{name}");
        let target = fs::read_link(home.snapshot(name)).unwrap();
        assert_eq!(target, Path::new("../../blobs").join(files.etag(name)));
    }
    assert_eq!(fs::read_to_string(home.cache("refs/main")).unwrap(), COMMIT);
    assert!(!home.snapshot("pytorch_model.bin").exists() && !home.snapshot("onnx").exists());
    assert!(server.requests().iter().all(|r| r.header("accept-encoding") == Some("identity")));

    // Again: asked for, but not fetched.
    assert_done(&home.download(&server));
    assert_eq!(server.requests_for("GET", WEIGHTS).len(), 1);

    // The hub is gone, or forbidden: the cache does.
    let gone = home.command("http://127.0.0.1:9", &["download", "owner/name"]).output().unwrap();
    assert_done(&gone);
    assert!(stderr(&gone).contains("using what the cache has"), "{}", stderr(&gone));
    let mut offline = home.command(&server.address, &["download", "owner/name"]);
    let before = server.requests().len();
    assert_done(&offline.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_cut_connection_is_resumed() {
    let files = Files::model();
    let served = files.clone();
    let mut cuts = vec![150_000, 5];
    let server = Server::start(move |request| {
        let reply = served.answer(request);
        let small = request.method == "GET" && request.path.ends_with("config.json");
        match cuts.len() {
            2 if small => Reply { cut: cuts.pop(), ..reply },
            1 if is_get_of_weights(request) => Reply { cut: cuts.pop(), ..reply },
            _ => reply,
        }
    });
    let home = Home::new();
    let output = home.download(&server);
    assert_done(&output);
    assert!(stderr(&output).contains("trying again"), "{}", stderr(&output));
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
    let gets = server.requests_for("GET", WEIGHTS);
    assert_eq!(gets[1].header("range"), Some("bytes=150000-"));
    // Contents that no hash names are resumed only if the server still has the same.
    let gets = server.requests_for("GET", "/config.json");
    assert_eq!(gets[1].header("range"), Some("bytes=5-"));
    assert_eq!(gets[1].header("if-range"), Some(format!("\"{}\"", files.etag("config.json")).as_str()));
    assert_eq!(fs::read(home.snapshot("config.json")).unwrap(), files.contents("config.json"));
}

/// The shell limits how large a file may grow, as a full disk does.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_only_what_can_be_gone_on_with() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| served.answer(request));
    let home = Home::new();
    let mut limited = Command::new("/bin/sh");
    limited.env_clear().env("HF_HOME", home.0.path()).env("HF_ENDPOINT", &server.address);
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" download owner/name";
    let output = limited.args(["-c", script, env!("CARGO_BIN_EXE_bit-axon")]).output().unwrap();
    assert_failed(&output, &[WEIGHTS]);
    assert!(!home.snapshot(WEIGHTS).exists() && !home.cache("refs/main").exists());
    assert_done(&home.download(&server));
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
    assert!(server.requests_for("GET", WEIGHTS).last().unwrap().header("range").is_some());
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| served.answer(request));
    let home = Home::new();
    let partial = home.leave_partial(&files.etag(WEIGHTS), &files.contents(WEIGHTS)[..1234]);
    assert_done(&home.download(&server));
    assert!(!partial.exists());
    let gets = server.requests_for("GET", WEIGHTS);
    assert_eq!((gets.len(), gets[0].header("range")), (1, Some("bytes=1234-")));
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
}

#[test]
fn a_part_that_was_damaged_is_fetched_anew() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| served.answer(request));
    let home = Home::new();
    home.leave_partial(&files.etag(WEIGHTS), &[7; 1234]);
    assert_done(&home.download(&server));
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
    assert_eq!(server.requests_for("GET", WEIGHTS).len(), 2);
}

#[test]
fn servers_that_ignore_or_refuse_ranges_send_all() {
    for status in [200, 416] {
        let files = Files::model();
        let served = files.clone();
        let server = Server::start(move |request| {
            let mut plain = request.clone();
            match plain.headers.remove("range") {
                Some(_) if status == 416 => Reply::status(416),
                _ => served.answer(&plain),
            }
        });
        let home = Home::new();
        home.leave_partial(&files.etag(WEIGHTS), &files.contents(WEIGHTS)[..1234]);
        assert_done(&home.download(&server));
        assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS), "{status}");
    }
}

#[test]
fn a_wrong_range_is_not_believed() {
    let files = Files::model();
    let served = files.clone();
    let mut first = true;
    let server = Server::start(move |request| {
        let mut reply = served.answer(request);
        if reply.status == 206 && std::mem::take(&mut first) {
            reply.headers.retain(|(name, _)| name != "Content-Range");
            return reply.header("Content-Range", "bytes 0-9/10");
        }
        reply
    });
    let home = Home::new();
    home.leave_partial(&files.etag(WEIGHTS), &files.contents(WEIGHTS)[..1234]);
    assert_done(&home.download(&server));
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
}

#[test]
fn a_busy_server_is_asked_again() {
    let files = Files::model();
    let mut busy = vec![Reply::status(503), Reply::status(429).header("Retry-After", "0")];
    let server = Server::start(move |request| busy.pop().unwrap_or_else(|| files.answer(request)));
    assert_done(&Home::new().download(&server));
}

#[test]
fn contents_that_are_not_what_the_hub_names_are_removed() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| {
        let mut reply = served.answer(request);
        if is_get_of_weights(request) {
            reply.body[99] ^= 1;
        }
        reply
    });
    let home = Home::new();
    assert_failed(&home.download(&server), &["SHA-256", WEIGHTS, &files.etag(WEIGHTS)]);
    let blob = home.cache("blobs").join(files.etag(WEIGHTS));
    assert!(!blob.exists() && !blob.with_extension("incomplete").exists());
    assert!(!home.cache("refs/main").exists());
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let files = Files::model();
    let server = Server::start(move |request| {
        let mut reply = files.answer(request);
        if is_get_of_weights(request) {
            reply.body.push(0);
        }
        reply
    });
    assert_failed(&Home::new().download(&server), &["more of model.safetensors"]);
}

#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (Reply::status(404), vec!["owner/name", "404", "check the name"]),
        (Reply::status(401), vec!["401", "HF_TOKEN"]),
        (Reply::status(403).header("X-Error-Code", "GatedRepo"), vec!["gated", "ask for access"]),
        (Reply { body: b"<html>".to_vec(), ..Reply::status(200) }, vec!["gave no list of files"]),
    ];
    for (reply, wants) in cases {
        let server = Server::start(move |_| reply.clone());
        assert_failed(&Home::new().download(&server), &wants);
    }
    for endpoint in ["http://127.0.0.1:9", "http://no-such-host.invalid"] {
        let nowhere = Home::new().command(endpoint, &["download", "owner/name"]).output().unwrap();
        assert_failed(&nowhere, &["cannot be reached", endpoint]);
    }
}

#[test]
fn a_repository_without_weights_is_refused() {
    let files = Files(vec![("config.json", b"{}".to_vec()), ("pytorch_model.bin", vec![1])]);
    let server = Server::start(move |request| files.answer(request));
    assert_failed(&Home::new().download(&server), &["no weights in safetensors files"]);
}

#[test]
fn hostile_file_names_are_refused_before_anything_is_written() {
    for name in ["../../evil.json", "/tmp/evil.json", "a\\..\\evil.json", "evil\u{1b}[2J.json", "a/../../evil.json"] {
        let mut files = Files::model();
        files.0.push((name, b"evil".to_vec()));
        let server = Server::start(move |request| files.answer(request));
        let home = Home::new();
        let output = home.download(&server);
        assert_failed(&output, &["refusing the file name"]);
        assert!(!output.stderr.contains(&0x1b), "an escape sequence reached the terminal");
        assert!(fs::read_dir(home.0.path()).unwrap().next().is_none(), "{name} left something");
    }
}

#[test]
fn the_token_stays_with_the_hub() {
    let files = Files::model();
    let store = files.clone();
    let other = Server::start(move |request| store.answer(request));
    let (elsewhere, named) = (other.address.clone(), files.clone());
    let hub = Server::start(move |request| {
        if !request.path.ends_with(WEIGHTS) {
            return named.answer(request);
        }
        Reply { body: b"moved".to_vec(), ..Reply::status(302) }
            .header("Location", format!("{elsewhere}{}", request.path))
            .header("ETag", "\"of-the-page\"")
            .header("X-Linked-ETag", format!("\"{}\"", named.etag(WEIGHTS)))
            .header("X-Linked-Size", named.contents(WEIGHTS).len().to_string())
    });
    let home = Home::new();
    let partial = &files.contents(WEIGHTS)[..10];
    home.leave_partial(&files.etag(WEIGHTS), partial);
    let output = home.command(&hub.address, &["download", "owner/name"]).env("HF_TOKEN", "secret").output().unwrap();
    assert_done(&output);
    assert_eq!(fs::read(home.snapshot(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
    assert!(hub.requests().iter().all(|r| r.header("authorization") == Some("Bearer secret")));
    let there = other.requests();
    assert_eq!((there.len(), there[0].header("range")), (1, Some("bytes=10-")));
    assert!(there[0].header("authorization").is_none());
}

#[test]
fn a_model_that_is_named_is_fetched_when_it_is_needed() {
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(name);
    let read = |name: &'static str| (name, fs::read(fixture(name)).unwrap());
    let files = Files(vec![read("config.json"), read(WEIGHTS)]);
    let server = Server::start(move |request| files.answer(request));
    let home = Home::new();
    let args = ["trace", "--model", "owner/name", "--ids", "1,2,3"];
    for _ in 0..2 {
        let output = home.command(&server.address, &args).output().unwrap();
        assert_done(&output);
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    }
    // The second time nothing is asked.
    assert_eq!(server.requests_for("GET", "/revision/main").len(), 1);
}

#[test]
fn a_folder_of_ones_own_gets_plain_files() {
    let files = Files::model();
    let served = files.clone();
    let server = Server::start(move |request| served.answer(request));
    let home = Home::new();
    let out = home.0.path().join("mine");
    let args = ["download", "owner/name", "--revision", "refs/pr/1", "--out", out.to_str().unwrap()];
    for _ in 0..2 {
        assert_done(&home.command(&server.address, &args).output().unwrap());
        let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["README.md", "config.json", WEIGHTS]);
        assert!(fs::symlink_metadata(out.join(WEIGHTS)).unwrap().is_file());
        assert_eq!(fs::read(out.join(WEIGHTS)).unwrap(), files.contents(WEIGHTS));
    }
    assert_eq!(server.requests_for("GET", WEIGHTS).len(), 1);
    assert!(server.requests()[0].path.ends_with("/revision/refs%2Fpr%2F1"));
    assert!(!home.cache("").exists());
}

#[test]
fn a_file_of_a_data_set_is_prepared_from_the_hub() {
    let rows = "{\"text\": \"one example\"}\n{\"text\": \"and another\"}\n";
    let files = Files(vec![("data/train.jsonl", rows.into()), ("README.md", b"# Data".to_vec())]);
    let server = Server::start(move |request| {
        // As the hub serves models, under other addresses; a model of that name there is not.
        let path = request.path.replace("/api/datasets/", "/api/models/").replace("/datasets/owner", "/owner");
        if path == request.path { Reply::status(404) } else { files.answer(&Request { path, ..request.clone() }) }
    });
    let home = Home::new();
    let path = |name: &str| home.0.path().join(name).display().to_string();
    let (model, out) = (path("model"), path("data.safetensors"));
    let init = home.command(&server.address, &["init", "--preset", "small", "--format", "f16", "--out", &model]);
    assert_done(&{ init }.output().unwrap());
    let prepare = |file: &str, offline: &str| {
        let mut command = home.command(&server.address, &["prepare", file, "--model", &model, "--out", &out]);
        command.env("HF_HUB_OFFLINE", offline).output().unwrap()
    };
    assert_done(&prepare("hub:owner/name/data/train.jsonl", "0"));
    assert!(Path::new(&out).is_file());
    let requests = server.requests().len();
    assert_done(&prepare("hub:owner/name/data/train.jsonl", "1"));
    assert_eq!(server.requests().len(), requests);
    assert_failed(&prepare("hub:owner/name/data/other.jsonl", "0"), &["no file data/other.jsonl"]);
    assert_failed(&prepare("hub:owner", "0"), &["hub:OWNER/NAME/FILE.jsonl"]);
}
