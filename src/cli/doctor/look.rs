//! Looking: one function an area.

use std::path::Path;
use std::time::{Duration, Instant};

use super::findings::Findings;
use crate::backend::cpu::ops::Level;
use crate::backend::cpu::ops::int8::Int8;
use crate::backend::mlx;
use crate::cli::{hub, settings};
use crate::config::Places;
use crate::protocol::{SensorChoice, SensorState, Telemetry};
use crate::run::color_depth;
use crate::telemetry::{Sampler, SamplerOptions};
use crate::term;
use crate::ui::theme::Depth;

/// How long a sensor is waited for: a command may take two seconds.
const SENSOR: Duration = Duration::from_millis(2500);

/// The settings' sensor; what is wrong with the settings, and with the user's themes, is a finding.
pub(super) fn settings(findings: &mut Findings) -> Option<SensorChoice> {
    match settings::load() {
        Ok(own) => {
            for (name, why) in own.broken_themes() {
                findings.missing("settings", "theme", format!("{name}: {why}"));
            }
            Some(own.settings.heat.sensor)
        }
        Err(why) => {
            findings.missing("settings", "settings", format!("{why:#}"));
            None
        }
    }
}

/// What can run a model.
pub(super) fn backends(findings: &mut Findings) {
    const AREA: &str = "backends";
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match Level::detect() {
        Ok(level) => {
            let bytes = Int8::available(level).last().map_or("scalar", |kind| int8_name(*kind));
            let names: Vec<String> = Level::available().iter().map(ToString::to_string).collect();
            let choice =
                format!("{level} (bytes by {bytes}), {threads} threads; this machine has {}", names.join(", "));
            findings.there(AREA, "cpu", choice);
        }
        Err(why) => findings.missing(AREA, "cpu", why.to_string()),
    }
    match (mlx::VERSION, mlx::device()) {
        (Some(version), Ok(device)) => {
            let scan = if mlx::compiles(device) { "compiled" } else { "not compiled" };
            let chosen = if device == "gpu" { "" } else { "; `--backend auto` prefers the CPU backend to it" };
            findings.there(AREA, "mlx", format!("MLX {version} on its {device} device, the scan {scan}{chosen}"));
        }
        (Some(version), Err(why)) => findings.missing(AREA, "mlx", format!("MLX {version} has no device: {why:#}")),
        (None, _) => findings.missing(AREA, "mlx", mlx::WHY_NOT),
    }
}

fn int8_name(kind: Int8) -> &'static str {
    match kind {
        Int8::Scalar => "plain code",
        Int8::Neon => "neon",
        Int8::Avx2 => "avx2",
        Int8::Vnni => "avx512 vnni",
        Int8::Amx => "amx",
    }
}

/// Memory, temperature and power.
pub(super) fn machine(findings: &mut Findings, sensor: Option<SensorChoice>) {
    let newest = sensed(sensor.unwrap_or_default());
    let gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    match newest.machine.memory {
        Some(memory) => {
            let free = memory.total.saturating_sub(memory.used);
            findings.there("machine", "memory", format!("{} free of {}", gb(free), gb(memory.total)));
        }
        None => findings.missing("machine", "memory", "the system does not say how much there is"),
    }
    match newest.machine.power {
        Some(power) => {
            let charge = power.charge_percent.map_or_else(String::new, |percent| format!(", {percent:.0} % full"));
            let from = if power.on_battery { "battery" } else { "mains" };
            findings.there("machine", "power supply", format!("{from}{charge}"));
        }
        None => findings.missing("machine", "power supply", "no battery: on the mains, as far as is known"),
    }
    match newest.sensor {
        SensorState::Reading { source, reading } => {
            let part = |value: Option<f32>, unit: &str| value.map(|v| format!("{v:.0} {unit}"));
            let all = [part(reading.celsius, "°C"), part(reading.watts, "W"), part(reading.fan_rpm, "rpm")];
            let values: Vec<String> = all.into_iter().flatten().collect();
            findings.there("machine", "sensor", format!("{source}: {}", values.join(", ")));
        }
        SensorState::Problem { source, problem } => {
            findings.missing("machine", "sensor", format!("{source}: {problem}"));
        }
        SensorState::NoSensor { reason } => findings.missing("machine", "sensor", reason),
        SensorState::Waiting => findings.missing("machine", "sensor", "it has not answered within 2.5 s"),
    }
}

/// The first that is sensed.
fn sensed(sensor: SensorChoice) -> Telemetry {
    let options = SamplerOptions { sensor, interval: Duration::from_millis(100) };
    let Ok(sampler) = Sampler::start(options) else { return Telemetry::default() };
    let newest = sampler.subscribe();
    let begin = Instant::now();
    loop {
        let now = newest.borrow().clone();
        if (now.sensor != SensorState::Waiting && now.machine.memory.is_some()) || begin.elapsed() > SENSOR {
            return now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the workbench can draw on.
pub(super) fn terminal(findings: &mut Findings) {
    const AREA: &str = "terminal";
    if term::is_there() {
        findings.there(AREA, "terminal", std::env::var("TERM").unwrap_or_else(|_| "TERM is not set".into()));
    } else {
        findings.missing(AREA, "terminal", "standard input or output is no terminal: `bit-axon run` needs none");
    }
    match crossterm::terminal::size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => {
            findings.there(AREA, "size", format!("{columns} columns by {rows} rows"));
        }
        _ => findings.missing(AREA, "size", "there is no terminal to measure"),
    }
    match color_depth("auto") {
        Depth::True => findings.there(AREA, "colours", "24 bits"),
        Depth::Indexed => findings.there(AREA, "colours", "256"),
        Depth::Sixteen => findings.there(AREA, "colours", "16; COLORTERM=truecolor would say that there are more"),
        Depth::None => findings.missing(AREA, "colours", "NO_COLOR is set, or TERM is dumb"),
    }
}

/// Where files go.
pub(super) fn files(findings: &mut Findings) {
    let places = Places::new(&|name: &str| std::env::var_os(name));
    let all = [("settings", places.config), ("sessions", places.sessions), ("themes", places.themes)];
    for (name, path) in all {
        match path {
            Some(path) => findings.there("files", name, shown(&path)),
            None => findings.missing("files", name, "there is no place: set HOME or BIT_AXON_HOME"),
        }
    }
    match hub::Settings::from_env() {
        Ok(settings) => findings.there("files", "hub cache", shown(&settings.cache)),
        Err(why) => findings.missing("files", "hub cache", format!("{why:#}")),
    }
}

fn shown(path: &Path) -> String {
    let there = if path.exists() { "" } else { " (not there yet)" };
    format!("{}{there}", path.display())
}

/// Parts that a build may leave out.
pub(super) fn built_with(findings: &mut Findings) {
    const AREA: &str = "built with";
    if cfg!(feature = "hub") {
        findings.there(AREA, "hub", "models can be downloaded and uploaded");
    } else {
        findings.missing(AREA, "hub", "built without the feature `hub`: it cannot open a network connection");
    }
    if cfg!(all(target_os = "linux", feature = "nvml")) {
        findings.there(AREA, "nvidia", "NVIDIA cards' sensors, where their library is installed");
    } else if cfg!(target_os = "linux") {
        findings.missing(AREA, "nvidia", "built without the feature `nvml`");
    }
}
