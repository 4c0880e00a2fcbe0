//! Saved sessions: what keys do in their list, and what comes back when one is opened.

use bit_axon::app::chat::{Change, End};
use bit_axon::app::msg::{Effect, Msg, SessionOp};
use bit_axon::app::overlay::{Hit, Overlay, search_chat};
use bit_axon::app::sessions::{Export, ExportFrom, Found, Preview, Resumed, Saving};
use bit_axon::app::state::{Pane, SessionEntry, View};
use bit_axon::protocol::{Command, FinishReason, Message, Prompt, Role};

use super::driver::{Driver, info};

fn entry(id: &str, title: &str) -> SessionEntry {
    SessionEntry { id: id.into(), title: title.into(), messages: 2, when: "yesterday".into(), ..Default::default() }
}

fn ops(driver: &mut Driver) -> Vec<SessionOp> {
    let effects = std::mem::take(&mut driver.effects);
    effects.into_iter().filter_map(|e| if let Effect::Session(op) = e { Some(op) } else { None }).collect()
}

/// Sits before a list of three, of which the second is open.
fn listed() -> Driver {
    let mut driver = Driver::opened(120, 36);
    driver.keys("<f4>");
    driver.send(Msg::SessionNamed("b".into()));
    driver.send(Msg::Sessions(vec![entry("c", "Third"), entry("b", "Second"), entry("a", "First")]));
    driver.draw();
    driver
}

/// A session with an answer that was made with a muted expert, and what was asked of the engine.
fn resumed(model: &str) -> Driver {
    let mut driver = Driver::opened(120, 36);
    driver.keys("/temperature 0.3<enter>/system be brief<enter>/mute 5<enter>go<enter>").answer(usize::MAX);
    let mut saved = Resumed::from_changes("s", &driver.saved);
    saved.model = Some(bit_axon::protocol::ModelInfo { name: model.into(), ..info() });
    let mut driver = Driver::opened(120, 36);
    driver.send(Msg::Resume("s".into()));
    assert_eq!(ops(&mut driver), [SessionOp::Open("s".into())]);
    driver.send(Msg::SessionOpened(Box::new(saved)));
    driver.draw();
    driver
}

fn asked(driver: &Driver) -> Prompt {
    let generate =
        |e: &Effect| if let Effect::Engine(Command::Generate(r)) = e { Some(r.prompt.clone()) } else { None };
    driver.effects.iter().rev().find_map(generate).unwrap()
}

#[test]
fn everything_is_as_it_was_left() {
    let mut driver = resumed("small");
    assert_eq!((driver.app.sampling.temperature, driver.app.chat.system.as_str()), (0.3, "be brief"));
    assert!(driver.app.alterations.all.mute == [5] && driver.text().contains("routing altered"));
    assert!(matches!(driver.effects.last(), Some(Effect::Engine(Command::Alter(a))) if a.all.mute == [5]));
    // The routing of before is counted, and the tokens can be walked.
    driver.wait(1.0);
    assert_eq!(driver.app.shown.load.tokens(), 3);
    driver.keys("<ctrl-t><right>");
    assert!(driver.text().contains("2 of 3") && driver.text().contains("perhaps"));
    driver.keys("<down><enter>");
    let Prompt::Fork { messages, answer } = asked(&driver) else { panic!() };
    assert_eq!((messages.len(), answer.as_slice()), (2, &[3, 700][..]));
    driver.answer(usize::MAX);
    driver.keys("more<enter>");
    let Prompt::Chat(messages) = asked(&driver) else { panic!() };
    let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(said, ["be brief", "go", "It  perhapsIt is so.", "more"]);
    driver.answer(usize::MAX);
    driver.keys("<alt-n>");
    assert!(driver.app.chat.nodes().is_empty() && ops(&mut driver).contains(&SessionOp::New));
}

#[test]
fn tokens_of_another_model_are_gone_on_from_as_text() {
    let mut driver = resumed("another");
    driver.keys("<ctrl-t><right><down><enter>");
    let Prompt::Continue(messages) = asked(&driver) else { panic!() };
    let begun = Message { role: Role::Assistant, content: "It  perhaps".into() };
    assert_eq!(messages.last(), Some(&begun));
    // Its own answers have its own tokens.
    driver.answer(usize::MAX);
    driver.keys("<ctrl-t><right><down><enter>");
    assert!(matches!(asked(&driver), Prompt::Fork { .. }));
}

#[test]
fn nothing_is_said_into_a_session_that_is_being_opened() {
    let mut driver = Driver::opened(120, 36);
    driver.send(Msg::Resume("s".into()));
    driver.send(Msg::System("asked for at the start".into()));
    driver.keys("go<enter>/rename x<enter>");
    assert!(driver.saved.is_empty() && driver.app.chat.nodes().is_empty());
    assert_eq!(driver.app.prompt.text(), "go/rename x", "what was typed is still there");
    driver.send(Msg::SessionOpened(Box::default()));
    assert_eq!(driver.saved, [Change::System { text: "asked for at the start".into() }]);
    driver.send(Msg::Resume("t".into()));
    driver.send(Msg::SessionNotOpened("t cannot be opened: it is no session".into()));
    assert!(driver.text().contains("t cannot be opened"));
    driver.app.prompt.set("");
    driver.keys("go<enter>").answer(usize::MAX);
    assert_eq!(driver.app.chat.nodes().len(), 2);
}

#[test]
fn the_list_is_walked_with_a_look_at_each() {
    let mut driver = listed();
    assert_eq!(ops(&mut driver), [SessionOp::List, SessionOp::Preview("c".into())]);
    driver.keys("<down>");
    assert_eq!(ops(&mut driver), [SessionOp::Preview("b".into())]);
    let messages = vec![(Role::User, "first words".into()), (Role::Assistant, "last \u{1b}[2J words".into())];
    driver.send(Msg::Preview(Preview { id: "b".into(), messages }));
    let text = driver.text();
    assert!(text.contains("● Second") && text.contains("first words") && text.contains("last ␛[2J words"), "{text}");
    driver.keys("G");
    assert!(driver.app.sessions.at == 2 && !driver.text().contains("first words"));
    driver.keys("g<pagedown><pageup>");
    assert_eq!(driver.app.sessions.at, 0);
    // A list that came anew keeps the choice.
    driver.keys("<down>");
    driver.send(Msg::Sessions(vec![entry("d", "Fourth"), entry("c", "Third"), entry("b", "Second")]));
    assert_eq!(driver.app.sessions.at, 2);
    driver.send(Msg::Sessions(vec![]));
    assert!(driver.text().contains("No conversation is kept yet"));
    driver.keys("<enter>dre<down>");
}

#[test]
fn sessions_are_opened_named_copied_and_exported() {
    let mut driver = listed();
    ops(&mut driver);
    // What is typed goes behind the name that it had.
    driver.keys("r<backspace>ty<enter>");
    let renamed = SessionOp::Rename("c".into(), "Thirty".into());
    assert_eq!(ops(&mut driver), [renamed, SessionOp::List]);
    driver.keys("c");
    assert_eq!(ops(&mut driver), [SessionOp::Copy("c".into()), SessionOp::List]);
    driver.keys("eE");
    let export = |json| SessionOp::Export(Export { from: ExportFrom::Saved("c".into()), json, file: None });
    assert_eq!(ops(&mut driver), [export(false), export(true)]);
    driver.keys("<down>rs<enter>");
    assert_eq!(
        driver.saved.last(),
        Some(&Change::Title { title: "Seconds".into() }),
        "the open one is named in its chat"
    );
    driver.keys("<up><enter>");
    assert_eq!(ops(&mut driver).last(), Some(&SessionOp::Open("c".into())));
    assert!(driver.text().contains("Opening…"));
    driver.send(Msg::SessionOpened(Box::new(Resumed { id: "c".into(), ..Resumed::default() })));
    assert_eq!((driver.app.view, driver.app.focus), (View::Workbench, Pane::Prompt));
    // The one that is open need not be read again.
    driver.keys("<f4><enter>");
    assert_eq!((ops(&mut driver), driver.app.view), (vec![SessionOp::List], View::Workbench));
}

#[test]
fn deleting_asks_once_and_leaves_an_empty_chat_where_it_was_open() {
    let mut driver = listed();
    ops(&mut driver);
    driver.keys("d");
    assert!(driver.text().contains("Press d again") && ops(&mut driver).is_empty());
    driver.keys("xd");
    assert!(ops(&mut driver).is_empty(), "any other key keeps it");
    driver.keys("d");
    assert_eq!(ops(&mut driver), [SessionOp::Delete("c".into()), SessionOp::List]);
    driver.keys("<down>");
    ops(&mut driver);
    driver.keys("dd");
    assert_eq!(ops(&mut driver), [SessionOp::New, SessionOp::Delete("b".into()), SessionOp::List]);
    assert_eq!((driver.app.view, driver.app.sessions.open.clone()), (View::Sessions, None));
    // Not while it is being written.
    driver.send(Msg::SessionNamed("b".into()));
    driver.keys("<f2>go<enter>").answer(1);
    driver.keys("<f4>dd");
    assert!(!ops(&mut driver).contains(&SessionOp::Delete("b".into())));
}

#[test]
fn this_chat_is_exported_by_name() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("/export<enter>");
    assert!(driver.text().contains("Nothing was said yet") && ops(&mut driver).is_empty());
    driver.keys("go<enter>").answer(usize::MAX);
    let here = ExportFrom::Here(Box::new(driver.app.chat.clone()));
    driver.keys("/export<enter>");
    assert_eq!(ops(&mut driver), [SessionOp::Export(Export { from: here.clone(), json: false, file: None })]);
    driver.send(Msg::SessionNamed("s".into()));
    let saved = ExportFrom::Saved("s".into());
    for (line, json, file) in [
        ("/export json", true, None),
        ("/export md a b.md", false, Some("a b.md")),
        ("/export ~/sky.json", true, Some("~/sky.json")),
        ("/export notes", false, Some("notes")),
    ] {
        driver.keys(line).keys("<enter>");
        let want = Export { from: saved.clone(), json, file: file.map(str::to_owned) };
        assert_eq!(ops(&mut driver), [SessionOp::Export(want)], "{line}");
    }
    // What is not in the file is taken from here.
    driver.send(Msg::Saving(Saving::Failing("no room".into())));
    driver.keys("/export<enter>");
    assert_eq!(ops(&mut driver), [SessionOp::Export(Export { from: here, json: false, file: None })]);
}

#[test]
fn what_cannot_be_saved_is_said_once_and_stays_in_sight() {
    let mut driver = Driver::opened(120, 36);
    driver.send(Msg::Saving(Saving::Failing("the disk is full".into())));
    assert!(driver.text().contains("Not saved: the disk is full"));
    driver.wait(6.0);
    let text = driver.text();
    assert!(!text.contains("the disk is full") && text.contains("NOT SAVED"), "{text}");
    driver.keys("go<enter>").answer(usize::MAX);
    assert_eq!(driver.app.chat.nodes().len(), 2);
    // It is not let go of by mistake.
    for keys in ["<ctrl-q>", "<alt-n>"] {
        driver.keys(keys);
        assert!(driver.text().contains("This chat is not saved") && !driver.effects.contains(&Effect::Quit));
        assert_eq!(driver.app.chat.nodes().len(), 2);
        driver.wait(6.0);
    }
    driver.send(Msg::Saving(Saving::Saved));
    assert!(driver.text().contains("saved again"));
    driver.wait(6.0);
    assert!(!driver.text().contains("NOT SAVED"));
    driver.send(Msg::Saving(Saving::Private));
    assert!(driver.text().contains("private"));
}

#[test]
fn an_answer_ends_with_the_program() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("go<enter>").answer(2);
    driver.send(Msg::Leaving);
    let stopped = End::Done(FinishReason::Cancelled);
    assert!(matches!(driver.saved.last(), Some(Change::Finish { end, .. }) if *end == stopped));
    driver.send(Msg::Leaving);
    assert_eq!(driver.saved.len(), 5);
    // One that did not end, because the program was killed, says so.
    driver.saved.pop();
    driver.send(Msg::SessionOpened(Box::new(Resumed::from_changes("s", &driver.saved.clone()))));
    assert!(driver.text().contains("cut off"));
}

#[test]
fn other_sessions_are_searched_part_by_part() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.push_back("a needle here".into());
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<alt-f>need");
    assert!(driver.text().contains("searching…"));
    let hit = |node: usize| Hit { session: Some("s".into()), title: "Other".into(), node, excerpt: "needles".into() };
    let found = |query: &str, node, done| Msg::Found(Found { query: query.into(), hits: vec![hit(node)], done });
    driver.send(found("nee", 9, true));
    let count = |driver: &Driver| if let Some(Overlay::Search(s)) = &driver.app.overlay { s.hits.len() } else { 0 };
    assert_eq!(count(&driver), 1, "nobody waits for that any more");
    driver.send(found("need", 0, false));
    driver.send(found("need", 1, true));
    assert!(count(&driver) == 3 && !driver.text().contains("searching…"));
    // Taken, the session is opened at that message.
    ops(&mut driver);
    driver.keys("<down><down><enter>");
    assert_eq!(ops(&mut driver), [SessionOp::Open("s".into())]);
    let saved = driver.saved.clone();
    driver.send(Msg::SessionOpened(Box::new(Resumed::from_changes("s", &saved))));
    assert_eq!((driver.app.selected, driver.app.focus), (Some(1), Pane::Chat));
}

#[test]
fn a_search_that_is_typed_on_finds_what_one_from_the_start_would() {
    let mut changes = Vec::new();
    for id in 0..2000usize {
        let role = if id % 2 == 0 { Role::User } else { Role::Assistant };
        let text = format!("message {id}: {}", ["Größe", "größer", "Straße", "sand"][id % 4]);
        let parent = id.checked_sub(1);
        changes.push(Change::Add { id, parent, role, text, tokens: vec![], sampling: None, alterations: None });
    }
    let mut driver = Driver::opened(120, 36);
    driver.send(Msg::SessionOpened(Box::new(Resumed::from_changes("long", &changes))));
    driver.keys("<ctrl-f>");
    for key in ["M", "e", "s", "s", "a", "g", "e", "<space>", "1", "9", "<backspace>", "9", "9", "<backspace>"] {
        driver.keys(key);
        let Some(Overlay::Search(search)) = &driver.app.overlay else { panic!() };
        assert_eq!(search.hits, search_chat(&driver.app.chat, &search.list.query), "{}", search.list.query);
    }
    for query in ["GRÖ", "straß", "SAND", "größer"] {
        let want = driver.app.chat.nodes().iter().filter(|n| n.text.to_lowercase().contains(&query.to_lowercase()));
        assert_eq!(search_chat(&driver.app.chat, query).len(), want.count().min(200), "{query}");
    }
}

#[test]
fn prompts_of_earlier_times_are_walked() {
    let mut driver = Driver::opened(80, 24);
    driver.keys("now<enter>").answer(usize::MAX);
    driver.send(Msg::History(vec!["long ago".into(), "now".into(), "lately".into()]));
    driver.keys("<up><up>");
    assert_eq!(driver.app.prompt.text(), "lately");
    driver.keys("<up>");
    assert_eq!(driver.app.prompt.text(), "long ago");
}
