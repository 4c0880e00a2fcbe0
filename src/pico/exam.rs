//! Marks of the examination, and how well routing tells topics apart.

use super::{Example, Topic};

/// Whether an answer is right: it holds every fact that it must.
pub fn is_right(example: &Example, answer: &str) -> bool {
    example.must.iter().all(|must| answer.contains(must.as_str()))
}

/// Entropy of how a layer's work is shared out, as a part of the most that it could be.
pub fn evenness(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 || counts.len() < 2 {
        return 0.0;
    }
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = *count as f64 / total as f64;
            -share * share.ln()
        })
        .sum();
    entropy / (counts.len() as f64).ln()
}

/// Share of examples whose topic a linear classifier tells from the shares of work that experts had, on those that it
/// did not learn from: it learns from every second example of each topic.
///
/// Softmax regression by plain gradient descent: a few hundred examples of a few dozen shares need no more.
pub fn told_apart(examples: &[(Topic, Vec<f64>)], topics: &[Topic]) -> f64 {
    let (mut learned, mut asked) = (Vec::new(), Vec::new());
    for (label, topic) in topics.iter().enumerate() {
        for (at, (_, shares)) in examples.iter().filter(|(own, _)| own == topic).enumerate() {
            if at % 2 == 0 { &mut learned } else { &mut asked }.push((label, shares));
        }
    }
    let Some(width) = examples.first().map(|(_, shares)| shares.len()) else { return 0.0 };
    // One row a topic, its bias last: (topics, width + 1)
    let mut weights = vec![vec![0.0; width + 1]; topics.len()];
    let per_topic: Vec<f64> =
        (0..topics.len()).map(|t| learned.iter().filter(|(l, _)| *l == t).count() as f64).collect();
    for _ in 0..2000 {
        let mut gradient = vec![vec![0.0; width + 1]; topics.len()];
        for (label, shares) in &learned {
            // Every topic weighs the same, however many examples it has.
            let weight = 1.0 / (per_topic[*label] * topics.len() as f64);
            for (topic, chance) in softmax(&scores(&weights, shares)).into_iter().enumerate() {
                let error = weight * (chance - f64::from(u8::from(topic == *label)));
                let row = &mut gradient[topic];
                row.iter_mut().zip(shares.iter().chain(&[1.0])).for_each(|(g, x)| *g += error * x);
            }
        }
        for (row, gradient) in weights.iter_mut().zip(&gradient) {
            row.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 4.0 * g);
        }
    }
    let right = asked.iter().filter(|(label, shares)| {
        let scores = scores(&weights, shares);
        scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).is_some_and(|(best, _)| best == *label)
    });
    right.count() as f64 / asked.len().max(1) as f64
}

fn scores(weights: &[Vec<f64>], shares: &[f64]) -> Vec<f64> {
    weights.iter().map(|row| row.iter().zip(shares.iter().chain(&[1.0])).map(|(w, x)| w * x).sum()).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_needs_every_fact() {
        let mut example = Example::one(Topic::Help, "?", "!");
        example.must = vec!["Alt-Z".into(), "zoom".into()];
        assert!(is_right(&example, "Press Alt-Z to zoom."));
        assert!(!is_right(&example, "Press Alt-Z."));
    }

    #[test]
    fn evenness_is_one_where_all_are_alike() {
        assert!((evenness(&[5, 5, 5, 5]) - 1.0).abs() < 1e-12);
        assert_eq!(evenness(&[9, 0, 0]), 0.0);
        assert!(evenness(&[]) == 0.0 && evenness(&[0, 0]) == 0.0);
        assert!((0.4..0.6).contains(&evenness(&[10, 10, 0, 0])));
    }

    #[test]
    fn topics_are_told_apart_only_where_routing_differs() {
        let topics = [Topic::Help, Topic::Numbers, Topic::Stories];
        let example = |at: usize, differs: bool| {
            let own = if differs { at % 3 } else { 0 };
            let shares =
                (0..6).map(|e| 0.1 + 0.3 * f64::from(u8::from(e / 2 == own)) + 0.01 * ((at * 7 + e) % 5) as f64);
            (topics[at % 3], shares.collect())
        };
        let all: Vec<_> = (0..60).map(|at| example(at, true)).collect();
        assert!(told_apart(&all, &topics) > 0.95);
        let alike: Vec<_> = (0..60).map(|at| example(at, false)).collect();
        assert!(told_apart(&alike, &topics) < 0.7);
        assert_eq!(told_apart(&[], &topics), 0.0);
    }
}
