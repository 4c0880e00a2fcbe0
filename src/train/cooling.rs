//! What heat makes of batches: the policy of [`crate::telemetry`], a limit that a person sets, and what is said when
//! a sensor falls silent.

use crate::protocol::{HeatLimits, HeatPhase, Reason, SensorState, Telemetry};
use crate::telemetry::{BatchPlan, HeatPolicy};

/// Decides how many sequences are computed at once.
#[derive(Debug)]
pub(crate) struct Cooler {
    policy: HeatPolicy,
    whole: BatchPlan,
    ceiling: Option<usize>,
    /// The newest reading.
    celsius: Option<f32>,
    /// What is wrong with the sensor, as it was said last; none while it answers.
    trouble: Option<String>,
    /// The halvings of the run that this one goes on from, until the first reading.
    inherited: u32,
    used: BatchPlan,
}

impl Cooler {
    pub(crate) fn new(limits: HeatLimits, whole: BatchPlan, ceiling: Option<usize>, halvings: u32) -> Self {
        let policy = HeatPolicy::new(limits);
        Self { policy, whole, ceiling, celsius: None, trouble: None, inherited: halvings, used: whole }
    }

    /// Takes what is sensed at a time in seconds; gives what a person should hear of.
    pub(crate) fn observe(&mut self, now_s: f64, telemetry: &Telemetry) -> Option<String> {
        self.celsius = telemetry.sensor.celsius();
        if self.celsius.is_some() && self.inherited > 0 {
            self.policy = HeatPolicy::halved(self.policy.limits(), self.inherited);
            self.inherited = 0;
        }
        self.policy.observe(now_s, self.celsius);
        let trouble = match &telemetry.sensor {
            SensorState::Waiting => return None,
            SensorState::NoSensor { reason } => Some(format!("no temperature: {reason}")),
            SensorState::Problem { source, problem } => Some(format!("no temperature from {source}: it {problem}")),
            _ if self.celsius.is_none() => Some("the sensor gives no temperature".into()),
            _ => None,
        };
        if trouble.is_some() == self.trouble.is_some() {
            self.trouble = trouble;
            return None;
        }
        let said = match &trouble {
            Some(trouble) => format!("{trouble}; heat is not watched"),
            None => "the sensor answers again".into(),
        };
        self.trouble = trouble;
        Some(said)
    }

    /// What the temperature asks for; none if it is not known.
    pub(crate) fn phase(&self) -> Option<HeatPhase> {
        self.policy.phase()
    }

    pub(crate) fn celsius(&self) -> Option<f32> {
        self.celsius
    }

    pub(crate) fn halvings(&self) -> u32 {
        self.policy.halvings().max(self.inherited)
    }

    pub(crate) fn ceiling(&self) -> Option<usize> {
        self.ceiling
    }

    pub(crate) fn set_ceiling(&mut self, ceiling: Option<usize>) {
        self.ceiling = ceiling.map(|batch| batch.max(1));
    }

    /// What is wrong with the sensor.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The batch to use now.
    pub(crate) fn plan(&self) -> BatchPlan {
        let BatchPlan { batch, accumulation } = self.policy.plan(self.whole);
        match self.ceiling {
            Some(ceiling) if ceiling < batch => {
                let units = self.whole.batch.max(1) * self.whole.accumulation.max(1);
                BatchPlan { batch: ceiling, accumulation: units.div_ceil(ceiling) }
            }
            _ => BatchPlan { batch, accumulation },
        }
    }

    /// The plan, if it is another than the one that was given last, and why.
    pub(crate) fn changed(&mut self) -> Option<(BatchPlan, Reason)> {
        let plan = self.plan();
        if plan == self.used {
            return None;
        }
        let by_heat = self.policy.plan(self.whole).batch == plan.batch;
        self.used = plan;
        Some((plan, if by_heat { Reason::Heat } else { Reason::Asked }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::HeatReading;

    fn sensed(celsius: f32) -> Telemetry {
        let reading = HeatReading { celsius: Some(celsius), ..HeatReading::default() };
        Telemetry { sensor: SensorState::Reading { source: "test".into(), reading }, ..Telemetry::default() }
    }

    const WHOLE: BatchPlan = BatchPlan { batch: 8, accumulation: 2 };

    #[test]
    fn the_ceiling_holds_beside_the_heat() {
        let mut cooler = Cooler::new(HeatLimits::default(), WHOLE, Some(3), 0);
        assert_eq!(cooler.changed(), Some((BatchPlan { batch: 3, accumulation: 6 }, Reason::Asked)));
        assert_eq!(cooler.changed(), None);
        for now in [0.0, 61.0] {
            cooler.observe(now, &sensed(80.0));
        }
        assert_eq!(cooler.changed(), Some((BatchPlan { batch: 2, accumulation: 8 }, Reason::Heat)));
        cooler.set_ceiling(Some(0));
        assert_eq!(cooler.plan().batch, 1);
        cooler.set_ceiling(None);
        cooler.observe(62.0, &sensed(60.0));
        assert_eq!(cooler.changed(), Some((WHOLE, Reason::Heat)));
    }

    #[test]
    fn a_sensor_that_falls_silent_is_said_once() {
        let mut cooler = Cooler::new(HeatLimits::default(), WHOLE, None, 0);
        assert_eq!(cooler.observe(0.0, &Telemetry::default()), None);
        assert_eq!(cooler.observe(1.0, &sensed(50.0)), None);
        let gone = SensorState::Problem { source: "f".into(), problem: "is gone".into() };
        let gone = Telemetry { sensor: gone, ..Telemetry::default() };
        assert!(cooler.observe(2.0, &gone).unwrap().contains("no temperature from f: it is gone"));
        assert_eq!(cooler.observe(3.0, &gone), None);
        assert!(cooler.observe(4.0, &sensed(50.0)).unwrap().contains("again"));
        let none = Telemetry { sensor: SensorState::NoSensor { reason: "none".into() }, ..Telemetry::default() };
        assert!(cooler.observe(5.0, &none).unwrap().contains("not watched"));
    }

    #[test]
    fn halvings_are_inherited_once_there_is_a_reading() {
        let mut cooler = Cooler::new(HeatLimits::default(), WHOLE, None, 2);
        assert_eq!((cooler.plan().batch, cooler.halvings()), (8, 2));
        cooler.observe(0.0, &sensed(80.0));
        assert_eq!(cooler.plan().batch, 2);
        let mut cool = Cooler::new(HeatLimits::default(), WHOLE, None, 2);
        cool.observe(0.0, &sensed(50.0));
        assert_eq!((cool.plan(), cool.halvings()), (WHOLE, 0));
    }
}
