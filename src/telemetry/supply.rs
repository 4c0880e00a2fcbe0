//! What the machine runs on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::protocol::PowerSupply;

/// How often it is looked at: nobody needs to know faster that a plug was pulled.
#[cfg(not(target_os = "macos"))]
const EVERY_S: f64 = 5.0;
/// The same where a program has to be run for it.
#[cfg(target_os = "macos")]
const EVERY_S: f64 = 30.0;

/// Looks now and then.
pub(super) struct Supply {
    look: Box<dyn FnMut() -> Option<PowerSupply> + Send>,
    due_s: f64,
    newest: Option<PowerSupply>,
}

impl Supply {
    /// That of this machine. `stop` becomes true when nobody wants to know any more.
    pub(super) fn of_this_machine(stop: Arc<AtomicBool>) -> Self {
        Self::new(move || look(&stop))
    }

    /// Looks by calling this.
    pub(super) fn new(look: impl FnMut() -> Option<PowerSupply> + Send + 'static) -> Self {
        Self { look: Box::new(look), due_s: f64::NEG_INFINITY, newest: None }
    }

    /// Knows of none.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::new(|| None)
    }

    pub(super) fn read(&mut self, now_s: f64) -> Option<PowerSupply> {
        if now_s >= self.due_s {
            self.due_s = now_s + EVERY_S;
            self.newest = (self.look)();
        }
        self.newest
    }
}

#[cfg(target_os = "linux")]
fn look(_stop: &AtomicBool) -> Option<PowerSupply> {
    super::linux::supply(std::path::Path::new("/sys"))
}

#[cfg(target_os = "macos")]
fn look(stop: &AtomicBool) -> Option<PowerSupply> {
    let words = ["/usr/bin/pmset", "-g", "batt"].map(str::to_owned);
    let text = super::command::run(&words, std::time::Duration::from_secs(1), stop).ok()?;
    from_pmset(&text)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn look(_stop: &AtomicBool) -> Option<PowerSupply> {
    None
}

/// Reads what macOS's `pmset -g batt` prints: where power is drawn from, then a line a battery.
#[cfg(any(target_os = "macos", test))]
fn from_pmset(text: &str) -> Option<PowerSupply> {
    let (_, battery) = text.split_once("InternalBattery")?;
    let percent =
        battery.split_once('%').and_then(|(before, _)| before.rsplit(char::is_whitespace).next()?.parse().ok());
    Some(PowerSupply {
        on_battery: text.contains("'Battery Power'"),
        charge_percent: percent.filter(|percent| (0.0..=100.0).contains(percent)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pmset_is_understood() {
        let on = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t64%; discharging; 4:05 remaining present: true\n";
        assert_eq!(from_pmset(on), Some(PowerSupply { on_battery: true, charge_percent: Some(64.0) }));
        let off =
            "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged; 0:00 remaining present: true\n";
        assert_eq!(from_pmset(off), Some(PowerSupply { on_battery: false, charge_percent: Some(100.0) }));
        assert_eq!(from_pmset("Now drawing from 'AC Power'\n"), None);
        let odd = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t(no estimate)";
        assert_eq!(from_pmset(odd), Some(PowerSupply { on_battery: false, charge_percent: None }));
    }

    #[test]
    fn it_is_looked_at_now_and_then() {
        let mut looks = 0;
        let mut supply = Supply::new(move || {
            looks += 1;
            Some(PowerSupply { on_battery: false, charge_percent: Some(looks as f32) })
        });
        let mut charge = |now_s| supply.read(now_s).unwrap().charge_percent.unwrap();
        assert_eq!((charge(0.0), charge(1.0), charge(EVERY_S), charge(EVERY_S + 1.0)), (1.0, 1.0, 2.0, 2.0));
    }
}
