//! A user and a scripted model: sends keys, answers requests, draws after every step.

use std::collections::VecDeque;

use bit_axon::app::chat::Change;
use bit_axon::app::heat::Sensed;
use bit_axon::app::key::Key;
use bit_axon::app::msg::{Effect, Msg, Opened};
use bit_axon::app::replay::Start;
use bit_axon::app::{App, update};
use bit_axon::chat::Recording;
use bit_axon::protocol::*;
use bit_axon::ui::Screen;
use bit_axon::ui::theme::{Depth, Theme};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

pub(super) const LAYERS: usize = 12;
pub(super) const EXPERTS: usize = 8;

pub(super) struct Driver {
    pub(super) app: App,
    pub(super) theme: Theme,
    pub(super) effects: Vec<Effect>,
    screen: Screen,
    terminal: Terminal<TestBackend>,
    /// What the model will say, word by word, to one request after another.
    pub(super) answers: VecDeque<String>,
    requests: VecDeque<Request>,
    pub(super) saved: Vec<Change>,
}

pub(super) fn info() -> ModelInfo {
    let layers = (0..LAYERS).map(|l| {
        if l < 4 {
            "ssm"
        } else if l < 8 {
            "swa"
        } else {
            "swa+moe"
        }
        .to_owned()
    });
    let moe = |n: usize| (0..LAYERS).map(|l| if l >= 4 { n } else { 0 }).collect();
    ModelInfo {
        name: "small".into(),
        backend: "cpu avx512".into(),
        arithmetic: "fast".into(),
        layers: layers.collect(),
        experts: moe(EXPERTS),
        top_k: moe(2),
        total_parameters: 7_700_000,
        active_parameters: 3_100_000,
        vocabulary: 1024,
        max_seq_len: 4096,
    }
}

/// Routing that follows from a number alone.
pub(super) fn routing(n: usize) -> TokenRouting {
    let layer = |layer: usize| {
        let first = (n * 7 + layer * 3) % EXPERTS;
        let second = (first + 1 + (n + layer) % 3) % (EXPERTS - 1);
        let experts = if first == second { vec![first, (second + 2) % (EXPERTS - 1)] } else { vec![first, second] };
        let weight = 0.3 + ((n * 13 + layer * 5) % 40) as f32 / 100.0;
        LayerRouting { layer, experts, weights: vec![weight, weight / 3.0], entropy: 1.2, shared_gate: Some(0.6) }
    };
    (4..LAYERS).map(layer).collect()
}

impl Driver {
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        Self::with(App::new("small"), columns, rows)
    }

    /// With a recording instead of a model.
    pub(super) fn replaying(recording: Recording, start: Start, columns: u16, rows: u16) -> Self {
        Self::with(App::replaying(recording, start), columns, rows)
    }

    fn with(app: App, columns: u16, rows: u16) -> Self {
        let mut driver = Self {
            app,
            theme: Theme::built_in("dark", Depth::True, false).unwrap(),
            effects: Vec::new(),
            screen: Screen::default(),
            terminal: Terminal::new(TestBackend::new(columns, rows)).unwrap(),
            answers: VecDeque::new(),
            requests: VecDeque::new(),
            saved: Vec::new(),
        };
        driver.app.themes = ["dark", "light", "mono16"].map(str::to_owned).to_vec();
        driver.app.theme = "dark".into();
        driver.send(Msg::Resize(columns, rows));
        driver
    }

    /// With a model.
    pub(super) fn opened(columns: u16, rows: u16) -> Self {
        let mut driver = Self::new(columns, rows);
        let needs = vec![(4096, 30 << 20), (16384, 34 << 20), (65536, 52 << 20)];
        let label = "random weights".to_owned();
        driver.send(Msg::Opened(Box::new(Opened { info: info(), label, needs, budget: 8 << 30 })));
        driver.snapshot(0);
        driver
    }

    pub(super) fn snapshot(&mut self, tokens: usize) {
        let layer = |layer: usize| LayerMemory {
            layer,
            kv: if layer < 4 { 0 } else { 1024 * tokens as u64 },
            kv_filled: if layer < 4 { 0 } else { tokens.min(512) },
            kv_window: if layer < 4 { 0 } else { 512 },
            ssm: if layer < 4 { 48 << 10 } else { 0 },
        };
        let memory = MemoryReport {
            weights: 24 << 20,
            layers: (0..LAYERS).map(layer).collect(),
            rewind: 3 << 20,
            rewind_budget: 256 << 20,
            scratch: 2 << 20,
            device: None,
        };
        let snapshot = EngineSnapshot {
            context_tokens: tokens,
            context_limit: 4096,
            tokens_per_second: Some(31.25),
            memory,
            ..EngineSnapshot::default()
        };
        self.send(Msg::Snapshot(Box::new(snapshot)));
        let none = SensorState::NoSensor { reason: "switched off by `--sensor none`".into() };
        self.send(Msg::Heat(Box::new(Sensed { sensor: none, ..Sensed::default() })));
        self.send(Msg::Machine(MachineMemory { process: 61 << 20, used: 5 << 30, total: 24 << 30 }));
    }

    pub(super) fn send(&mut self, msg: Msg) {
        for effect in update(&mut self.app, msg) {
            match &effect {
                Effect::Engine(Command::Generate(request)) => self.requests.push_back(request.clone()),
                Effect::Record(change) => self.saved.push(change.clone()),
                _ => {}
            }
            self.effects.push(effect);
        }
    }

    /// Time goes by.
    pub(super) fn wait(&mut self, seconds: f64) {
        let now = self.app.now + seconds;
        self.send(Msg::Tick(now));
        self.draw();
    }

    /// Draws, and tells the app what was seen, as the loop does.
    pub(super) fn draw(&mut self) {
        let (app, theme, screen) = (&self.app, &self.theme, &mut self.screen);
        let mut drawn = app.drawn;
        self.terminal.draw(|frame| drawn = screen.draw(app, theme, frame)).unwrap();
        self.app.dirty = false;
        self.send(Msg::Drawn(drawn));
    }

    pub(super) fn resize(&mut self, columns: u16, rows: u16) {
        self.terminal.backend_mut().resize(columns, rows);
        self.send(Msg::Resize(columns, rows));
        self.draw();
    }

    /// Types: letters as they are, other keys as `<enter>`.
    pub(super) fn keys(&mut self, keys: &str) -> &mut Self {
        let mut rest = keys;
        while let Some(c) = rest.chars().next() {
            // The name may itself end with the closing mark: `<alt->>`.
            let closed = |r: &str| r.find('>').map(|at| if r[at + 1..].starts_with('>') { at + 1 } else { at });
            let (name, length) = match rest.strip_prefix('<').and_then(|r| Some(&r[..closed(r)?])) {
                Some(name) if !name.is_empty() => (name.to_owned(), name.len() + 2),
                _ => (if c == ' ' { "space".into() } else { c.to_string() }, c.len_utf8()),
            };
            self.key(name.parse().unwrap());
            rest = &rest[length..];
        }
        self
    }

    pub(super) fn key(&mut self, key: Key) {
        self.send(Msg::Key(key));
        self.draw();
    }

    /// The model takes up the next request and says so many words of its answer; all of them, and
    /// the end, if there are no more.
    pub(super) fn answer(&mut self, words: usize) {
        let Some(request) = self.requests.pop_front() else { return };
        let id = request.id;
        let text = self.answers.pop_front().unwrap_or_else(|| "It is so.".into());
        self.send(Msg::Engine(Event::Started {
            id,
            prompt_tokens: 20,
            reused_tokens: 4,
            truncated_tokens: 0,
            seed: 1,
        }));
        let read = |n: usize| ReadToken {
            token: 900 + n as TokenId % 5,
            text: ["How", " does", " it", " work", "?"][n % 5].into(),
        };
        let (routing_read, tokens) = ((0..16).map(routing).collect(), (0..16).map(read).collect());
        self.send(Msg::Engine(Event::Prefill { id, done: 20, total: 20, routing: routing_read, tokens }));
        let pieces: Vec<&str> = text.split_inclusive(' ').collect();
        for (index, piece) in pieces.iter().take(words).enumerate() {
            let other = |n: usize| Alternative {
                token: (700 + n) as TokenId,
                text: [" perhaps", " never", "\n", "漢"][n].into(),
                logprob: -1.5 - n as f32,
            };
            let token = Token {
                id,
                index,
                token: piece.len() as TokenId,
                text: (*piece).to_owned(),
                logprob: [-0.02, -0.4, -1.2, -3.0][(index * 3) % 4],
                alternatives: (0..4).map(other).collect(),
                routing: routing(index),
            };
            self.send(Msg::Engine(Event::Token(token)));
        }
        if words < pieces.len() {
            self.requests.push_front(request);
        } else {
            self.finish(id, FinishReason::EndOfText, pieces.len());
        }
        self.wait(0.5);
    }

    pub(super) fn finish(&mut self, id: u64, reason: FinishReason, generated_tokens: usize) {
        let stats = Stats {
            prompt_tokens: 20,
            reused_tokens: 4,
            generated_tokens,
            prefill_s: 0.1,
            first_token_s: 0.12,
            decode_s: generated_tokens as f64 / 31.25,
        };
        self.send(Msg::Engine(Event::Finished { id, reason, text: String::new(), stats }));
    }

    /// The running request hears that it is cancelled.
    pub(super) fn cancelled(&mut self) {
        if let Some(request) = self.requests.pop_front() {
            self.finish(request.id, FinishReason::Cancelled, 3);
        }
        self.wait(0.5);
    }

    /// The screen as text.
    pub(super) fn text(&mut self) -> String {
        self.draw();
        let buffer = self.terminal.backend().buffer();
        let mut text = String::new();
        for row in 0..buffer.area.height {
            let mut skip = 0;
            let mut line = String::new();
            for column in 0..buffer.area.width {
                let symbol = buffer[(column, row)].symbol();
                if skip == 0 {
                    line.push_str(symbol);
                    skip = bit_axon::ui::text::width(symbol).max(1);
                }
                skip -= 1;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}
