//! Answers through the real program, with sizes that change, answers that are stopped and forked in
//! between: what the screen shows at the end of each is what the model said, in order.
#![allow(dead_code, unreachable_pub, reason = "the test and the bench use a part of it")]

use std::time::Duration;

use super::pty::Pty;

/// Words that the model says, few enough for the chat of the screen.
pub const WORDS: usize = 500;
pub const SIZE: (u16, u16) = (160, 60);

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    pub tokens: usize,
    pub resized: usize,
    pub stopped: usize,
    pub forked: usize,
}

/// Numbers that look random, the same every time.
pub struct Dice(pub usize);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The words of the last answer on the screen.
fn answer(screen: &vt100::Screen) -> Vec<usize> {
    let mut words = Vec::new();
    for line in screen.rows(0, SIZE.0) {
        let Some(line) = line.strip_prefix('│').and_then(|rest| rest.split('│').next()) else { continue };
        if line.contains("❯ you") {
            words.clear();
        }
        words.extend(line.split_whitespace().filter_map(|word| word.strip_prefix('w')?.parse::<usize>().ok()));
    }
    words
}

/// The number of tokens in the head of the last answer, once it is there.
fn told(screen: &vt100::Screen) -> Option<usize> {
    let text = screen.contents();
    let head = text.lines().rev().find(|line| line.contains("● recital"))?;
    let before = &head[..head.find(" tok ")?];
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}

/// Waits for the end of an answer: its number of tokens is told, and as many words are there. Gives them. A frame may
/// come in pieces, and show a part of another answer below this one until it is whole: so it must stay.
fn whole(pty: &mut Pty) -> Vec<usize> {
    let is_whole = |screen: &vt100::Screen| told(screen).is_some_and(|count| answer(screen).len() == count);
    loop {
        pty.until("the end of the answer, and all of its words", is_whole).settles();
        if is_whole(pty.screen()) {
            return answer(pty.screen());
        }
    }
}

/// Answers until so many tokens were seen on the screen; panics if one of them is not where it belongs.
/// The terminal has the size [`SIZE`], and the model says [`WORDS`] words that count.
pub fn walk(pty: &mut Pty, tokens: usize) -> Done {
    let mut dice = Dice(11);
    let mut done = Done::default();
    pty.ready();
    while done.tokens < tokens {
        pty.keys("<alt-n>").sees("Ask something").loses("❯ you");
        let stops = dice.below(4) == 0;
        let wanted = if stops { WORDS } else { 100 + dice.below(WORDS - 100) };
        pty.keys(&format!("/max-tokens {wanted}<enter>")).sees(&format!("max-tokens: {wanted}"));
        let speed = if stops { 800 } else { 3000 + dice.below(20_000) };
        pty.keys(&format!("/max-speed {speed}<enter>")).sees(&format!("max-speed: {speed}"));
        pty.keys("go<enter>").sees("❯ you");
        done.resized += resizes(pty, &mut dice, 8);
        if stops {
            pty.sees(&format!("w{}", 20 + dice.below(100))).keys("<esc>").sees("■ stopped");
            done.stopped += 1;
        }
        let words = whole(pty);
        let count = words.len();
        assert_eq!(words, (0..count).collect::<Vec<_>>(), "the screen:\n{}", pty.text());
        assert!(stops || count == wanted, "{count} of {wanted}");
        done.tokens += count;
        if dice.below(3) == 0 {
            let at = 1 + dice.below(count.min(30) - 1);
            pty.keys("<ctrl-t>").sees("1 of");
            pty.keys(&"<right>".repeat(at)).sees(&format!("{} of", at + 1)).keys("<down><enter>");
            pty.sees("‹ 2/2 ›");
            done.resized += resizes(pty, &mut dice, 3);
            let words = whole(pty);
            let count = words.len();
            let other = words[at];
            let expected: Vec<usize> = (0..at).chain(other..other + count - at).collect();
            assert!(words == expected && other != at, "{words:?}, forked at {at}. The screen:\n{}", pty.text());
            done.tokens += count;
            done.forked += 1;
        }
    }
    done
}

fn resizes(pty: &mut Pty, dice: &mut Dice, most: usize) -> usize {
    let count = dice.below(most);
    for _ in 0..count {
        pty.resize(1 + dice.below(200) as u16, 1 + dice.below(70) as u16);
        pty.pump(Duration::from_millis(dice.below(4) as u64));
    }
    pty.resize(SIZE.0, SIZE.1);
    count + 1
}
