//! Other systems: what sysinfo knows.

use sysinfo::Components;

use super::number;
use super::sensor::Sensor;
use crate::protocol::HeatReading;

/// Parts of labels of what is the processor.
const PROCESSOR: [&str; 5] = ["cpu", "soc", "package", "tdie", "computer"];

/// The hottest component of the processor.
pub(super) struct ComponentsSensor {
    components: Components,
    source: String,
}

impl ComponentsSensor {
    /// None if nothing here gives a believable temperature.
    pub(super) fn find() -> Option<Self> {
        let components = Components::new_with_refreshed_list().ok()?;
        let mut sensor = Self { components, source: "sysinfo".into() };
        sensor.read(0.0).ok()?;
        Some(sensor)
    }
}

impl Sensor for ComponentsSensor {
    fn source(&self) -> String {
        self.source.clone()
    }

    fn read(&mut self, _now_s: f64) -> Result<HeatReading, String> {
        self.components.refresh(false);
        let readings = self.components.iter().filter_map(|component| {
            let label = component.label().to_lowercase();
            let celsius = number::plausible(component.temperature()?).ok().filter(|c| *c != 0.0)?;
            PROCESSOR.iter().any(|part| label.contains(part)).then(|| (celsius, component.label().to_owned()))
        });
        let hottest = readings.max_by(|a, b| a.0.total_cmp(&b.0));
        let (celsius, label) = hottest.ok_or("gives no believable temperature any more")?;
        self.source = number::short(&label);
        Ok(HeatReading { celsius: Some(celsius), ..HeatReading::default() })
    }
}
