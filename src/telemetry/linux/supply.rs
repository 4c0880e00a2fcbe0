//! Mains or battery.

use std::path::{Path, PathBuf};

use super::{entries, line, number};
use crate::protocol::PowerSupply;

/// The batteries that the machine itself runs on, not those of mice and headsets.
pub(super) fn batteries(sysfs: &Path) -> Vec<PathBuf> {
    let mut supplies = entries(&sysfs.join("class/power_supply"), "");
    supplies.retain(|supply| {
        line(&supply.join("type")).as_deref() == Some("Battery")
            && line(&supply.join("scope")).as_deref() != Some("Device")
    });
    supplies
}

/// What the machine runs on; none if it has no battery.
pub(crate) fn supply(sysfs: &Path) -> Option<PowerSupply> {
    let batteries = batteries(sysfs);
    if batteries.is_empty() {
        return None;
    }
    let on_battery = batteries.iter().any(|battery| line(&battery.join("status")).as_deref() == Some("Discharging"));
    Some(PowerSupply { on_battery, charge_percent: charge(&batteries) })
}

/// How full all of them are together.
fn charge(batteries: &[PathBuf]) -> Option<f32> {
    let sum = |now: &str, full: &str| {
        let both = |battery: &PathBuf| Some((number(&battery.join(now))? as f32, number(&battery.join(full))? as f32));
        let each: Option<Vec<(f32, f32)>> = batteries.iter().map(both).collect();
        let (now, full) = each?.into_iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (full > 0.0).then(|| 100.0 * now / full)
    };
    let said = || {
        let each: Option<Vec<i64>> = batteries.iter().map(|battery| number(&battery.join("capacity"))).collect();
        each.map(|each| each.iter().sum::<i64>() as f32 / each.len() as f32)
    };
    let percent = sum("energy_now", "energy_full").or_else(|| sum("charge_now", "charge_full")).or_else(said)?;
    // An old battery may hold a little more than it claims.
    (0.0..=120.0).contains(&percent).then(|| percent.min(100.0))
}
