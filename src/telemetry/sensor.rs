//! What a sensor is, and which one is meant.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(target_os = "linux")]
use super::linux;
use super::{command, file};
use crate::protocol::{HeatReading, SensorChoice};

/// Something that gives readings. It may block; it is asked on a thread of its own.
pub(super) trait Sensor {
    /// What it is called, as `coretemp Package id 0`. May change with a reading.
    fn source(&self) -> String;

    /// A reading, at this time in seconds; or what is wrong.
    fn read(&mut self, now_s: f64) -> Result<HeatReading, String>;
}

/// What came of looking for a sensor.
pub(super) enum Found {
    /// One that gives, or should give, readings.
    Sensor(Box<dyn Sensor>),
    /// None, and none to come: why.
    Never(String),
    /// None now: why. Drivers come and go, so it is worth looking again.
    NotNow(String),
}

/// Looks for the sensor that is meant. `sysfs` is `/sys`; `stop` becomes true when nobody wants to
/// know any more.
pub(super) fn find(choice: &SensorChoice, sysfs: &Path, stop: &Arc<AtomicBool>) -> Found {
    match choice {
        SensorChoice::None => Found::Never("switched off by `--sensor none`".into()),
        SensorChoice::File(path) => Found::Sensor(Box::new(file::FileSensor::new(path.clone()))),
        SensorChoice::Command(line) => match command::CommandSensor::new(line, stop.clone()) {
            Ok(sensor) => Found::Sensor(Box::new(sensor)),
            Err(why) => Found::Never(why),
        },
        SensorChoice::Nvidia => match nvidia() {
            Ok(sensor) => Found::Sensor(sensor),
            Err(why) => Found::NotNow(why),
        },
        SensorChoice::Auto => auto(sysfs),
    }
}

const ELSEWHERE: &str = "`--sensor file:PATH` and `--sensor cmd:COMMAND` can name one";

#[cfg(target_os = "linux")]
fn auto(sysfs: &Path) -> Found {
    if let Some(sensor) = linux::LinuxSensor::find(sysfs) {
        return Found::Sensor(Box::new(sensor));
    }
    match nvidia() {
        Ok(sensor) => Found::Sensor(sensor),
        Err(_) => Found::NotNow(format!("this machine shows no temperature in {}; {ELSEWHERE}", sysfs.display())),
    }
}

#[cfg(not(target_os = "linux"))]
fn auto(_sysfs: &Path) -> Found {
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    if let Ok(sensor) = mac::MacSensor::new() {
        return Found::Sensor(Box::new(sensor));
    }
    match super::components::ComponentsSensor::find() {
        Some(sensor) => Found::Sensor(Box::new(sensor)),
        None => Found::NotNow(format!("this machine shows no temperature; {ELSEWHERE}")),
    }
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
use super::mac;

#[cfg(all(target_os = "linux", feature = "nvml"))]
fn nvidia() -> Result<Box<dyn Sensor>, String> {
    Ok(Box::new(super::nvidia::NvidiaSensor::find()?))
}

#[cfg(not(all(target_os = "linux", feature = "nvml")))]
fn nvidia() -> Result<Box<dyn Sensor>, String> {
    Err("this program was built without NVIDIA's sensors".into())
}
