//! The learning rate of each step, and the seeds of what is random.

use std::f64::consts::PI;

use super::fingerprint::mix;
use super::settings::Settings;

/// Rises in a line over the warm-up, then falls to 0 along a cosine. Steps count from 1.
pub fn learning_rate(settings: &Settings, step: u64) -> f64 {
    let (warmup, last) = (settings.warmup(), settings.max_steps);
    let done = step.saturating_sub(1);
    if done < warmup {
        return settings.learning_rate * (done + 1) as f64 / warmup as f64;
    }
    let way = (done - warmup) as f64 / (last - warmup).max(1) as f64;
    settings.learning_rate * 0.5 * (1.0 + (PI * way.min(1.0)).cos())
}

/// Draws the dropout of a step: the same however its batches are cut, since learners draw for each sequence by itself.
pub(crate) fn dropout_seed(seed: u64, step: u64) -> u64 {
    mix(mix(seed ^ 0x6472_6f70) ^ step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_and_falls() {
        let settings = Settings { learning_rate: 1.0, warmup_steps: Some(4), max_steps: 12, ..Settings::default() };
        let rates: Vec<f64> = (1..=12).map(|step| learning_rate(&settings, step)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((rates[8] - 0.5).abs() < 1e-12, "{rates:?}");
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]) && rates[11] > 0.0);
        assert!(learning_rate(&settings, 13) < 1e-12);
        let none = Settings { warmup_steps: Some(0), max_steps: 1, ..settings };
        assert_eq!(learning_rate(&none, 1), 1.0);
        let all = Settings { warmup_steps: Some(3), max_steps: 3, ..none };
        assert_eq!(learning_rate(&all, 3), 1.0);
    }

    #[test]
    fn every_step_has_a_seed_of_its_own() {
        let mut seeds: Vec<u64> = (0..9).flat_map(|s| (0..99).map(move |step| dropout_seed(s, step))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 9 * 99);
    }
}
