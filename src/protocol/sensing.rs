//! Heat, power, memory and load, as sensors give them and as people ask for them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{HeatReading, MachineMemory};

/// From this temperature on, training takes smaller batches.
pub const REDUCE_AT: f32 = 75.0;

/// Where temperatures come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SensorChoice {
    /// The best that this machine has.
    #[default]
    Auto,
    /// Nowhere.
    None,
    /// The hottest NVIDIA card.
    Nvidia,
    /// A file that holds a temperature.
    File(PathBuf),
    /// What a command prints. It is split into words as a shell would, and run without one.
    Command(String),
}

impl SensorChoice {
    /// What can be written, for help and errors.
    pub const ALLOWED: &'static str = "auto, none, nvidia, file:PATH or cmd:COMMAND";
}

impl FromStr for SensorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let after = |rest: &str, what: &str| match rest.trim() {
            "" => Err(format!("`{text}` lacks {what}")),
            rest => Ok(rest.to_owned()),
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "none" => Ok(Self::None),
            None if text == "nvidia" => Ok(Self::Nvidia),
            Some(("file", path)) => Ok(Self::File(after(path, "a path after `file:`")?.into())),
            Some(("cmd", command)) => Ok(Self::Command(after(command, "a command after `cmd:`")?)),
            _ => Err(format!("`{text}` is no sensor: {}", Self::ALLOWED)),
        }
    }
}

impl fmt::Display for SensorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Nvidia => f.write_str("nvidia"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(command) => write!(f, "cmd:{command}"),
        }
    }
}

impl TryFrom<String> for SensorChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SensorChoice> for String {
    fn from(choice: SensorChoice) -> String {
        choice.to_string()
    }
}

/// Temperatures from which training waits, and stops.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HeatLimits {
    /// From here on it waits, in degrees Celsius.
    pub pause: f32,
    /// From here on it saves and stops.
    pub stop: f32,
}

impl HeatLimits {
    /// Checks that the limits are in order: `75 < pause < stop`.
    pub fn new(pause: f32, stop: f32) -> Result<Self, String> {
        // Written so that a NaN fails too.
        if REDUCE_AT < pause && pause < stop && stop.is_finite() {
            return Ok(Self { pause, stop });
        }
        Err(format!("pause at {pause} °C and stop at {stop} °C: it must be {REDUCE_AT} < pause < stop"))
    }

    /// What a temperature asks for.
    pub fn phase(&self, celsius: f32) -> HeatPhase {
        match celsius {
            c if c >= self.stop => HeatPhase::Stop,
            c if c >= self.pause => HeatPhase::Pause,
            c if c >= REDUCE_AT => HeatPhase::Reduce,
            _ => HeatPhase::Normal,
        }
    }
}

impl Default for HeatLimits {
    fn default() -> Self {
        Self { pause: 85.0, stop: 95.0 }
    }
}

/// What the temperature asks of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeatPhase {
    /// Go on.
    #[default]
    Normal,
    /// Go on with smaller batches.
    Reduce,
    /// Wait until it is cooler.
    Pause,
    /// Save and stop.
    Stop,
}

impl fmt::Display for HeatPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Reduce => "reduce",
            Self::Pause => "pause",
            Self::Stop => "stop",
        })
    }
}

/// What is known of heat now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum SensorState {
    /// Nothing has been read yet.
    #[default]
    Waiting,
    /// A reading.
    Reading {
        /// What gave it, as `coretemp Package id 0`.
        source: String,
        /// What it gave.
        reading: HeatReading,
    },
    /// There is a sensor, and it gives nothing that can be shown.
    Problem {
        /// Which.
        source: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no sensor.
    NoSensor {
        /// Why, and what to do.
        reason: String,
    },
}

impl SensorState {
    /// The reading, if there is one.
    pub fn reading(&self) -> Option<&HeatReading> {
        match self {
            Self::Reading { reading, .. } => Some(reading),
            _ => None,
        }
    }

    /// The temperature, if there is one.
    pub fn celsius(&self) -> Option<f32> {
        self.reading()?.celsius
    }
}

/// What the machine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerSupply {
    /// The battery is being emptied.
    pub on_battery: bool,
    /// How full it is, in percent.
    pub charge_percent: Option<f32>,
}

/// Memory and load of this process and of the machine. What is not known is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct MachineFigures {
    /// Bytes.
    pub memory: Option<MachineMemory>,
    /// What this process uses, in percent of one core: two busy threads are 200.
    pub process_cpu_percent: Option<f32>,
    /// What everything uses, in percent of the machine.
    pub machine_cpu_percent: Option<f32>,
    /// Mains or battery; none for a machine without a battery.
    pub power: Option<PowerSupply>,
}

/// The newest of everything that is sensed: sent without waiting, older ones are lost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Telemetry {
    /// Seconds from the start of the sampler to this sample.
    pub at_s: f64,
    /// Heat.
    pub sensor: SensorState,
    /// Memory, load, battery.
    pub machine: MachineFigures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_are_read_as_they_are_written() {
        for text in ["auto", "none", "nvidia", "file:/sys/x:y", "cmd:sensors -j | head"] {
            let choice: SensorChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<SensorChoice>(&json).unwrap(), choice);
        }
        for (bad, want) in
            [("file:", "a path"), ("cmd: ", "a command"), ("", "auto"), ("File:x", "file:PATH"), ("gpu", "auto")]
        {
            let error = bad.parse::<SensorChoice>().unwrap_err();
            assert!(error.contains(want), "{bad}: {error}");
        }
    }

    #[test]
    fn limits_must_be_in_order() {
        assert_eq!(HeatLimits::new(85.0, 95.0), Ok(HeatLimits::default()));
        for (pause, stop) in
            [(75.0, 95.0), (95.0, 85.0), (85.0, 85.0), (f32::NAN, 95.0), (85.0, f32::NAN), (85.0, f32::INFINITY)]
        {
            assert!(HeatLimits::new(pause, stop).unwrap_err().contains("75 < pause < stop"), "{pause} {stop}");
        }
    }

    #[test]
    fn phases_begin_at_their_limit() {
        let phase = |celsius| HeatLimits::default().phase(celsius);
        for (celsius, want) in [
            (74.99, HeatPhase::Normal),
            (75.0, HeatPhase::Reduce),
            (84.99, HeatPhase::Reduce),
            (85.0, HeatPhase::Pause),
            (94.99, HeatPhase::Pause),
            (95.0, HeatPhase::Stop),
        ] {
            assert_eq!(phase(celsius), want, "{celsius}");
        }
    }
}
