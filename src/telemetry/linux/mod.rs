//! What Linux shows below `/sys` without root: hwmon chips, thermal zones, power counters.
//!
//! Chosen once, then only a handful of small files are read for each reading. When the chosen files go
//! away (a driver was unloaded, chips were numbered anew), it is chosen again.

mod chips;
mod fans;
mod power;
mod supply;
mod throttle;

use std::fs;
use std::path::{Path, PathBuf};

pub(super) use self::supply::supply;
use self::{chips::Temperature, fans::Fans, power::Power, throttle::Throttle};
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// The sensors of a Linux machine.
pub(super) struct LinuxSensor {
    sysfs: PathBuf,
    temperature: Temperature,
    power: Option<Power>,
    fans: Fans,
    throttle: Option<Throttle>,
}

impl LinuxSensor {
    /// Looks for a temperature, and for all that goes with it; none if there is no temperature.
    pub(super) fn find(sysfs: &Path) -> Option<Self> {
        let temperature = Temperature::find(sysfs)?;
        Some(Self {
            power: Power::find(sysfs, temperature.chip()),
            fans: Fans::find(sysfs),
            throttle: Throttle::find(sysfs),
            sysfs: sysfs.to_owned(),
            temperature,
        })
    }
}

impl Sensor for LinuxSensor {
    fn source(&self) -> String {
        let power = self.power.as_ref().map_or_else(String::new, |power| format!(", power: {}", power.name()));
        format!("{}{power}", self.temperature.name())
    }

    fn read(&mut self, now_s: f64) -> Result<HeatReading, String> {
        let celsius = match self.temperature.read() {
            Ok(celsius) => celsius,
            Err(why) => {
                let mut again = Self::find(&self.sysfs).ok_or(why)?;
                std::mem::swap(self, &mut again);
                self.temperature.read()?
            }
        };
        Ok(HeatReading {
            celsius: Some(celsius),
            watts: self.power.as_mut().and_then(|power| power.read(now_s)),
            fan_rpm: self.fans.read(),
            throttled: self.throttle.as_mut().map(Throttle::read),
        })
    }
}

/// The first line of a small file; none if it cannot be read.
fn line(path: &Path) -> Option<String> {
    // Such files hold a page at most, and the kernel writes UTF-8.
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// A whole number in a small file.
fn number(path: &Path) -> Option<i64> {
    line(path)?.parse().ok()
}

/// What is in a folder, by name in the order of people: 2 before 10; nothing if it is not there.
fn entries(folder: &Path, beginning: &str) -> Vec<PathBuf> {
    let Ok(all) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(usize, String)> = all
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(beginning))
        .map(|name| (name.len(), name))
        .collect();
    found.sort();
    found.into_iter().map(|(_, name)| folder.join(name)).collect()
}

#[cfg(test)]
mod tests;
