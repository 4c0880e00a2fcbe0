//! Apple's own chips, without root, through macmon.
//!
//! It reads undocumented tables of the system and may panic on a chip that it does not know; the
//! worker catches that.

use std::ffi::{CStr, c_char, c_int};

use macmon::Sampler;

use super::number;
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// Power is averaged over so many milliseconds, for which a reading blocks.
const WINDOW_MS: u32 = 250;

/// From this pressure on the system slows the chip: nominal is 0, moderate 1, heavy 2.
const HEAVY: u64 = 2;

/// An M-series chip.
pub(super) struct MacSensor {
    sampler: Sampler,
    source: String,
    pressure: Option<c_int>,
}

impl MacSensor {
    pub(super) fn new() -> Result<Self, String> {
        let sampler = Sampler::new().map_err(|why| format!("macmon cannot begin: {why}"))?;
        let source = sampler.get_soc_info().chip_name.clone();
        Ok(Self { sampler, source, pressure: register() })
    }
}

impl Sensor for MacSensor {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
        let metrics = self.sampler.get_metrics(WINDOW_MS).map_err(|why| format!("macmon cannot read: {why}"))?;
        // MLX heats the GPU, the CPU backend the rest. It says 0 when no sensor answered.
        let parts = [metrics.temp.cpu_temp_avg, metrics.temp.gpu_temp_avg];
        let celsius = parts.into_iter().filter(|c| *c != 0.0).reduce(f32::max);
        Ok(HeatReading {
            celsius: celsius.map(number::plausible).transpose()?,
            watts: Some(metrics.all_power).filter(|watts| watts.is_finite() && *watts >= 0.0),
            fan_rpm: metrics.fans.iter().map(|fan| fan.rpm as f32).reduce(f32::max),
            throttled: self.pressure.and_then(state).map(|pressure| pressure >= HEAVY),
        })
    }
}

// Part of libSystem, which every program on macOS is linked with.
unsafe extern "C" {
    fn notify_register_check(name: *const c_char, token: *mut c_int) -> u32;
    fn notify_get_state(token: c_int, state: *mut u64) -> u32;
}

const PRESSURE: &CStr = c"com.apple.system.thermalpressurelevel";

/// A token with which the system's thermal pressure can be asked for.
fn register() -> Option<c_int> {
    let mut token = 0;
    // SAFETY: the name ends in a zero byte, and the token is written to a number that lives on.
    let status = unsafe { notify_register_check(PRESSURE.as_ptr(), &raw mut token) };
    (status == 0).then_some(token)
}

fn state(token: c_int) -> Option<u64> {
    let mut state = 0;
    // SAFETY: the state is written to a number that lives on; an unknown token gives an error.
    let status = unsafe { notify_get_state(token, &raw mut state) };
    (status == 0).then_some(state)
}
