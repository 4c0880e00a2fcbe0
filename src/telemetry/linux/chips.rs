//! Which of a machine's temperatures is that of the processor.

use std::path::{Path, PathBuf};

use super::{entries, line, number};
use crate::telemetry::number::{PLAUSIBLE, short};

/// How near a sensor is to the whole processor; the smallest that is there is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The processor's package, or the system on a chip.
    Package,
    /// Single cores or clusters: the hottest counts.
    Core,
    /// Something that is not known to be anything else.
    Unknown,
    /// The board near it.
    Board,
}

/// Chips that measure the processor: name, labels that mean the whole of it (in order), and the rank
/// of their other inputs.
const PROCESSORS: [(&str, &[&str], Rank); 12] = [
    // Tctl may be moved up by an offset for the fan's sake; Tdie is the real one where both are.
    ("k10temp", &["Tdie", "Tctl"], Rank::Core),
    ("zenpower", &["Tdie", "Tctl"], Rank::Core),
    ("coretemp", &["Package id"], Rank::Core),
    ("k8temp", &[], Rank::Core),
    ("via_cputemp", &[], Rank::Core),
    ("cpu_thermal", &[], Rank::Package),
    ("soc_thermal", &[], Rank::Package),
    ("scpi_sensors", &["SoC", "CPU"], Rank::Core),
    ("scmi_sensors", &["SoC", "CPU"], Rank::Core),
    ("macsmc_hwmon", &["SoC", "CPU"], Rank::Core),
    ("bigcore", &[], Rank::Core),
    ("littlecore", &[], Rank::Core),
];

/// Parts of names of what is surely not the processor.
const OTHERS: [&str; 22] = [
    "nvme",
    "drivetemp",
    "iwlwifi",
    "wifi",
    "ath1",
    "mt79",
    "r8169",
    "igc",
    "bat",
    "jc42",
    "spd5118",
    "pch",
    "int3400",
    "amdgpu",
    "nouveau",
    "radeon",
    "i915",
    "gpu",
    "modem",
    "charger",
    "ddr",
    "npu",
];

/// One file of temperatures, in thousandths of a degree.
#[derive(Debug, Clone, PartialEq)]
struct Input {
    rank: Rank,
    /// Place of its label among those that mean the whole processor.
    preference: usize,
    name: String,
    file: PathBuf,
    /// The chip's folder, for what else it measures.
    chip: PathBuf,
}

/// The chosen inputs: of one kind, the hottest counts.
pub(super) struct Temperature {
    inputs: Vec<Input>,
    /// The input that was the hottest in the newest reading.
    hottest: usize,
}

impl Temperature {
    /// Chooses among all that give a believable temperature now.
    pub(super) fn find(sysfs: &Path) -> Option<Self> {
        let mut inputs = hwmon(&sysfs.join("class/hwmon"));
        inputs.extend(zones(&sysfs.join("class/thermal")));
        // An input that is not connected often reads 0 for ever.
        inputs.retain(|input| celsius(&input.file).is_some_and(|c| c != 0.0));
        let best = inputs.iter().map(|input| (input.rank, input.preference)).min()?;
        inputs.retain(|input| (input.rank, input.preference) == best);
        // The same sensor often shows up as a chip and as a zone: one name is enough, and chips come first.
        if let Some(first) = inputs.first().map(|input| is_zone(&input.file)) {
            inputs.retain(|input| is_zone(&input.file) == first);
        }
        Some(Self { inputs, hottest: 0 })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.inputs[self.hottest].name
    }

    /// The folder of the chip.
    pub(super) fn chip(&self) -> &Path {
        &self.inputs[0].chip
    }

    /// The hottest of the chosen inputs, in degrees Celsius.
    pub(super) fn read(&mut self) -> Result<f32, String> {
        let values = self.inputs.iter().enumerate().filter_map(|(i, input)| Some((i, celsius(&input.file)?)));
        let (hottest, value) =
            values.max_by(|a, b| a.1.total_cmp(&b.1)).ok_or("gives no believable temperature any more")?;
        self.hottest = hottest;
        Ok(value)
    }
}

fn is_zone(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "temp")
}

/// A believable temperature.
fn celsius(file: &Path) -> Option<f32> {
    let celsius = number(file)? as f32 / 1000.0;
    PLAUSIBLE.contains(&celsius).then_some(celsius)
}

fn hwmon(class: &Path) -> Vec<Input> {
    let mut inputs = Vec::new();
    for chip in entries(class, "hwmon") {
        let Some(name) = line(&chip.join("name")) else { continue };
        for file in entries(&chip, "temp") {
            let Some(stem) = file.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix("_input")) else {
                continue;
            };
            let label = line(&chip.join(format!("{stem}_label")));
            let Some((rank, preference)) = rank(&name, label.as_deref()) else { continue };
            let name = label.map_or_else(|| name.clone(), |label| format!("{name} {label}"));
            inputs.push(Input { rank, preference, name: short(&name), file, chip: chip.clone() });
        }
    }
    inputs
}

fn zones(class: &Path) -> Vec<Input> {
    let mut inputs = Vec::new();
    for zone in entries(class, "thermal_zone") {
        let Some(kind) = line(&zone.join("type")) else { continue };
        let lower = kind.to_lowercase().replace('-', "_");
        let rank = match lower.as_str() {
            "x86_pkg_temp" => Rank::Package,
            "cpu_thermal" | "soc_thermal" | "cpu_soc_thermal" | "soc_max" | "package_thermal" => Rank::Package,
            kind if kind.starts_with("acpitz") => Rank::Board,
            kind if OTHERS.iter().any(|other| kind.contains(other)) => continue,
            kind if kind.starts_with("cpu") || kind.starts_with("soc") || kind.contains("core") => Rank::Core,
            _ => Rank::Unknown,
        };
        inputs.push(Input { rank, preference: 0, name: short(&kind), file: zone.join("temp"), chip: zone });
    }
    inputs
}

/// The rank of a chip's input, and the place of its label; none for what is not the processor.
fn rank(chip: &str, label: Option<&str>) -> Option<(Rank, usize)> {
    if let Some((_, whole, rest)) = PROCESSORS.iter().find(|(name, _, _)| *name == chip.replace('-', "_")) {
        let place = label.and_then(|label| whole.iter().position(|start| label.starts_with(start)));
        return Some(place.map_or((*rest, 0), |place| (Rank::Package, place)));
    }
    let lower = chip.to_lowercase();
    if lower.starts_with("acpitz") {
        return Some((Rank::Board, 0));
    }
    if OTHERS.iter().any(|other| lower.contains(other)) {
        return None;
    }
    // Boards and laptops: a chip of many inputs, one of which is labelled as the processor's.
    label.filter(|label| label.to_lowercase().starts_with("cpu")).map(|_| (Rank::Unknown, 0))
}
