//! A recording in the panes: played, stepped and searched, forwards and backwards, without a model.

use bit_axon::app::action::{ACTIONS, Context};
use bit_axon::app::key::Key;
use bit_axon::app::keymap::Keymap;
use bit_axon::app::msg::{Effect, Msg};
use bit_axon::app::replay::{Place, Start, Transport};
use bit_axon::app::state::{Pane, Scope, View};
use bit_axon::chat::{Change, End, Moment, Recording, TokenRecord, What};
use bit_axon::protocol::*;

use super::driver::{Driver, info, routing};
use super::screens::{SIZES, snapshot};

/// Two questions; the second is answered twice, the second time with an expert muted.
fn recording() -> Recording {
    let mut moments =
        vec![Moment { at: 0.0, what: What::Model { info: Box::new(info()), label: "random weights".into() } }];
    let (mut at, mut id) = (0.0, 0);
    let mut push = |at: f64, what: What| moments.push(Moment { at, what });
    for (question, answer, parent) in [
        (Some("How does the ring of keys work?"), "A **ring** keeps the last keys and values.", None),
        (Some("Why?"), "Because nothing grows, and so it stays as it is.", Some(1)),
        (None, "The oldest are overwritten.", Some(2)),
    ] {
        let mut asked = parent;
        if let Some(question) = question {
            push(at, add(id, parent, Role::User, question, None));
            asked = Some(id);
            id += 1;
        }
        let muted = Alterations { all: Alteration { mute: vec![2], ..Alteration::default() }, layers: vec![] };
        push(at, add(id, asked, Role::Assistant, "", question.is_none().then_some(muted)));
        let read = |n: usize| ReadToken { token: 900 + n as TokenId, text: [" How", " does", " it"][n % 3].into() };
        let routing_read = (0..3).map(|n| routing(n + id)).collect();
        let tokens = (0..3).map(read).collect();
        at += 0.2;
        push(at, What::Engine(Event::Prefill { id: 1, done: 3, total: 3, routing: routing_read, tokens }));
        for (n, word) in answer.split_inclusive(' ').enumerate() {
            at += 0.25;
            let alternative = Alternative { token: 700, text: " perhaps".into(), logprob: -1.5 };
            let token = TokenRecord {
                token: word.len() as TokenId,
                text: word.into(),
                logprob: [-0.02, -0.4, -1.2, -3.0][n % 4],
                alternatives: vec![alternative],
                routing: routing(n + id),
            };
            push(at, What::Change(Change::Token { id, token }));
            let celsius = Some(60.0 + 3.0 * n as f32 + 6.0 * id as f32);
            push(at, What::Heat(HeatReading { celsius, watts: Some(21.0), ..HeatReading::default() }));
        }
        let stats = Stats { generated_tokens: 8, first_token_s: 0.45, decode_s: 1.75, ..Stats::default() };
        let end = End::Done(FinishReason::EndOfText);
        push(at, What::Change(Change::Finish { id, text: String::new(), end, stats: Some(stats) }));
        let memory = MemoryReport { weights: 24 << 20, rewind_budget: 256 << 20, ..MemoryReport::default() };
        push(at, What::State(Box::new(EngineSnapshot { context_tokens: 40 * id, memory, ..Default::default() })));
        push(at, What::Machine(MachineMemory { process: 61 << 20, used: 5 << 30, total: 24 << 30 }));
        (at, id) = (at + 5.0, id + 1);
    }
    Recording { title: "a tour".into(), moments, notes: vec![] }
}

fn add(id: usize, parent: Option<usize>, role: Role, text: &str, alterations: Option<Alterations>) -> What {
    let (text, tokens, sampling) = (text.to_owned(), vec![], None);
    What::Change(Change::Add { id, parent, role, text, tokens, sampling, alterations })
}

fn paused(place: &str, columns: u16, rows: u16) -> Driver {
    let from = Some(place.parse::<Place>().unwrap());
    let mut driver = Driver::replaying(recording(), Start { paused: true, from, ..Start::default() }, columns, rows);
    driver.wait(6.0);
    driver
}

fn at(driver: &Driver) -> Transport {
    driver.app.replay.as_ref().unwrap().transport()
}

fn last(driver: &Driver) -> &str {
    driver.app.chat.path().last().map_or("", |id| &driver.app.chat.node(*id).unwrap().text)
}

#[test]
fn it_plays_at_its_own_pace_and_stops_at_the_end() {
    let mut driver = Driver::replaying(recording(), Start::default(), 120, 36);
    driver.wait(0.0);
    assert!(at(&driver).playing);
    for _ in 0..5 {
        driver.wait(0.25);
    }
    assert!(at(&driver).tokens.0 >= 4 && last(&driver).starts_with("A **ring**"), "{:?}", at(&driver));
    assert!(driver.text().contains("tokens in flight"));
    for _ in 0..60 {
        driver.wait(0.5);
    }
    assert!(at(&driver).at_end && !at(&driver).playing);
    assert_eq!((at(&driver).tokens, bit_axon::app::next_wake(&driver.app)), ((22, 22), None));
    // Played again, it begins anew; a program that was asleep does not catch up.
    driver.keys("<space>");
    assert_eq!(at(&driver).tokens.0, 0);
    driver.wait(3600.0);
    assert!(at(&driver).tokens.0 <= 1, "{:?}", at(&driver));
}

#[test]
fn an_answer_that_is_being_played_was_not_cut_off() {
    let mut driver = paused("start", 120, 36);
    driver.keys(".....");
    assert!(last(&driver).starts_with("A **ring**") && !driver.text().contains("cut off"), "{}", driver.text());
    assert!(driver.app.notice.is_none(), "what was said at the start leaves with the first key");
    // One that the recording ends in was.
    let mut recording = recording();
    recording.moments.truncate(8);
    let from = Some("end".parse::<Place>().unwrap());
    let mut driver = Driver::replaying(recording, Start { paused: true, from, ..Start::default() }, 120, 36);
    driver.wait(1.0);
    assert!(driver.text().contains("cut off"), "{}", driver.text());
}

#[test]
fn a_trace_is_no_model_of_no_parameters() {
    let mut recording = recording();
    let size_unknown = ModelInfo { total_parameters: 0, active_parameters: 0, ..info() };
    recording.moments[0].what = What::Model { info: Box::new(size_unknown), label: "a trace".into() };
    let mut driver = Driver::replaying(recording, Start { paused: true, ..Start::default() }, 120, 36);
    let text = driver.text();
    assert!(!text.contains("0 parameters") && text.contains("12 layers, 8 with experts"), "{text}");
    driver.keys("...");
    driver.wait(1.0);
    assert!(driver.text().contains(" 1 token in flight"), "{}", driver.text());
}

#[test]
fn keys_step_seek_and_change_the_speed() {
    let mut driver = paused("start", 120, 36);
    driver.keys("].....");
    assert_eq!((at(&driver).messages.0, at(&driver).tokens.0), (2, 4));
    driver.keys(",<left>");
    assert_eq!((at(&driver).tokens.0, last(&driver)), (2, "A **ring** "));
    driver.keys("<right>]");
    assert_eq!(last(&driver), "Why?");
    driver.keys("[");
    assert_eq!(last(&driver), "");
    driver.keys("<end>");
    assert_eq!((at(&driver).at_end, at(&driver).tokens.0), (true, 22));
    driver.keys("5");
    let half = at(&driver).clock;
    assert!((half.0 / half.1 - 0.5).abs() < 0.01);
    driver.keys("0>>><<L");
    assert_eq!((at(&driver).tokens.0, at(&driver).speed, at(&driver).looped), (0, 2.0, true));
    driver.keys(":seek 12<enter>");
    assert_eq!(at(&driver).tokens.0, 12);
    driver.keys("<esc>:seek -2<enter>:speed 0.5<enter>:speed x<enter>");
    assert_eq!((at(&driver).tokens.0, at(&driver).speed), (10, 0.5));
    assert!(driver.app.notice.as_ref().unwrap().text.contains("1/16"));
}

#[test]
fn a_loop_rests_and_begins_again() {
    let mut driver = Driver::replaying(recording(), Start { looped: true, ..Start::default() }, 80, 24);
    driver.keys("<end><space>");
    driver.keys("<end>");
    driver.keys("9<space>");
    let mut begun_again = false;
    for _ in 0..200 {
        driver.wait(0.5);
        begun_again |= at(&driver).tokens.0 < 3;
        assert!(at(&driver).playing, "it never stops by itself");
    }
    assert!(begun_again);
}

#[test]
fn what_needs_a_model_says_so() {
    let mut driver = paused("end", 120, 36);
    for keys in ["<ctrl-r>", "<alt-e>", "<alt-u>", "<f4>", "<alt-n>", "<ctrl-t><enter>"] {
        driver.keys(keys);
        driver.app.prompt.set("");
        assert!(
            driver
                .app
                .notice
                .as_ref()
                .is_some_and(|n| n.text.contains("bit-axon chat") || n.text.contains("model runs")),
            "{keys}"
        );
    }
    driver.keys("<esc><tab>");
    driver.send(Msg::Paste("hi there".into()));
    driver.app.notice = None;
    driver.keys("<enter>");
    assert!(driver.app.notice.as_ref().unwrap().text.contains("no model runs"));
    driver.app.prompt.set("");
    driver.keys("<esc><f3>mM");
    assert!(driver.app.notice.as_ref().unwrap().text.contains("recording"));
    assert!(driver.effects.iter().all(|e| !matches!(e, Effect::Engine(_) | Effect::Record(_) | Effect::Session(_))));
    // What comes from elsewhere is not taken for the recording's.
    let machine = MachineMemory { process: 1, used: 2, total: 3 };
    let before = driver.app.shown.clone();
    driver.send(Msg::Machine(machine));
    driver.wait(1.0);
    assert_eq!(driver.app.shown, before);
}

#[test]
fn panes_show_what_was_then() {
    let mut driver = paused("start", 120, 36);
    assert!(driver.text().contains("No memory figures are recorded up to here"));
    driver.keys(":seek 3<enter>");
    driver.wait(1.0);
    let shown = &driver.app.shown;
    assert_eq!((shown.heat.newest.sensor.celsius(), shown.answering, shown.tokens), (Some(69.0), Some(1), 3));
    assert_eq!(shown.load.tokens(), 3);
    driver.keys("<end>");
    driver.wait(1.0);
    assert!(driver.text().contains("routing altered: mute 2"), "{}", driver.text());
    assert_eq!(driver.app.shown.snapshot.context_tokens, 160);
    // Three prompts of three tokens, and all words but the first of each answer, which it shares with
    // the end of the prompt.
    driver.app.look.scope = Scope::Session;
    driver.keys("<left><right>");
    driver.wait(1.0);
    assert_eq!(driver.app.shown.load.tokens(), 9 + 22 - 3);
    driver.keys("<f3>");
    driver.wait(1.0);
    let fires: Vec<_> = driver.app.shown.fires.iter().map(|fired| fired.text.as_str()).collect();
    assert!(fires.contains(&" does") || fires.contains(&" How") || fires.contains(&" it"), "{fires:?}");
}

#[test]
fn branches_and_tokens_are_walked_until_it_goes_on() {
    let mut driver = paused("end", 120, 36);
    assert_eq!(last(&driver), "The oldest are overwritten.");
    driver.keys("<alt-left>");
    assert!(last(&driver).starts_with("Because"));
    driver.keys("<alt-left>");
    driver.keys("<alt-left><left>");
    assert_eq!((last(&driver), at(&driver).tokens.0), ("The oldest are overwritten.", 22));
    driver.keys("<left>");
    assert_eq!(last(&driver), "The oldest are ");
    driver.keys("<ctrl-t><right>");
    assert!(driver.text().contains("2 of 3"));
    // The token under the cursor goes; the cursor stays with what is there.
    driver.keys("<right>,");
    assert!(driver.text().contains("2 of 2"), "{}", driver.text());
    driver.keys(",,");
    assert!(driver.app.walk.is_none());
    driver.keys("<ctrl-f>overwritten");
    assert!(driver.text().contains("It is not there"));
    driver.keys("<esc><end>/keys and<enter>");
    assert_eq!(driver.app.selected, Some(1));
}

#[test]
fn wherever_it_goes_it_counts_what_straight_playing_counts() {
    let straight = |token: usize| {
        let mut driver = paused(&token.to_string(), 120, 36);
        driver.app.look.scope = Scope::Session;
        driver.keys("<f3><f3>");
        driver.wait(1.0);
        driver
    };
    let mut driver = straight(0);
    for place in [22, 3, 17, 0, 9, 8, 21] {
        driver.keys(&format!(":seek {place}<enter><esc>"));
        driver.wait(1.0);
        let other = straight(place);
        assert_eq!(driver.app.chat, other.app.chat, "{place}");
        for (a, b) in driver.app.shown.load.layers.iter().zip(&other.app.shown.load.layers) {
            assert_eq!((a.tokens, &a.chosen, &a.pairs), (b.tokens, &b.chosen, &b.pairs), "{place}");
            assert!((0..8).all(|e| (a.weight[e] - b.weight[e]).abs() < 1e-6), "{place}");
        }
        assert_eq!(driver.app.shown.heat, other.app.shown.heat, "{place}");
        assert_eq!(driver.app.shown.snapshot, other.app.shown.snapshot, "{place}");
    }
}

#[test]
fn a_recording_on_screens() {
    for (columns, rows) in SIZES {
        let mut driver = paused("13", columns, rows);
        snapshot(&format!("replay-{columns}x{rows}"), &mut driver);
    }
    snapshot("replay-start", &mut paused("start", 120, 36));
    let mut ascii = paused("end", 80, 24);
    ascii.theme.ascii = true;
    snapshot("replay-ascii-80x24", &mut ascii);
    let mut prompt = paused("13", 40, 12);
    prompt.keys(":");
    snapshot("replay-prompt-40x12", &mut prompt);
}

#[test]
fn random_keys_never_break_it() {
    let keymap = Keymap::default();
    let bound: Vec<Key> =
        ACTIONS.iter().filter(|info| info.context != Context::List).flat_map(|info| keymap.keys(info.action)).collect();
    let mut seed = 3u64;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((seed >> 33) as usize) % n
    };
    let mut driver = Driver::replaying(recording(), Start::default(), 100, 30);
    for step in 0..2000 {
        match below(12) {
            0..8 => driver.key(bound[below(bound.len())]),
            8 => driver.resize(1 + below(200) as u16, 1 + below(60) as u16),
            9 => drop(driver.keys(["<esc>", "<end>", "<f2>", "L"][below(4)])),
            _ => driver.wait(below(10) as f64 / 5.0),
        }
        let app = &driver.app;
        assert!(app.selected.is_none_or(|place| place < app.chat.path().len().max(1)), "step {step}");
        assert!(app.walk.is_none_or(|w| app.chat.node(w.node).is_some_and(|n| w.at < n.tokens.len())), "step {step}");
    }
    // All was taken back and done again; what is there is what the recording says.
    driver.keys("<esc><esc><esc><esc><esc><f3><f2><end>");
    driver.app.focus = Pane::Chat;
    driver.app.view = View::Workbench;
    driver.keys("<end>");
    assert_eq!(driver.app.chat, paused("end", 80, 24).app.chat);
}
