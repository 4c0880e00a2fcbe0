//! Short stories, put together from parts.

use super::{Dice, Example, Topic, typed};

const ASKED: &[&str] = &[
    "Tell me a story.",
    "Tell me a story about {}.",
    "Tell me a short story about {}.",
    "Do you know a story about {}?",
    "Write a story about {}.",
    "I would like a story about {}.",
    "A story about {}, please.",
    "Make up a story about {}.",
];
const HELD: &[&str] = &["Could you tell a story about {}?", "Please invent a short story about {}."];

const HEROES: &[&str] = &[
    "a fox",
    "a robot",
    "a small bear",
    "an old owl",
    "a girl",
    "a boy",
    "a mouse",
    "a cat",
    "a dog",
    "a baker",
    "a snail",
    "a dragon",
    "a duck",
    "a sailor",
    "a horse",
    "a gardener",
    "a frog",
    "a hen",
    "a wolf",
    "a king",
];
const NAMES: &[&str] = &["Mia", "Tom", "Lena", "Otto", "Nora", "Finn", "Ida", "Max", "Ruby", "Emil", "Anna", "Ben"];
const PLACES: &[&str] = &[
    "in a green forest",
    "by the sea",
    "in a small town",
    "on a high hill",
    "in an old mill",
    "near a quiet lake",
    "in a cold valley",
    "behind a garden wall",
    "in a house of stone",
    "at the end of a long road",
];
const LOST: &[&str] = &[
    "a red ball",
    "a silver key",
    "a warm hat",
    "a map",
    "a lamp",
    "a golden ring",
    "a book",
    "a little boat",
    "a blue kite",
    "a bell",
];
const FRIENDS: &[&str] = &[
    "a crow",
    "a kind fish",
    "an ant",
    "a goat",
    "a rabbit",
    "an old man",
    "a bee",
    "a hedgehog",
    "a traveller",
    "a moth",
];
const HELP: &[&str] = &[
    "looked under every leaf",
    "asked the wind",
    "followed small steps in the sand",
    "lit a fire",
    "climbed a tall tree",
    "waited for the moon",
    "sang an old song",
    "dug a deep hole",
    "crossed the bridge",
    "read the signs on the stones",
];
const FOUND: &[&str] = &[
    "under a bridge",
    "in a nest",
    "behind a door",
    "in the tall grass",
    "at the bottom of a well",
    "on a roof",
    "in an empty cup",
    "between two stones",
];
const ENDS: &[&str] = &[
    "From that day on they were friends.",
    "They shared bread and laughed.",
    "Then they went home before it was dark.",
    "And nobody was afraid any more.",
    "They never forgot that day.",
    "That night everybody slept well.",
];

/// Stories for training, or for the examination.
pub(super) fn examples(held: bool, count: usize, dice: &mut Dice) -> Vec<Example> {
    (0..count).map(|_| example(held, dice)).collect()
}

fn example(held: bool, dice: &mut Dice) -> Example {
    let hero = *dice.pick(HEROES);
    let wording = *dice.pick(if held { HELD } else { ASKED });
    let question = typed(&wording.replace("{}", hero), dice);
    let mut made = Example::one(Topic::Stories, question, story(hero, dice));
    // Where no hero was named any story will do.
    made.must = if wording.contains("{}") { vec![noun(hero).to_owned()] } else { vec!["there lived".into()] };
    made
}

/// `a fox`: `fox`.
fn noun(hero: &str) -> &str {
    hero.rsplit(' ').next().unwrap_or(hero)
}

fn story(hero: &str, dice: &mut Dice) -> String {
    let (name, place, lost, friend) = (dice.pick(NAMES), dice.pick(PLACES), dice.pick(LOST), dice.pick(FRIENDS));
    let (help, found, end) = (dice.pick(HELP), dice.pick(FOUND), dice.pick(ENDS));
    let short = noun(hero);
    format!(
        "Once there lived {hero} called {name} {place}. One day {name} lost {lost}. The {short} met {friend}, and together \
         they {help}. At last they found {lost} {found}. {end}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_about_what_was_asked() {
        let mut dice = Dice::new(3);
        for held in [false, true] {
            for made in examples(held, 50, &mut dice) {
                assert!(made.turns[0].1.contains(&made.must[0]), "{made:?}");
            }
        }
    }
}
