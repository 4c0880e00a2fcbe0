//! `upload` against a hub that keeps what it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

/// What the hub keeps.
#[derive(Default)]
struct Kept {
    exists: bool,
    private: bool,
    /// Contents of large files, by their SHA-256.
    objects: BTreeMap<String, Vec<u8>>,
    /// Parts of those that come in pieces.
    parts: BTreeMap<usize, Vec<u8>>,
    /// The newest commit: names, and contents' names and contents.
    files: BTreeMap<String, (String, Vec<u8>)>,
    commits: Vec<String>,
    confirmed: usize,
}

/// How the hub behaves.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Large files come in parts of so many bytes.
    chunk: Option<usize>,
}

struct Hub {
    server: Server,
    kept: Arc<Mutex<Kept>>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(value: Value) -> Reply {
    Reply { body: value.to_string().into_bytes(), ..Reply::status(200) }.header("Content-Type", "application/json")
}

impl Hub {
    /// A hub that may interrupt with an answer of its own.
    fn start(manner: Manner, mut instead: impl FnMut(&Request, &mut Kept) -> Option<Reply> + Send + 'static) -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let mine = kept.clone();
        let server = Server::start(move |request| {
            let mut kept = mine.lock().unwrap();
            if let Some(reply) = instead(request, &mut kept) {
                return reply;
            }
            kept.answer(request, manner)
        });
        Self { server, kept }
    }

    fn plain() -> Self {
        Self::start(Manner::default(), |_, _| None)
    }

    fn upload(&self, home: &Home, folder: &Path, rest: &[&str]) -> Output {
        self.command(home, folder, rest).output().unwrap()
    }

    fn command(&self, home: &Home, folder: &Path, rest: &[&str]) -> Command {
        let args = [&["upload", folder.to_str().unwrap(), "--repo", "owner/mine"], rest].concat();
        let mut command = home.command(&self.server.address, &args);
        command.env("HF_TOKEN", "secret");
        command
    }

    fn puts(&self) -> usize {
        self.server.requests().iter().filter(|request| request.method == "PUT").count()
    }
}

impl Kept {
    fn answer(&mut self, request: &Request, manner: Manner) -> Reply {
        let host = format!("http://{}", request.header("host").unwrap());
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap();
        let path = request.path.as_str();
        let with_token = request.header("authorization") == Some("Bearer secret");
        // The token opens the hub, and is not for the storage.
        assert_eq!(with_token, request.method != "PUT", "{} {path}", request.method);
        match (request.method.as_str(), path) {
            ("POST", "/api/repos/create") => {
                let body = body();
                assert_eq!((&body["organization"], &body["name"]), (&json!("owner"), &json!("mine")));
                if self.exists {
                    return Reply { status: 409, ..answer(json!({"error": "You already created this model repo"})) };
                }
                (self.exists, self.private) = (true, body["private"] == true);
                answer(json!({"url": format!("{host}/owner/mine")}))
            }
            ("POST", "/api/models/owner/mine/preupload/main") => {
                let plan = |file: &Value| {
                    let name = file["path"].as_str().unwrap();
                    let mode =
                        if name.ends_with(".safetensors") || name.ends_with(".model") { "lfs" } else { "regular" };
                    let sample = STANDARD.decode(file["sample"].as_str().unwrap()).unwrap();
                    assert!(sample.len() as u64 == file["size"].as_u64().unwrap().min(512));
                    let oid = self.files.get(name).map(|(oid, _)| oid);
                    json!({"path": name, "uploadMode": mode, "shouldIgnore": name == "ignored.json", "oid": oid})
                };
                let files: Vec<Value> = body()["files"].as_array().unwrap().iter().map(plan).collect();
                answer(json!({"files": files}))
            }
            ("POST", "/owner/mine.git/info/lfs/objects/batch") => {
                let object = |object: &Value| {
                    let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap());
                    if self.objects.contains_key(oid) {
                        return json!({"oid": oid, "size": size});
                    }
                    let upload = match manner.chunk {
                        None => json!({"href": format!("{host}/store/{oid}")}),
                        Some(chunk) => {
                            let count = (size as usize).div_ceil(chunk);
                            let mut header = json!({"chunk_size": chunk.to_string()});
                            for part in 1..=count {
                                header[format!("{part:05}")] = json!(format!("{host}/part/{part}"));
                            }
                            json!({"href": format!("{host}/join/{oid}"), "header": header})
                        }
                    };
                    let verify = json!({"href": format!("{host}/confirm/{oid}")});
                    json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
                };
                let objects: Vec<Value> = body()["objects"].as_array().unwrap().iter().map(object).collect();
                answer(json!({"objects": objects}))
            }
            ("PUT", path) if path.starts_with("/store/") => {
                let oid = &path["/store/".len()..];
                assert_eq!(sha256(&request.body), oid);
                self.objects.insert(oid.into(), request.body.clone());
                Reply::status(200)
            }
            ("PUT", path) if path.starts_with("/part/") => {
                let part = path["/part/".len()..].parse().unwrap();
                self.parts.insert(part, request.body.clone());
                Reply::status(200).header("ETag", format!("\"{}\"", &sha256(&request.body)[..8]))
            }
            ("POST", path) if path.starts_with("/join/") => {
                let parts = std::mem::take(&mut self.parts);
                let etags: Vec<String> = parts.values().map(|part| format!("\"{}\"", &sha256(part)[..8])).collect();
                let said = body();
                let said = said["parts"].as_array().unwrap();
                assert_eq!(said.iter().map(|part| part["etag"].clone()).collect::<Vec<_>>(), etags);
                let whole: Vec<u8> = parts.into_values().flatten().collect();
                let oid = &path["/join/".len()..];
                assert_eq!(sha256(&whole), oid);
                self.objects.insert(oid.into(), whole);
                answer(json!({}))
            }
            ("POST", path) if path.starts_with("/confirm/") => {
                self.confirmed += 1;
                Reply::status(200)
            }
            ("POST", "/api/models/owner/mine/commit/main") => {
                assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
                for line in request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let line: Value = serde_json::from_slice(line).unwrap();
                    let value = &line["value"];
                    let name = value["path"].as_str().unwrap_or_default().to_owned();
                    match line["key"].as_str().unwrap() {
                        "header" => self.commits.push(value["summary"].as_str().unwrap().into()),
                        "file" => {
                            let contents = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
                            self.files.insert(name, (git_name(&contents), contents));
                        }
                        "lfsFile" => {
                            let oid = value["oid"].as_str().unwrap();
                            let contents = self.objects[oid].clone();
                            assert_eq!(value["size"], contents.len());
                            self.files.insert(name, (oid.into(), contents));
                        }
                        other => panic!("{other}"),
                    }
                }
                answer(json!({"commitOid": COMMIT}))
            }
            _ => Reply::status(404),
        }
    }
}

/// As git would, but simpler: the program's own way is tested against git's where it is written.
fn git_name(contents: &[u8]) -> String {
    let piped = std::process::Stdio::piped;
    let mut git = Command::new("git");
    let mut child = git.args(["hash-object", "--stdin"]).stdin(piped()).stdout(piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), contents).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

/// A model that can be used.
fn model(home: &Home) -> PathBuf {
    let folder = home.0.path().join("model");
    let args = ["init", "--preset", "small", "--format", "affine4", "--out", folder.to_str().unwrap()];
    assert_done(&home.command("http://127.0.0.1:9", &args).output().unwrap());
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    folder
}

#[test]
fn a_model_arrives_whole_and_is_not_sent_again() {
    let (home, hub) = (Home::new(), Hub::plain());
    let folder = model(&home);
    let output = hub.upload(&home, &folder, &["--private", "--licence", "apache-2.0", "--message", "The first"]);
    assert_done(&output);
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().trim(), format!("{}/owner/mine", hub.server.address));
    let said = stderr(&output);
    assert!(said.contains("not sent") && said.contains("notes.txt") && said.contains("model sent"), "{said}");
    {
        let kept = hub.kept.lock().unwrap();
        assert!(kept.private);
        assert_eq!((kept.commits.clone(), kept.confirmed), (vec!["The first".to_owned()], 1));
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            assert!(kept.files[name].1 == fs::read(folder.join(name)).unwrap(), "{name}");
        }
        let card = String::from_utf8(kept.files["README.md"].1.clone()).unwrap();
        for part in [
            "license: apache-2.0",
            "library_name: bit-axon",
            "# mine",
            "| parameters | 7.6 M in all",
            "| experts | 2 of 4 for each token, and a shared one |",
            "mostly affine4/64",
            "bit-axon run \"Hello\" --model owner/mine",
        ] {
            assert!(card.contains(part), "{card} lacks {part}");
        }
        assert!(!kept.files.contains_key("notes.txt"));
    }
    let before = hub.puts();
    let again = hub.upload(&home, &folder, &["--licence", "apache-2.0"]);
    assert_done(&again);
    assert!(stderr(&again).contains("everything was there already"), "{}", stderr(&again));
    assert_eq!((hub.puts(), hub.kept.lock().unwrap().commits.len()), (before, 1));
    // One small file is another: the weights stay where they are.
    fs::write(folder.join("README.md"), "# My own card").unwrap();
    let changed = hub.upload(&home, &folder, &[]);
    assert_done(&changed);
    assert!(stderr(&changed).contains("1 files"), "{}", stderr(&changed));
    let kept = hub.kept.lock().unwrap();
    assert_eq!((hub.puts(), kept.commits.len()), (before, 2));
    assert_eq!(kept.files["README.md"].1, b"# My own card");
}

#[test]
fn parts_are_sent_where_the_hub_wants_parts() {
    let mut failed = false;
    let hub = Hub::start(Manner { chunk: Some(1_000_000) }, move |request, _| {
        let first = request.path == "/part/3" && !failed;
        failed |= first;
        first.then(|| Reply::status(503).header("Retry-After", "0"))
    });
    let home = Home::new();
    let folder = model(&home);
    let output = hub.upload(&home, &folder, &["--licence", "mit"]);
    assert_done(&output);
    let weights = fs::read(folder.join(WEIGHTS)).unwrap();
    assert!(hub.kept.lock().unwrap().files[WEIGHTS].1 == weights);
    // The third twice, the others once.
    assert_eq!(hub.puts(), weights.len().div_ceil(1_000_000) + 1);
}

#[test]
fn an_address_that_expired_is_asked_for_anew() {
    let mut times = 0;
    let hub = Hub::start(Manner::default(), move |request, _| {
        times += usize::from(request.method == "PUT");
        (request.method == "PUT" && times == 1).then(|| Reply::status(403))
    });
    let home = Home::new();
    assert_done(&hub.upload(&home, &model(&home), &["--licence", "mit"]));
    assert_eq!(hub.server.requests_for("POST", "/objects/batch").len(), 2);
}

#[cfg(unix)]
#[test]
fn what_was_sent_before_ctrl_c_is_not_sent_again() {
    // The second of two large files hangs, once.
    let mut hung = false;
    let hub = Hub::start(Manner::default(), move |request, kept| {
        let second = request.method == "PUT" && kept.confirmed == 1 && !hung;
        hung |= second;
        second.then(|| {
            std::thread::sleep(Duration::from_millis(1000));
            Reply::status(500)
        })
    });
    let home = Home::new();
    let folder = model(&home);
    fs::write(folder.join("tokenizer.model"), vec![7; 5000]).unwrap();
    // Whoever runs the tests in the background may have Ctrl-C ignored, and children inherit that.
    // SAFETY: gives a signal its usual meaning.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    let mut child = hub.command(&home, &folder, &["--licence", "mit"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while hub.puts() < 2 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: sends a signal to a process that this test began and has not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    assert!(!child.wait().unwrap().success());
    std::thread::sleep(Duration::from_millis(50));
    assert!(hub.kept.lock().unwrap().commits.is_empty(), "nothing is seen before all is there");
    assert_done(&hub.upload(&home, &folder, &["--licence", "mit"]));
    let puts: Vec<String> =
        hub.server.requests().into_iter().filter(|request| request.method == "PUT").map(|put| put.path).collect();
    assert!(puts.len() == 3 && puts[0] != puts[1] && puts[1] == puts[2], "{puts:?}");
    assert_eq!(hub.kept.lock().unwrap().commits.len(), 1);
}

#[test]
fn refusals_of_an_upload_say_what_to_do() {
    let cases: [(u16, &str, &[&str]); 7] = [
        (401, "/api/repos/create", &["does not know the token", "HF_TOKEN", "may write"]),
        (403, "/api/repos/create", &["may not make the repository owner/mine", "say so"]),
        (409, "/commit/main", &["commit to owner/mine", "run the command again"]),
        (413, "/commit/main", &["more than the hub takes", "say so"]),
        (413, "/store/", &["model.safetensors", "more than the hub takes"]),
        (400, "/commit/main", &["refuses to commit", "say so"]),
        (404, "/preupload/main", &["no such place", "check the name"]),
    ];
    let home = Home::new();
    let folder = model(&home);
    for (status, place, wants) in cases {
        let hub = Hub::start(Manner::default(), move |request, _| {
            let here = request.path.contains(place);
            here.then(|| Reply { status, ..answer(json!({"error": "because I\u{1b} say so"})) })
        });
        let output = hub.upload(&home, &folder, &["--licence", "mit"]);
        assert_failed(&output, wants);
        assert_failed(&output, &["cannot upload", &status.to_string()]);
        assert!(!output.stderr.contains(&0x1b));
        assert!(hub.kept.lock().unwrap().commits.is_empty());
    }
}

#[test]
fn a_hub_that_is_busy_is_asked_again() {
    let mut busy = 3;
    let hub = Hub::start(Manner::default(), move |request, _| {
        let here = busy > 0 && (request.path.contains("commit") || request.method == "PUT");
        busy -= usize::from(here);
        here.then(|| Reply::status(503).header("Retry-After", "0"))
    });
    let home = Home::new();
    let output = hub.upload(&home, &model(&home), &["--licence", "mit"]);
    assert_done(&output);
    assert!(stderr(&output).contains("trying again"), "{}", stderr(&output));
    assert_eq!(hub.kept.lock().unwrap().commits.len(), 1);
}

#[test]
fn a_token_for_this_repository_alone_will_do() {
    let hub = Hub::start(Manner::default(), |request, kept| {
        kept.exists = true;
        match request.path.as_str() {
            "/api/repos/create" => Some(Reply::status(403)),
            "/api/models/owner/mine" => Some(answer(json!({"id": "owner/mine"}))),
            _ => None,
        }
    });
    let home = Home::new();
    assert_done(&hub.upload(&home, &model(&home), &["--licence", "mit"]));
}

#[test]
fn what_cannot_be_used_or_is_not_wanted_is_never_sent() {
    let (home, hub) = (Home::new(), Hub::plain());
    let folder = model(&home);
    let refuse = |folder: &Path, rest: &[&str], wants: &[&str]| assert_failed(&hub.upload(&home, folder, rest), wants);
    refuse(&folder.join("none"), &[], &["no folder"]);
    let empty = home.0.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refuse(&empty, &[], &["neither a model"]);
    fs::write(empty.join("adapter_config.json"), "{}").unwrap();
    refuse(&empty, &[], &["adapters.safetensors is missing"]);
    let mut no_token = hub.command(&home, &folder, &[]);
    assert_failed(&no_token.env_remove("HF_TOKEN").output().unwrap(), &["there is no token", "HF_TOKEN"]);
    let mut offline = hub.command(&home, &folder, &[]);
    assert_failed(&offline.env("HF_HUB_OFFLINE", "1").output().unwrap(), &["HF_HUB_OFFLINE"]);
    fs::write(folder.join("README.md"), "# Mine").unwrap();
    refuse(&folder, &["--licence", "mit"], &["README.md is the card"]);
    fs::remove_file(folder.join("README.md")).unwrap();
    let wrong = hub.upload(&home, &folder, &["--licence", "MIT License"]);
    assert_eq!(wrong.status.code(), Some(2));
    let plan = hub.upload(&home, &folder, &["--plan", "--licence", "mit"]);
    assert_done(&plan);
    let said = String::from_utf8(plan.stdout).unwrap();
    for part in ["owner/mine: 5 files", "model.safetensors", "license: mit", "# mine"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    let mut weights = fs::read(folder.join(WEIGHTS)).unwrap();
    weights.truncate(100_000);
    fs::write(folder.join(WEIGHTS), weights).unwrap();
    refuse(&folder, &[], &[WEIGHTS]);
    assert!(hub.server.requests().is_empty(), "{:?}", hub.server.requests());
}

#[test]
fn an_adapter_is_sent_with_its_training_and_without_its_paths() {
    let (home, hub) = (Home::new(), Hub::plain());
    let model = model(&home);
    let path = |name: &str| home.0.path().join(name).display().to_string();
    let rows: String = (0..20).map(|i| format!("{{\"text\": \"say {i}\"}}\n")).collect();
    fs::write(path("private data.jsonl"), rows).unwrap();
    let (data, run, base) = (path("private data.jsonl"), path("run"), model.display().to_string());
    let train = ["train", &data, "--model", &base, "--output-dir", &run, "--max-steps", "2", "--sensor", "none"];
    let rest = ["--max-seq-len", "32", "--grad-accum-steps", "1", "--val-split", "0.2", "--backend", "cpu"];
    assert_done(&home.command("http://127.0.0.1:9", &[&train[..], &rest].concat()).output().unwrap());
    let run = Path::new(&run);
    assert_failed(&hub.upload(&home, run, &[]), &["is a training run", "adapter"]);
    let output = hub.upload(&home, &run.join("adapter"), &["--base", "owner/base", "--licence", "mit"]);
    assert_done(&output);
    let kept = hub.kept.lock().unwrap();
    let config: Value = serde_json::from_slice(&kept.files["adapter_config.json"].1).unwrap();
    assert_eq!((&config["base_model"], &config["lora_parameters"]["rank"]), (&json!("owner/base"), &json!(8)));
    let card = String::from_utf8(kept.files["README.md"].1.clone()).unwrap();
    for part in [
        "base_model: owner/base",
        "base_model_relation: adapter",
        "An adapter (dora) for the Bit-Axon model `owner/base`",
        "| rank | 8 |",
        "| data | private data.jsonl |",
        "| steps | 2 of 1 sequences of 32 tokens |",
        "| held-out loss | ",
    ] {
        assert!(card.contains(part), "{card} lacks {part}");
    }
    let here = home.0.path().display().to_string();
    assert!(kept.files.values().all(|(_, contents)| !String::from_utf8_lossy(contents).contains(&here)));
    assert!(kept.files.contains_key("adapters.safetensors") && kept.files.len() == 3);
}
