//! ORPO: the loss of a pair from its two mean log-probabilities.
//!
//! ```text
//! log_odds = (c - r) - (log1mexp(c) - log1mexp(r))
//! total    = -c - log_sigmoid(beta * log_odds)
//! ```

use crate::backend::learn::Preference;

/// Log-probabilities are kept at least this far below 0, where the odds would be infinite.
const MARGIN: f64 = 1e-6;

/// A pair's losses, and the slopes of its total in the two log-probabilities.
pub(super) struct Pair {
    pub(super) parts: Preference,
    pub(super) total: f64,
    pub(super) slope_chosen: f64,
    pub(super) slope_rejected: f64,
}

/// The loss of a pair with these mean log-probabilities.
pub(super) fn pair(chosen: f64, rejected: f64, beta: f64) -> Pair {
    let (c, r) = (chosen.min(-MARGIN), rejected.min(-MARGIN));
    let log_odds = (c - r) - (log1mexp(c) - log1mexp(r));
    let odds = softplus(-beta * log_odds);
    // log_odds has the slopes 1 / (1 - e^c) and -1 / (1 - e^r), and none where it is kept from 0.
    let down = -beta * sigmoid(-beta * log_odds);
    let slope = |logp: f64, kept: f64| if logp < -MARGIN { -1.0 / kept.exp_m1() } else { 0.0 };
    Pair {
        parts: Preference { nll: -chosen, odds, chosen, rejected, wins: f64::from(u8::from(chosen > rejected)) },
        total: -chosen + odds,
        slope_chosen: -1.0 + down * slope(chosen, c),
        slope_rejected: -down * slope(rejected, r),
    }
}

/// `log(1 - e^x)` for `x < 0`.
fn log1mexp(x: f64) -> f64 {
    if x < -std::f64::consts::LN_2 { (-x.exp()).ln_1p() } else { (-x.exp_m1()).ln() }
}

/// `log(1 + e^x)`
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_agree_with_differences() {
        for (c, r, beta) in [(-0.5, -1.5, 0.1), (-2.0, -0.01, 0.1), (-1e-3, -30.0, 1.0), (-0.7, -0.7, 0.3)] {
            let h = 1e-7;
            let of_c = (pair(c + h, r, beta).total - pair(c - h, r, beta).total) / (2.0 * h);
            let of_r = (pair(c, r + h, beta).total - pair(c, r - h, beta).total) / (2.0 * h);
            let found = pair(c, r, beta);
            assert!((found.slope_chosen - of_c).abs() < 1e-6 * of_c.abs().max(1.0), "{c} {r}");
            assert!((found.slope_rejected - of_r).abs() < 1e-6 * of_r.abs().max(1.0), "{c} {r}");
        }
    }

    #[test]
    fn certainty_and_hopelessness_stay_finite() {
        for c in [0.0, -1e-12, -1e-300, -1e4] {
            for r in [0.0, -1e-12, -1e4] {
                let p = pair(c, r, 0.1);
                assert!(
                    [p.total, p.slope_chosen, p.slope_rejected, p.parts.odds].iter().all(|v| v.is_finite()),
                    "{c} {r}"
                );
            }
        }
        let even = pair(-1.0, -1.0, 0.1);
        assert!((even.parts.odds - std::f64::consts::LN_2).abs() < 1e-12 && even.parts.wins == 0.0);
        assert_eq!(pair(-1.0, -2.0, 0.1).parts.wins, 1.0);
    }
}
