//! What there is to know about the program: from its own tables, and from `facts.toml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ask::{self, Wordings, loosened, put};
use super::{Dice, Example, Topic, lower, sentence, typed};

/// An action of the workbench.
#[derive(Debug, Clone)]
pub struct ActionRow {
    /// As in the palette and behind a slash.
    pub name: String,
    /// As in the table: `alt-z`.
    pub keys: Vec<String>,
    /// Where its keys mean this; empty for everywhere.
    pub place: String,
    /// What it does, for people.
    pub about: String,
    /// Whether it can be typed behind a slash.
    pub slash: bool,
}

/// A command of the program.
#[derive(Debug, Clone)]
pub struct CommandRow {
    /// `trace`.
    pub name: String,
    /// What it does.
    pub about: String,
}

/// A setting.
#[derive(Debug, Clone)]
pub struct SettingRow {
    /// `ui.theme`.
    pub key: String,
    /// Empty if it has none.
    pub default: String,
    /// What it is for.
    pub about: String,
    /// The variable that sets it.
    pub variable: String,
}

/// What the program says about itself.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Actions and their keys.
    pub actions: Vec<ActionRow>,
    /// Commands.
    pub commands: Vec<CommandRow>,
    /// Settings.
    pub settings: Vec<SettingRow>,
}

/// Something to know, the ways to ask for it, and the answers.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    questions: Questions,
    pub(super) answers: Vec<String>,
    pub(super) must: Vec<String>,
    wrong: Option<String>,
    /// What may be asked next, and answered.
    follow: Option<(Follow, String)>,
}

#[derive(Debug, Clone)]
enum Questions {
    Listed { train: Vec<String>, about: Vec<String>, held: Vec<String> },
    Worded { wordings: &'static Wordings, what: Vec<String> },
}

/// Wordings of a second question.
#[derive(Debug, Clone, Copy)]
struct Follow(&'static [&'static str]);

const SLASHED: Follow = Follow(&[
    "Is there a slash command for it?",
    "And as a slash command?",
    "What is it called behind a slash?",
    "Can I also type it?",
    "And without the key?",
]);
const VARIED: Follow = Follow(&["Which variable sets it?", "And as a variable?", "How do I set it without the file?"]);

impl Fact {
    /// Whether the examination can tell a right answer from a wrong one.
    pub(super) fn can_be_examined(&self) -> bool {
        !self.must.is_empty()
    }

    /// One question with its answer, and sometimes a second one.
    pub(super) fn example(&self, held: bool, dice: &mut Dice) -> Example {
        let question = match &self.questions {
            Questions::Listed { held: other, .. } if held => dice.pick(other).clone(),
            Questions::Listed { train, about, .. } => match dice.chance(0.4) {
                true => sentence(&put(dice.pick::<&str>(ask::ABOUT), dice.pick::<String>(about))),
                false => dice.pick(train).clone(),
            },
            Questions::Worded { wordings, what } => {
                let wording = dice.pick::<&str>(if held { wordings.held } else { wordings.train });
                let what = dice.pick::<String>(what);
                // A key or a setting keeps its letters; what is done may begin a sentence.
                let phrase = wording.starts_with("{}") && what.contains(' ') && !what.starts_with("bit-axon");
                let question = put(wording, what);
                if phrase { sentence(&question) } else { question }
            }
        };
        let question = if held { question } else { typed(&loosened(&question, dice), dice) };
        let mut made = Example::one(Topic::Help, question, dice.pick(&self.answers).clone());
        made.must = self.must.clone();
        made.wrong = self.wrong.clone();
        if let (Some((follow, answer)), false) = (&self.follow, held)
            && dice.chance(0.2)
        {
            made.turns.push((typed(dice.pick::<&str>(follow.0), dice), answer.clone()));
            (made.must, made.wrong) = (Vec::new(), None);
        }
        made
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    does: BTreeMap<String, Vec<String>>,
    want: BTreeMap<String, Vec<String>>,
    fact: Vec<WrittenFact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFact {
    id: String,
    q: Vec<String>,
    about: Vec<String>,
    held: Vec<String>,
    a: Vec<String>,
    must: Vec<String>,
}

/// All of it, in a fixed order.
pub(super) fn all(tables: &Tables) -> Result<Vec<Fact>> {
    let written: Written = toml::from_str(include_str!("facts.toml")).context("src/pico/facts.toml")?;
    let mut facts = Vec::new();
    let unknown = |table: &str, name: &str| format!("src/pico/facts.toml: [{table}] names {name}, which is not there");
    for (name, phrases) in &written.does {
        let row = tables.actions.iter().find(|row| row.name == *name).with_context(|| unknown("does", name))?;
        facts.extend(of_action(row, phrases));
    }
    for (name, phrases) in &written.want {
        let row = tables.commands.iter().find(|row| row.name == *name).with_context(|| unknown("want", name))?;
        facts.extend(of_command(row, phrases));
    }
    facts.extend(tables.settings.iter().flat_map(of_setting));
    for WrittenFact { id, q: train, about, held, a: answers, must } in written.fact {
        let whole = answers.iter().all(|answer| must.iter().all(|must| answer.contains(must)));
        ensure!(
            whole && !train.is_empty() && !about.is_empty() && !held.is_empty(),
            "src/pico/facts.toml: the fact {id} is not whole"
        );
        let questions = Questions::Listed { train, about, held };
        facts.push(Fact { questions, answers, must, wrong: None, follow: None });
    }
    // A wrong answer that looks right: that of another fact of the same kind.
    let others: Vec<String> = facts.iter().map(|fact| fact.answers[0].clone()).collect();
    for (at, fact) in facts.iter_mut().enumerate() {
        let other = (1..others.len()).map(|step| &others[(at + 7 * step) % others.len()]);
        fact.wrong = other.into_iter().find(|text| fact.must.iter().any(|must| !text.contains(must))).cloned();
    }
    Ok(facts)
}

fn worded(wordings: &'static Wordings, what: Vec<String>, answer: String, must: &[&str]) -> Fact {
    let must = must.iter().map(|must| (*must).to_owned()).collect();
    Fact { questions: Questions::Worded { wordings, what }, answers: vec![answer], must, wrong: None, follow: None }
}

fn of_action(row: &ActionRow, phrases: &[String]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let keys: Vec<String> = row.keys.iter().map(|key| shown(key)).collect();
    let slash = format!("/{}", row.name);
    if let (Some(key), Some(phrase)) = (keys.first(), phrases.first()) {
        let place = if row.place.is_empty() { String::new() } else { format!("In the {}, ", row.place) };
        let press = sentence(&format!("{place}press {} to {phrase}.", keys.join(" or ")));
        let mut fact = worded(&ask::KEY, phrases.to_vec(), press, &[key]);
        if row.slash {
            fact.follow = Some((SLASHED, format!("Yes: type {slash} in the prompt.")));
        }
        facts.push(fact);
        if key.len() > 1 {
            let told = format!("{} is the key of {}: {}.", keys.join(" or "), row.name, lower(&row.about));
            facts.push(worded(&ask::PRESSED, keys.clone(), told, &[&row.name]));
        }
    }
    if row.slash {
        facts.push(worded(&ask::SLASH, phrases.to_vec(), format!("Type {slash} in the prompt."), &[&slash]));
    }
    facts
}

fn of_command(row: &CommandRow, phrases: &[String]) -> Vec<Fact> {
    let command = format!("bit-axon {}", row.name);
    let Some(phrase) = phrases.first() else { return Vec::new() };
    vec![
        worded(&ask::COMMAND, phrases.to_vec(), format!("Use {command} to {phrase}."), &[&command]),
        worded(&ask::COMMANDED, vec![command.clone()], format!("{command}: {}.", lower(&row.about)), &[]),
    ]
}

fn of_setting(row: &SettingRow) -> Vec<Fact> {
    let what = vec![row.key.clone()];
    let variable = format!("{} sets {}.", row.variable, row.key);
    let mut facts = Vec::new();
    if !row.default.is_empty() {
        let answer = format!("{} is {} by default.", row.key, row.default);
        let mut fact = worded(&ask::DEFAULT, what.clone(), answer, &[&format!("is {} by default", row.default)]);
        fact.follow = Some((VARIED, variable.clone()));
        facts.push(fact);
    }
    facts.push(worded(&ask::VARIABLE, what.clone(), variable, &[&row.variable]));
    facts.push(worded(&ask::SETTING, what, format!("{}: {}.", row.key, lower(&row.about)), &[]));
    facts
}

/// `alt-z` as people write it: `Alt-Z`. A letter alone keeps its size, which matters.
fn shown(key: &str) -> String {
    if key.chars().count() == 1 {
        return key.to_owned();
    }
    let (prefix, last) =
        key.rsplit_once('-').filter(|(_, last)| !last.is_empty()).unwrap_or(match key.strip_suffix('-') {
            Some(prefix) => (prefix.trim_end_matches('-'), "-"),
            None => ("", key),
        });
    let mut parts: Vec<String> = prefix.split('-').filter(|part| !part.is_empty()).map(sentence).collect();
    parts.push(sentence(last));
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_people_do() {
        for (key, want) in
            [("alt-z", "Alt-Z"), ("f1", "F1"), ("m", "m"), ("alt--", "Alt--"), ("ctrl-c", "Ctrl-C"), ("alt-<", "Alt-<")]
        {
            assert_eq!(shown(key), want);
        }
    }

    #[test]
    fn right_answers_hold_what_they_must_and_wrong_ones_do_not() {
        for fact in all(&super::super::corpus::tests::tables()).unwrap() {
            assert!(fact.answers.iter().all(|a| fact.must.iter().all(|m| a.contains(m))), "{fact:?}");
            if let (Some(wrong), true) = (&fact.wrong, fact.can_be_examined()) {
                assert!(fact.must.iter().any(|m| !wrong.contains(m)), "{fact:?}");
            }
        }
    }
}
