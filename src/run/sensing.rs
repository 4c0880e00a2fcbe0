//! Temperature, memory and battery for the screen: what the sampler publishes, and the thermal policy.

use std::future::pending;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::app::heat::Sensed;
use crate::app::msg::Msg;
use crate::protocol::{HeatLimits, SensorChoice, Telemetry};
use crate::telemetry::{HeatPolicy, Sampler, SamplerOptions};

/// What is sensed, and what is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensors {
    /// Where temperatures come from.
    pub sensor: SensorChoice,
    /// Time between readings.
    pub interval: Duration,
    /// The limits of the thermal policy.
    pub limits: HeatLimits,
}

/// The sampler, as long as the workbench runs.
pub(super) struct Sensing {
    _sampler: Sampler,
    newest: watch::Receiver<Telemetry>,
    policy: HeatPolicy,
}

impl Sensing {
    pub(super) fn start(sensors: Sensors) -> Result<Self> {
        let Sensors { sensor, interval, limits } = sensors;
        let sampler =
            Sampler::start(SamplerOptions { sensor, interval }).context("the sensors' thread cannot be started")?;
        Ok(Self { newest: sampler.subscribe(), _sampler: sampler, policy: HeatPolicy::new(limits) })
    }

    /// The newest sample. That nothing in it is new is found out where it is shown.
    fn take(&mut self) -> [Option<Msg>; 2] {
        let Telemetry { at_s, sensor, machine } = self.newest.borrow_and_update().clone();
        let phase = self.policy.observe(at_s, sensor.celsius());
        let heat = Sensed { sensor, supply: machine.power, phase, halvings: self.policy.halvings() };
        [Some(Msg::Heat(Box::new(heat))), machine.memory.map(Msg::Machine)]
    }
}

/// Waits for the next sample; for ever where nothing is sensed.
pub(super) async fn changed(sensing: &mut Option<Sensing>) {
    let Some(sensing) = sensing else { return pending().await };
    if sensing.newest.changed().await.is_err() {
        // It ends with its handle, which is ours.
        pending().await
    }
}

/// The newest sample, if anything is sensed.
pub(super) fn take(sensing: &mut Option<Sensing>) -> impl Iterator<Item = Msg> + use<> {
    sensing.as_mut().map(Sensing::take).into_iter().flatten().flatten()
}
