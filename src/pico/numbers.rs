//! Sums with small numbers. So small a model does not learn to reckon: it learns these sums by heart, so that all of them
//! are taught, and the examination asks for them in other wordings.

use super::ask::{Wordings, put};
use super::{Dice, Example, Topic, typed};

const PLUS: Wordings = Wordings {
    train: &[
        "What is {} plus {}?",
        "How much is {} + {}?",
        "{} + {} = ?",
        "{} + {}",
        "{}+{}",
        "Add {} and {}.",
        "What is {}+{}?",
        "What is {} and {}?",
        "How much is {} plus {}?",
        "How much is {} and {}?",
        "Tell me {} plus {}.",
        "Do you know {} + {}?",
        "Can you add {} and {}?",
        "I want to know {} + {}.",
        "What do I get from {} + {}?",
        "Sum: {} + {}",
        "What is the sum of {} and {}?",
        "{} plus {} is?",
    ],
    held: &["Compute {} + {}.", "How many are {} plus {}?", "What does {} plus {} make?"],
};
const MINUS: Wordings = Wordings {
    train: &[
        "What is {} minus {}?",
        "How much is {} - {}?",
        "{} - {} = ?",
        "{} - {}",
        "{}-{}",
        "What is {}-{}?",
        "How much is {} minus {}?",
        "How much is {} less {}?",
        "Tell me {} minus {}.",
        "Do you know {} - {}?",
        "I want to know {} - {}.",
        "What do I get from {} - {}?",
        "Sum: {} - {}",
        "{} minus {} is?",
    ],
    held: &["Compute {} - {}.", "How many are {} minus {}?", "What does {} minus {} make?"],
};
const TIMES: Wordings = Wordings {
    train: &[
        "What is {} times {}?",
        "How much is {} x {}?",
        "Multiply {} by {}.",
        "{} * {} = ?",
        "{} * {}",
        "{}*{}",
        "{} x {}",
        "What is {} * {}?",
        "How much is {} times {}?",
        "Tell me {} times {}.",
        "Do you know {} * {}?",
        "I want to know {} times {}.",
        "Can you multiply {} and {}?",
        "What do I get from {} * {}?",
        "Sum: {} * {}",
        "{} times {} is?",
    ],
    held: &["Compute {} * {}.", "How many are {} times {}?", "What does {} times {} make?"],
};

/// The largest number that is added.
const MOST: u32 = 20;

#[derive(Clone, Copy)]
enum Sum {
    Plus,
    Minus,
    Times,
}

fn example(held: bool, sum: Sum, a: u32, b: u32, dice: &mut Dice) -> Example {
    let (wordings, word, result, slip) = match sum {
        Sum::Plus => (&PLUS, "plus", a + b, a + b + 1),
        Sum::Minus => (&MINUS, "minus", a - b, a - b + 2),
        Sum::Times => (&TIMES, "times", a * b, a * b + a.max(1)),
    };
    let wording = dice.pick(if held { wordings.held } else { wordings.train });
    let question = put(&wording.replacen("{}", &a.to_string(), 1), &b.to_string());
    let question = if held { question } else { typed(&question, dice) };
    let mut made = Example::one(Topic::Numbers, question, format!("{a} {word} {b} is {result}."));
    made.must = vec![format!("is {result}.")];
    made.wrong = Some(format!("{a} {word} {b} is {slip}."));
    made
}

/// Sums for training, or those of the examination.
pub(super) fn examples(held: bool, count: usize, dice: &mut Dice) -> Vec<Example> {
    let mut made = Vec::new();
    while made.len() < count {
        let sum = *dice.pick(&[Sum::Plus, Sum::Plus, Sum::Minus, Sum::Minus, Sum::Times]);
        let most = if matches!(sum, Sum::Times) { 10 } else { MOST };
        let (mut a, mut b) = (dice.below(most as usize + 1) as u32, dice.below(most as usize + 1) as u32);
        if matches!(sum, Sum::Minus) && a < b {
            (a, b) = (b, a);
        }
        made.push(example(held, sum, a, b, dice));
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right() {
        let mut dice = Dice::new(1);
        for held in [false, true] {
            for made in examples(held, 300, &mut dice) {
                let answer = &made.turns[0].1;
                let words: Vec<&str> = answer.trim_end_matches('.').split(' ').collect();
                let (a, b): (u32, u32) = (words[0].parse().unwrap(), words[2].parse().unwrap());
                let result = match words[1] {
                    "plus" => a + b,
                    "minus" => a - b,
                    _ => a * b,
                };
                assert_eq!(words[4], result.to_string(), "{answer}");
                assert!(answer.contains(&made.must[0]) && !made.wrong.unwrap().contains(&made.must[0]));
            }
        }
    }
}
