//! What the workbench keeps on disk: through the real thread, killed, cut off, on disks that have no
//! room, in two windows at once.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bit_axon::app::msg::{Msg, SessionOp};
use bit_axon::app::sessions::{Export, ExportFrom, Resumed, Saving};
use bit_axon::chat::{Change, Chat, End, TokenRecord, What};
use bit_axon::protocol::{
    Alteration, Alterations, Event, FinishReason, HeatReading, LayerRouting, ModelInfo, Role, Sampling, Stats,
};
use bit_axon::run::disk_store::DiskStore;
use bit_axon::run::keeper::Keeper;
use bit_axon::session::{History, Store, load, replay};

fn model() -> What {
    let info = ModelInfo {
        name: "mock".into(),
        backend: "cpu".into(),
        arithmetic: "exact".into(),
        layers: vec!["ssm".into(), "ssm+moe".into()],
        experts: vec![0, 4],
        top_k: vec![0, 2],
        total_parameters: 1,
        active_parameters: 1,
        vocabulary: 300,
        max_seq_len: 64,
    };
    What::Model { info: Box::new(info), label: "random weights".into() }
}

fn sampling() -> Sampling {
    Sampling { temperature: 0.25, seed: Some(7), ..Sampling::default() }
}

fn altered() -> Alterations {
    let all = Alteration { mute: vec![3], ..Alteration::default() };
    Alterations { all, layers: vec![] }
}

fn add(id: usize, role: Role, text: &str) -> What {
    let answer = role == Role::Assistant;
    What::Change(Change::Add {
        id,
        parent: id.checked_sub(1),
        role,
        text: text.into(),
        tokens: vec![],
        sampling: answer.then(sampling),
        alterations: answer.then(altered),
    })
}

fn token(id: usize, text: &str) -> What {
    let layer =
        LayerRouting { layer: 1, experts: vec![1, 2], weights: vec![1.0, 0.0], entropy: 1.0, shared_gate: None };
    let token = TokenRecord { token: 5, text: text.into(), logprob: -0.5, alternatives: vec![], routing: vec![layer] };
    What::Change(Change::Token { id, token })
}

fn finish(id: usize) -> What {
    let end = End::Done(FinishReason::EndOfText);
    What::Change(Change::Finish { id, text: String::new(), end, stats: Some(Stats::default()) })
}

/// A question and its answer.
fn exchange(id: usize, question: &str) -> Vec<What> {
    vec![
        add(id, Role::User, question),
        add(id + 1, Role::Assistant, ""),
        What::Heat(HeatReading { celsius: Some(50.0), ..HeatReading::default() }),
        token(id + 1, "It"),
        token(id + 1, " is so."),
        finish(id + 1),
    ]
}

fn chat_of(whats: &[What]) -> Chat {
    let changes = whats.iter().filter_map(|what| if let What::Change(c) = what { Some(c.clone()) } else { None });
    let resumed = Resumed::from_changes("", &changes.collect::<Vec<_>>());
    assert!(resumed.notes.is_empty());
    resumed.chat
}

/// The workbench's side of it.
struct Bench {
    keeper: Keeper,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let store = DiskStore::new(Store::new(folder), Some(History::new(folder.with_file_name("history.jsonl"))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { keeper: Keeper::start(Box::new(store)).unwrap(), runtime }
    }

    fn keep(&self, whats: &[What]) {
        whats.iter().for_each(|what| self.keeper.keep(what.clone()));
    }

    /// The first thing told that this is interested in.
    fn hear<T>(&mut self, mut wanted: impl FnMut(Msg) -> Option<T>) -> T {
        let keeper = &mut self.keeper;
        let heard = async {
            loop {
                if let Some(heard) = wanted(keeper.answer().await) {
                    return heard;
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), heard).await }).unwrap()
    }

    /// Everything told so far.
    fn told(&mut self) -> Vec<Msg> {
        self.keeper.settle();
        std::iter::from_fn(|| self.keeper.try_answer()).collect()
    }

    fn open(&mut self, id: &str) -> Result<Resumed, String> {
        self.keeper.ask(SessionOp::Open(id.into()));
        self.hear(|msg| match msg {
            Msg::SessionOpened(resumed) => Some(Ok(*resumed)),
            Msg::SessionNotOpened(why) => Some(Err(why)),
            _ => None,
        })
    }

    fn notice(&mut self) -> String {
        self.hear(|msg| if let Msg::Notice(text) = msg { Some(text) } else { None })
    }

    fn list(&mut self) -> Vec<(String, String)> {
        self.keeper.ask(SessionOp::List);
        self.hear(|msg| match msg {
            Msg::Sessions(entries) => Some(entries.into_iter().map(|e| (e.id, e.title)).collect()),
            _ => None,
        })
    }
}

#[test]
fn what_happened_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state/sessions");
    let mut bench = Bench::new(&folder);
    let mut whats = vec![What::Change(Change::System { text: "Be brief.".into() })];
    bench.keep(&[model()]);
    bench.keep(&whats);
    bench.keep(&[What::Heat(HeatReading::default())]);
    bench.told();
    assert!(!folder.exists(), "nothing was said yet");
    whats.extend(exchange(0, "Why is the sky blue?"));
    bench.keep(&whats[1..]);
    let id = bench.hear(|msg| if let Msg::SessionNamed(id) = msg { Some(id) } else { None });
    assert!(id.ends_with("why-is-the-sky-blue"), "{id}");
    bench.keeper.remember("Why is the sky blue?".into());
    let left = bench.keeper.close().unwrap();
    assert_eq!((left.id.as_str(), left.problem), (id.as_str(), None));
    // All of it is there to be played too.
    let recording = replay::load(&left.path.unwrap()).unwrap();
    let played: Vec<What> = recording.moments.into_iter().map(|moment| moment.what).collect();
    assert_eq!(played, [vec![model()], whats.clone()].concat());

    let mut again = Bench::new(&folder);
    let prompts = again.hear(|msg| if let Msg::History(prompts) = msg { Some(prompts) } else { None });
    assert_eq!(prompts, ["Why is the sky blue?"]);
    let resumed = again.open(&id).unwrap();
    assert_eq!((&resumed.chat, resumed.sampling.as_ref()), (&chat_of(&whats), Some(&sampling())));
    assert_eq!((resumed.alterations, resumed.notes.len()), (altered(), 0));
    assert_eq!(resumed.model.unwrap().vocabulary, 300);
    assert_eq!(resumed.counted.unwrap().load.tokens(), 2);
    // Looking alone writes nothing; going on does.
    let size = fs::metadata(folder.join(format!("{id}.jsonl"))).unwrap().len();
    again.told();
    assert_eq!(fs::metadata(folder.join(format!("{id}.jsonl"))).unwrap().len(), size);
    let unaltered = What::Engine(Event::Altered { alterations: Alterations::default() });
    again.keep(&[model(), unaltered, What::Change(Change::Choose { id: 0 })]);
    again.keeper.close().unwrap();
    let loaded = load(&folder.join(format!("{id}.jsonl"))).unwrap();
    assert!(loaded.alterations.is_none() && loaded.notes.is_empty());
}

#[test]
fn a_session_cut_anywhere_in_its_last_line_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    let bench = Bench::new(&folder);
    let whats = exchange(0, "Why?");
    bench.keep(&[model()]);
    // Killed while the third token was written.
    bench.keep(&whats[..5]);
    let path = bench.keeper.close().unwrap().path.unwrap();
    let bytes = fs::read(&path).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..=bytes.len() {
        let file = folder.join("cut.jsonl");
        fs::write(&file, &bytes[..cut]).unwrap();
        let mut bench = Bench::new(&folder);
        let resumed = bench.open("cut").unwrap();
        // The line that lacks only its end is whole.
        let kept = if cut + 1 >= bytes.len() { 5 } else { 4 };
        assert_eq!(resumed.chat, chat_of(&whats[..kept]), "{cut}");
        assert_eq!(resumed.notes.len(), usize::from(kept == 4 && cut > last), "{cut}: {:?}", resumed.notes);
        bench.keep(&exchange(2, "And then?"));
        bench.keeper.close().unwrap();
        let loaded = load(&file).unwrap();
        assert!(loaded.notes.is_empty() && loaded.chat.path().len() == 4, "{cut}: {:?}", loaded.notes);
    }
}

#[test]
fn a_panic_loses_nothing_that_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    let bench = Bench::new(&folder);
    let panicked = std::thread::spawn(move || {
        bench.keep(&exchange(0, "Why?"));
        bench.keep(&[add(2, Role::User, "On?"), add(3, Role::Assistant, ""), token(3, "half")]);
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let store = Store::new(&folder);
    let loaded = load(&store.path(&store.find("latest").unwrap()).unwrap()).unwrap();
    assert_eq!(loaded.chat.at(3).unwrap().text, "half");
}

fn failing(told: &[Msg]) -> Vec<&Saving> {
    told.iter().filter_map(|msg| if let Msg::Saving(saving) = msg { Some(saving) } else { None }).collect()
}

#[test]
fn a_folder_that_cannot_be_made_is_told_once_and_the_chat_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let folder = file.join("sessions");
    let mut bench = Bench::new(&folder);
    bench.keep(&exchange(0, "Why?"));
    bench.keep(&exchange(2, "On?"));
    bench.keeper.remember("Why?".into());
    bench.keeper.remember("On?".into());
    let told = bench.told();
    let [Saving::Failing(why)] = failing(&told)[..] else { panic!("{told:?}") };
    assert!(why.contains("sessions"), "{why}");
    // Once it can be made, nothing is missing.
    fs::remove_file(&file).unwrap();
    bench.keep(&exchange(4, "Now?"));
    let told = bench.told();
    assert!(matches!(failing(&told)[..], [Saving::Saved]), "{told:?}");
    let path = bench.keeper.close().unwrap().path.unwrap();
    let all = [exchange(0, "Why?"), exchange(2, "On?"), exchange(4, "Now?")].concat();
    assert_eq!(load(&path).unwrap().chat, chat_of(&all));
    // What stays lost is told at the end.
    fs::remove_dir_all(&file).unwrap();
    fs::write(&file, "in the way").unwrap();
    let bench = Bench::new(&folder);
    bench.keep(&exchange(0, "Why?"));
    let left = bench.keeper.close().unwrap();
    assert!(left.path.is_none() && left.problem.is_some());
}

/// In a process of its own, since the limit holds for the whole process.
#[test]
#[ignore = "run by the test below"]
fn with_a_limit_on_files() {
    let Some(folder) = std::env::var_os("BIT_AXON_TEST_FOLDER") else { return };
    let limit = |bytes: u64| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the limit is a plain structure that outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    };
    let mut bench = Bench::new(Path::new(&folder));
    bench.keep(&exchange(0, "Why?"));
    bench.told();
    limit(1200);
    for id in (2..40).step_by(2) {
        bench.keep(&exchange(id, "On?"));
    }
    let told = bench.told();
    assert!(matches!(failing(&told)[..], [Saving::Failing(_)]), "{told:?}");
    // What is there is whole.
    let store = Store::new(&folder);
    let path = store.path(&store.find("latest").unwrap()).unwrap();
    assert!(load(&path).unwrap().notes.is_empty());
    limit(libc::RLIM_INFINITY);
    bench.keep(&exchange(40, "Now?"));
    let told = bench.told();
    assert!(matches!(failing(&told)[..], [Saving::Saved]), "{told:?}");
    assert_eq!(bench.keeper.close().unwrap().problem, None);
    assert_eq!(load(&path).unwrap().chat.path().len(), 42);
}

#[test]
fn a_full_disk_is_told_once_and_nothing_is_lost_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "with_a_limit_on_files", "--ignored", "--nocapture"])
        .env("BIT_AXON_TEST_FOLDER", dir.path().join("sessions"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_second_window_goes_on_in_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    let mut first = Bench::new(&folder);
    first.keep(&exchange(0, "Why?"));
    let id = first.hear(|msg| if let Msg::SessionNamed(id) = msg { Some(id) } else { None });
    first.told();
    let mut second = Bench::new(&folder);
    let resumed = second.open(&id).unwrap();
    assert!(resumed.notes[0].contains("another window") && resumed.notes[0].contains("copy"), "{:?}", resumed.notes);
    assert_eq!(resumed.chat.path().len(), 2);
    assert_eq!(second.list().len(), 1, "who only looks needs no copy");
    // The other one goes on meanwhile: that is no part of what was seen here.
    first.keep(&exchange(2, "Original?"));
    first.told();
    second.keep(&exchange(2, "Copied?"));
    let copy = second.hear(|msg| if let Msg::SessionNamed(id) = msg { Some(id) } else { None });
    assert_ne!(copy, id);
    second.keeper.close().unwrap();
    first.keeper.close().unwrap();
    let text = |id: &str| {
        let loaded = load(&folder.join(format!("{id}.jsonl"))).unwrap();
        assert!(loaded.notes.is_empty() && loaded.chat.path().len() == 4, "{:?}", loaded.notes);
        loaded.chat.at(2).unwrap().text.clone()
    };
    assert_eq!((text(&id).as_str(), text(&copy).as_str()), ("Original?", "Copied?"));
}

#[test]
fn files_elsewhere_are_made_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(&dir.path().join("sessions"));
    let path = dir.path().join("my chat.jsonl");
    let name = path.to_str().unwrap();
    assert!(bench.open(name).unwrap().chat.nodes().is_empty());
    bench.keep(&exchange(0, "Why?"));
    let left = bench.keeper.close().unwrap();
    assert_eq!((left.id.as_str(), left.path.as_deref()), (name, Some(path.as_path())));
    let mut bench = Bench::new(&dir.path().join("sessions"));
    assert_eq!(bench.open(name).unwrap().chat.path().len(), 2);
    // What is no session is refused, and what was open before stays open.
    fs::write(dir.path().join("notes.jsonl"), "my notes\n").unwrap();
    let why = bench.open(dir.path().join("notes.jsonl").to_str().unwrap()).unwrap_err();
    assert!(why.contains("not a session"), "{why}");
    assert!(bench.open("never there").is_err());
    bench.keep(&exchange(2, "On?"));
    assert_eq!(bench.keeper.close().unwrap().path.as_deref(), Some(path.as_path()));
    assert_eq!(load(&path).unwrap().chat.path().len(), 4);
    assert_eq!(fs::read_to_string(dir.path().join("notes.jsonl")).unwrap(), "my notes\n");
}

#[test]
fn sessions_are_listed_named_copied_searched_exported_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    let mut bench = Bench::new(&folder);
    bench.keep(&exchange(0, "A needle in it"));
    bench.keeper.ask(SessionOp::New);
    bench.keep(&exchange(0, "Hay"));
    let list = bench.list();
    assert_eq!(list.iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>(), ["Hay", "A needle in it"]);
    let (hay, needle) = (list[0].0.clone(), list[1].0.clone());
    bench.keeper.ask(SessionOp::Search("NEEDLE".into()));
    let found = bench.hear(|msg| if let Msg::Found(found) = msg { Some(found) } else { None });
    assert!(found.done && found.hits[0].session.as_ref() == Some(&needle) && found.hits[0].node == 0);
    // The open one is searched where it is shown.
    bench.keeper.ask(SessionOp::Search("hay".into()));
    assert!(bench.hear(|msg| if let Msg::Found(found) = msg { Some(found) } else { None }).hits.is_empty());
    bench.keeper.ask(SessionOp::Preview(needle.clone()));
    let preview = bench.hear(|msg| if let Msg::Preview(preview) = msg { Some(preview) } else { None });
    assert_eq!(preview.messages[1], (Role::Assistant, "It is so.".to_owned()));
    bench.keeper.ask(SessionOp::Rename(needle.clone(), "Found".into()));
    bench.keeper.ask(SessionOp::Copy(needle.clone()));
    assert!(bench.notice().starts_with("Copied as"));
    let titles: Vec<String> = bench.list().into_iter().map(|(_, title)| title).collect();
    assert_eq!(titles.iter().filter(|title| title.starts_with("Found")).count(), 2, "{titles:?}");
    // Neither the open one nor one of another window can be deleted by mistake.
    bench.keeper.ask(SessionOp::Delete(hay.clone()));
    assert!(bench.notice().contains("another window"));
    bench.keeper.ask(SessionOp::Delete(needle.clone()));
    assert!(bench.list().iter().all(|(id, _)| *id != needle));
    let file = dir.path().join("hay.md");
    let export = |file: &Path, from| {
        SessionOp::Export(Export { from, json: false, file: Some(file.to_string_lossy().into_owned()) })
    };
    bench.keeper.ask(export(&file, ExportFrom::Saved(hay.clone())));
    assert!(bench.notice().contains("hay.md"));
    assert!(fs::read_to_string(&file).unwrap().contains("## Model\n\nIt is so.\n"));
    bench.keeper.ask(export(&file, ExportFrom::Saved(hay)));
    assert!(bench.notice().contains("is there already"));
    // Into a folder, under a name of its own.
    let here = ExportFrom::Here(Box::new(chat_of(&exchange(0, "Only here"))));
    bench.keeper.ask(export(dir.path(), here));
    let said = bench.notice();
    assert!(said.contains("only-here.md"), "{said}");
}

#[test]
fn prompts_of_several_windows_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::new(dir.path().join("history.jsonl"));
    std::thread::scope(|scope| {
        for window in 0..4 {
            let history = &history;
            scope.spawn(move || (0..50).for_each(|i| history.append(&format!("{window} {i}")).unwrap()));
        }
    });
    assert_eq!(history.load().unwrap().len(), 200);
}
