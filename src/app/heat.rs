//! Heat as the screen shows it: the newest figures, rounded to what is seen, and the highest
//! temperature of every few seconds for an hour.
//!
//! Rounding is what keeps an idle screen quiet: a reading that looks the same is no reason to draw.

use std::collections::VecDeque;

use super::state::App;
use crate::protocol::{HeatPhase, HeatReading, PowerSupply, SensorState};

/// Seconds of one step of the chart.
pub const STEP_S: f64 = 5.0;
/// Steps that are kept: an hour.
const STEPS: usize = 720;

/// What was sensed, and what the thermal policy makes of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sensed {
    /// The sensor: what it gave, or why it gave nothing.
    pub sensor: SensorState,
    /// Mains or battery; none for a machine without a battery.
    pub supply: Option<PowerSupply>,
    /// What the temperature asks for; none if it is not known.
    pub phase: Option<HeatPhase>,
    /// How often training would have halved its batch.
    pub halvings: u32,
}

/// The newest of it, and how the temperature came there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heat {
    /// The newest, rounded.
    pub newest: Sensed,
    /// The highest temperature of each step, oldest first; none where there was no reading.
    pub steps: VecDeque<Option<f32>>,
    /// The number of the newest step, counted from the start of the program.
    pub step: u64,
}

impl Heat {
    /// Takes the newest in; true if that changes what is seen.
    pub(super) fn take(&mut self, now: f64, sensed: &Sensed) -> bool {
        let sensed = rounded(sensed);
        let stepped = self.advance(now);
        let celsius = sensed.sensor.celsius();
        let changed = sensed != self.newest;
        self.newest = sensed;
        // Before the first reading there is nothing that could be drawn over time.
        if self.steps.is_empty() {
            (self.step, self.steps) = (step_at(now), celsius.map(Some).into_iter().collect());
            return changed || celsius.is_some();
        }
        let Some(last) = self.steps.back_mut() else { return changed };
        let highest = match (*last, celsius) {
            (Some(before), Some(c)) => Some(before.max(c)),
            (before, c) => before.or(c),
        };
        let higher = highest != *last;
        *last = highest;
        changed || higher || stepped
    }

    /// Begins as many steps as time has passed; true if there is something to move.
    fn advance(&mut self, now: f64) -> bool {
        let passed = step_at(now).saturating_sub(self.step);
        if passed == 0 || self.steps.is_empty() {
            return false;
        }
        self.step += passed;
        for _ in 0..passed.min(STEPS as u64) {
            self.steps.push_back(None);
        }
        let excess = self.steps.len().saturating_sub(STEPS);
        self.steps.drain(..excess);
        // An hour without a reading: as if there had never been one.
        if self.steps.iter().all(Option::is_none) {
            self.steps.clear();
        }
        true
    }
}

fn step_at(now: f64) -> u64 {
    (now.max(0.0) / STEP_S) as u64
}

/// As much of each figure as the screen shows. Temperatures are cut, not rounded, so that a figure
/// and its band agree: 84.9 is shown as 84, which is below 85.
fn rounded(sensed: &Sensed) -> Sensed {
    let reading = |reading: &HeatReading| HeatReading {
        celsius: reading.celsius.map(f32::floor),
        watts: reading.watts.map(|w| if w < 9.95 { (w * 10.0).round() / 10.0 } else { w.round() }),
        fan_rpm: reading.fan_rpm.map(|rpm| (rpm / 50.0).round() * 50.0),
        throttled: reading.throttled,
    };
    let sensor = match &sensed.sensor {
        SensorState::Reading { source, reading: r } => {
            SensorState::Reading { source: source.clone(), reading: reading(r) }
        }
        other => other.clone(),
    };
    let supply =
        sensed.supply.map(|supply| PowerSupply { charge_percent: supply.charge_percent.map(f32::round), ..supply });
    Sensed { sensor, supply, ..sensed.clone() }
}

/// Takes in what was sensed.
pub(super) fn take(app: &mut App, sensed: &Sensed) {
    if app.live.heat.take(app.now, sensed) {
        app.live.stale = true;
    }
    warn(app, sensed);
}

/// Says once that the machine became hot: again only after it has cooled down, or when it is worse.
fn warn(app: &mut App, sensed: &Sensed) {
    let (Some(phase), Some(celsius)) = (sensed.phase, sensed.sensor.celsius()) else { return };
    if phase == HeatPhase::Normal {
        app.live.warned = HeatPhase::Normal;
    }
    if phase >= HeatPhase::Pause && phase > app.live.warned {
        app.live.warned = phase;
        let what = if phase == HeatPhase::Stop { "save and stop" } else { "wait" };
        let stop = if app.running.is_some() { "; Esc stops the answer" } else { "" };
        app.say(format!("{:.0} °C: training would {what} now, the chat goes on{stop}", celsius.floor()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(celsius: f32) -> Sensed {
        let reading = HeatReading { celsius: Some(celsius), ..HeatReading::default() };
        let sensor = SensorState::Reading { source: "test".into(), reading };
        Sensed { sensor, phase: Some(HeatPhase::Normal), ..Sensed::default() }
    }

    fn none() -> Sensed {
        Sensed { sensor: SensorState::NoSensor { reason: "none".into() }, ..Sensed::default() }
    }

    #[test]
    fn what_looks_the_same_changes_nothing() {
        let mut heat = Heat::default();
        assert!(heat.take(0.0, &none()));
        assert!((1..100).all(|second| !heat.take(f64::from(second), &none())), "nothing is sensed, so nothing moves");
        assert!(heat.take(100.0, &at(61.2)));
        assert!(!heat.take(101.0, &at(61.9)));
        assert_eq!(heat.newest.sensor.celsius(), Some(61.0));
        assert!(heat.take(102.0, &at(62.0)));
    }

    #[test]
    fn steps_hold_their_highest_temperature_and_gaps_stay_empty() {
        let mut heat = Heat::default();
        for (now, sensed) in
            [(2.0, at(60.0)), (3.0, at(70.0)), (4.0, at(65.0)), (5.0, at(66.0)), (11.0, none()), (17.0, at(50.0))]
        {
            heat.take(now, &sensed);
        }
        assert_eq!(heat.steps, [Some(70.0), Some(66.0), None, Some(50.0)]);
        assert_eq!(heat.step, 3);
        // A clock that stands still or jumps far does no harm.
        heat.take(0.0, &at(51.0));
        assert_eq!(heat.steps.len(), 4);
        heat.take(1e9, &at(52.0));
        assert_eq!(heat.steps, [Some(52.0)]);
    }

    #[test]
    fn an_hour_is_kept() {
        let mut heat = Heat::default();
        for second in 0..4000 {
            heat.take(f64::from(second), &at(40.0 + (second / 5) as f32));
        }
        assert_eq!(heat.steps.len(), STEPS);
        assert_eq!(heat.steps.back(), Some(&Some(839.0)));
    }

    #[test]
    fn heat_is_said_once_until_it_is_worse_or_was_over() {
        let mut app = App::new("test");
        let mut said = |celsius: f32, phase: HeatPhase| {
            app.notice = None;
            take(&mut app, &Sensed { phase: Some(phase), ..at(celsius) });
            app.notice.as_ref().map(|notice| notice.text.clone())
        };
        assert_eq!(said(80.0, HeatPhase::Reduce), None);
        assert!(said(88.4, HeatPhase::Pause).unwrap().starts_with("88 °C: training would wait now"));
        assert_eq!(said(89.0, HeatPhase::Pause), None);
        assert_eq!(said(80.0, HeatPhase::Reduce), None);
        assert_eq!(said(88.0, HeatPhase::Pause), None);
        assert!(said(97.0, HeatPhase::Stop).unwrap().contains("save and stop"));
        assert_eq!(said(60.0, HeatPhase::Normal), None);
        assert!(said(90.0, HeatPhase::Pause).is_some());
    }
}
