//! Thousands of random keys, answers, pastes and sizes: never a panic, and the chat stays a tree.

use bit_axon::app::action::ACTIONS;
use bit_axon::app::key::Key;
use bit_axon::app::keymap::Keymap;
use bit_axon::app::msg::Msg;
use bit_axon::app::sessions::Resumed;

use super::driver::Driver;

/// A small generator, the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

#[test]
fn random_keys_never_break_it() {
    let keymap = Keymap::default();
    let bound: Vec<Key> = ACTIONS.iter().flat_map(|info| keymap.keys(info.action)).collect();
    for seed in 1..=4 {
        let mut dice = Dice(seed);
        let mut driver = Driver::opened(120, 36);
        for step in 0..1500 {
            match dice.below(20) {
                0..8 => driver.key(bound[dice.below(bound.len())]),
                8..12 => {
                    let c = b"abc /x`#-*1.0"[dice.below(13)] as char;
                    driver.key(Key::plain(crossterm::event::KeyCode::Char(c)));
                }
                12 => driver.keys("<enter>").answer(dice.below(12)),
                13 => driver.answer(usize::MAX),
                14 => driver.cancelled(),
                15 => {
                    driver.send(Msg::Paste("漢字\u{1b}[2J\r\n👩‍👩‍👧 e\u{301}\t".repeat(dice.below(4))));
                    driver.draw();
                }
                16 => {
                    let (columns, rows) = (1 + dice.below(200) as u16, 1 + dice.below(60) as u16);
                    driver.resize(columns, rows);
                }
                17 => driver.answers.push_back(
                    ["```rs\nfn f() {", "# a\n- b\n\n\n| x |\n|-|\n", "漢 ", "\u{202e}"][dice.below(4)].repeat(20),
                ),
                18 => driver.send(Msg::Wheel(dice.below(9) as i32 - 4)),
                _ => driver.wait(dice.below(10) as f64 / 10.0),
            }
            let app = &driver.app;
            let path = app.chat.path();
            for pair in path.windows(2) {
                assert_eq!(app.chat.node(pair[1]).unwrap().parent, Some(pair[0]), "seed {seed}, step {step}");
            }
            assert!(app.selected.is_none_or(|place| place < path.len().max(1)), "seed {seed}, step {step}");
            assert!(app.walk.is_none_or(|walk| app.chat.node(walk.node).is_some_and(|n| walk.at < n.tokens.len())));
            assert!(app.visible_panes().any(|pane| pane == app.focus));
        }
    }
}

#[test]
fn ten_thousand_messages_are_scrolled_at_once() {
    use bit_axon::app::chat::Change;
    use bit_axon::protocol::Role;
    let mut changes = Vec::new();
    for id in 0..10_000usize {
        let role = if id % 2 == 0 { Role::User } else { Role::Assistant };
        let text = format!("message {id}\n\n```rust\nlet x = {id};\n```\n");
        let parent = id.checked_sub(1);
        changes.push(Change::Add { id, parent, role, text, tokens: vec![], sampling: None, alterations: None });
    }
    let mut driver = Driver::opened(200, 60);
    driver.send(Msg::SessionOpened(Box::new(Resumed::from_changes("long", &changes))));
    for _ in 0..300 {
        driver.keys("<pageup>");
    }
    driver.keys("<alt-<>");
    assert!(driver.text().contains("message 0"));
    driver.keys("<alt->>");
    assert!(driver.text().contains("message 9999"));
}
