//! Routing in full, and tokens: what is counted, compared, altered everywhere, exported.

use bit_axon::app::msg::{Effect, Msg};
use bit_axon::app::state::{Scope, View};

use super::driver::Driver;
use super::screens::{SIZES, snapshot};

fn asked(columns: u16, rows: u16) -> Driver {
    let mut driver = Driver::opened(columns, rows);
    driver.answers.extend(["It keeps the last ones and nothing else at all.", "Nothing grows."].map(String::from));
    driver.keys("How does it work?<enter>").answer(usize::MAX);
    driver.keys("Why?<enter>").answer(usize::MAX);
    driver.snapshot(180);
    driver.wait(6.0);
    driver
}

#[test]
fn experts_know_the_tokens_of_prompts_and_no_token_is_counted_twice() {
    let mut driver = asked(120, 36);
    driver.app.look.scope = Scope::Session;
    driver.keys("<f3>");
    driver.wait(1.0);
    // Two prompts of 16 tokens; of each answer all but the first, whose routing is the prompt's last.
    assert_eq!(driver.app.shown.load.tokens(), 2 * 16 + 10 - 1 + 2 - 1);
    let mut texts = Vec::new();
    for _ in 0..8 {
        texts.extend(driver.app.shown.fires.iter().map(|fired| fired.text.clone()));
        driver.keys("<right>");
        driver.wait(1.0);
    }
    for wanted in [" does", "?", "keeps ", "nothing "] {
        assert!(texts.iter().any(|text| text == wanted), "{wanted}: {texts:?}");
    }
}

#[test]
fn a_session_that_is_opened_again_is_counted_and_can_be_forked() {
    let mut driver = asked(120, 36);
    let saved = driver.saved.clone();
    driver.keys("<alt-n>");
    driver.app.look.scope = Scope::Session;
    driver.keys("<f3>");
    driver.wait(1.0);
    assert_eq!(driver.app.shown.load.tokens(), 0, "a new chat has no tokens");
    driver.send(Msg::SessionOpened(Box::new(bit_axon::app::sessions::Resumed::from_changes("s1", &saved))));
    driver.wait(1.0);
    assert_eq!(driver.app.shown.load.tokens(), 12);
    driver.keys("<ctrl-t><right><down><enter>").answer(usize::MAX);
    let answer = driver.app.chat.node(driver.app.chat.last_answer().unwrap()).unwrap();
    assert!(answer.text.starts_with("Nothing  perhaps") && answer.taken_over == 2, "{}", answer.text);
}

#[test]
fn an_answer_of_another_model_is_not_forked() {
    let mut driver = asked(120, 36);
    let Some(mut info) = driver.app.opened().map(|opened| opened.info.clone()) else { panic!() };
    info.vocabulary = 5;
    let opened = bit_axon::app::msg::Opened { info, label: String::new(), needs: vec![], budget: 0 };
    driver.send(Msg::Opened(Box::new(opened)));
    let before = driver.effects.len();
    driver.keys("<ctrl-t><down><enter>");
    assert!(driver.app.notice.as_ref().unwrap().text.contains("another model"));
    assert_eq!(driver.effects.len(), before);
}

#[test]
fn k_changes_everywhere_and_answers_are_compared_in_a_circle() {
    let mut driver = asked(120, 36);
    driver.keys("<f3>K");
    assert_eq!((driver.app.alterations.all.top_k, driver.app.alterations.layers.len()), (Some(3), 0));
    driver.keys("JJ");
    assert_eq!(driver.app.alterations.all.top_k, Some(1));
    driver.keys("K");
    assert!(driver.app.alterations.is_none());
    driver.keys("r").answer(usize::MAX);
    driver.keys("<f2><f3>c");
    driver.wait(1.0);
    let text = driver.text();
    assert!(text.contains("answer 2 of 2") && text.contains("answer 1 of 2"), "{text}");
    driver.keys("o");
    driver.wait(1.0);
    let text = driver.text();
    assert!(text.contains("answer 2 of 2") && text.contains("message 2 (How does it work?)"), "{text}");
    driver.keys("o");
    driver.wait(1.0);
    assert!(driver.text().contains("answer 1 of 2"));
    driver.keys("c");
    assert_eq!((driver.app.look.compare, driver.app.view), (false, View::Routing));
}

#[test]
fn what_is_seen_is_exported() {
    let saved = |driver: &Driver| match driver.effects.last() {
        Some(Effect::Save { name, numbered, text }) => (name.clone(), *numbered, text.clone()),
        other => panic!("{other:?}"),
    };
    let mut driver = asked(120, 36);
    driver.keys("/export-routing all.csv<enter>");
    let (name, numbered, text) = saved(&driver);
    assert_eq!((name.as_str(), numbered, text.lines().count()), ("all.csv", false, 1 + 8 * 8));
    assert!(text.lines().nth(1).unwrap().starts_with("this answer,4,0,2,"));
    driver.keys("<f3>svvr").answer(usize::MAX);
    driver.keys("/");
    driver.keys("<esc><f2>/export-routing pairs.csv<enter>");
    assert!(saved(&driver).2.starts_with("of,layer,expert,other,both,either,together\nthis session,4,0,1,"));
    driver.keys("<f3>ve");
    let (name, numbered, text) = saved(&driver);
    assert_eq!((name.as_str(), numbered), ("routing.svg", true));
    assert!(roxmltree::Document::parse(&text).is_ok() && text.contains("this session"));
    driver.keys("c<f2>/export-routing two.jsonl<enter>");
    let text = saved(&driver).2;
    assert!(text.contains("\"of\":\"answer 2 of 2\"") && text.contains("\"of\":\"answer 1 of 2\""), "{text}");
    driver.keys("/export-routing x.png<enter>");
    assert!(driver.app.notice.as_ref().unwrap().text.contains(".svg"));
}

#[test]
fn walking_tokens_shows_their_routing_and_gives_the_scope_back() {
    let mut driver = asked(120, 36);
    driver.keys("<ctrl-t>");
    driver.wait(1.0);
    assert_eq!((driver.app.look.scope, driver.app.shown.load.tokens()), (Scope::Token, 1));
    driver.keys("e<down><down>");
    assert!(driver.text().contains("L6 ") && !driver.text().contains("L5 "), "{}", driver.text());
    driver.keys("<up><up><up>e<esc>");
    assert_eq!((driver.app.look.scope, driver.app.walk), (Scope::Answer, None));
}

#[test]
fn pairs_and_experts_on_screens() {
    for (columns, rows) in SIZES {
        let mut driver = asked(columns, rows);
        driver.app.look.scope = Scope::Session;
        driver.keys("<f3>vv<right><right>");
        driver.wait(1.0);
        snapshot(&format!("together-{columns}x{rows}"), &mut driver);
        let mut driver = asked(columns, rows);
        driver.keys("<ctrl-t>e");
        driver.wait(1.0);
        snapshot(&format!("token-experts-{columns}x{rows}"), &mut driver);
    }
}
