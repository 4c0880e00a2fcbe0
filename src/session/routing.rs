//! The routing of a token in a compact form: bytes, as base64.
//!
//! For each layer: the distance from the layer before, `2 k + 1` if the shared expert has a gate, else
//! `2 k`, the k experts (all of these as LEB128 numbers), their k weights, the entropy, and the shared
//! expert's gate if any (each 16 bits, lowest byte first). Weights and gates count 65535ths, the
//! entropy 4096ths of a nat.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::rules::{MOST_EXPERTS, MOST_LAYERS};
use crate::protocol::{LayerRouting, TokenRouting};

const PER_UNIT: f32 = 65535.0;
const PER_NAT: f32 = 4096.0;

/// Packs the routing of one token.
pub(super) fn pack(routing: &[LayerRouting]) -> String {
    let mut bytes = Vec::with_capacity(routing.len() * 12);
    // The layer after the last one: layers come in order, so distances are small.
    let mut next = 0;
    for layer in routing {
        let k = layer.experts.len().min(layer.weights.len());
        // A layer out of order has no distance; none of ours are.
        let Some(distance) = layer.layer.checked_sub(next) else { continue };
        next = layer.layer + 1;
        number(&mut bytes, distance);
        number(&mut bytes, 2 * k + usize::from(layer.shared_gate.is_some()));
        layer.experts[..k].iter().for_each(|expert| number(&mut bytes, *expert));
        layer.weights[..k].iter().for_each(|weight| fraction(&mut bytes, *weight, PER_UNIT));
        fraction(&mut bytes, layer.entropy, PER_NAT);
        if let Some(gate) = layer.shared_gate {
            fraction(&mut bytes, gate, PER_UNIT);
        }
    }
    STANDARD_NO_PAD.encode(bytes)
}

/// Reads it again; none if these are not such bytes.
pub(super) fn unpack(text: &str) -> Option<TokenRouting> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    let mut rest = bytes.as_slice();
    let (mut routing, mut next) = (TokenRouting::new(), 0usize);
    while !rest.is_empty() {
        let layer = next.checked_add(take_number(&mut rest)?).filter(|layer| *layer < MOST_LAYERS)?;
        next = layer + 1;
        let head = take_number(&mut rest)?;
        // An expert takes three bytes at least, so this cannot be a promise of more than there is.
        let k = Some(head / 2).filter(|k| k.saturating_mul(3) <= rest.len())?;
        let experts: Option<Vec<usize>> =
            (0..k).map(|_| take_number(&mut rest).filter(|expert| *expert < MOST_EXPERTS)).collect();
        let weights: Option<Vec<f32>> = (0..k).map(|_| take_fraction(&mut rest, PER_UNIT)).collect();
        let entropy = take_fraction(&mut rest, PER_NAT)?;
        let shared_gate = if head % 2 == 1 { Some(take_fraction(&mut rest, PER_UNIT)?) } else { None };
        routing.push(LayerRouting { layer, experts: experts?, weights: weights?, entropy, shared_gate });
    }
    Some(routing)
}

fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0usize;
    for shift in (0..28).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn fraction(bytes: &mut Vec<u8>, value: f32, per: f32) {
    // A conversion to an integer is bounded by its range, and makes 0 of what is no number.
    bytes.extend(((value * per).round() as u16).to_le_bytes());
}

fn take_fraction(rest: &mut &[u8], per: f32) -> Option<f32> {
    let (bytes, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(f32::from(u16::from_le_bytes(*bytes)) / per)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layers(count: usize, k: usize) -> TokenRouting {
        let layer = |i: usize| LayerRouting {
            layer: 8 + i,
            experts: (0..k).map(|e| (e * 3 + i) % 8).collect(),
            weights: (0..k).map(|e| 0.5 / (e + 1) as f32).collect(),
            entropy: 1.234,
            shared_gate: Some(0.6),
        };
        (0..count).map(layer).collect()
    }

    #[test]
    fn sixteen_layers_of_two_experts_take_256_bytes() {
        let routing = layers(16, 2);
        let packed = pack(&routing);
        assert_eq!(packed.len(), 256);
        assert!(serde_json::to_string(&routing).unwrap().len() > 4 * packed.len());
        let read = unpack(&packed).unwrap();
        for (a, b) in routing.iter().zip(&read) {
            assert_eq!((a.layer, &a.experts), (b.layer, &b.experts));
            assert!(a.weights.iter().zip(&b.weights).all(|(a, b)| (a - b).abs() < 1e-5));
            assert!((a.entropy - b.entropy).abs() < 2e-4);
            assert!((a.shared_gate.unwrap() - b.shared_gate.unwrap()).abs() < 1e-5);
        }
        // What was read is written the same again.
        assert_eq!(pack(&read), packed);
        let odd = [LayerRouting { layer: 1000, experts: vec![1023], weights: vec![f32::NAN], ..Default::default() }];
        let read = unpack(&pack(&odd)).unwrap();
        assert_eq!((read[0].layer, &read[0].experts, &read[0].weights), (1000, &vec![1023], &vec![0.0]));
        assert!(unpack("").unwrap().is_empty());
        let huge = [LayerRouting { layer: 5000, ..Default::default() }];
        assert!(unpack(&pack(&huge)).is_none() && unpack("?").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(routing) = unpack(&STANDARD_NO_PAD.encode(bytes)) {
                prop_assert!(routing.iter().all(|l| l.experts.len() == l.weights.len()));
                prop_assert_eq!(unpack(&pack(&routing)), Some(routing));
            }
        }
    }
}
