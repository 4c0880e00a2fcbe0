//! The thread that owns the sensor. A sensor may be slow, hang for ever, or panic: nobody waits for it.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::sensor::{Found, Sensor};
use crate::protocol::SensorState;

/// What the thread is called.
pub(super) const THREAD: &str = "bit-axon-sensor";

/// A sensor that has not answered for so long is said to be silent.
const SILENT_AFTER_S: f64 = 5.0;

/// Where there is no sensor, one is looked for again after so long.
const LOOK_AGAIN_S: f64 = 30.0;

/// The sampler's side of the thread.
pub(super) struct Worker {
    asks: Sender<f64>,
    /// Ends when the thread does.
    life: Receiver<()>,
    /// When it was asked what it has not answered yet.
    asked_s: Option<f64>,
    state: SensorState,
}

impl Worker {
    /// Starts the thread. `find` looks for the sensor, on that thread; `answer` takes what it says.
    pub(super) fn spawn(
        find: impl FnMut() -> Found + Send + 'static,
        answer: impl Fn(SensorState) + Send + 'static,
    ) -> io::Result<Self> {
        let ((asks, asked), (living, life)) = (channel(), channel());
        thread::Builder::new().name(THREAD.into()).spawn(move || {
            let _living = living;
            work(find, &asked, &answer);
        })?;
        Ok(Self { asks, life, asked_s: None, state: SensorState::Waiting })
    }

    /// Asks for a reading, unless the last one is still to come.
    pub(super) fn ask(&mut self, now_s: f64) {
        if self.asked_s.is_none() && self.asks.send(now_s).is_ok() {
            self.asked_s = Some(now_s);
        }
    }

    /// Takes what it answered.
    pub(super) fn answered(&mut self, state: SensorState) {
        self.asked_s = None;
        self.state = state;
    }

    /// What is known now.
    pub(super) fn state(&self, now_s: f64) -> SensorState {
        let silent_s = self.asked_s.map_or(0.0, |asked_s| now_s - asked_s);
        if silent_s < SILENT_AFTER_S {
            return self.state.clone();
        }
        let source = match &self.state {
            SensorState::Reading { source, .. } | SensorState::Problem { source, .. } => source.clone(),
            SensorState::Waiting | SensorState::NoSensor { .. } => "the sensor".into(),
        };
        SensorState::Problem { source, problem: format!("has not answered for {silent_s:.0} s") }
    }

    /// Lets the thread end, and waits for it, but not for ever: it may hang.
    pub(super) fn end(self, patience: Duration) {
        drop(self.asks);
        // Nothing is ever sent: this returns when the other end is dropped, or when time is up.
        let _ = self.life.recv_timeout(patience);
    }
}

/// What the thread has in its hands.
enum Hands {
    Sensor(Box<dyn Sensor>),
    /// None, until it is looked for again at that time, if ever.
    Empty {
        reason: String,
        again_s: Option<f64>,
    },
}

fn work(mut find: impl FnMut() -> Found, asked: &Receiver<f64>, answer: &impl Fn(SensorState)) {
    let mut hands = Hands::Empty { reason: String::new(), again_s: Some(f64::NEG_INFINITY) };
    for now_s in asked {
        // After a panic the sensor is not used again, so it does not matter in which state it is.
        let state = catch_unwind(AssertUnwindSafe(|| once(&mut hands, &mut find, now_s)));
        answer(state.unwrap_or_else(|panic| {
            let reason = format!("the sensor failed: {}", message(&*panic));
            // Dropping what panicked may panic too.
            let broken = std::mem::replace(&mut hands, Hands::Empty { reason: reason.clone(), again_s: None });
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
            SensorState::NoSensor { reason }
        }));
    }
}

fn once(hands: &mut Hands, find: &mut impl FnMut() -> Found, now_s: f64) -> SensorState {
    if let Hands::Empty { again_s: Some(again_s), .. } = hands
        && now_s >= *again_s
    {
        *hands = match find() {
            Found::Sensor(sensor) => Hands::Sensor(sensor),
            Found::Never(reason) => Hands::Empty { reason, again_s: None },
            Found::NotNow(reason) => Hands::Empty { reason, again_s: Some(now_s + LOOK_AGAIN_S) },
        };
    }
    match hands {
        Hands::Empty { reason, .. } => SensorState::NoSensor { reason: reason.clone() },
        Hands::Sensor(sensor) => match sensor.read(now_s) {
            Ok(reading) => SensorState::Reading { source: sensor.source(), reading },
            Err(problem) => SensorState::Problem { source: sensor.source(), problem },
        },
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    super::number::short(text.unwrap_or("for a reason that it does not say"))
}
