//! Whole screens at four sizes.

use bit_axon::app::heat::Sensed;
use bit_axon::app::msg::Msg;
use bit_axon::app::sessions::Preview;
use bit_axon::app::state::SessionEntry;
use bit_axon::protocol::{HeatLimits, HeatReading, PowerSupply, Role, SensorState};
use bit_axon::telemetry::HeatPolicy;

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
            when: format!("{n} days ago"),
            bytes: (n as u64) << (9 + n),
            model: "small".into(),
            ..SessionEntry::default()
        };
        driver.keys("<f4>");
        driver.send(Msg::Sessions(vec![entry(3, "Rings of keys"), entry(2, "漢字 \u{1b}[2J"), entry(1, "Why?")]));
        driver.keys("<down>");
        let messages = vec![
            (Role::User, "What does 漢字 mean?".to_owned()),
            (Role::Assistant, "Characters, written \u{1b}[31mso:\n\n- 漢\n- 字".to_owned()),
        ];
        driver.send(Msg::Preview(Preview { id: "2026-01-02".into(), messages }));
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

/// Ten minutes from 58 °C to a peak and down again, to this temperature; then the sensor says this.
fn heat(driver: &mut Driver, end: f32, last: Option<SensorState>) {
    let mut policy = HeatPolicy::new(driver.app.heat_limits);
    let mut sense = |driver: &mut Driver, sensor: SensorState| {
        driver.wait(1.0);
        let phase = policy.observe(driver.app.now, sensor.celsius());
        let supply = Some(PowerSupply { on_battery: true, charge_percent: Some(64.0) });
        let sensed = Sensed { sensor, supply, phase, halvings: policy.halvings() };
        driver.send(Msg::Heat(Box::new(sensed)));
    };
    for i in 0..600 {
        let celsius = if i < 400 { 58.0 + i as f32 / 10.0 } else { 98.0 + (end - 98.0) * (i - 400) as f32 / 199.0 };
        let reading = HeatReading {
            celsius: Some(celsius),
            watts: Some(34.5),
            fan_rpm: Some(2130.0),
            throttled: Some(celsius > 90.0),
        };
        sense(driver, SensorState::Reading { source: "k10temp Tctl".into(), reading });
    }
    if let Some(last) = last {
        for _ in 0..60 {
            sense(driver, last.clone());
        }
    }
    driver.wait(6.0);
}

#[test]
fn heat_with_a_sensor_and_an_altered_routing() {
    at_all_sizes("hot-and-altered", |driver| {
        heat(driver, 88.0, None);
        driver.keys("/mute 6.3<enter>/force 2<enter>/k 9.1<enter>");
        driver.wait(6.0);
    });
}

#[test]
fn the_heat_pane_in_every_state() {
    let mut all = String::new();
    let mut add = |name: &str, driver: &mut Driver| {
        all.push_str(&format!("== {name} ==\n{}\n", driver.text()));
    };
    let pane = |columns, rows| {
        let mut driver = Driver::opened(columns, rows);
        driver.keys("<tab><tab><tab><alt-z>");
        driver
    };
    let mut driver = pane(60, 12);
    add("nothing heard", &mut driver);
    let reason =
        "this machine shows no temperature in /sys; `--sensor file:PATH` and `--sensor cmd:COMMAND` can name one";
    let none = Sensed { sensor: SensorState::NoSensor { reason: reason.into() }, ..Sensed::default() };
    driver.send(Msg::Heat(Box::new(none)));
    driver.wait(1.0);
    add("no sensor", &mut driver);
    for celsius in [60.0, 78.0, 88.0, 97.0] {
        let mut driver = pane(60, 14);
        heat(&mut driver, celsius, None);
        add(&format!("{celsius} degrees"), &mut driver);
    }
    let mut driver = pane(60, 14);
    let problem = "cannot be read: No such file or directory \u{1b}[2J(os error 2)";
    heat(&mut driver, 60.0, Some(SensorState::Problem { source: "file /tmp/\u{1b}x".into(), problem: problem.into() }));
    add("a failing sensor", &mut driver);
    let mut driver = pane(60, 14);
    driver.app.heat_limits = HeatLimits::new(100.0, 120.0).unwrap();
    heat(&mut driver, 97.0, None);
    add("other limits", &mut driver);
    let mut driver = pane(40, 12);
    heat(&mut driver, 78.0, None);
    add("small", &mut driver);
    let mut driver = pane(60, 14);
    (driver.theme.ascii, driver.theme.depth) = (true, bit_axon::ui::theme::Depth::None);
    heat(&mut driver, 88.0, None);
    add("ascii", &mut driver);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("heat-pane", all);
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
