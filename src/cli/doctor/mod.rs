//! `doctor`: what there is on this machine, what there is not, and why not.

mod findings;
mod look;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use self::findings::{Findings, Verdict};
use super::output::{self, Stream, Style};
use crate::protocol::SensorChoice;

/// Say what this machine has, what is missing, and why
///
/// Backends (the instructions that the processor's uses, MLX's version and device), threads, memory, sensors of
/// temperature and power, what the terminal shows, where files go, and what this program was built with. Nothing is
/// changed and nothing is fetched. It takes a second or two, while the sensor is asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Where temperatures come from: auto, none, nvidia, file:PATH or cmd:COMMAND; what the settings say if not given
    #[arg(long, value_name = "SENSOR")]
    sensor: Option<SensorChoice>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon doctor
  bit-axon doctor --sensor 'cmd:cat /sys/class/thermal/thermal_zone0/temp'
  bit-axon doctor --json | jq '.backends.mlx'";

/// Runs the command.
pub fn run(args: DoctorArgs) -> Result<()> {
    let mut findings = Findings::default();
    let settings = look::settings(&mut findings);
    look::backends(&mut findings);
    look::machine(&mut findings, args.sensor.or(settings));
    look::terminal(&mut findings);
    look::files(&mut findings);
    look::built_with(&mut findings);
    if args.json { output::json_line(&as_json(&findings)) } else { show(&findings) }
}

fn as_json(findings: &Findings) -> Value {
    let mut areas = Map::new();
    areas.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
    for (area, name, verdict) in findings.all() {
        let said = match verdict {
            Verdict::There(value) => json!({ "available": true, "value": value }),
            Verdict::Missing(why) => json!({ "available": false, "why": why }),
        };
        let area = areas.entry(area.replace(' ', "_")).or_insert_with(|| json!({}));
        if let Value::Object(area) = area {
            area.insert(name.replace(' ', "_"), said);
        }
    }
    Value::Object(areas)
}

fn show(findings: &Findings) -> Result<()> {
    output::line(format_args!("bit-axon {}", env!("CARGO_PKG_VERSION")))?;
    let mut last = "";
    for (area, name, verdict) in findings.all() {
        if area != last {
            output::line(format_args!("\n{area}"))?;
            last = area;
        }
        let said = match verdict {
            Verdict::There(value) => output::safe(value).into_owned(),
            Verdict::Missing(why) => {
                format!("{}: {}", output::paint(Stream::Out, Style::Dim, "none"), output::safe(why))
            }
        };
        output::line(format_args!("  {name:<14} {said}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_an_object_for_each_area() {
        let mut findings = Findings::default();
        findings.there("backends", "cpu", "avx2");
        findings.missing("backends", "mlx", "not built in");
        findings.there("files", "hub cache", "/h");
        let json = as_json(&findings);
        assert_eq!(json["backends"]["cpu"], json!({ "available": true, "value": "avx2" }));
        assert_eq!(json["backends"]["mlx"]["why"], "not built in");
        assert_eq!(json["files"]["hub_cache"]["available"], true);
    }
}
