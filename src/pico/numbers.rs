//! Sums with small numbers. One pair in eight is only ever asked in the examination.

use super::{Dice, Example, Topic, ask::put};

const PLUS: &[&str] =
    &["What is {} plus {}?", "How much is {} + {}?", "{} + {} = ?", "Add {} and {}.", "What is {}+{}?"];
const MINUS: &[&str] = &["What is {} minus {}?", "How much is {} - {}?", "{} - {} = ?", "What is {}-{}?"];
const TIMES: &[&str] = &["What is {} times {}?", "How much is {} x {}?", "Multiply {} by {}.", "{} * {} = ?"];

/// The largest number that is added.
const MOST: u32 = 20;

#[derive(Clone, Copy)]
enum Sum {
    Plus,
    Minus,
    Times,
}

/// Whether a sum belongs to the examination.
fn is_held(a: u32, b: u32) -> bool {
    (a * 31 + b * 17) % 8 == 3
}

fn example(sum: Sum, a: u32, b: u32, dice: &mut Dice) -> Example {
    let (wordings, word, result, slip) = match sum {
        Sum::Plus => (PLUS, "plus", a + b, a + b + 1),
        Sum::Minus => (MINUS, "minus", a - b, a - b + 2),
        Sum::Times => (TIMES, "times", a * b, a * b + a.max(1)),
    };
    let question = dice.pick(wordings).replacen("{}", &a.to_string(), 1);
    let question = put(&question, &b.to_string());
    let mut made = Example::one(Topic::Numbers, question, format!("{a} {word} {b} is {result}."));
    made.must = vec![format!("is {result}.")];
    made.wrong = Some(format!("{a} {word} {b} is {slip}."));
    made
}

/// Sums for training, or those of the examination.
pub(super) fn examples(held: bool, count: usize, dice: &mut Dice) -> Vec<Example> {
    let mut made = Vec::new();
    while made.len() < count {
        let sum = *dice.pick(&[Sum::Plus, Sum::Plus, Sum::Minus, Sum::Times]);
        let most = if matches!(sum, Sum::Times) { 10 } else { MOST };
        let (mut a, mut b) = (dice.below(most as usize + 1) as u32, dice.below(most as usize + 1) as u32);
        if matches!(sum, Sum::Minus) && a < b {
            (a, b) = (b, a);
        }
        if is_held(a, b) == held {
            made.push(example(sum, a, b, dice));
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right_and_kept_apart() {
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
                assert_eq!(is_held(a, b), held);
                assert!(answer.contains(&made.must[0]) && !made.wrong.unwrap().contains(&made.must[0]));
            }
        }
    }
}
