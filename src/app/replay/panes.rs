//! What a recording says of heat, memory and speed at the place where it is.

use super::Replay;
use crate::app::chat::Change;
use crate::app::heat::{Heat, Sensed};
use crate::app::state::App;
use crate::chat::{Player, What};
use crate::protocol::{Event, HeatLimits, SensorState};

/// Readings of heat that the pane may want.
const READINGS: usize = 3600;

/// What the panes show beside the chat and the routing.
pub(super) fn show(app: &mut App) {
    let Some(replay) = &mut app.replay else { return };
    let player = &replay.player;
    app.live.snapshot = player.state().cloned().unwrap_or_default();
    app.live.machine = player.machine();
    let readings = player.heat_count();
    if replay.readings != Some(readings) {
        app.live.heat = heat(player, app.heat_limits);
        replay.readings = Some(readings);
    }
    let answer = app.chat.last_answer().and_then(|id| app.chat.node(id));
    app.alterations = answer.and_then(|node| node.alterations.clone()).unwrap_or_default();
}

/// Temperatures as they were recorded up to here.
fn heat(player: &Player, limits: HeatLimits) -> Heat {
    let mut heat = Heat::default();
    if !player.has_heat() {
        heat.newest.sensor = SensorState::NoSensor { reason: "this recording holds no temperature".into() };
    }
    for (at, reading) in player.heat(READINGS) {
        let sensor = SensorState::Reading { source: "recorded".into(), reading };
        let phase = reading.celsius.map(|celsius| limits.phase(celsius));
        heat.take(at, &Sensed { sensor, phase, ..Sensed::default() });
    }
    heat
}

/// What the status line shows of the answer that is played.
#[derive(Debug, Default)]
pub(in crate::app) struct Pulse {
    pub(in crate::app) answering: Option<usize>,
    pub(in crate::app) first_token: Option<f64>,
    pub(in crate::app) rate: Option<f64>,
    pub(in crate::app) tokens: usize,
    pub(in crate::app) prefill: Option<(usize, usize)>,
}

pub(in crate::app) fn pulse(app: &App, replay: &Replay) -> Pulse {
    let Some(id) = app.chat.last_answer() else { return Pulse::default() };
    let Some(node) = app.chat.node(id) else { return Pulse::default() };
    if let Some(stats) = &node.stats {
        let first_token = Some(stats.first_token_s).filter(|s| *s > 0.0);
        return Pulse { first_token, rate: stats.decode_rate(), ..Pulse::default() };
    }
    if node.end.is_some() {
        return Pulse::default();
    }
    let here = &replay.player.moments()[..replay.player.position()];
    let (mut first, mut last, mut asked, mut prefill, mut tokens) = (None, None, None, None, 0);
    for moment in here.iter().rev() {
        match &moment.what {
            What::Change(Change::Token { id: of, .. }) if *of == id => {
                (first, tokens) = (Some(moment.at), tokens + 1);
                last = last.or(first);
            }
            What::Engine(Event::Prefill { done, total, .. }) if tokens == 0 && prefill.is_none() => {
                prefill = Some((*done, *total));
            }
            What::Change(Change::Add { id: of, .. }) if *of == id => {
                asked = Some(moment.at);
                break;
            }
            _ => {}
        }
    }
    let wait = first.zip(asked).map(|(first, asked)| first - asked);
    let took = first.zip(last).map_or(0.0, |(first, last)| last - first);
    let rate = (took > 0.0).then(|| (tokens - 1) as f64 / took);
    Pulse { answering: Some(id), first_token: wait.filter(|s| *s > 0.0), rate, tokens, prefill }
}
