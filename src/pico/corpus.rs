//! All examples together, shuffled; and the examination.

use std::collections::HashSet;

use anyhow::Result;

use super::facts::{self, Tables};
use super::{Dice, Example, numbers, stories, talk, unknown};

/// Examples of each fact.
const FOR_EACH_FACT: usize = 48;
/// Those of the other topics.
const NUMBERS: usize = 7000;
const STORIES: usize = 1200;
const TALK: usize = 1500;
const UNKNOWN: usize = 8000;
/// Questions of the examination.
const EXAMINED_HELP: usize = 200;
const EXAMINED_UNKNOWN: usize = 50;
const EXAMINED_NUMBERS: usize = 40;
const EXAMINED_STORIES: usize = 20;

/// A question with a right and a wrong answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The question.
    pub prompt: String,
    /// The right answer.
    pub chosen: String,
    /// The wrong one.
    pub rejected: String,
}

/// What the model is made from.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// Plain text to learn the language from.
    pub text: Vec<String>,
    /// Conversations.
    pub chats: Vec<Example>,
    /// Preferences.
    pub pairs: Vec<Pair>,
    /// Conversations held back to see how training goes; wordings as in training.
    pub validation: Vec<Example>,
    /// The examination: one question each, in wordings that training never has.
    pub examination: Vec<Example>,
}

/// The corpus of a seed.
pub fn corpus(tables: &Tables, seed: u64) -> Result<Corpus> {
    let dice = &mut Dice::new(seed);
    let facts = facts::all(tables)?;

    let mut examination: Vec<Example> = Vec::new();
    let mut examined: Vec<_> = facts.iter().filter(|fact| fact.can_be_examined()).collect();
    dice.shuffle(&mut examined);
    let again = examined.clone();
    let mut asked = HashSet::new();
    for fact in examined.into_iter().chain(again) {
        let example = fact.example(true, dice);
        if examination.len() < EXAMINED_HELP && asked.insert(plain(&example.turns[0].0)) {
            examination.push(example);
        }
    }
    // With dice of their own: what the tables say changes nothing in what else is asked.
    let others = &mut Dice::new(seed ^ 0x00e8_a31e);
    examination.extend(unknown::held(EXAMINED_UNKNOWN, others));
    examination.extend(numbers::examples(true, EXAMINED_NUMBERS, others));
    examination.extend(talk::held(others));
    examination.extend(stories::examples(true, EXAMINED_STORIES, others));
    let examined: HashSet<String> = examination.iter().map(|e| plain(&e.turns[0].0)).collect();

    let mut chats = Vec::new();
    for fact in &facts {
        chats.extend((0..FOR_EACH_FACT).map(|_| fact.example(false, dice)));
    }
    chats.extend(numbers::examples(false, NUMBERS, dice));
    chats.extend(stories::examples(false, STORIES, dice));
    chats.extend(talk::examples(TALK, dice));
    let mut unknown = unknown::examples(UNKNOWN, dice);
    // What a model says that does not know when to be silent: something that it does know.
    for example in &mut unknown {
        example.wrong = Some(dice.pick::<facts::Fact>(&facts).answers[0].clone());
    }
    chats.extend(unknown);
    chats.retain(|e| e.turns.iter().all(|(question, _)| !examined.contains(&plain(question))));
    dice.shuffle(&mut chats);
    join_some(&mut chats, dice);

    let mut text: Vec<String> = facts.iter().flat_map(|fact| fact.answers.clone()).collect();
    text.extend(chats.iter().map(spoken));
    dice.shuffle(&mut text);
    let pairs = chats.iter().filter_map(pair).collect();
    let validation = chats.split_off(chats.len() - chats.len() / 50);
    Ok(Corpus { text, chats, pairs, validation, examination })
}

/// A wording without what does not matter, to compare.
fn plain(question: &str) -> String {
    question.trim_end_matches(['?', '.', '!']).to_lowercase()
}

/// Some conversations go on with another matter.
fn join_some(chats: &mut Vec<Example>, dice: &mut Dice) {
    let mut joined: Vec<Example> = Vec::with_capacity(chats.len());
    for example in chats.drain(..) {
        match joined.last_mut() {
            Some(last) if last.turns.len() < 3 && dice.chance(0.25) => {
                last.turns.extend(example.turns);
                (last.topic, last.must, last.wrong) = (example.topic, example.must, example.wrong);
            }
            _ => joined.push(example),
        }
    }
    *chats = joined;
}

/// A conversation as lines of text.
fn spoken(example: &Example) -> String {
    let lines = example.turns.iter().map(|(question, answer)| format!("{question}\n{answer}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn pair(example: &Example) -> Option<Pair> {
    let [(prompt, chosen)] = &example.turns[..] else { return None };
    let rejected = example.wrong.clone()?;
    Some(Pair { prompt: prompt.clone(), chosen: chosen.clone(), rejected })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{ActionRow, CommandRow, SettingRow, Topic};
    use super::*;
    use crate::app::action::{ACTIONS, Context};
    use crate::config::SETTINGS;

    /// The real ones, as far as they can be reached from here.
    pub(in super::super) fn tables() -> Tables {
        let action = |info: &crate::app::action::ActionInfo| ActionRow {
            name: info.name.into(),
            keys: info.keys.iter().map(|key| (*key).into()).collect(),
            place: if info.context == Context::Everywhere { String::new() } else { info.context.name().into() },
            about: info.about.into(),
            slash: info.context == Context::Everywhere,
        };
        let names = ["chat", "run", "sessions", "trace", "inspect", "init", "quantize", "eval", "bench", "download"];
        let others = ["config", "completions", "man", "train", "prepare", "monitor", "replay", "doctor", "merge"];
        let commands = names.iter().chain(&others);
        Tables {
            actions: ACTIONS.iter().map(action).collect(),
            commands: commands.map(|name| CommandRow { name: (*name).into(), about: "Does it".into() }).collect(),
            settings: SETTINGS
                .iter()
                .map(|s| SettingRow {
                    key: s.key.into(),
                    default: s.default.into(),
                    about: s.about.into(),
                    variable: s.env_name(),
                })
                .collect(),
        }
    }

    #[test]
    fn the_examination_is_never_taught() {
        let made = corpus(&tables(), 0).unwrap();
        let asked: HashSet<String> = made.examination.iter().map(|e| plain(&e.turns[0].0)).collect();
        let taught = made.chats.iter().chain(&made.validation).flat_map(|e| &e.turns);
        assert!(taught.clone().count() > 10_000);
        for (question, _) in taught {
            assert!(!asked.contains(&plain(question)), "{question}");
        }
        for text in &made.text {
            assert!(text.lines().all(|line| !asked.contains(&plain(line))), "{text}");
        }
        let of = |topic| made.examination.iter().filter(|e| e.topic == topic).count();
        assert_eq!((of(Topic::Help), of(Topic::Unknown)), (EXAMINED_HELP, EXAMINED_UNKNOWN));
        assert!(made.examination.iter().all(|e| !e.must.is_empty()));
        assert!(made.examination.iter().all(|e| e.must.iter().all(|must| e.turns[0].1.contains(must))));
    }

    #[test]
    fn a_seed_gives_the_same_corpus() {
        let (one, two) = (corpus(&tables(), 5).unwrap(), corpus(&tables(), 5).unwrap());
        assert_eq!((one.chats, one.text, one.pairs), (two.chats, two.text, two.pairs));
        assert_ne!(corpus(&tables(), 6).unwrap().chats, corpus(&tables(), 5).unwrap().chats);
    }

    #[test]
    fn what_is_taught_is_what_the_tables_say() {
        let made = corpus(&tables(), 0).unwrap();
        let turns = || made.chats.iter().flat_map(|e| &e.turns);
        let mut keys = turns().filter(|(asked, said)| asked.contains("zoom a pane") && said.starts_with("Press"));
        assert!(keys.clone().count() > 1 && keys.all(|(_, answer)| answer.contains("Alt-Z")));
        assert!(made.pairs.iter().all(|pair| pair.chosen != pair.rejected) && made.pairs.len() > 1000);
    }
}
