//! Whether the processor is slowed down because it is hot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{entries, line, number};

/// Bits of a Raspberry Pi's firmware: frequency capped, throttled, soft limit. Bit 0 is low voltage.
const PI_HOT: i64 = 0b1110;

/// All that can tell.
pub(super) struct Throttle {
    /// Counters of times at which a package was slowed, with their newest values.
    counters: Vec<(PathBuf, Option<i64>)>,
    /// Cooling that works by slowing: above 0 while it does.
    cooling: Vec<PathBuf>,
    /// A Raspberry Pi's firmware.
    pi: Option<PathBuf>,
}

impl Throttle {
    /// None if nothing here can tell.
    pub(super) fn find(sysfs: &Path) -> Option<Self> {
        let cpus = entries(&sysfs.join("devices/system/cpu"), "cpu");
        // All threads of a package show the same counter: one of each is enough.
        let mut packages = BTreeMap::new();
        for cpu in cpus {
            let file = cpu.join("thermal_throttle/package_throttle_count");
            if let Some(count) = number(&file) {
                let package = line(&cpu.join("topology/physical_package_id")).unwrap_or_default();
                packages.entry(package).or_insert((file, Some(count)));
            }
        }
        let slows = |kind: &str| {
            let kind = kind.to_lowercase();
            kind == "processor" || kind == "intel_powerclamp" || kind.contains("cpufreq") || kind.contains("cpuidle")
        };
        let cooling = entries(&sysfs.join("class/thermal"), "cooling_device").into_iter();
        let cooling = cooling.filter(|device| line(&device.join("type")).is_some_and(|kind| slows(&kind)));
        let cooling: Vec<PathBuf> =
            cooling.map(|device| device.join("cur_state")).filter(|f| number(f).is_some()).collect();
        let pi = sysfs.join("devices/platform/soc/soc:firmware/get_throttled");
        let throttle = Self { counters: packages.into_values().collect(), cooling, pi: bits(&pi).map(|_| pi) };
        let can_tell = !throttle.counters.is_empty() || !throttle.cooling.is_empty() || throttle.pi.is_some();
        can_tell.then_some(throttle)
    }

    /// True if it is slowed now, or was since the last reading.
    pub(super) fn read(&mut self) -> bool {
        let mut slowed = false;
        for (file, last) in &mut self.counters {
            let count = number(file);
            slowed |= matches!((*last, count), (Some(before), Some(now)) if now > before);
            *last = count;
        }
        slowed |= self.cooling.iter().any(|file| number(file).is_some_and(|state| state > 0));
        slowed | self.pi.as_deref().and_then(bits).is_some_and(|bits| bits & PI_HOT != 0)
    }
}

fn bits(file: &Path) -> Option<i64> {
    let text = line(file)?;
    i64::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16).ok()
}
