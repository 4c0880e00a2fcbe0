//! The output of `bit-axon trace`, read as a recording: the text appears token by token, with the
//! routing of each.
//!
//! A chat's token bears the routing of the pass that produced it, which is the one that read the token
//! before. So each token gets the routing of the line before its own, and the last line's goes to the
//! panes as something that was read.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::lines::{Found, Lines};
use super::load::Notes;
use super::rules::{LONGEST_LINE, MOST_EXPERTS, MOST_LAYERS};
use super::shape::Shape;
use crate::chat::{Change, End, Moment, Recording, TokenRecord, What};
use crate::protocol::{Event, FinishReason, LayerRouting, ReadToken, Role, TokenId, TokenRouting};

/// A trace has no times: it is played at a pace that can be read.
const TOKENS_PER_SECOND: f64 = 20.0;

#[derive(Deserialize)]
struct Line {
    pos: usize,
    token: TokenId,
    text: Option<String>,
    layers: Vec<LayerRouting>,
}

/// True if a trace begins so.
pub(super) fn is_trace(beginning: &[u8]) -> bool {
    beginning.starts_with(b"{\"pos\":")
}

/// Reads a trace.
pub(super) fn load(file: &File, name: &str) -> Result<Recording> {
    let mut lines = Lines::new(BufReader::new(file), LONGEST_LINE);
    let (mut notes, mut moments, mut seen) = (Notes::default(), Vec::new(), Shape::default());
    let mut waiting = TokenRouting::new();
    let mut push = |at: usize, what| moments.push(Moment { at: at as f64 / TOKENS_PER_SECOND, what });
    let add = |id, parent, role, text: String| {
        What::Change(Change::Add { id, parent, role, text, tokens: vec![], sampling: None, alterations: None })
    };
    push(0, add(0, None, Role::User, format!("(trace of {name}: the text that was read, token by token)")));
    push(0, add(1, Some(0), Role::Assistant, String::new()));
    let (mut count, mut last) = (0, None);
    loop {
        match lines.read()? {
            Found::End => break,
            Found::TooLong => {
                notes.add(format!(
                    "line {} is longer than {} MB and was passed over",
                    lines.number,
                    LONGEST_LINE >> 20
                ));
                continue;
            }
            Found::Whole | Found::Unended => {}
        }
        let line = match serde_json::from_slice::<Line>(&lines.line) {
            Ok(line) if is_possible(&line.layers) => line,
            Ok(_) => {
                notes.add(format!("line {} has layers or experts that no model has; it was passed over", lines.number));
                continue;
            }
            Err(error) => {
                notes.add(format!("line {} cannot be read and was passed over: {error}", lines.number));
                continue;
            }
        };
        if line.pos != count {
            notes.add(format!("line {} is of position {} where {count} was expected", lines.number, line.pos));
        }
        seen.add(&line.layers);
        let text = line.text.unwrap_or_else(|| format!("\u{27e8}{}\u{27e9}", line.token));
        let routing = std::mem::replace(&mut waiting, line.layers);
        last = Some((line.token, text.clone()));
        let token = TokenRecord { token: line.token, text, logprob: f32::NAN, alternatives: Vec::new(), routing };
        count += 1;
        push(count, What::Change(Change::Token { id: 1, token }));
    }
    ensure!(count > 0, "no line of this trace can be read");
    let tokens = last.map(|(token, text)| ReadToken { token, text }).into_iter().collect();
    let last = Event::Prefill { id: 1, done: count, total: count, routing: vec![waiting], tokens };
    push(count, What::Engine(last));
    let end = End::Done(FinishReason::EndOfText);
    push(count, What::Change(Change::Finish { id: 1, text: String::new(), end, stats: None }));
    ensure!(seen.is_possible(), "this trace has more layers and experts than can be shown");
    let info = Box::new(seen.model(format!("trace of {name}")));
    let model = What::Model { info, label: "a trace: no model runs".into() };
    moments.insert(0, Moment { at: 0.0, what: model });
    Ok(Recording { title: name.to_owned(), moments, notes: notes.all() })
}

fn is_possible(layers: &[LayerRouting]) -> bool {
    layers.iter().all(|l| {
        l.layer < MOST_LAYERS && l.experts.len() <= MOST_EXPERTS && l.experts.iter().all(|e| *e < MOST_EXPERTS)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::chat::{Pace, Player};

    #[test]
    fn a_trace_is_played_token_by_token() {
        let layer = |e: usize| {
            format!(r#"[{{"layer":2,"experts":[{e},3],"weights":[0.4,0.2],"entropy":1.1,"shared_gate":0.6}}]"#)
        };
        let mut file = tempfile::tempfile().unwrap();
        writeln!(file, r#"{{"pos":0,"token":5,"text":"The","layers":{}}}"#, layer(1)).unwrap();
        writeln!(file, r#"{{"pos":1,"token":6,"text":null,"layers":{}}}"#, layer(0)).unwrap();
        writeln!(file, "rubbish").unwrap();
        writeln!(file, r#"{{"pos":2,"token":6,"text":"x","layers":[{{"layer":99999999,"experts":[],"weights":[],"entropy":0,"shared_gate":null}}]}}"#).unwrap();
        write!(file, r#"{{"pos":2,"token":7,"text":" sea","layers":{}"#, layer(0)).unwrap();
        file.rewind().unwrap();
        let recording = load(&file, "sea.jsonl").unwrap();
        assert_eq!(recording.notes.len(), 3, "{:?}", recording.notes);
        let model = recording.model().unwrap().0.clone();
        assert_eq!((model.experts, model.top_k), (vec![0, 0, 4], vec![0, 0, 2]));
        let mut player = Player::new(recording, Pace::default());
        player.seek(4);
        assert_eq!(player.chat().nodes()[1].text, "The");
        player.seek(5);
        let node = &player.chat().nodes()[1];
        assert_eq!(node.text, "The⟨6⟩");
        assert!(node.tokens[0].routing.is_empty() && node.tokens[0].probability().is_none());
        assert_eq!(node.tokens[1].routing[0].experts, [1, 3]);
        let Moment { what: What::Engine(Event::Prefill { routing, .. }), .. } = &player.moments()[5] else { panic!() };
        assert_eq!(routing[0][0].experts, [0, 3]);
        assert!(load(&tempfile::tempfile().unwrap(), "x").unwrap_err().to_string().contains("no line"));
    }
}
