//! The loss of one example.

use anyhow::{Result, ensure};

use crate::backend::{Backend, Logits};
use crate::protocol::TokenId;

/// What one example gave.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Scored {
    /// Sum over the tokens that count, in nats.
    pub(super) loss: f64,
    pub(super) tokens: u64,
}

impl Scored {
    /// Loss of a token.
    pub(super) fn mean(&self) -> f64 {
        self.loss / self.tokens.max(1) as f64
    }
}

/// Reads an example from its beginning and sums the loss of each token that counts. The first token
/// never does: nothing predicts it.
pub(super) fn score(backend: &mut dyn Backend, tokens: &[(TokenId, bool)]) -> Result<Scored> {
    let mut scored = Scored::default();
    backend.rewind(0)?;
    // What comes after the last token that counts need not be read.
    let Some(last) = tokens.iter().rposition(|(_, counts)| *counts) else { return Ok(scored) };
    let vocab = backend.spec().vocab;
    let chunk = backend.chunk().max(1);
    for begin in (0..last).step_by(chunk) {
        let end = (begin + chunk).min(last);
        let inputs: Vec<TokenId> = tokens[begin..end].iter().map(|(token, _)| *token).collect();
        // Labels are the inputs moved on by one.
        let labels = &tokens[begin + 1..=end];
        let any = labels.iter().any(|(_, counts)| *counts);
        // (end - begin, vocab)
        let logits = backend.forward(&inputs, if any { Logits::All } else { Logits::None }, None)?;
        if !any {
            continue;
        }
        for (row, (label, _)) in logits.chunks_exact(vocab).zip(labels).filter(|(_, (_, counts))| *counts) {
            ensure!((*label as usize) < vocab, "token {label} is not in the model's vocabulary of {vocab}");
            let loss = log_sum_exp(row) - f64::from(row[*label as usize]);
            ensure!(loss.is_finite(), "the model's logits are not numbers, so there is no loss");
            scored.loss += loss;
            scored.tokens += 1;
        }
    }
    Ok(scored)
}

/// `ln(sum(exp(x)))`, as `m + ln(sum(exp(x - m)))` with the largest `m` so that nothing overflows.
fn log_sum_exp(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(most) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mock::Mock;

    #[test]
    fn only_what_is_needed_is_computed() {
        let mut mock = Mock::new(10);
        // Counts at 6 alone, of 9 tokens in pieces of 4.
        let tokens: Vec<(TokenId, bool)> = (0..9).map(|i| (i, i == 6)).collect();
        let scored = score(&mut mock, &tokens).unwrap();
        assert_eq!(mock.calls, [(4, Logits::None), (2, Logits::All)]);
        assert_eq!(scored.tokens, 1);
        let row: Vec<f32> = (0..10).map(|n| Mock::logit(5, 5, n)).collect();
        assert!((scored.loss - (log_sum_exp(&row) - f64::from(row[6]))).abs() < 1e-12);
    }

    #[test]
    fn examples_do_not_see_each_other() {
        let mut mock = Mock::new(10);
        let tokens: Vec<(TokenId, bool)> = (0..6).map(|i| (i, true)).collect();
        assert_eq!(score(&mut mock, &tokens).unwrap(), score(&mut mock, &tokens).unwrap());
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let mut mock = Mock::new(10);
        mock.broken_from = 2;
        assert!(score(&mut mock, &[(1, true), (2, true), (3, true)]).is_ok());
        assert!(score(&mut mock, &[(1, true), (2, true), (3, true), (4, true)]).is_err());
        let mut mock = Mock::new(10);
        assert!(score(&mut mock, &[(1, true), (10, true)]).unwrap_err().to_string().contains("token 10"));
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[1e4, 1e4]) - (1e4 + 2f64.ln())).abs() < 1e-9);
        assert_eq!(log_sum_exp(&[0.0]), 0.0);
    }
}
