//! The thread that publishes what is sensed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::machine::Machine;
use super::sensor::{self, Found};
use super::supply::Supply;
use super::worker::{self, Worker};
use crate::protocol::{SensorChoice, SensorState, Telemetry};

/// Sampling more often would cost more than anyone can see.
const FASTEST: Duration = Duration::from_millis(100);

/// How long a hanging sensor may delay the end: long enough for a command to be killed.
const PATIENCE: Duration = Duration::from_millis(300);

/// What is sampled, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Where temperatures come from.
    pub sensor: SensorChoice,
    /// Time between samples.
    pub interval: Duration,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { sensor: SensorChoice::Auto, interval: Duration::from_secs(1) }
    }
}

/// Samples until it is dropped.
///
/// ```
/// use bit_axon::protocol::{SensorChoice, SensorState};
/// use bit_axon::telemetry::{Sampler, SamplerOptions};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let sampler = Sampler::start(SamplerOptions { sensor: SensorChoice::None, ..Default::default() }).unwrap();
/// let mut newest = sampler.subscribe();
/// newest.changed().await.unwrap();
/// assert!(matches!(newest.borrow().sensor, SensorState::NoSensor { .. }));
/// # });
/// ```
#[derive(Debug)]
pub struct Sampler {
    newest: watch::Receiver<Telemetry>,
    notes: Sender<Note>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread hears.
enum Note {
    /// The sensor answered.
    Sensor(SensorState),
    /// It is time to end.
    Stop,
}

impl Sampler {
    /// Starts sampling.
    pub fn start(options: SamplerOptions) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let (for_sensor, for_supply) = (stop.clone(), stop.clone());
        let sysfs = PathBuf::from("/sys");
        let find = move || sensor::find(&options.sensor, &sysfs, &for_sensor);
        Self::start_with(find, || Machine::new(Supply::of_this_machine(for_supply)), options.interval, stop)
    }

    /// The same with a sensor and a machine of the caller's making; both are made where they are used.
    pub(super) fn start_with(
        find: impl FnMut() -> Found + Send + 'static,
        machine: impl FnOnce() -> Machine + Send + 'static,
        interval: Duration,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let (notes, heard) = channel();
        let (publish, newest) = watch::channel(Telemetry::default());
        let answer = notes.clone();
        let worker = Worker::spawn(find, move |state| {
            // Nobody listens any more: the next question will not come.
            let _ = answer.send(Note::Sensor(state));
        })?;
        let thread = thread::Builder::new()
            .name("bit-axon-sampler".into())
            .spawn(move || run(worker, machine(), interval.max(FASTEST), &heard, &publish))?;
        Ok(Self { newest, notes, stop, thread: Some(thread) })
    }

    /// The newest of everything; older ones are lost. Ends with the sampler.
    pub fn subscribe(&self) -> watch::Receiver<Telemetry> {
        self.newest.clone()
    }

    /// True on the thread on which a sensor may panic without harm: a panic hook should stay quiet there.
    pub fn may_panic_here() -> bool {
        thread::current().name() == Some(worker::THREAD)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.notes.send(Note::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks and publishes once an interval: as soon as the sensor has answered, else when it is over.
fn run(
    mut worker: Worker,
    mut machine: Machine,
    interval: Duration,
    heard: &Receiver<Note>,
    publish: &watch::Sender<Telemetry>,
) {
    let begun = Instant::now();
    let mut next = begun;
    'samples: loop {
        let now = Instant::now();
        // After a sleep of the machine the missed samples are not made up for.
        next = (next + interval).max(now);
        let now_s = (now - begun).as_secs_f64();
        worker.ask(now_s);
        let figures = machine.read(now_s);
        let send = |worker: &Worker| {
            let at_s = begun.elapsed().as_secs_f64();
            // That nobody looks is no reason to stop: someone may look later.
            publish.send_replace(Telemetry { at_s, sensor: worker.state(at_s), machine: figures });
        };
        let mut sent = false;
        loop {
            match heard.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Note::Sensor(state)) => {
                    worker.answered(state);
                    send(&worker);
                    sent = true;
                }
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => break 'samples,
            }
        }
        if !sent {
            send(&worker);
        }
    }
    worker.end(PATIENCE);
}

#[cfg(test)]
mod tests {
    use super::super::sensor::Sensor;
    use super::*;
    use crate::protocol::HeatReading;

    /// A sensor that does what it is told, reading by reading; the last goes on for ever.
    struct Played(Vec<fn() -> Result<HeatReading, String>>, usize);

    impl Sensor for Played {
        fn source(&self) -> String {
            "played".into()
        }

        fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
            let step = self.0[self.1.min(self.0.len() - 1)];
            self.1 += 1;
            step()
        }
    }

    fn sampler(find: impl FnMut() -> Found + Send + 'static) -> Sampler {
        let stop = Arc::default();
        Sampler::start_with(find, || Machine::new(Supply::none()), FASTEST, stop).unwrap()
    }

    fn played(steps: Vec<fn() -> Result<HeatReading, String>>) -> Sampler {
        let mut steps = Some(steps);
        sampler(move || {
            steps.take().map_or(Found::Never("played out".into()), |s| Found::Sensor(Box::new(Played(s, 0))))
        })
    }

    /// Waits for a sample that is wanted.
    fn until(newest: &mut watch::Receiver<Telemetry>, wanted: impl Fn(&Telemetry) -> bool) -> Telemetry {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let telemetry = newest.borrow_and_update().clone();
            if wanted(&telemetry) {
                return telemetry;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it never came; the newest is {:?}", *newest.borrow());
    }

    fn at(celsius: f32) -> Result<HeatReading, String> {
        Ok(HeatReading { celsius: Some(celsius), ..HeatReading::default() })
    }

    #[test]
    fn readings_and_problems_are_published_with_the_machine() {
        let sampler = played(vec![|| at(50.0), || Err("is gone".into()), || at(52.0)]);
        let mut newest = sampler.subscribe();
        let first = until(&mut newest, |t| t.sensor.celsius() == Some(50.0));
        assert!(first.machine.memory.unwrap().process > 0);
        let gone = until(&mut newest, |t| matches!(t.sensor, SensorState::Problem { .. }));
        assert_eq!(gone.sensor, SensorState::Problem { source: "played".into(), problem: "is gone".into() });
        let back = until(&mut newest, |t| t.sensor.celsius() == Some(52.0));
        assert!(back.at_s > gone.at_s && gone.at_s > first.at_s);
        drop(sampler);
        assert!(newest.has_changed().is_err(), "it goes on without its handle");
    }

    #[test]
    fn a_sensor_that_panics_is_no_sensor_and_the_rest_goes_on() {
        let sampler = played(vec![|| at(50.0), || {
            assert!(Sampler::may_panic_here());
            panic!("unknown chip M99")
        }]);
        let mut newest = sampler.subscribe();
        let gone = until(&mut newest, |t| matches!(t.sensor, SensorState::NoSensor { .. }));
        assert!(matches!(&gone.sensor, SensorState::NoSensor { reason } if reason.contains("M99")), "{gone:?}");
        let later = until(&mut newest, |t| t.at_s > gone.at_s);
        assert_eq!(later.sensor, gone.sensor);
        assert!(!Sampler::may_panic_here());
    }

    #[test]
    fn a_sensor_that_hangs_delays_neither_figures_nor_the_end() {
        let (hold, held) = channel::<()>();
        let held = std::sync::Mutex::new(held);
        let mut look = Some(move || {
            let _ = held.lock().unwrap().recv();
        });
        let sampler = sampler(move || {
            if let Some(hang) = look.take() {
                hang();
            }
            Found::Never("at last".into())
        });
        let mut newest = sampler.subscribe();
        let first = until(&mut newest, |t| t.machine.memory.is_some());
        assert_eq!(first.sensor, SensorState::Waiting);
        until(&mut newest, |t| t.at_s > first.at_s);
        drop(sampler);
        drop(hold);
    }

    #[test]
    fn a_silent_sensor_is_said_to_be_silent() {
        let (hold, held) = channel::<()>();
        let (said, answers) = channel();
        let find = move || {
            let _ = held.recv();
            Found::Never("none".into())
        };
        let mut worker = Worker::spawn(find, move |state| said.send(state).unwrap()).unwrap();
        worker.ask(1.0);
        worker.ask(2.0);
        assert_eq!(worker.state(5.9), SensorState::Waiting);
        let silent = worker.state(7.0);
        assert!(matches!(&silent, SensorState::Problem { problem, .. } if problem.contains("for 6 s")), "{silent:?}");
        drop(hold);
        worker.answered(answers.recv().unwrap());
        assert!(matches!(worker.state(8.0), SensorState::NoSensor { .. }));
        worker.end(Duration::from_secs(60));
        assert!(answers.recv().is_err(), "the second question waited for the first answer, so it was not asked");
    }

    #[test]
    fn no_sensor_is_looked_for_again() {
        let mut looks = 0;
        let (said, answers) = channel();
        let find = move || {
            looks += 1;
            if looks < 3 {
                Found::NotNow(format!("look {looks}"))
            } else {
                Found::Sensor(Box::new(Played(vec![|| at(40.0)], 0)))
            }
        };
        let mut worker = Worker::spawn(find, move |state| said.send(state).unwrap()).unwrap();
        let mut at_time = |now_s| {
            worker.ask(now_s);
            let state = answers.recv().unwrap();
            worker.answered(state.clone());
            match state {
                SensorState::NoSensor { reason } => reason,
                state => format!("{:?}", state.celsius()),
            }
        };
        let seen = [0.0, 29.0, 30.0, 59.0, 60.0, 61.0].map(&mut at_time);
        assert_eq!(seen, ["look 1", "look 1", "look 2", "look 2", "Some(40.0)", "Some(40.0)"]);
    }
}
