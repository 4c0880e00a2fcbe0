//! What heat asks of training: smaller batches from 75 °C on, a pause from 85, the end at 95.
//!
//! A plain state machine: temperatures and times come in, nothing is waited for here. The heat pane
//! shows its phase, and training obeys it.
//!
//! ```text
//!            below 75            75 .. pause              pause .. stop      stop and above
//!   phase    normal              reduce                   pause              stop
//!   batch    whole               half on entering,        as it was          as it was
//!                                half again each minute
//! ```
//!
//! A jump from below 75 over the band halves the batch as well, so that work goes on gently after the
//! pause. Time spent pausing does not count towards the minutes: nothing was computed.

use crate::protocol::{HeatLimits, HeatPhase};

/// The batch is halved again after so many seconds in the band.
const HALVE_EVERY_S: f64 = 60.0;

/// Without a reading for so long the phase is no longer known.
const FORGET_AFTER_S: f64 = 30.0;

/// More halvings than any batch has binary digits.
const MOST_HALVINGS: u32 = 63;

/// A batch as it is run: so many examples at once, so often before the weights change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlan {
    /// Examples at once.
    pub batch: usize,
    /// How many such batches make one step. The last is smaller where it does not come out even, so
    /// that a step always averages over the same number of examples.
    pub accumulation: usize,
}

/// The state of the policy.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatPolicy {
    limits: HeatLimits,
    phase: Option<HeatPhase>,
    /// How often the batch is halved now.
    halvings: u32,
    /// Seconds spent in the band since the last halving.
    in_band_s: f64,
    /// When the newest reading came.
    seen_s: f64,
}

impl HeatPolicy {
    /// A policy that has seen nothing yet.
    pub fn new(limits: HeatLimits) -> Self {
        Self { limits, phase: None, halvings: 0, in_band_s: 0.0, seen_s: f64::NEG_INFINITY }
    }

    /// A policy that goes on where another ended: with the batch halved so often, until it is cooler.
    pub fn halved(limits: HeatLimits, halvings: u32) -> Self {
        Self { halvings: halvings.min(MOST_HALVINGS), ..Self::new(limits) }
    }

    /// Takes the newest reading, or the news that there is none, at this time in seconds; gives the
    /// phase that holds now, none if it is not known.
    ///
    /// A sensor that misses a reading changes nothing. One that is silent for 30 s leaves the phase
    /// unknown, so that nobody waits for ever; the batch stays as small as it was.
    pub fn observe(&mut self, now_s: f64, celsius: Option<f32>) -> Option<HeatPhase> {
        // A clock that goes backwards takes no time.
        let passed = (now_s - self.seen_s).max(0.0);
        let Some(celsius) = celsius.filter(|c| c.is_finite()) else {
            if passed >= FORGET_AFTER_S {
                self.phase = None;
            }
            return self.phase;
        };
        let before = self.phase;
        let phase = self.limits.phase(celsius);
        if phase == HeatPhase::Normal {
            self.halvings = 0;
        } else if self.halvings == 0 {
            self.halvings = 1;
            self.in_band_s = 0.0;
        } else if phase == HeatPhase::Reduce && before == Some(HeatPhase::Reduce) {
            self.in_band_s += passed;
            let more = (self.in_band_s / HALVE_EVERY_S).floor();
            self.in_band_s -= more * HALVE_EVERY_S;
            self.halvings = self.halvings.saturating_add(more as u32).min(MOST_HALVINGS);
        }
        self.seen_s = now_s;
        self.phase = Some(phase);
        self.phase
    }

    /// The phase that holds; none if it is not known.
    pub fn phase(&self) -> Option<HeatPhase> {
        self.phase
    }

    /// The limits.
    pub fn limits(&self) -> HeatLimits {
        self.limits
    }

    /// How often the batch is halved now.
    pub fn halvings(&self) -> u32 {
        self.halvings
    }

    /// The batch to use now instead of this one: `batch / 2^halvings`, not below 1, with as many more
    /// accumulations as make up for it.
    pub fn plan(&self, whole: BatchPlan) -> BatchPlan {
        let batch = (whole.batch >> self.halvings.min(usize::BITS - 1)).max(1);
        let examples = whole.batch.max(1) * whole.accumulation.max(1);
        BatchPlan { batch, accumulation: examples.div_ceil(batch) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: BatchPlan = BatchPlan { batch: 8, accumulation: 4 };

    fn policy() -> HeatPolicy {
        HeatPolicy::new(HeatLimits::default())
    }

    #[test]
    fn warms_pauses_cools_and_stops() {
        let mut policy = policy();
        let mut seen = Vec::new();
        for (at, celsius) in [60.0, 78.0, 88.0, 70.0, 97.0].into_iter().enumerate() {
            let phase = policy.observe(at as f64, Some(celsius)).unwrap();
            let plan = policy.plan(WHOLE);
            seen.push((phase, plan.batch, plan.accumulation));
        }
        assert_eq!(
            seen,
            [
                (HeatPhase::Normal, 8, 4),
                (HeatPhase::Reduce, 4, 8),
                (HeatPhase::Pause, 4, 8),
                (HeatPhase::Normal, 8, 4),
                (HeatPhase::Stop, 4, 8),
            ]
        );
    }

    #[test]
    fn halves_each_further_minute_and_never_below_one() {
        let mut policy = policy();
        let batch_at = |policy: &mut HeatPolicy, at: f64| {
            policy.observe(at, Some(80.0));
            policy.plan(WHOLE)
        };
        assert_eq!(batch_at(&mut policy, 10.0).batch, 4);
        assert_eq!(batch_at(&mut policy, 69.5).batch, 4);
        assert_eq!(batch_at(&mut policy, 70.0).batch, 2);
        assert_eq!(batch_at(&mut policy, 129.0).batch, 2);
        assert_eq!(batch_at(&mut policy, 130.5).batch, 1);
        // What is left of a minute counts towards the next.
        assert_eq!(policy.halvings(), 3);
        assert_eq!(batch_at(&mut policy, 190.0), BatchPlan { batch: 1, accumulation: 32 });
        assert_eq!(policy.halvings(), 4);
        assert_eq!(batch_at(&mut policy, 1e9).batch, 1);
        policy.observe(1e9 + 1.0, Some(74.9));
        assert_eq!(policy.plan(WHOLE), WHOLE);
    }

    #[test]
    fn entering_anew_begins_anew() {
        let mut policy = policy();
        policy.observe(0.0, Some(80.0));
        policy.observe(59.0, Some(80.0));
        policy.observe(60.0, Some(70.0));
        policy.observe(61.0, Some(80.0));
        policy.observe(100.0, Some(80.0));
        assert_eq!(policy.halvings(), 1);
        policy.observe(121.0, Some(80.0));
        assert_eq!(policy.halvings(), 2);
    }

    #[test]
    fn a_jump_over_the_band_halves_once_and_pausing_takes_no_time() {
        let mut policy = policy();
        assert_eq!(policy.observe(0.0, Some(90.0)), Some(HeatPhase::Pause));
        assert_eq!(policy.halvings(), 1);
        for second in 1..600 {
            policy.observe(f64::from(second), Some(86.0));
        }
        assert_eq!(policy.observe(600.0, Some(84.0)), Some(HeatPhase::Reduce));
        assert_eq!(policy.halvings(), 1);
        policy.observe(659.0, Some(84.0));
        assert_eq!(policy.halvings(), 1);
        policy.observe(660.0, Some(84.0));
        assert_eq!(policy.halvings(), 2);
    }

    #[test]
    fn a_silent_sensor_is_believed_for_half_a_minute() {
        let mut policy = policy();
        assert_eq!(policy.observe(0.0, None), None);
        assert_eq!(policy.observe(1.0, Some(88.0)), Some(HeatPhase::Pause));
        assert_eq!(policy.observe(30.9, None), Some(HeatPhase::Pause));
        assert_eq!(policy.observe(31.0, Some(f32::NAN)), None);
        assert_eq!(policy.plan(WHOLE).batch, 4);
        assert_eq!(policy.observe(40.0, Some(60.0)), Some(HeatPhase::Normal));
        assert_eq!(policy.plan(WHOLE), WHOLE);
    }

    #[test]
    fn a_clock_that_goes_backwards_halves_nothing() {
        let mut policy = policy();
        policy.observe(1000.0, Some(80.0));
        policy.observe(0.0, Some(80.0));
        policy.observe(30.0, Some(80.0));
        assert_eq!(policy.halvings(), 1);
    }

    #[test]
    fn limits_can_be_moved() {
        let mut policy = HeatPolicy::new(HeatLimits::new(80.0, 82.0).unwrap());
        assert_eq!(policy.observe(0.0, Some(79.0)), Some(HeatPhase::Reduce));
        assert_eq!(policy.observe(1.0, Some(80.0)), Some(HeatPhase::Pause));
        assert_eq!(policy.observe(2.0, Some(82.0)), Some(HeatPhase::Stop));
    }

    proptest! {
        #[test]
        fn a_step_is_always_over_as_many_examples(
            batch in 1usize..100, accumulation in 1usize..20,
            readings in prop::collection::vec((0.0f64..200.0, prop::option::of(50.0f32..100.0)), 1..40),
        ) {
            let whole = BatchPlan { batch, accumulation };
            let (mut policy, mut now) = (policy(), 0.0);
            for (passed, celsius) in readings {
                now += passed;
                let phase = policy.observe(now, celsius);
                let plan = policy.plan(whole);
                let examples = batch * accumulation;
                prop_assert!(plan.batch >= 1 && plan.batch <= batch);
                prop_assert!(plan.batch * plan.accumulation >= examples);
                prop_assert!(plan.batch * (plan.accumulation - 1) < examples);
                if phase == Some(HeatPhase::Normal) && celsius.is_some() {
                    prop_assert_eq!(plan, whole);
                }
                if matches!(phase, Some(HeatPhase::Reduce)) && batch > 1 {
                    prop_assert!(plan.batch < batch);
                }
            }
        }
    }
}
