//! The time of a frame at 200x60 with a chat of ten thousand messages: state, layout, cells, and the
//! bytes for the terminal. It is drawn here and not in the program, whose own share of the time could
//! not be told from outside.

use std::time::Instant;

use bit_axon::app::chat::{Change, TokenRecord};
use bit_axon::app::key::Key;
use bit_axon::app::msg::{Effect, Msg, Opened};
use bit_axon::app::sessions::Resumed;
use bit_axon::app::{App, update};
use bit_axon::protocol::{Command, EngineSnapshot, Event, LayerRouting, ModelInfo, Role, Token, TokenRouting};
use bit_axon::term::cells::CellWriter;
use bit_axon::ui::Screen;
use bit_axon::ui::theme::{Depth, Theme};
use ratatui::Terminal;

use super::table::{Table, ms, percentile};

const SIZE: (u16, u16) = (200, 60);
const MESSAGES: usize = 10_000;

struct Frames {
    app: App,
    theme: Theme,
    screen: Screen,
    terminal: Terminal<CellWriter>,
    times: Vec<f64>,
    bytes: usize,
}

impl Frames {
    fn send(&mut self, msg: Msg) -> Vec<Effect> {
        update(&mut self.app, msg)
    }

    /// What the loop does from an event to the bytes of its frame.
    fn step(&mut self, msg: Msg) -> Vec<Effect> {
        let begun = Instant::now();
        let effects = update(&mut self.app, msg);
        let (app, theme, screen) = (&self.app, &self.theme, &mut self.screen);
        let mut drawn = app.drawn;
        self.terminal.draw(|frame| drawn = screen.draw(app, theme, frame)).expect("bytes go to memory");
        self.bytes += self.terminal.backend_mut().take().len();
        self.times.push(ms(begun.elapsed()));
        self.send(Msg::Drawn(drawn));
        effects
    }

    fn key(&mut self, name: &str) -> Vec<Effect> {
        let key: Key = name.parse().expect("a key");
        self.step(Msg::Key(key))
    }

    fn told(&mut self, table: &mut Table, what: &str) {
        let (median, most) = (percentile(&mut self.times, 0.5), percentile(&mut self.times, 0.99));
        let row = format!("frame at 200x60, 10,000 messages, {what}, 99th percentile of {}", self.times.len());
        table.row(&row, format!("{most:.2} ms (median {median:.2})"), "5 ms", most < 5.0);
        self.times.clear();
    }
}

fn info() -> ModelInfo {
    ModelInfo {
        name: "3b".into(),
        backend: "cpu".into(),
        arithmetic: "fast".into(),
        layers: (0..24).map(|layer| if layer < 8 { "ssm" } else { "swa+moe" }.to_owned()).collect(),
        experts: (0..24).map(|layer| if layer < 8 { 0 } else { 8 }).collect(),
        top_k: (0..24).map(|layer| if layer < 8 { 0 } else { 2 }).collect(),
        total_parameters: 3_200_000_000,
        active_parameters: 1_500_000_000,
        vocabulary: 32_000,
        max_seq_len: 65_536,
    }
}

fn routing(n: usize) -> TokenRouting {
    let layer = |layer: usize| {
        let first = (n * 7 + layer * 3) % 8;
        let experts = vec![first, (first + 1 + n % 5) % 8];
        LayerRouting { layer, experts, weights: vec![0.5, 0.2], entropy: 1.2, shared_gate: Some(0.6) }
    };
    (8..24).map(layer).collect()
}

fn token(id: u64, index: usize) -> Token {
    let text =
        ["The ", "ring ", "of **keys** ", "`slot` ", "is overwritten.\n\n", "漢字 ", "- one\n"][index % 7].into();
    Token { id, index, token: index as u32, text, logprob: -0.3, alternatives: Vec::new(), routing: routing(index) }
}

/// A conversation as long as people have them in months.
fn long() -> Vec<Change> {
    let message = |id: usize| {
        let user = id.is_multiple_of(2);
        let role = if user { Role::User } else { Role::Assistant };
        let text = match user {
            true => format!("Question {id}: what becomes of the oldest keys?"),
            false => format!(
                "Answer {id}. They are **overwritten**:\n\n```rust\nlet slot = {id} % window;\nring[slot] = keys;\n```\n\n\
                 1. one slot a token\n2. 漢字 and é are measured\n\nSo memory stays the same, however long the \
                 conversation becomes, and nothing is ever copied."
            ),
        };
        let tokens: Vec<TokenRecord> = if user { Vec::new() } else { (0..4).map(|i| token(0, i).into()).collect() };
        Change::Add { id, parent: id.checked_sub(1), role, text, tokens, sampling: None, alterations: None }
    };
    (0..MESSAGES).map(message).collect()
}

pub(super) fn measure(table: &mut Table) {
    let mut frames = Frames {
        app: App::new("3b"),
        theme: Theme::built_in("dark", Depth::True, false).expect("it is built in"),
        screen: Screen::default(),
        terminal: Terminal::new(CellWriter::new(SIZE.0, SIZE.1)).expect("bytes go to memory"),
        times: Vec::new(),
        bytes: 0,
    };
    frames.send(Msg::Resize(SIZE.0, SIZE.1));
    frames.send(Msg::Opened(Box::new(Opened {
        info: info(),
        label: String::new(),
        needs: Vec::new(),
        budget: 1 << 34,
    })));
    frames.send(Msg::SessionOpened(Box::new(Resumed::from_changes("long", &long()))));
    for _ in 0..500 {
        frames.key("pageup");
    }
    frames.told(table, "paging");
    frames.key("alt->");
    frames.times.clear();
    // An answer as long as a few pages, a frame for every token, and figures with each.
    let effects = "go".chars().fold(Vec::new(), |_, letter| frames.key(&letter.to_string()));
    drop(effects);
    let effects = frames.key("enter");
    let request = effects.into_iter().find_map(|effect| match effect {
        Effect::Engine(Command::Generate(request)) => Some(request.id),
        _ => None,
    });
    let id = request.expect("the question was asked");
    frames.times.clear();
    for index in 0..1500 {
        frames.send(Msg::Tick(index as f64 * 0.26));
        let tokens_per_second = Some(30.0 + index as f64 % 7.0);
        let snapshot = EngineSnapshot { context_tokens: index, tokens_per_second, ..EngineSnapshot::default() };
        frames.send(Msg::Snapshot(Box::new(snapshot)));
        frames.step(Msg::Engine(Event::Token(token(id, index))));
    }
    frames.told(table, "streaming");
    for index in 0..500 {
        frames.key(if index % 2 == 0 { "x" } else { "backspace" });
    }
    frames.told(table, "typing");
    // What is shown changes altogether.
    for index in 0..200 {
        frames.key(["f3", "f2", "alt-z", "alt-z", "f1", "esc"][index % 6]);
    }
    frames.told(table, "changing views");
}
