//! NVIDIA's cards, through the library of their driver: loaded at run time, if it is there.

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use super::number;
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// The hottest of all cards.
pub(super) struct NvidiaSensor {
    nvml: Nvml,
    source: String,
}

impl NvidiaSensor {
    /// Loads the library; says why not if there is no card.
    pub(super) fn find() -> Result<Self, String> {
        let nvml = Nvml::init().map_err(|why| format!("there is no NVIDIA driver ({why})"))?;
        let mut sensor = Self { nvml, source: String::new() };
        sensor.read(0.0)?;
        Ok(sensor)
    }
}

impl Sensor for NvidiaSensor {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
        let count = self.nvml.device_count().map_err(|why| format!("NVIDIA's driver does not answer: {why}"))?;
        let cards = (0..count).filter_map(|index| {
            let card = self.nvml.device_by_index(index).ok()?;
            let celsius = number::plausible(card.temperature(TemperatureSensor::Gpu).ok()? as f32).ok()?;
            Some((index, celsius, card))
        });
        let hottest = cards.max_by(|a, b| a.1.total_cmp(&b.1));
        let (index, celsius, card) = hottest.ok_or("no NVIDIA card gives a temperature")?;
        let hot = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        let name = number::short(&card.name().unwrap_or_else(|_| "NVIDIA card".into()));
        self.source = if count > 1 { format!("{name}, card {index}") } else { name };
        Ok(HeatReading {
            celsius: Some(celsius),
            watts: card.power_usage().ok().map(|milliwatts| milliwatts as f32 / 1000.0),
            fan_rpm: card.fan_speed_rpm(0).ok().map(|rpm| rpm as f32),
            throttled: card.current_throttle_reasons().ok().map(|reasons| reasons.intersects(hot)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most machines that run this have no card; on one that has, its reading must be believable.
    #[test]
    fn a_card_gives_a_temperature_or_its_absence_a_reason() {
        match NvidiaSensor::find() {
            Err(reason) => assert!(!reason.is_empty()),
            Ok(mut sensor) => {
                let reading = sensor.read(1.0).unwrap();
                assert!(number::PLAUSIBLE.contains(&reading.celsius.unwrap()), "{reading:?}");
                assert!(reading.watts.is_none_or(|watts| (0.0..5000.0).contains(&watts)), "{reading:?}");
                assert!(!sensor.source().is_empty());
            }
        }
    }
}
