//! Sessions on disk: whatever state a file is in, what can be read of it is read, and said to be all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use bit_axon::chat::{Change, Chat, End, Pace, Player, TokenRecord, What};
use bit_axon::protocol::{
    Alterations, Alternative, EngineSnapshot, Event, FinishReason, HeatReading, LayerRouting, MachineMemory, ModelInfo,
    ReadToken, Role, Sampling, Stats,
};
use bit_axon::session::{Access, NewerVersion, Store, export, load, open_or_create, replay, search};
use proptest::prelude::*;

fn add(id: usize, parent: Option<usize>, role: Role, text: &str) -> What {
    let sampling = (role == Role::Assistant).then(Sampling::default);
    let (text, tokens, alterations) = (text.to_owned(), vec![], None);
    What::Change(Change::Add { id, parent, role, text, tokens, sampling, alterations })
}

fn record(text: &str) -> TokenRecord {
    let alternatives = vec![Alternative { token: 3, text: "\"é\u{1b}\n".into(), logprob: -1.5 }];
    let layer =
        LayerRouting { layer: 2, experts: vec![1, 3], weights: vec![0.5, 0.25], entropy: 1.0, shared_gate: None };
    // Values that 16 bits hold exactly come back as they were; others to within what can be seen.
    let layer = LayerRouting { weights: vec![1.0, 0.0], ..layer };
    TokenRecord { token: 17, text: text.into(), logprob: -0.25, alternatives, routing: vec![layer] }
}

fn token(id: usize, text: &str) -> What {
    What::Change(Change::Token { id, token: record(text) })
}

fn finish(id: usize) -> What {
    let end = End::Done(FinishReason::Stop);
    What::Change(Change::Finish { id, text: "!".into(), end, stats: Some(Stats::default()) })
}

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

/// Everything that can happen.
fn all() -> Vec<What> {
    let alterations = Alterations { layers: vec![(1, Default::default())], ..Default::default() };
    let fork = Change::Add {
        id: 2,
        parent: Some(0),
        role: Role::Assistant,
        text: "Be".into(),
        tokens: vec![record("Be")],
        sampling: Some(Sampling { seed: Some(u64::MAX), ..Sampling::default() }),
        alterations: Some(alterations.clone()),
    };
    let routing = vec![record("x").routing];
    let tokens = vec![ReadToken { token: 7, text: "Why".into() }];
    let failed = Change::Finish { id: 3, text: String::new(), end: End::Failed("no\n\u{7}".into()), stats: None };
    vec![
        model(),
        What::Change(Change::System { text: "Be brief.".into() }),
        add(0, None, Role::User, "Why is the sky blue?\n\u{1b}[2J"),
        add(1, Some(0), Role::Assistant, ""),
        What::Engine(Event::Started { id: 1, prompt_tokens: 9, reused_tokens: 0, truncated_tokens: 0, seed: 4 }),
        What::Engine(Event::Prefill { id: 1, done: 1, total: 9, routing, tokens }),
        token(1, "Be"),
        token(1, "cause"),
        finish(1),
        What::Change(fork),
        token(2, " quiet"),
        finish(2),
        add(3, None, Role::Assistant, ""),
        What::Change(failed),
        What::Change(Change::Choose { id: 2 }),
        What::Change(Change::Title { title: "Blue".into() }),
        What::State(Box::new(EngineSnapshot { alterations, ..EngineSnapshot::default() })),
        What::Heat(HeatReading { celsius: Some(71.5), ..HeatReading::default() }),
        What::Machine(MachineMemory { process: 1, used: 2, total: 3 }),
    ]
}

/// A session that says these things, a second apart.
fn written(store: &Store, whats: &[What]) -> String {
    let mut writer = store.create("Why is the sky blue?").unwrap();
    let now = bit_axon::session::now_ms();
    for (i, what) in whats.iter().enumerate() {
        writer.append_at(now + 1000 * i as u64, what).unwrap();
    }
    writer.sync().unwrap();
    writer.id().to_owned()
}

/// The time of all of it; the session is made a moment before its first line.
fn assert_took(milliseconds: u64) {
    let lines = 1000 * (all().len() as u64 - 1);
    assert!((lines..lines + 1000).contains(&milliseconds), "{milliseconds} ms");
}

fn chat_of(whats: &[What]) -> Chat {
    let mut chat = Chat::default();
    for what in whats {
        if let What::Change(change) = what {
            chat.apply(change).unwrap();
        }
    }
    chat
}

#[test]
fn what_is_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("sessions"));
    let id = written(&store, &all());
    assert!(id.ends_with("-why-is-the-sky-blue"), "{id}");
    let loaded = load(&store.path(&id).unwrap()).unwrap();
    assert_eq!((&loaded.chat, loaded.notes.len()), (&chat_of(&all()), 0));
    assert_eq!((loaded.model.as_str(), loaded.chat.name().as_str()), ("mock", "Blue"));
    assert_took(loaded.written - loaded.header.created);
    let recording = store.replay(&id).unwrap();
    let whats: Vec<What> = recording.moments.iter().map(|moment| moment.what.clone()).collect();
    assert_eq!(whats, all());
    assert_eq!(recording.model().unwrap().1, "random weights");
    assert_eq!(replay::size(&recording), (4, 3));
    let mut player = Player::new(recording, Pace::default());
    player.seek(usize::MAX);
    assert_eq!(player.chat(), &loaded.chat);
    assert_eq!(player.heat(1).next().unwrap().1.celsius, Some(71.5));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.folder()), mode(&store.path(&id).unwrap())), (0o700, 0o600));
    }
}

/// The bytes of a session in which everything happens.
fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let id = written(&store, &all());
        fs::read(store.path(&id).unwrap()).unwrap()
    })
}

#[test]
fn a_file_cut_anywhere_opens_with_what_was_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let whole: Vec<What> = all();
    for cut in 0..=bytes().len() {
        let path = store.path("cut").unwrap();
        fs::write(&path, &bytes()[..cut]).unwrap();
        // Only read at first: nothing is mended then.
        let only_read = load(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), cut as u64);
        let recording = store.replay("cut").unwrap();
        let count = recording.moments.len();
        assert!(recording.moments.iter().map(|m| &m.what).eq(&whole[..count]), "{cut}");
        assert_eq!(only_read.chat, chat_of(&whole[..count]));
        // No whole line is lost: the header, and the lines that sum up after three ends and a title.
        let ends = bytes()[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert!(count + 6 > ends, "{cut}: {count} of {ends} lines");
        // A list must not fail either, and must not promise more than there is.
        let summary = store.list().unwrap().remove(0);
        assert!(summary.problem.is_none() && summary.messages <= 4, "{summary:?}");
        // Going on mends the end, and what follows is found after what was before.
        if cut % 7 == 0 {
            let opened = store.open("cut").unwrap();
            assert_eq!(opened.loaded.chat, only_read.chat);
            let Access::Write(mut writer) = opened.access else { panic!("{cut}") };
            let new = opened.loaded.chat.nodes().len();
            writer.append(&add(new, None, Role::User, "Again")).unwrap();
            drop(writer);
            let again = load(&path).unwrap();
            assert!(again.notes.is_empty(), "{cut}: {:?}", again.notes);
            assert_eq!(again.chat.nodes().len(), new + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rubbish_between_the_lines_is_passed_over(
        rubbish in proptest::collection::vec((0..40usize, proptest::collection::vec(any::<u8>(), 0..60)), 1..8),
        flips in proptest::collection::vec((0..usize::MAX, any::<u8>()), 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let path = store.path("bad").unwrap();
        let mut lines: Vec<Vec<u8>> = bytes().split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        for (at, mut line) in rubbish {
            line.push(b'\n');
            // After the first line, which says what the file is.
            lines.insert(1 + at % lines.len(), line);
        }
        fs::write(&path, lines.concat()).unwrap();
        let loaded = load(&path).unwrap();
        prop_assert_eq!(&loaded.chat, &chat_of(&all()));
        prop_assert!(!loaded.notes.is_empty());
        // Bytes that are not what they were: read or refused, never a panic.
        let mut bytes = lines.concat();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(recording) = store.replay("bad") {
            let mut player = Player::new(recording, Pace::default());
            player.seek(usize::MAX);
            player.seek(0);
        }
        let _ = store.list().unwrap();
        let _ = search::search(&store, "blue", |_| std::ops::ControlFlow::Continue(())).unwrap();
    }
}

#[test]
fn a_torn_line_in_the_middle_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let path = store.path("torn").unwrap();
    let mut lines: Vec<&[u8]> = bytes().split_inclusive(|byte| *byte == b'\n').collect();
    let (half, first) = (lines[7][..20].to_vec(), lines[7][0]);
    assert_eq!(first, b'{');
    let half = [half.as_slice(), b"\n"].concat();
    lines[7] = &half;
    fs::write(&path, lines.concat()).unwrap();
    let loaded = load(&path).unwrap();
    assert!(loaded.notes[0].starts_with("line 8 cannot be read and was passed over"), "{:?}", loaded.notes);
    assert_eq!(loaded.chat.nodes()[1].text, "cause!");
    // A message that is missing takes what follows it with it, and that is said too.
    lines.remove(3);
    fs::write(&path, lines.concat()).unwrap();
    let notes = load(&path).unwrap().notes;
    assert!(notes.len() > 3 && notes[0].contains("does not fit"), "{notes:?}");
}

#[test]
fn other_files_and_newer_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let path = store.path("x").unwrap();
    let said = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = load(&path).unwrap_err();
        assert!(store.open("x").is_err() && store.replay("x").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "a file that is not ours is left alone");
        assert!(store.list().unwrap()[0].problem.is_some());
        error
    };
    let newer = said("{\"bit-axon-session\":2,\"entirely\":\"new\"}\n");
    assert!(newer.is::<NewerVersion>() && format!("{newer:#}").contains("use a newer bit-axon"));
    for text in [
        "rubbish\n",
        "rubbish",
        "{}\n",
        "[1]\n",
        "\u{0}\n",
        "{\"bit-axon-session\":-1}\n",
        "{\"bit-axon-session\":1}\n",
    ] {
        said(text);
    }
    assert!(load(dir.path()).unwrap_err().to_string().contains("is not a file"));
    assert!(store.open("../x").is_err() && store.path("..").is_err());
}

#[test]
fn unknown_lines_of_a_later_program_are_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let id = written(&store, &all());
    let path = store.path(&id).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":1,\"new\":{\"a\":[1]}}\n").unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!((loaded.notes.len(), loaded.chat), (0, chat_of(&all())));
}

#[test]
fn only_one_window_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let mut first = store.create("Hi").unwrap();
    first.append(&add(0, None, Role::User, "Hi")).unwrap();
    let id = first.id().to_owned();
    let second = store.open(&id).unwrap();
    assert_eq!(second.loaded.chat.nodes().len(), 1);
    let Access::ReadOnly(why) = second.access else { panic!("two writers") };
    assert!(why.contains("another window"), "{why}");
    assert!(store.delete(&id).unwrap_err().to_string().contains("another window"));
    assert!(store.rename(&id, "x").unwrap_err().to_string().contains("another window"));
    // A copy goes its own way.
    let (loaded, mut copy) = store.fork(&id).unwrap();
    assert_eq!(loaded.chat.nodes().len(), 1);
    copy.append(&add(1, Some(0), Role::Assistant, "copied")).unwrap();
    first.append(&add(1, Some(0), Role::Assistant, "original")).unwrap();
    let copy_id = copy.id().to_owned();
    drop((first, copy));
    let copied = load(&store.path(&copy_id).unwrap()).unwrap();
    assert_eq!(copied.header.forked_from.as_deref(), Some(id.as_str()));
    assert_eq!(copied.chat.nodes()[1].text, "copied");
    assert_eq!(load(&store.path(&id).unwrap()).unwrap().chat.nodes()[1].text, "original");
    // Once the window is closed, another may write.
    assert!(matches!(store.open(&id).unwrap().access, Access::Write(_)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(store.path(&id).unwrap(), fs::Permissions::from_mode(0o400)).unwrap();
        // Root may write what it likes.
        let opened = store.open(&id).unwrap();
        assert_eq!(opened.loaded.chat.nodes().len(), 2);
    }
}

#[test]
fn sessions_are_listed_found_named_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("not/there/yet"));
    assert!(store.list().unwrap().is_empty() && store.find("latest").is_err());
    let first = written(&store, &all());
    // Two in the same second have different names.
    let second = written(&store, &all()[..8]);
    assert_ne!(first, second);
    fs::write(store.folder().join("notes.txt"), "x").unwrap();
    fs::create_dir(store.folder().join("folder.jsonl")).unwrap();
    fs::write(store.folder().join(".hidden.jsonl"), "x").unwrap();
    let list = store.list().unwrap();
    assert_eq!(list.len(), 2);
    let of = |id: &str| list.iter().find(|summary| summary.id == id).unwrap();
    let whole = of(&first);
    assert_eq!((whole.title.as_str(), whole.model.as_str(), whole.messages), ("Blue", "mock", 4));
    assert_took(whole.written - whole.created);
    let cut = of(&second);
    assert_eq!((cut.title.as_str(), cut.model.as_str(), cut.messages), ("Why is the sky blue?", "mock", 2));
    // Names.
    assert_eq!(store.find(&first).unwrap(), first);
    assert_eq!(store.find("latest").unwrap(), first);
    assert!(store.find("why-is").unwrap_err().to_string().contains("could be"));
    assert!(store.find("").is_err() && store.find("no such").is_err());
    store.rename(&second, "  Sky\n\u{1b} two ").unwrap();
    assert_eq!(load(&store.path(&second).unwrap()).unwrap().chat.title, "Sky two");
    assert!(store.rename(&second, " \n").is_err());
    assert!(store.list().unwrap().iter().any(|summary| summary.title == "Sky two" && summary.messages == 2));
    store.delete(&second).unwrap();
    assert_eq!(store.ids().unwrap(), [first]);
}

#[test]
fn searches_find_what_was_said_token_by_token() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    // Cut off within its answer.
    let id = written(&store, &all()[..8]);
    let found = |text: &str| {
        let mut hits = Vec::new();
        let problems = search::search(&store, text, |hit| {
            hits.push((hit.message, hit.before, hit.found, hit.after));
            std::ops::ControlFlow::Continue(())
        });
        assert!(problems.unwrap().is_empty());
        hits
    };
    assert_eq!(found("BECAUSE"), [(Some(1), String::new(), "Because".into(), String::new())]);
    assert_eq!(found(" Sky "), [(Some(0), "Why is the ".into(), "sky".into(), " blue?".into())]);
    assert!(found("never said").is_empty());
    assert!(search::search(&store, " ", |_| std::ops::ControlFlow::Continue(())).is_err());
    store.rename(&id, "Tiefes Blau").unwrap();
    assert_eq!(found("blau")[0].0, None);
}

#[test]
fn exports_say_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let id = written(&store, &all());
    let loaded = load(&store.path(&id).unwrap()).unwrap();
    let mut text = Vec::new();
    export::markdown(&loaded, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("# Blue\n"), "{text}");
    assert!(text.contains("## System\n\nBe brief.\n") && text.contains("## Model\n\nBe quiet!\n"), "{text}");
    assert!(text.contains("2 messages of other branches are left out"), "{text}");
    for tokens in [false, true] {
        let json: serde_json::Value = serde_json::from_str(&export::json(&loaded, tokens).unwrap()).unwrap();
        assert_eq!((&json["title"], json["messages"].as_array().unwrap().len()), (&"Blue".into(), 4));
        assert_eq!(json["path"], serde_json::json!([0, 2]));
        let routing = &json["messages"][1]["tokens"][0]["routing"][0]["experts"];
        assert_eq!(routing.is_array(), tokens);
    }
}

#[test]
fn ten_thousand_messages_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.jsonl");
    let Access::Write(mut writer) = open_or_create(&path).unwrap().access else { panic!() };
    for id in 0..10_000 {
        let role = if id % 2 == 0 { Role::User } else { Role::Assistant };
        writer.append_at(0, &add(id, id.checked_sub(1), role, "text")).unwrap();
        if role == Role::Assistant {
            for word in ["one", " two", " three"] {
                writer.append_at(0, &token(id, word)).unwrap();
            }
            writer.append_at(0, &finish(id)).unwrap();
        }
    }
    drop(writer);
    let loaded = load(&path).unwrap();
    assert_eq!((loaded.chat.path().len(), loaded.notes.len()), (10_000, 0));
    let mut player = Player::new(replay::load(&path).unwrap(), Pace::default());
    player.seek(usize::MAX);
    for _ in 0..1000 {
        player.step_back();
    }
    player.seek(0);
    assert!(player.chat().nodes().is_empty());
    let summary = Store::new(dir.path()).list().unwrap().remove(0);
    assert_eq!((summary.messages, summary.title.as_str()), (10_000, "text"));
}

#[test]
fn huge_lines_and_promises_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let id = written(&store, &all()[..3]);
    let path = store.path(&id).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![b'x'; 33 << 20]).unwrap();
    let experts = ["999999999"; 3].join(",");
    let hostile = format!(
        "\n{{\"at\":1,\"model\":{{\"info\":{{\"name\":\"evil\",\"backend\":\"\",\"arithmetic\":\"\",\"layers\":[],\
         \"experts\":[{experts}],\"top_k\":[],\"total_parameters\":0,\"active_parameters\":0,\"vocabulary\":0,\
         \"max_seq_len\":0}}}}}}\n{}\n",
        "[".repeat(100_000)
    );
    file.write_all(hostile.as_bytes()).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!((loaded.chat.nodes().len(), loaded.model.as_str(), loaded.notes.len()), (1, "mock", 2));
    assert!(loaded.notes[0].contains("longer than 32 MB"), "{:?}", loaded.notes);
}

#[test]
fn every_bundled_session_can_be_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sessions");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "jsonl") {
            continue;
        }
        let recording = replay::load(&path).unwrap();
        assert!(recording.notes.is_empty(), "{}: {:?}", path.display(), recording.notes);
        assert!(recording.model().is_some() && replay::size(&recording).1 > 10, "{}", path.display());
        let length = recording.moments.len();
        let mut player = Player::new(recording, Pace::default());
        player.play(0.0);
        player.advance(1e9);
        assert_eq!(player.position(), length);
        let routed = player.chat().nodes().iter().flat_map(|node| &node.tokens).filter(|t| !t.routing.is_empty());
        assert!(routed.count() > 10, "{}: no routing", path.display());
        player.seek(0);
        count += 1;
    }
    assert!(count >= 2, "the README promises recordings");
}
