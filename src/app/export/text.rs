//! Routing as CSV and as JSON lines.

use std::fmt::Write;

use serde::Serialize;

use super::Sheet;
use crate::app::routing::LayerLoad;

/// Six places are more than the routing of any model needs.
fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}

fn mean_entropy(layer: &LayerLoad) -> f64 {
    if layer.tokens == 0 { 0.0 } else { rounded(layer.entropy / layer.tokens as f64) }
}

/// A row for each layer and expert; what is the layer's stands in each of its rows.
pub(super) fn csv(sheet: &Sheet) -> String {
    let mut out = String::from(
        "of,layer,expert,tokens,chosen,share,mean_weight,dead,muted,forced,entropy_nats,balance,shared_gate\n",
    );
    for (name, load) in &sheet.parts {
        for layer in &load.layers {
            let altered = sheet.alterations.of(layer.layer);
            let dead: Vec<usize> = layer.dead().collect();
            let gate = layer.mean_shared().map_or(String::new(), |gate| rounded(gate).to_string());
            for expert in 0..layer.chosen.len() {
                // Writing to a text cannot fail.
                let _ = writeln!(
                    out,
                    "{},{},{expert},{},{},{},{},{},{},{},{},{},{gate}",
                    field(name),
                    layer.layer,
                    layer.tokens,
                    layer.chosen[expert],
                    rounded(layer.share(expert)),
                    rounded(layer.mean_weight(expert)),
                    u8::from(dead.contains(&expert)),
                    u8::from(altered.mute.contains(&expert)),
                    u8::from(altered.force.contains(&expert)),
                    mean_entropy(layer),
                    rounded(layer.balance()),
                );
            }
        }
    }
    out
}

/// A row for each two experts of the layer that is seen.
pub(super) fn pairs_csv(sheet: &Sheet) -> String {
    let mut out = String::from("of,layer,expert,other,both,either,together\n");
    for (name, load) in &sheet.parts {
        let Some(layer) = load.layers.get(sheet.layer) else { continue };
        let experts = layer.chosen.len();
        for (a, b) in (0..experts).flat_map(|a| (a + 1..experts).map(move |b| (a, b))) {
            let (both, either) = layer.both_and_either(a, b);
            let together = rounded(layer.together(a, b));
            let _ = writeln!(out, "{},{},{a},{b},{both},{either},{together}", field(name), layer.layer);
        }
    }
    out
}

/// Quoted where it must be.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[derive(Serialize)]
struct Line<'a> {
    of: &'a str,
    layer: usize,
    tokens: u64,
    entropy_nats: f64,
    balance: f64,
    shared_gate: Option<f64>,
    dead: Vec<usize>,
    muted: &'a [usize],
    forced: &'a [usize],
    top_k: Option<usize>,
    experts: Vec<Expert>,
    /// How often each pair was chosen together, row after row.
    together: Vec<&'a [u32]>,
    about: &'a [String],
}

#[derive(Serialize)]
struct Expert {
    expert: usize,
    chosen: u64,
    share: f64,
    mean_weight: f64,
}

/// A line for each layer, with the pairs of experts that were chosen together.
pub(super) fn jsonl(sheet: &Sheet) -> String {
    let mut out = String::new();
    for (name, load) in &sheet.parts {
        for layer in &load.layers {
            let altered = sheet.alterations.of(layer.layer);
            let expert = |expert: usize| Expert {
                expert,
                chosen: layer.chosen[expert],
                share: rounded(layer.share(expert)),
                mean_weight: rounded(layer.mean_weight(expert)),
            };
            let line = Line {
                of: name,
                layer: layer.layer,
                tokens: layer.tokens,
                entropy_nats: mean_entropy(layer),
                balance: rounded(layer.balance()),
                shared_gate: layer.mean_shared().map(rounded),
                dead: layer.dead().collect(),
                muted: &altered.mute,
                forced: &altered.force,
                top_k: altered.top_k,
                experts: (0..layer.chosen.len()).map(expert).collect(),
                together: layer.pairs.chunks(layer.chosen.len().max(1)).collect(),
                about: &sheet.about,
            };
            // These are numbers and texts: there is nothing that JSON cannot say.
            out.push_str(&serde_json::to_string(&line).unwrap_or_default());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::sheet;
    use super::*;

    #[test]
    fn rows_say_everything_that_is_seen() {
        let text = csv(&sheet(2));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 * 6);
        let columns = lines[0].split(',').count();
        assert!(lines[1..7].iter().all(|line| line.split(',').count() == columns));
        assert_eq!(lines[1], "this answer,1,0,12,8,0.666667,0.25,0,1,0,0.5,1,0.75");
        assert_eq!(lines[6], "this answer,2,2,12,0,0,0,1,0,0,0.5,0.63093,");
        assert!(lines[5].contains(",1,0.5,") && lines[5].starts_with("this answer,2,1,12,6,0.5,0.25,0,0,1"));
        assert!(lines[7].starts_with("\"the one, \"\"before\"\" <it>\",1,0,"));
    }

    #[test]
    fn pairs_have_rows() {
        let text = pairs_csv(&sheet(1));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1..],
            ["this answer,1,0,1,4,12,0.333333", "this answer,1,0,2,4,12,0.333333", "this answer,1,1,2,4,12,0.333333"]
        );
    }

    #[test]
    fn lines_are_json() {
        let text = jsonl(&sheet(2));
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1]["dead"], serde_json::json!([2]));
        assert_eq!((&lines[0]["muted"], &lines[0]["shared_gate"]), (&serde_json::json!([0]), &0.75.into()));
        assert_eq!(lines[0]["together"], serde_json::json!([[0, 4, 4], [4, 0, 4], [4, 4, 0]]));
        assert_eq!(lines[1]["experts"][1]["mean_weight"], 0.25);
    }
}
