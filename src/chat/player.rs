//! Plays a recording forwards and backwards, at its own pace or stepped, without a model.
//!
//! It knows no clock: the present time arrives in arguments. A step back takes one change back, so it
//! costs no more than a step forward, however long the recording is.

use super::{Change, Chat, Moment, Recording, Undo, What};
use crate::protocol::{EngineSnapshot, HeatReading, MachineMemory, ModelInfo};

/// The moments that were passed: forwards if `to` is larger, else backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// So many moments had happened before.
    pub from: usize,
    /// So many have happened now.
    pub to: usize,
}

impl Moved {
    /// The moments that were passed, by number.
    pub fn range(self) -> std::ops::Range<usize> {
        self.from.min(self.to)..self.from.max(self.to)
    }

    /// Nothing was passed.
    pub fn is_nothing(self) -> bool {
        self.from == self.to
    }
}

/// How the times of a recording become times of playing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Silences longer than this many seconds are cut to that length.
    pub longest_pause: f64,
    /// A model that was faster than this is slowed down, so that it can be watched.
    pub most_tokens_per_second: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { longest_pause: 2.0, most_tokens_per_second: 30.0 }
    }
}

/// Where each kind of figure is in the recording, to find the newest one at any place.
#[derive(Debug, Clone, Default)]
struct Figures {
    model: Vec<usize>,
    state: Vec<usize>,
    heat: Vec<usize>,
    machine: Vec<usize>,
}

/// A recording, and a place in it.
#[derive(Debug, Clone)]
pub struct Player {
    recording: Recording,
    /// (moments) when each is due, in seconds of playing.
    due: Vec<f64>,
    /// Where the messages begin.
    messages: Vec<usize>,
    /// Where the tokens are.
    tokens: Vec<usize>,
    figures: Figures,
    chat: Chat,
    /// (position) what takes each moment back; none where the chat did not change.
    undo: Vec<Option<Undo>>,
    /// Seconds of playing.
    clock: f64,
    speed: f64,
    /// The time at which it was looked at last, while it plays.
    playing: Option<f64>,
}

impl Player {
    /// At the beginning, paused.
    pub fn new(recording: Recording, pace: Pace) -> Self {
        let longest = pace.longest_pause.max(0.0);
        let between_tokens = 1.0 / pace.most_tokens_per_second.max(0.1);
        let (mut due, mut clock, mut last) = (Vec::with_capacity(recording.moments.len()), 0.0, None);
        let (mut messages, mut tokens, mut figures) = (Vec::new(), Vec::new(), Figures::default());
        for (i, moment) in recording.moments.iter().enumerate() {
            // What is no number, or goes back, takes no time.
            let gap: f64 = last.map_or(0.0, |last: f64| moment.at - last);
            let gap = if gap > 0.0 { gap.min(longest) } else { 0.0 };
            let is_token = matches!(moment.what, What::Change(Change::Token { .. }));
            if is_token {
                tokens.push(i);
            }
            clock += if is_token { gap.max(between_tokens) } else { gap };
            last = Some(moment.at);
            due.push(clock);
            match &moment.what {
                What::Change(Change::Add { .. }) => messages.push(i),
                What::Model { .. } => figures.model.push(i),
                What::State(_) => figures.state.push(i),
                What::Heat(_) => figures.heat.push(i),
                What::Machine(_) => figures.machine.push(i),
                What::Change(_) | What::Engine(_) => {}
            }
        }
        let (chat, undo) = (Chat::default(), Vec::new());
        Self { recording, due, messages, tokens, figures, chat, undo, clock: 0.0, speed: 1.0, playing: None }
    }

    /// What is played.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// All moments.
    pub fn moments(&self) -> &[Moment] {
        &self.recording.moments
    }

    /// How many moments have happened.
    pub fn position(&self) -> usize {
        self.undo.len()
    }

    /// The chat as it was then.
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Exchanges the chat for another: whoever shows it need not copy it. It must be back, unchanged,
    /// when the player moves.
    pub fn swap_chat(&mut self, other: &mut Chat) {
        std::mem::swap(&mut self.chat, other);
    }

    /// Seconds of playing up to here.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// Seconds that playing takes in all, at speed 1.
    pub fn duration(&self) -> f64 {
        self.due.last().copied().unwrap_or(0.0)
    }

    /// Everything has happened.
    pub fn at_end(&self) -> bool {
        self.position() == self.moments().len()
    }

    /// It goes on by itself.
    pub fn is_playing(&self) -> bool {
        self.playing.is_some()
    }

    /// How many times faster than the recording.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Plays so many times faster than the recording, between 1/16 and 64 times.
    pub fn set_speed(&mut self, speed: f64) {
        if speed.is_finite() {
            self.speed = speed.clamp(1.0 / 16.0, 64.0);
        }
    }

    /// Goes on by itself from here; at the end, from the beginning.
    pub fn play(&mut self, now: f64) -> Moved {
        let moved = if self.at_end() { self.seek(0) } else { self.here() };
        self.playing = Some(now);
        moved
    }

    /// Stays here.
    pub fn pause(&mut self) {
        self.playing = None;
    }

    /// What happened up to `now`, while it plays. At the end it pauses.
    pub fn advance(&mut self, now: f64) -> Moved {
        let Some(before) = self.playing.filter(|_| now.is_finite()) else { return self.here() };
        self.playing = Some(now);
        let clock = self.clock + (now - before).max(0.0) * self.speed;
        let to = self.due.partition_point(|due| *due <= clock);
        let moved = self.go(to.max(self.position()));
        self.clock = clock.min(self.duration());
        if self.at_end() {
            self.pause();
        }
        moved
    }

    /// When [`Player::advance`] has something to do next, in seconds from its last call.
    pub fn next_due(&self) -> Option<f64> {
        self.playing?;
        Some(((self.due.get(self.position())? - self.clock) / self.speed).max(0.0))
    }

    /// One moment on.
    pub fn step_forward(&mut self) -> Moved {
        self.seek(self.position() + 1)
    }

    /// One moment back.
    pub fn step_back(&mut self) -> Moved {
        self.seek(self.position().saturating_sub(1))
    }

    /// To after the next change of the chat: a token, as a rule. Figures in between go with it.
    pub fn next_change(&mut self) -> Moved {
        let rest = self.moments().get(self.position()..).unwrap_or_default();
        let change = rest.iter().position(|moment| matches!(moment.what, What::Change(_)));
        self.seek(change.map_or(self.moments().len(), |at| self.position() + at + 1))
    }

    /// To before the newest change of the chat.
    pub fn previous_change(&mut self) -> Moved {
        let before = &self.moments()[..self.position()];
        let change = before.iter().rposition(|moment| matches!(moment.what, What::Change(_)));
        self.seek(change.unwrap_or(0))
    }

    /// To after token number `count` of the recording; 0 is the beginning.
    pub fn seek_token(&mut self, count: usize) -> Moved {
        let at = count.checked_sub(1).map(|last| self.tokens.get(last).map_or(self.moments().len(), |at| at + 1));
        self.seek(at.unwrap_or(0))
    }

    /// How many tokens were said up to here, and in all.
    pub fn token_count(&self) -> (usize, usize) {
        (self.tokens.partition_point(|at| *at < self.position()), self.tokens.len())
    }

    /// How many messages there are up to here, and in all.
    pub fn message_count(&self) -> (usize, usize) {
        (self.messages.partition_point(|at| *at < self.position()), self.messages.len())
    }

    /// To just after the beginning of the next message.
    pub fn next_message(&mut self) -> Moved {
        let next = self.messages.partition_point(|at| *at < self.position());
        self.seek(self.messages.get(next).map_or(self.moments().len(), |at| at + 1))
    }

    /// To just after the beginning of this message, or of the one before if that is here.
    pub fn previous_message(&mut self) -> Moved {
        let before = self.messages.partition_point(|at| at + 1 < self.position());
        self.seek(before.checked_sub(1).map_or(0, |i| self.messages[i] + 1))
    }

    /// To where so many moments have happened.
    pub fn seek(&mut self, position: usize) -> Moved {
        let moved = self.go(position);
        self.clock = self.position().checked_sub(1).map_or(0.0, |last| self.due[last]);
        moved
    }

    /// To so many seconds of playing.
    pub fn seek_clock(&mut self, seconds: f64) -> Moved {
        let moved = self.go(self.due.partition_point(|due| *due <= seconds));
        self.clock = seconds.clamp(0.0, self.duration());
        moved
    }

    /// The model that answers here; before the first one, that one.
    pub fn model(&self) -> Option<(&ModelInfo, &str)> {
        match self.newest(&self.figures.model) {
            Some(What::Model { info, label }) => Some((info, label)),
            _ => self.recording.model(),
        }
    }

    /// Where the model was named that answers here.
    pub fn model_named(&self) -> Option<usize> {
        let count = self.figures.model.partition_point(|at| *at < self.position());
        Some(self.figures.model[count.checked_sub(1)?])
    }

    /// Where the first of the models was named that have had the same experts up to here.
    pub fn routed_alike_since(&self) -> usize {
        let count = self.figures.model.partition_point(|at| *at < self.position());
        let model = |at: &usize| match &self.moments()[*at].what {
            What::Model { info, .. } => Some(&info.experts),
            _ => None,
        };
        let models = &self.figures.model[..count];
        let alike = models.iter().rev().take_while(|at| model(at) == models.last().and_then(model)).count();
        if alike == count { 0 } else { models[count - alike] }
    }

    /// The newest state of the engine here.
    pub fn state(&self) -> Option<&EngineSnapshot> {
        match self.newest(&self.figures.state)? {
            What::State(state) => Some(state),
            _ => None,
        }
    }

    /// The newest readings of the temperature sensor here with their times, at most so many, oldest
    /// first.
    pub fn heat(&self, most: usize) -> impl Iterator<Item = (f64, HeatReading)> {
        let count = self.heat_count();
        let newest = self.figures.heat[count.saturating_sub(most)..count].iter();
        newest.filter_map(|at| match &self.moments()[*at] {
            Moment { at, what: What::Heat(heat) } => Some((*at, *heat)),
            _ => None,
        })
    }

    /// How many readings there are up to here.
    pub fn heat_count(&self) -> usize {
        self.figures.heat.partition_point(|at| *at < self.position())
    }

    /// True if a temperature sensor was recorded.
    pub fn has_heat(&self) -> bool {
        !self.figures.heat.is_empty()
    }

    /// The newest memory of process and machine here.
    pub fn machine(&self) -> Option<MachineMemory> {
        match self.newest(&self.figures.machine)? {
            What::Machine(machine) => Some(*machine),
            _ => None,
        }
    }

    fn newest(&self, places: &[usize]) -> Option<&What> {
        let count = places.partition_point(|at| *at < self.position());
        Some(&self.moments()[places[count.checked_sub(1)?]].what)
    }

    fn here(&self) -> Moved {
        Moved { from: self.position(), to: self.position() }
    }

    fn go(&mut self, position: usize) -> Moved {
        let from = self.position();
        let to = position.min(self.moments().len());
        for moment in self.recording.moments.get(from..to).unwrap_or_default() {
            // A change that does not fit the chat is passed over, as it was when it was loaded.
            let undo = match &moment.what {
                What::Change(change) => self.chat.apply_reversibly(change).ok(),
                _ => None,
            };
            self.undo.push(undo);
        }
        while self.undo.len() > to {
            if let Some(Some(undo)) = self.undo.pop() {
                self.chat.undo(undo);
            }
        }
        Moved { from, to }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{End, TokenRecord};
    use super::*;
    use crate::protocol::{FinishReason, Role};

    /// Two questions with answers of ten tokens, a second apart, and an hour between them.
    fn recording() -> Recording {
        let mut moments = Vec::new();
        let mut at = 0.0;
        let mut push = |at: f64, what| moments.push(Moment { at, what });
        for turn in 0..2 {
            let (question, answer) = (turn * 2, turn * 2 + 1);
            for (id, role) in [(question, Role::User), (answer, Role::Assistant)] {
                let (parent, text) = (usize::checked_sub(id, 1), String::new());
                let add = Change::Add { id, parent, role, text, tokens: vec![], sampling: None, alterations: None };
                push(at, What::Change(add));
            }
            for i in 0..10 {
                at += 1.0;
                let text = char::from(b'a' + i).to_string();
                let (alternatives, routing) = (vec![], vec![]);
                let token = TokenRecord { token: 0, text, logprob: 0.0, alternatives, routing };
                push(at, What::Change(Change::Token { id: answer, token }));
            }
            let end = End::Done(FinishReason::Stop);
            push(at, What::Change(Change::Finish { id: answer, text: "!".into(), end, stats: None }));
            push(at, What::Heat(HeatReading { celsius: Some(turn as f32), ..HeatReading::default() }));
            at += 3600.0;
        }
        Recording { moments, ..Recording::default() }
    }

    fn said(player: &Player) -> Vec<&str> {
        player.chat().nodes().iter().map(|node| node.text.as_str()).collect()
    }

    #[test]
    fn it_plays_at_its_own_pace() {
        let mut player = Player::new(recording(), Pace::default());
        assert_eq!(player.duration(), 22.0);
        assert!(player.advance(100.0).is_nothing());
        player.play(100.0);
        assert_eq!(player.advance(100.0), Moved { from: 0, to: 2 });
        player.advance(103.5);
        assert_eq!(said(&player), ["", "abc"]);
        assert_eq!(player.next_due(), Some(0.5));
        player.set_speed(2.0);
        assert_eq!(player.advance(104.0).range(), 5..6);
        player.pause();
        assert!(player.advance(200.0).is_nothing() && player.next_due().is_none());
        player.play(300.0);
        player.advance(1000.0);
        assert!(player.at_end() && !player.is_playing() && player.clock() == 22.0);
        assert_eq!(said(&player), ["", "abcdefghij!", "", "abcdefghij!"]);
        // Played again, it begins anew.
        assert_eq!(player.play(2000.0).to, 0);
        assert!(player.is_playing() && said(&player).is_empty());
        // A clock that goes back, or is none, does nothing.
        assert!(player.advance(1.0).to <= 2);
        assert!(player.advance(f64::NAN).to <= 2);
    }

    #[test]
    fn what_was_too_fast_is_slowed_down() {
        let mut recording = recording();
        recording.moments.iter_mut().for_each(|moment| moment.at = 0.0);
        let player = Player::new(recording, Pace { most_tokens_per_second: 10.0, ..Pace::default() });
        assert!((player.duration() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn it_steps_and_seeks_both_ways() {
        let mut player = Player::new(recording(), Pace::default());
        player.next_message();
        player.next_message();
        player.next_message();
        assert_eq!(said(&player), ["", "abcdefghij!", ""]);
        assert_eq!(player.heat(9).next().unwrap().1.celsius, Some(0.0));
        player.step_back();
        player.step_back();
        assert!(player.heat(9).next().is_none());
        player.step_back();
        assert_eq!(said(&player), ["", "abcdefghij"]);
        player.previous_message();
        assert_eq!((player.position(), said(&player)), (2, vec!["", ""]));
        player.previous_message();
        player.previous_message();
        assert_eq!(player.position(), 0);
        assert!(player.step_back().is_nothing());
        player.seek_clock(3.2);
        assert_eq!((said(&player), player.clock()), (vec!["", "abc"], 3.2));
        player.seek_token(11);
        assert_eq!((said(&player), player.token_count()), (vec!["", "abcdefghij!", "", "a"], (11, 20)));
        player.previous_change();
        assert_eq!((player.message_count(), player.token_count()), ((4, 4), (10, 20)));
        player.next_change();
        player.seek_token(10);
        // The end of the answer is a change; the reading behind it goes with the next message.
        player.next_change();
        player.next_change();
        assert_eq!((said(&player), player.heat(9).count()), (vec!["", "abcdefghij!", ""], 1));
        player.seek(usize::MAX);
        assert!(player.at_end() && player.step_forward().is_nothing());
        let event = player.moments()[2].what.event(0).unwrap();
        assert!(matches!(event, crate::protocol::Event::Token(token) if token.text == "a" && token.id == 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn wherever_it_goes_it_shows_what_was_there(places in proptest::collection::vec(0..30usize, 1..20)) {
            let mut player = Player::new(recording(), Pace::default());
            for place in places {
                player.seek(place);
                let mut straight = Player::new(recording(), Pace::default());
                straight.seek(place);
                prop_assert_eq!(player.chat(), straight.chat());
                prop_assert_eq!(player.clock(), straight.clock());
            }
        }
    }
}
