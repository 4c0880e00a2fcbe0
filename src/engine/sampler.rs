//! From logits to a token.

use std::cmp::Ordering;

use anyhow::{Result, bail, ensure};

use crate::protocol::{Sampling, TokenId};
use crate::rng::Rng;

/// How many candidates the search for the nucleus sorts first; eight times as many each time that
/// was not enough.
const FIRST_SORTED: usize = 256;

/// What was chosen, and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: TokenId,
    /// Natural logarithm of its probability under the model, whatever the settings.
    pub logprob: f32,
    /// The most likely tokens other than it, most likely first.
    pub others: Vec<(TokenId, f32)>,
}

/// Chooses tokens. Holds its buffers, so that a token costs no allocation.
pub struct Sampler {
    settings: Sampling,
    rng: Rng,
    seed: u64,
    /// (V) or empty: tokens that are never chosen nor shown.
    banned: Vec<bool>,
    /// (at most V) logit after the penalty, then probability; and its token.
    candidates: Vec<Candidate>,
    /// (at most `repetition_window`) distinct recent tokens.
    recent: Vec<TokenId>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    value: f32,
    token: TokenId,
}

impl Candidate {
    /// Larger first; equal ones by id, so that the order never depends on the sort.
    fn order(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then(self.token.cmp(&other.token))
    }
}

impl Sampler {
    /// Checks the settings. `banned`, when not empty, has one entry for each token of the model.
    pub fn new(settings: Sampling, banned: Vec<bool>) -> Result<Self> {
        let s = &settings;
        ensure!(
            s.temperature.is_finite() && s.temperature >= 0.0,
            "temperature is {}: it must be 0 or more",
            s.temperature
        );
        ensure!(s.top_p > 0.0 && s.top_p <= 1.0, "top-p is {}: it must be above 0 and at most 1", s.top_p);
        ensure!((0.0..=1.0).contains(&s.min_p), "min-p is {}: it must lie between 0 and 1", s.min_p);
        ensure!(
            s.repetition_penalty.is_finite() && s.repetition_penalty > 0.0,
            "repetition penalty is {}: it must be above 0, and 1 changes nothing",
            s.repetition_penalty
        );
        ensure!(
            banned.is_empty() || banned.contains(&false),
            "no token may be sampled: the tokenizer knows none of the model's"
        );
        let seed = settings.seed.unwrap_or_else(Rng::fresh_seed);
        Ok(Self { rng: Rng::new(seed), seed, settings, banned, candidates: Vec::new(), recent: Vec::new() })
    }

    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chooses a token from logits (V). `context` is what was read and said so far; `alternatives`
    /// is how many others to name.
    pub fn choose(&mut self, logits: &[f32], context: &[TokenId], alternatives: usize) -> Result<Choice> {
        ensure!(!logits.is_empty(), "the model gave no logits");
        if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
            bail!(
                "the logit of token {at} is {}: the weights may be damaged, or hold numbers too large; \
                 `bit-axon inspect` checks them",
                logits[at]
            );
        }
        let token = self.draw(logits, context);
        // logprob = logit - max - ln(sum(exp(logit - max)))
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from((x - max).exp())).sum();
        let log_sum = max + sum.ln() as f32;
        let logprob = |token: TokenId| logits[token as usize] - log_sum;
        Ok(Choice { token, logprob: logprob(token), others: self.others(logits, token, alternatives, logprob) })
    }

    fn others(
        &mut self,
        logits: &[f32],
        chosen: TokenId,
        count: usize,
        logprob: impl Fn(TokenId) -> f32,
    ) -> Vec<(TokenId, f32)> {
        if count == 0 {
            return Vec::new();
        }
        self.fill(logits);
        self.candidates.retain(|c| c.token != chosen);
        keep_largest(&mut self.candidates, count);
        self.candidates.sort_unstable_by(Candidate::order);
        self.candidates.iter().map(|c| (c.token, logprob(c.token))).collect()
    }

    /// Every token that may be chosen, with its logit.
    fn fill(&mut self, logits: &[f32]) {
        self.candidates.clear();
        let all = logits.iter().enumerate().map(|(i, value)| Candidate { value: *value, token: i as TokenId });
        if self.banned.is_empty() {
            self.candidates.extend(all);
        } else {
            self.candidates.extend(all.filter(|c| !self.banned.get(c.token as usize).is_some_and(|b| *b)));
        }
    }

    fn draw(&mut self, logits: &[f32], context: &[TokenId]) -> TokenId {
        self.fill(logits);
        self.penalise(context);
        let best = self.candidates.iter().min_by(|a, b| a.order(b)).copied();
        let Some(best) = best else { return 0 };
        if self.settings.temperature == 0.0 {
            return best.token;
        }
        if self.settings.top_k > 0 {
            keep_largest(&mut self.candidates, self.settings.top_k);
            // The draw must not depend on how a library leaves the rest in order.
            self.candidates.sort_unstable_by(Candidate::order);
        }
        // p = exp((logit - max) / temperature): the most likely token has 1.
        let mut sum = 0.0f64;
        for c in &mut self.candidates {
            c.value = ((c.value - best.value) / self.settings.temperature).exp();
            sum += f64::from(c.value);
        }
        if self.settings.top_p < 1.0 {
            self.keep_nucleus(f64::from(self.settings.top_p) * sum);
        }
        let least = self.settings.min_p;
        if least > 0.0 {
            self.candidates.retain(|c| c.value >= least);
        }
        let sum: f64 = self.candidates.iter().map(|c| f64::from(c.value)).sum();
        let mut left = self.rng.uniform() * sum;
        for c in &self.candidates {
            left -= f64::from(c.value);
            if left < 0.0 {
                return c.token;
            }
        }
        // Rounding may leave a crumb.
        self.candidates.iter().rev().find(|c| c.value > 0.0).map_or(best.token, |c| c.token)
    }

    /// A token is penalised once, however often it was said.
    fn penalise(&mut self, context: &[TokenId]) {
        let penalty = self.settings.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let from = context.len().saturating_sub(self.settings.repetition_window);
        self.recent.clear();
        self.recent.extend(&context[from..]);
        self.recent.sort_unstable();
        self.recent.dedup();
        for token in &self.recent {
            // Candidates are in the order of their ids.
            if let Ok(at) = self.candidates.binary_search_by_key(token, |c| c.token) {
                let value = &mut self.candidates[at].value;
                *value = if *value > 0.0 { *value / penalty } else { *value * penalty };
            }
        }
    }

    /// Keeps the fewest candidates whose probabilities reach `wanted`, sorting no more than needed.
    fn keep_nucleus(&mut self, wanted: f64) {
        let all = &mut self.candidates;
        let (mut sorted, mut count, mut reached) = (0, FIRST_SORTED, 0.0);
        while sorted < all.len() {
            let end = count.min(all.len());
            if end < all.len() {
                all[sorted..].select_nth_unstable_by(end - 1 - sorted, Candidate::order);
            }
            all[sorted..end].sort_unstable_by(Candidate::order);
            for at in sorted..end {
                reached += f64::from(all[at].value);
                if reached >= wanted {
                    all.truncate(at + 1);
                    return;
                }
            }
            (sorted, count) = (end, count * 8);
        }
    }
}

/// Keeps the `count` largest, in no order.
fn keep_largest(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, Candidate::order);
        candidates.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    fn open() -> Sampling {
        Sampling { temperature: 1.0, top_p: 1.0, seed: Some(1), ..Sampling::default() }
    }

    /// Which tokens come in many draws.
    fn seen(settings: Sampling, logits: &[f32], context: &[TokenId]) -> Vec<TokenId> {
        let mut sampler = Sampler::new(settings, Vec::new()).unwrap();
        let mut seen: Vec<_> = (0..3000).map(|_| sampler.choose(logits, context, 0).unwrap().token).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn the_most_likely_with_its_probability_and_the_next() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let choice = Sampler::new(greedy(), Vec::new()).unwrap().choose(&logits, &[], 2).unwrap();
        let sum: f32 = logits.iter().map(|x: &f32| x.exp()).sum();
        assert_eq!(choice.token, 1);
        assert!((choice.logprob - (3.0 - sum.ln())).abs() < 1e-6);
        assert_eq!(choice.others.iter().map(|o| o.0).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(choice.others[0].1, choice.logprob);
        let banned = vec![false, true, false, true];
        let choice = Sampler::new(greedy(), banned).unwrap().choose(&logits, &[], 9).unwrap();
        assert_eq!((choice.token, choice.others.len()), (2, 1));
        assert!((choice.logprob - (2.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn each_setting_keeps_what_it_says() {
        // Probabilities 0.5, 0.3, 0.15, 0.05.
        let logits: Vec<f32> = [0.15f32, 0.5, 0.05, 0.3].iter().map(|p| p.ln()).collect();
        assert_eq!(seen(open(), &logits, &[]), [0, 1, 2, 3]);
        assert_eq!(seen(Sampling { top_k: 2, ..open() }, &logits, &[]), [1, 3]);
        assert_eq!(seen(Sampling { top_p: 0.79, ..open() }, &logits, &[]), [1, 3]);
        assert_eq!(seen(Sampling { top_p: 0.81, ..open() }, &logits, &[]), [0, 1, 3]);
        assert_eq!(seen(Sampling { top_p: 0.0001, ..open() }, &logits, &[]), [1]);
        assert_eq!(seen(Sampling { min_p: 0.25, ..open() }, &logits, &[]), [0, 1, 3]);
        // Over the two that top-k leaves, the first has 0.625.
        assert_eq!(seen(Sampling { top_k: 2, top_p: 0.6, ..open() }, &logits, &[]), [1]);
        assert_eq!(seen(Sampling { temperature: 1e-30, ..open() }, &logits, &[]), [1]);
        assert_eq!(seen(Sampling { top_k: 99, ..open() }, &logits, &[]), [0, 1, 2, 3]);
    }

    #[test]
    fn shares_follow_the_temperature() {
        let logits = [0.0, 2.0f32.ln()];
        for (temperature, share) in [(1.0, 2.0 / 3.0), (0.5, 0.8), (2.0, 0.5858)] {
            let mut sampler = Sampler::new(Sampling { temperature, ..open() }, Vec::new()).unwrap();
            let ones: u32 = (0..20_000).map(|_| sampler.choose(&logits, &[], 0).unwrap().token).sum();
            assert!((f64::from(ones) / 20_000.0 - share).abs() < 0.015, "{temperature}: {ones}");
        }
    }

    #[test]
    fn repeated_tokens_are_penalised_once_within_the_window() {
        let settings = Sampling { repetition_penalty: 2.0, repetition_window: 3, ..greedy() };
        let mut sampler = Sampler::new(settings, Vec::new()).unwrap();
        let mut pick = |logits: &[f32], context: &[TokenId]| sampler.choose(logits, context, 0).unwrap().token;
        assert_eq!(pick(&[3.0, 2.0], &[0]), 1);
        assert_eq!(pick(&[3.0, 1.4], &[0, 0, 0]), 0);
        assert_eq!(pick(&[3.0, 2.0], &[0, 1, 1, 1]), 0);
        assert_eq!(pick(&[-1.0, -1.5], &[0, 77]), 1);
    }

    #[test]
    fn bad_numbers_are_named() {
        let mut sampler = Sampler::new(open(), Vec::new()).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sampler.choose(&[0.0, bad], &[], 0).unwrap_err().to_string();
            assert!(error.contains("token 1"), "{error}");
        }
        for bad in [
            Sampling { temperature: -1.0, ..open() },
            Sampling { temperature: f32::NAN, ..open() },
            Sampling { top_p: 0.0, ..open() },
            Sampling { min_p: 1.5, ..open() },
            Sampling { repetition_penalty: 0.0, ..open() },
        ] {
            assert!(Sampler::new(bad, Vec::new()).is_err());
        }
        assert!(Sampler::new(open(), vec![true; 3]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_nucleus_is_that_of_a_full_sort(seed in any::<u64>(), top_p in 0.01f32..1.0, scale in 0.0f32..6.0) {
            let mut rng = Rng::new(seed);
            let logits: Vec<f32> = (0..3000).map(|_| scale * rng.uniform() as f32).collect();
            let mut sampler = Sampler::new(Sampling { top_p, ..open() }, Vec::new()).unwrap();
            sampler.draw(&logits, &[]);
            let kept = sampler.candidates.len();
            let mut p: Vec<f64> = logits.iter().map(|x| f64::from(*x).exp()).collect();
            p.sort_by(|a, b| b.total_cmp(a));
            let total: f64 = p.iter().sum();
            let mass = |n: usize| p[..n].iter().sum::<f64>() / total;
            prop_assert!(mass(kept) >= f64::from(top_p) - 1e-5);
            prop_assert!(mass(kept - 1) < f64::from(top_p) + 1e-5);
        }

        #[test]
        fn a_seed_gives_one_text(seed in any::<u64>()) {
            let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin()).collect();
            let text = |_| {
                let settings = Sampling { seed: Some(seed), ..Sampling::default() };
                let mut sampler = Sampler::new(settings, Vec::new()).unwrap();
                (0..20).map(|_| sampler.choose(&logits, &[], 3).unwrap().token).collect::<Vec<_>>()
            };
            prop_assert_eq!(text(0), text(1));
        }
    }
}
