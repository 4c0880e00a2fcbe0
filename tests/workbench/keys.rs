//! What keys do: before, keys, after.

use bit_axon::app::chat::{Chat, End};
use bit_axon::app::msg::{Effect, Msg, SessionOp};
use bit_axon::app::sessions::Resumed;
use bit_axon::app::state::{Pane, Scroll, View};
use bit_axon::protocol::{Command, FinishReason, Prompt, Role};

use super::driver::Driver;

fn texts(driver: &Driver) -> Vec<&str> {
    driver.app.chat.path().iter().map(|id| driver.app.chat.node(*id).unwrap().text.as_str()).collect()
}

fn asked(driver: &Driver) -> Vec<&Prompt> {
    let request = |effect: &'_ Effect| matches!(effect, Effect::Engine(Command::Generate(_)));
    let all = driver.effects.iter().filter(|e| request(e));
    all.map(|e| if let Effect::Engine(Command::Generate(r)) = e { &r.prompt } else { unreachable!() }).collect()
}

#[test]
fn a_prompt_is_answered_and_saved() {
    let mut driver = Driver::opened(100, 30);
    driver.keys("one<alt-enter>two<enter>").answer(usize::MAX);
    assert_eq!(texts(&driver), ["one\ntwo", "It is so."]);
    assert!(driver.app.prompt.is_empty() && driver.app.running.is_none());
    assert!(driver.effects.contains(&Effect::Remember("one\ntwo".into())));
    let mut again = Chat::default();
    driver.saved.iter().for_each(|change| again.apply(change).unwrap());
    assert_eq!(again, driver.app.chat);
}

#[test]
fn stopping_keeps_what_is_there() {
    for key in ["<esc>", "<ctrl-c>", "/stop<enter>"] {
        let mut driver = Driver::opened(100, 30);
        driver.keys("go<enter>").answer(2);
        driver.keys("more");
        driver.app.prompt.set("");
        driver.keys(key);
        assert!(
            matches!(
                driver.effects.iter().rev().find(|e| matches!(e, Effect::Engine(_))),
                Some(Effect::Engine(Command::Cancel(1)))
            ),
            "{key}"
        );
        driver.cancelled();
        assert_eq!(texts(&driver), ["go", "It is "]);
        assert_eq!(driver.app.chat.at(1).unwrap().end, Some(End::Done(FinishReason::Cancelled)));
    }
}

#[test]
fn regenerating_and_editing_make_branches_to_walk() {
    let mut driver = Driver::opened(100, 30);
    driver.answers.extend(["first", "second", "third"].map(String::from));
    driver.keys("why<enter>").answer(usize::MAX);
    driver.keys("<ctrl-r>").answer(usize::MAX);
    assert_eq!(texts(&driver), ["why", "second"]);
    driver.keys("<alt-left>");
    assert_eq!(texts(&driver), ["why", "first"]);
    driver.keys("<alt-e>");
    assert_eq!(driver.app.prompt.text(), "why");
    driver.keys(" not<enter>").answer(usize::MAX);
    assert_eq!(texts(&driver), ["why not", "third"]);
    driver.keys("<alt-left>");
    assert_eq!(texts(&driver), ["why", "first"]);
    // An edit that is given up leaves everything as it was.
    driver.keys("<alt-e><esc>");
    assert!(driver.app.prompt.is_empty() && driver.app.editing.is_none());
}

#[test]
fn an_answer_is_forked_at_a_token() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.extend(["It is so.", "and on"].map(String::from));
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<ctrl-t><right><down>");
    assert!(driver.text().contains("2 of 3"));
    driver.keys("<enter>");
    let Some(Prompt::Fork { messages, answer }) = asked(&driver).last().copied() else { panic!() };
    assert_eq!((messages.last().map(|m| m.role), answer.as_slice()), (Some(Role::User), &[3, 700][..]));
    driver.answer(usize::MAX);
    assert_eq!(texts(&driver), ["go", "It  perhapsand on"]);
    let node = driver.app.chat.at(1).unwrap();
    assert_eq!((node.taken_over, node.tokens.len()), (2, 4));
    assert_eq!(driver.app.chat.siblings(driver.app.chat.path()[1]).0.len(), 2);
}

#[test]
fn experts_are_muted_from_keys_and_lines_and_the_banner_says_so() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("<f3><down><right><right>m");
    assert!(driver.text().contains("routing altered: L5 mute 2"));
    assert!(matches!(driver.effects.last(), Some(Effect::Engine(Command::Alter(a))) if a.of(5).mute == [2]));
    driver.keys("M-x<esc>");
    assert!(driver.app.alterations.of(7).mute.contains(&2));
    driver.keys("/k 1<enter>/mute x<enter>");
    assert_eq!(driver.app.alterations.all.top_k, Some(1));
    assert!(driver.app.notice.as_ref().unwrap().text.contains("4.3"));
    driver.app.prompt.set("");
    driver.keys("<alt-u>");
    assert!(driver.app.alterations.is_none() && !driver.text().contains("altered"));
}

#[test]
fn the_readers_place_is_kept_while_an_answer_streams() {
    let mut driver = Driver::opened(80, 20);
    driver.answers.extend(["word ".repeat(400), "more ".repeat(400)]);
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("on<enter>").answer(100);
    driver.keys("<pageup>");
    let Scroll::At(top) = driver.app.scroll else { panic!("it follows") };
    driver.answer(400);
    assert_eq!(driver.app.scroll, Scroll::At(top));
    driver.keys("<alt->>");
    assert_eq!(driver.app.scroll, Scroll::Follow);
    driver.keys("<pageup><pageup><pagedown><pagedown><pagedown>");
    assert_eq!(driver.app.scroll, Scroll::Follow, "the end was reached");
}

#[test]
fn several_lines_are_made_room_for_at_once_while_an_answer_grows() {
    for (slow, most) in [(false, 4), (true, 16)] {
        let mut driver = Driver::opened(80, 36);
        driver.app.slow_link = slow;
        driver.keys("go<enter>");
        let (mut moves, mut lines) = (0, 0);
        let mut before = driver.app.drawn.top;
        for _ in 0..900 {
            // One word, and there would be more.
            driver.answers.push_back("word word".into());
            driver.answer(1);
            let drawn = driver.app.drawn;
            assert!(drawn.at_end && drawn.top.place >= before.place);
            assert!(drawn.top.line >= before.line || drawn.top.place > before.place, "it never moves back");
            moves += usize::from(drawn.top != before);
            lines += (drawn.top.line - before.line).max(0);
            before = drawn.top;
        }
        assert!(moves > 2 && lines as usize >= (moves - 1) * most / 2, "{moves} moves, {lines} lines, slow {slow}");
        // The end of the answer takes no room back.
        driver.answer(usize::MAX);
        assert!((0..2).contains(&(driver.app.drawn.top.line - before.line)));
    }
}

#[test]
fn the_speed_is_limited_by_a_line() {
    let mut driver = Driver::opened(100, 30);
    driver.keys("/max-speed 12.5<enter>go<enter>");
    let asked = |driver: &Driver| match driver.effects.iter().rev().find(|e| matches!(e, Effect::Engine(_))) {
        Some(Effect::Engine(Command::Generate(request))) => request.max_speed,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&driver), Some(12.5));
    driver.answer(usize::MAX);
    driver.keys("/max-speed 0<enter>");
    assert!(driver.app.notice.as_ref().unwrap().text.contains("from 0.1"));
    driver.app.prompt.set("");
    driver.keys("/max-speed<enter>on<enter>");
    assert_eq!(asked(&driver), None);
}

#[test]
fn panes_are_focused_zoomed_hidden_and_resized() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("<tab><tab>");
    assert_eq!(driver.app.focus, Pane::Routing);
    driver.keys("<alt-z>");
    assert!(!driver.text().contains("memory"));
    driver.keys("<alt-z><alt-h>");
    assert!(!driver.text().contains(" routing ─") && driver.app.focus == Pane::Prompt);
    driver.keys("/hide heat<enter>/hide memory<enter>");
    assert!(!driver.text().contains("heat"));
    driver.keys("<alt-a><alt-,><alt-,>");
    assert_eq!((driver.app.panes.chat_percent, driver.app.panes.hidden.len()), (54, 0));
    driver.keys("<f3>");
    assert_eq!(driver.app.view, View::Routing);
    driver.keys("<f3>");
    assert_eq!(driver.app.view, View::Workbench);
}

#[test]
fn copying_and_settings() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.push_back("Look:\n```sh\nls -l\n```\nand\n~~~\nopen".into());
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("/copy-code 1<enter>");
    assert!(driver.effects.contains(&Effect::Copy("ls -l\n".into())));
    driver.keys("<alt-k>");
    assert!(driver.effects.contains(&Effect::Copy("open".into())));
    driver.keys("<alt-c>");
    assert!(matches!(driver.effects.last(), Some(Effect::Copy(text)) if text.starts_with("Look:")));
    driver.keys("/temperature 0.2<enter>/seed 7<enter>/top-k x<enter>");
    assert_eq!((driver.app.sampling.temperature, driver.app.sampling.seed), (0.2, Some(7)));
    driver.app.prompt.set("");
    driver.keys("<alt-s><right><esc>");
    assert_eq!(driver.app.sampling.temperature, 0.25);
    driver.keys("/system be brief<enter>hi<enter>");
    let Some(Prompt::Chat(messages)) = asked(&driver).last().copied() else { panic!() };
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::System, "be brief"));
    driver.keys("/theme light<enter>");
    assert_eq!(driver.effects.last(), Some(&Effect::Theme("light".into())));
}

#[test]
fn searching_finds_other_branches_and_other_sessions() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.extend(["a Needle here", "hay"].map(String::from));
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<ctrl-r>").answer(usize::MAX);
    driver.keys("<ctrl-f>needle<enter>");
    assert_eq!(texts(&driver)[1], "a Needle here");
    driver.keys("<alt-f>needle");
    assert_eq!(driver.effects.last(), Some(&Effect::Session(SessionOp::Search("needle".into()))));
    driver.keys("<esc><alt-n>");
    assert!(driver.app.chat.path().is_empty());
    driver.send(Msg::SessionOpened(Box::new(Resumed::from_changes("s1", &driver.saved))));
    assert_eq!(texts(&driver), ["go", "a Needle here"]);
}

#[test]
fn leaving_takes_two_interrupts() {
    let mut driver = Driver::opened(80, 24);
    driver.keys("x<ctrl-c><ctrl-c>");
    assert!(!driver.effects.contains(&Effect::Quit));
    driver.keys("<ctrl-c>");
    assert!(driver.effects.contains(&Effect::Quit));
}

#[test]
fn history_is_walked() {
    let mut driver = Driver::opened(80, 24);
    driver.keys("one<enter>").answer(usize::MAX);
    driver.keys("two<enter>").answer(usize::MAX);
    driver.keys("dra<up><up>");
    assert_eq!(driver.app.prompt.text(), "one");
    driver.keys("<down><down>");
    assert_eq!(driver.app.prompt.text(), "dra");
}

#[test]
fn nothing_changed_means_nothing_to_draw() {
    let mut driver = Driver::opened(120, 36);
    driver.wait(1.0);
    for _ in 0..20 {
        driver.send(Msg::Tick(driver.app.now + 1.0));
        driver.send(Msg::Machine(bit_axon::protocol::MachineMemory {
            process: 61 << 20,
            used: 5 << 30,
            total: 24 << 30,
        }));
        assert!(!driver.app.dirty);
        assert_eq!(bit_axon::app::next_wake(&driver.app), None);
    }
}
