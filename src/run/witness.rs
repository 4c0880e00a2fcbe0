//! What is worth keeping of a session beside the chat: figures for whoever plays it later.

use std::time::{Duration, Instant};

use crate::app::App;
use crate::app::msg::Msg;
use crate::chat::What;
use crate::protocol::{Event, SensorState};

/// Between states of the engine.
const STATES: Duration = Duration::from_secs(2);

/// Says what of a message is worth keeping.
#[derive(Debug, Default)]
pub(super) struct Witness {
    state: Option<Instant>,
    /// An answer ended: the next state is what it left.
    ended: bool,
}

impl Witness {
    /// What to keep of this message; changes of the chat are kept anyway. Figures are kept while
    /// something is being answered, so that a workbench that is left open for days writes nothing.
    pub(super) fn sees(&mut self, app: &App, msg: &Msg) -> Option<What> {
        if let Msg::Opened(opened) = msg {
            return Some(What::Model { info: Box::new(opened.info.clone()), label: opened.label.clone() });
        }
        if let Msg::Engine(event @ Event::Altered { .. }) = msg {
            return Some(What::Engine(event.clone()));
        }
        if let (Msg::Snapshot(state), true) = (msg, self.ended) {
            self.ended = false;
            return Some(What::State(state.clone()));
        }
        let running = app.running.as_ref()?;
        // In a session, requests bear the numbers of the answers that they write.
        let node = running.node as u64;
        match msg {
            Msg::Engine(Event::Finished { id, .. } | Event::Failed { id, .. }) => {
                self.ended |= *id == running.request;
                None
            }
            Msg::Engine(event @ (Event::Started { id, .. } | Event::Prefill { id, .. })) if *id == running.request => {
                let mut event = event.clone();
                if let Event::Started { id, .. } | Event::Prefill { id, .. } = &mut event {
                    *id = node;
                }
                Some(What::Engine(event))
            }
            Msg::Heat(sensed) => match &sensed.sensor {
                SensorState::Reading { reading, .. } => Some(What::Heat(*reading)),
                _ => None,
            },
            Msg::Machine(memory) => Some(What::Machine(*memory)),
            Msg::Snapshot(state) if self.state.is_none_or(|at| at.elapsed() >= STATES) => {
                self.state = Some(Instant::now());
                let mut state = state.clone();
                state.running = state.running.map(|_| node);
                Some(What::State(state))
            }
            _ => None,
        }
    }
}
