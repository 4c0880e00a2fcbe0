//! Changes to the routing, as the screen makes them.

use crate::protocol::{Alteration, Alterations};

/// Where a change holds.
pub type Where = Option<usize>;

/// Changes what holds in one layer, or in all: a change to all reaches the layers with entries of
/// their own too.
fn change(alterations: &mut Alterations, layer: Where, edit: impl Fn(&mut Alteration)) {
    match layer {
        None => {
            edit(&mut alterations.all);
            alterations.layers.iter_mut().for_each(|(_, own)| edit(own));
        }
        Some(layer) => {
            let mut own = alterations.of(layer).clone();
            edit(&mut own);
            alterations.layers.retain(|(l, _)| *l != layer);
            alterations.layers.push((layer, own));
            alterations.layers.sort_by_key(|(l, _)| *l);
        }
    }
    let all = alterations.all.clone();
    alterations.layers.retain(|(_, own)| *own != all);
}

/// What holds in that place.
fn holds(alterations: &Alterations, layer: Where) -> &Alteration {
    layer.map_or(&alterations.all, |layer| alterations.of(layer))
}

/// Mutes an expert, or lets it speak again.
pub fn toggle_mute(alterations: &mut Alterations, layer: Where, expert: usize) {
    let muted = holds(alterations, layer).mute.contains(&expert);
    change(alterations, layer, |a| {
        a.mute.retain(|e| *e != expert);
        if !muted {
            a.mute.push(expert);
            a.mute.sort_unstable();
            a.force.retain(|e| *e != expert);
        }
    });
}

/// Forces an expert, or lets it go.
pub fn toggle_force(alterations: &mut Alterations, layer: Where, expert: usize) {
    let forced = holds(alterations, layer).force.contains(&expert);
    change(alterations, layer, |a| {
        a.force.retain(|e| *e != expert);
        if !forced {
            a.force.push(expert);
            a.force.sort_unstable();
            a.mute.retain(|e| *e != expert);
        }
    });
}

/// Chooses this many experts a token; none takes the model's own number.
pub fn set_k(alterations: &mut Alterations, layer: Where, k: Option<usize>) {
    change(alterations, layer, |a| a.top_k = k);
}

/// Divides the router's logits.
pub fn set_temperature(alterations: &mut Alterations, temperature: f32) {
    change(alterations, None, |a| a.temperature = temperature);
}

/// Switches the shared expert off, or on again.
pub fn toggle_shared(alterations: &mut Alterations, layer: Where) {
    let off = holds(alterations, layer).no_shared;
    change(alterations, layer, |a| a.no_shared = !off);
}

/// What is altered, in few words: `mute 3, k 1; L4 force 0`. Of a layer only what it has otherwise than all.
pub fn describe(alterations: &Alterations) -> String {
    let all = &alterations.all;
    let mut parts = Vec::new();
    if !all.is_none() {
        parts.push(words(all, &Alteration::default()));
    }
    for (layer, own) in &alterations.layers {
        let what = if own.is_none() { "as the model has it".into() } else { words(own, all) };
        parts.push(format!("L{layer} {what}"));
    }
    parts.join("; ")
}

/// What an alteration has otherwise than another.
fn words(alteration: &Alteration, than: &Alteration) -> String {
    let list = |experts: &[usize]| match experts {
        [] => "none".to_owned(),
        experts => experts.iter().map(usize::to_string).collect::<Vec<_>>().join("+"),
    };
    let mut words = Vec::new();
    if alteration.mute != than.mute {
        words.push(format!("mute {}", list(&alteration.mute)));
    }
    if alteration.force != than.force {
        words.push(format!("force {}", list(&alteration.force)));
    }
    if alteration.top_k != than.top_k {
        words.push(alteration.top_k.map_or("the model's own k".into(), |k| format!("k {k}")));
    }
    if alteration.temperature != than.temperature {
        words.push(format!("router temperature {}", alteration.temperature));
    }
    if alteration.no_shared != than.no_shared {
        words.push(if alteration.no_shared { "no shared expert" } else { "shared expert" }.into());
    }
    words.join(", ")
}

/// Reads `EXPERT` or `LAYER.EXPERT` (`3` or `4.3`).
pub fn parse_place(text: &str) -> Result<(Where, usize), String> {
    let wrong = || format!("`{text}` is no expert: write 3 for expert 3 of every layer, 4.3 for that of layer 4");
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    match text.split_once('.') {
        Some((layer, expert)) => Ok((Some(number(layer)?), number(expert)?)),
        None => Ok((None, number(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_differ_from_the_rest_only_as_long_as_they_do() {
        let mut alterations = Alterations::default();
        toggle_mute(&mut alterations, Some(4), 3);
        set_k(&mut alterations, None, Some(1));
        // What holds everywhere is not said again of each layer.
        assert_eq!(describe(&alterations), "k 1; L4 mute 3");
        toggle_mute(&mut alterations, None, 3);
        assert_eq!(describe(&alterations), "mute 3, k 1");
        toggle_force(&mut alterations, None, 3);
        assert_eq!(describe(&alterations), "force 3, k 1");
        toggle_force(&mut alterations, None, 3);
        set_k(&mut alterations, None, None);
        assert!(alterations.is_none(), "{alterations:?}");
        toggle_shared(&mut alterations, Some(2));
        assert!(alterations.of(2).no_shared && !alterations.of(3).no_shared);
        toggle_shared(&mut alterations, Some(2));
        assert!(alterations.is_none());
    }

    #[test]
    fn a_layer_is_described_by_what_it_has_otherwise() {
        let mut alterations = Alterations::default();
        set_temperature(&mut alterations, 2.0);
        toggle_mute(&mut alterations, None, 0);
        toggle_shared(&mut alterations, None);
        toggle_mute(&mut alterations, Some(4), 0);
        set_k(&mut alterations, Some(5), Some(1));
        toggle_mute(&mut alterations, Some(5), 7);
        toggle_shared(&mut alterations, Some(6));
        let said = describe(&alterations);
        let all = "mute 0, router temperature 2, no shared expert";
        assert_eq!(said, format!("{all}; L4 mute none; L5 mute 0+7, k 1; L6 shared expert"));
    }

    #[test]
    fn places_are_read() {
        assert_eq!(parse_place("3"), Ok((None, 3)));
        assert_eq!(parse_place("4.3"), Ok((Some(4), 3)));
        assert!(parse_place("x").is_err() && parse_place("1.").is_err() && parse_place("-1").is_err());
    }
}
