//! Whole screens at four sizes.

use bit_axon::app::msg::Msg;
use bit_axon::app::state::SessionEntry;
use bit_axon::protocol::HeatReading;

use super::driver::Driver;

pub(super) const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 36), (200, 60)];

const ANSWER: &str = "A **ring** keeps the last keys and values:\n\n```rust\nfn slot(position: usize, window: usize) \
    -> usize {\n    position % window // the oldest is overwritten\n}\n```\n\nSo memory stays the same:\n\n1. it is \
    taken once\n2. 漢字 and é are measured\n\nThat is all.";

pub(super) fn snapshot(name: &str, driver: &mut Driver) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, driver.text());
    });
}

fn chatted(columns: u16, rows: u16) -> Driver {
    let mut driver = Driver::opened(columns, rows);
    driver.answers.extend([ANSWER.to_owned(), "Because nothing grows.".into()]);
    driver.keys("How does the ring of keys work?<enter>").answer(usize::MAX);
    driver.keys("Why?<enter>").answer(usize::MAX);
    driver.snapshot(180);
    driver.wait(6.0);
    driver
}

fn at_all_sizes(name: &str, prepare: impl Fn(&mut Driver)) {
    for (columns, rows) in SIZES {
        let mut driver = chatted(columns, rows);
        prepare(&mut driver);
        snapshot(&format!("{name}-{columns}x{rows}"), &mut driver);
    }
}

#[test]
fn the_workbench() {
    at_all_sizes("workbench", |_| ());
}

#[test]
fn an_empty_workbench() {
    for (columns, rows) in SIZES {
        snapshot(&format!("empty-{columns}x{rows}"), &mut Driver::opened(columns, rows));
    }
    snapshot("opening", &mut Driver::new(80, 24));
    let mut gone = Driver::opened(80, 24);
    gone.send(Msg::EngineGone("the file model.safetensors ends early: \u{1b}[31m12 bytes are missing".into()));
    snapshot("gone", &mut gone);
}

#[test]
fn the_routing_view() {
    at_all_sizes("routing", |driver| {
        driver.keys("<f3><down><right>");
        driver.wait(1.0);
    });
}

#[test]
fn two_answers_compared() {
    at_all_sizes("compared", |driver| {
        driver.answers.push_back("Nothing ever grows, and so it is the same.".into());
        driver.keys("<ctrl-r>").answer(usize::MAX);
        driver.keys("/compare<enter>");
        driver.wait(6.0);
    });
}

#[test]
fn the_token_view() {
    at_all_sizes("tokens", |driver| {
        driver.keys("<alt-up><alt-up><alt-up><ctrl-t><right><right><right><down>");
        driver.wait(1.0);
    });
}

#[test]
fn sessions_and_training() {
    at_all_sizes("sessions", |driver| {
        let entry = |n: usize, title: &str| SessionEntry {
            id: format!("2026-01-0{n}"),
            title: title.into(),
            messages: n * 7,
            when: format!("2026-01-0{n} 12:00"),
        };
        driver.keys("<f4>");
        driver.send(Msg::Sessions(vec![entry(3, "Rings of keys"), entry(2, "漢字 \u{1b}[2J"), entry(1, "Why?")]));
        driver.keys("<down>");
    });
    at_all_sizes("training", |driver| {
        let _ = driver.keys("<f5>");
    });
}

#[test]
fn overlays() {
    at_all_sizes("help", |driver| {
        let _ = driver.keys("<f1>");
    });
    at_all_sizes("palette", |driver| {
        let _ = driver.keys("<ctrl-p>br");
    });
    at_all_sizes("search", |driver| {
        let _ = driver.keys("<ctrl-f>ring");
    });
    at_all_sizes("settings", |driver| {
        let _ = driver.keys("<alt-s><down><right>");
    });
    at_all_sizes("completion", |driver| {
        let _ = driver.keys("/re");
    });
}

#[test]
fn heat_with_a_sensor_and_an_altered_routing() {
    at_all_sizes("hot-and-altered", |driver| {
        driver.send(Msg::Sensor(Some("k10temp Tctl".into())));
        for i in 0..120 {
            let celsius = Some(60.0 + 38.0 * (i as f32 / 120.0));
            driver.wait(1.0);
            driver.send(Msg::Heat(HeatReading { celsius, watts: Some(34.5), fan_rpm: None, throttled: Some(false) }));
        }
        driver.keys("/mute 6.3<enter>/force 2<enter>/k 9.1<enter>");
        driver.wait(6.0);
    });
}

#[test]
fn small_screens_show_one_pane_and_smaller_ones_say_so() {
    let mut driver = chatted(40, 12);
    driver.keys("<tab><tab>");
    snapshot("tab-routing-40x12", &mut driver);
    driver.keys("<tab>");
    snapshot("tab-heat-40x12", &mut driver);
    driver.keys("<tab>");
    snapshot("tab-memory-40x12", &mut driver);
    driver.resize(39, 11);
    snapshot("too-small", &mut driver);
}

#[test]
fn ascii_only() {
    let mut driver = chatted(120, 36);
    driver.theme.ascii = true;
    snapshot("ascii-120x36", &mut driver);
}
