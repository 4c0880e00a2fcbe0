//! How answers are made: the flags of `chat` and `run`. What is not given is a setting.

use clap::Args;

use crate::config::SamplingSettings;
use crate::protocol::Sampling;

/// The flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Answers (what is not given comes from the settings: see `bit-axon config`)")]
pub(super) struct SamplingArgs {
    /// Stop an answer after this many tokens
    #[arg(long, short = 'n', value_name = "N")]
    max_tokens: Option<usize>,
    /// How freely to choose: 0 always takes the most likely token
    #[arg(long, short, value_name = "X", value_parser = at_least_zero)]
    temperature: Option<f32>,
    /// Choose among the K most likely tokens only; 0 means all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the fewest tokens whose probabilities sum to P; 1 means all
    #[arg(long, value_name = "P", value_parser = share)]
    top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the most likely one
    #[arg(long, value_name = "P", value_parser = share_or_zero)]
    min_p: Option<f32>,
    /// Make tokens of the last 256 less likely to come again; 1 changes nothing, 1.1 is mild
    #[arg(long, value_name = "X", value_parser = above_zero)]
    repetition_penalty: Option<f32>,
    /// The same seed gives the same text on the same machine
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What the flags do not say.
    #[arg(skip)]
    settings: Option<SamplingSettings>,
}

/// The longest answer if nobody says anything.
const MAX_TOKENS: usize = 1024;

impl SamplingArgs {
    /// From now on what is not given comes from the settings.
    pub(super) fn fill(&mut self, settings: &SamplingSettings) {
        self.settings = Some(settings.clone());
    }

    /// True if a flag says how tokens are chosen.
    pub(super) fn chooses(&self) -> bool {
        let numbers = [self.temperature, self.top_p, self.min_p, self.repetition_penalty];
        numbers.iter().any(Option::is_some) || self.top_k.is_some() || self.seed.is_some()
    }

    /// How tokens are chosen.
    pub(super) fn sampling(&self) -> Sampling {
        let base = self.settings.as_ref().map_or_else(Sampling::default, |settings| settings.sampling.clone());
        Sampling {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            seed: self.seed.or(base.seed),
            ..base
        }
    }

    /// The longest answer.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens.or(self.settings.as_ref().map(|settings| settings.max_tokens)).unwrap_or(MAX_TOKENS)
    }
}

fn number(text: &str, good: impl Fn(f32) -> bool, wanted: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() && good(x) => Ok(x),
        _ => Err(format!("it must be a number {wanted}")),
    }
}

fn at_least_zero(text: &str) -> Result<f32, String> {
    number(text, |x| x >= 0.0, "of 0 or more")
}

fn above_zero(text: &str) -> Result<f32, String> {
    number(text, |x| x > 0.0, "above 0")
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |x| x > 0.0 && x <= 1.0, "above 0 and at most 1")
}

fn share_or_zero(text: &str) -> Result<f32, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "between 0 and 1")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{Config, Places};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    #[test]
    fn flags_win_over_settings() {
        let parse = |args: &[&str]| Line::try_parse_from(std::iter::once(&"x").chain(args)).map(|line| line.sampling);
        let mut args = parse(&["--top-k", "7", "-t", "0"]).unwrap();
        assert_eq!(
            (args.sampling(), args.max_tokens()),
            (Sampling { top_k: 7, temperature: 0.0, ..Sampling::default() }, 1024)
        );
        let mut settings = Config::defaults(&Places::default()).settings().unwrap().sampling;
        assert_eq!(settings.max_tokens, MAX_TOKENS);
        settings.sampling =
            Sampling { top_k: 40, min_p: 0.1, seed: Some(3), repetition_window: 9, ..settings.sampling };
        settings.max_tokens = 5;
        args.fill(&settings);
        let wanted = Sampling { top_k: 7, temperature: 0.0, ..settings.sampling };
        assert_eq!((args.sampling(), args.max_tokens()), (wanted, 5));
        for bad in [["-t", "-1"], ["-t", "nan"], ["--top-p", "0"], ["--min-p", "2"], ["--repetition-penalty", "0"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
