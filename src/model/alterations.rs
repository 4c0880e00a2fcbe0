//! Checks alterations of the routing against the model.

use anyhow::{Result, ensure};

use super::spec::{ModelSpec, MoeSpec};
use crate::protocol::{Alteration, Alterations};

/// An error that names the layer and the numbers if the model cannot be altered so.
pub fn check(spec: &ModelSpec, alterations: &Alterations) -> Result<()> {
    for (layer, _) in &alterations.layers {
        ensure!(
            *layer < spec.layers.len(),
            "layer {layer} cannot be altered: the model has {} layers, from 0",
            spec.layers.len()
        );
        ensure!(spec.layers[*layer].feed_forward.is_some(), "layer {layer} cannot be altered: it has no experts");
    }
    ensure!(
        alterations.all.is_none() || spec.moe_layers().next().is_some(),
        "the routing cannot be altered: no layer of the model has experts"
    );
    spec.moe_layers().try_for_each(|(layer, moe)| check_layer(layer, moe, alterations.of(layer)))
}

fn check_layer(layer: usize, moe: &MoeSpec, change: &Alteration) -> Result<()> {
    let experts = moe.experts;
    for expert in change.mute.iter().chain(&change.force) {
        ensure!(*expert < experts, "layer {layer} has no expert {expert}: it has {experts}, from 0");
    }
    if let Some(expert) = change.force.iter().find(|expert| change.mute.contains(expert)) {
        anyhow::bail!("layer {layer}: expert {expert} is both muted and forced");
    }
    for list in [&change.mute, &change.force] {
        if let Some(twice) = (1..list.len()).find(|i| list[..*i].contains(&list[*i])) {
            anyhow::bail!("layer {layer}: expert {} is named twice", list[twice]);
        }
    }
    let left = experts - change.mute.len();
    let k = change.top_k.unwrap_or(moe.top_k);
    ensure!((1..=experts).contains(&k), "layer {layer}: k is {k}, it must lie between 1 and {experts}");
    ensure!(
        left >= k,
        "layer {layer}: {left} of {experts} experts are left unmuted, and k is {k}; mute fewer, or lower k"
    );
    let forced = change.force.len();
    ensure!(forced <= k, "layer {layer}: {forced} experts are forced, and k is {k}; force fewer, or raise k");
    ensure!(
        change.temperature.is_finite() && change.temperature > 0.0,
        "layer {layer}: the router's temperature is {}, it must be above 0",
        change.temperature
    );
    Ok(())
}
