//! What a run needs of the world: the time, sleep, and what is sensed.

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::protocol::{SensorState, Telemetry};
use crate::telemetry::{Sampler, SamplerOptions};

/// The world, or one made up for a test.
pub trait Surroundings {
    /// Seconds that only grow.
    fn now(&self) -> f64;

    /// Seconds since 1970.
    fn date(&self) -> f64;

    /// Waits.
    fn sleep(&mut self, seconds: f64);

    /// The newest of what is sensed.
    fn telemetry(&mut self) -> Telemetry;
}

/// The world as it is.
#[derive(Debug)]
pub struct World {
    begun: Instant,
    newest: watch::Receiver<Telemetry>,
    _sampler: Sampler,
}

impl World {
    /// Begins to sense.
    pub fn start(options: SamplerOptions) -> io::Result<Self> {
        let sampler = Sampler::start(options)?;
        Ok(Self { begun: Instant::now(), newest: sampler.subscribe(), _sampler: sampler })
    }

    /// Waits until the sensor has answered, or so many seconds; gives what is known then.
    pub fn first_answer(&mut self, seconds: f64) -> SensorState {
        let until = self.now() + seconds;
        loop {
            let sensor = self.telemetry().sensor;
            if sensor != SensorState::Waiting || self.now() >= until {
                return sensor;
            }
            self.sleep(0.02);
        }
    }
}

impl Surroundings for World {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn date(&self) -> f64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
    }

    fn sleep(&mut self, seconds: f64) {
        thread::sleep(Duration::from_secs_f64(seconds));
    }

    fn telemetry(&mut self) -> Telemetry {
        self.newest.borrow().clone()
    }
}
