//! What keys ask of a run that goes: to wait, to save, to answer, to end.

use super::super::action::Action;
use super::super::msg::{Effect, TrainOp};
use super::super::overlay::{Ask, Asked, Overlay};
use super::super::state::App;
use super::live::{Doing, Live};
use crate::protocol::TrainControl;

/// The longest answer to a question.
const ANSWER: usize = 96;
/// How long the key that ends a run is waited for a second time.
const SURE: f64 = 5.0;

/// What was asked of runs, as far as it cannot be seen yet.
#[derive(Debug, Clone, Default)]
pub struct Steering {
    /// Whether runs may be asked anything from here.
    pub allowed: bool,
    /// The run of this program, if it is a trainer.
    pub own: Option<String>,
    /// The run that was told to wait, or to go on.
    waits: Option<(String, bool)>,
    /// The most sequences at once, as it was set last.
    ceiling: Option<(String, usize)>,
    /// The run that ends if it is told again, until when.
    ending: Option<(String, f64)>,
    /// It was told to end.
    ended: bool,
}

/// Asks the chosen run; none if the action is none of these.
pub(super) fn act(app: &mut App, action: Action) -> Option<Vec<Effect>> {
    use Action::*;
    if !matches!(action, RunPause | RunSave | RunSlower | RunFaster | RunAsk | RunEnd) {
        return None;
    }
    let Some(live) = steerable(app) else { return Some(Vec::new()) };
    let folder = live.folder.clone();
    let control = match action {
        RunPause => pause(app, &live),
        RunSave => {
            app.say("A checkpoint is saved after this step");
            TrainControl::Checkpoint
        }
        RunSlower | RunFaster => ceiling(app, &live, action == RunFaster),
        RunAsk => {
            let question = "ask the newest weights (enter asks, esc leaves)".into();
            app.overlay = Some(Overlay::Ask(Ask { question, text: String::new(), of: Asked::Run(folder) }));
            return Some(Vec::new());
        }
        _ => {
            let sure = app.training.steering.ending.take().is_some_and(|(of, until)| of == folder && app.now < until);
            if !sure {
                app.training.steering.ending = Some((folder, app.now + SURE));
                let key = app.keymap.short(RunEnd).unwrap_or_default();
                app.say(format!("{key} once more saves this run and ends it"));
                return Some(Vec::new());
            }
            app.say("It saves and ends; `bit-axon train --resume` goes on");
            TrainControl::Stop
        }
    };
    Some(vec![Effect::Train(TrainOp::Control(folder, control))])
}

/// The chosen run, if it can be asked anything; says why not.
fn steerable(app: &mut App) -> Option<Live> {
    let chosen = app.training.chosen().map(|at| &app.training.entries[at]);
    let live = chosen.and_then(|entry| entry.live.clone());
    let why = match (&live, app.training.steering.allowed) {
        (_, false) => "This view only watches: the workbench (`bit-axon`, then F5) steers runs of this machine",
        (None, _) => "The chosen run is none of `bit-axon train`: it can only be watched",
        (Some(live), _) if live.alive != Some(true) => "No trainer is at work in this run",
        _ => return live,
    };
    app.say(why);
    None
}

fn pause(app: &mut App, live: &Live) -> TrainControl {
    let steering = &mut app.training.steering;
    let asked = steering.waits.take().filter(|(of, _)| *of == live.folder).map(|(_, waits)| waits);
    let waits = asked.unwrap_or(live.doing == Doing::Paused);
    steering.waits = Some((live.folder.clone(), !waits));
    match (waits, live.doing == Doing::Hot) {
        (true, true) => app.say("It goes on once it is cool enough"),
        (true, false) => app.say("It goes on"),
        (false, true) => app.say("It waits for the heat, and then for you"),
        (false, false) => app.say("It waits after this batch"),
    }
    if waits { TrainControl::Resume } else { TrainControl::Pause }
}

/// Half or twice as many sequences at once; as many as the run was begun with takes the limit away.
fn ceiling(app: &mut App, live: &Live, up: bool) -> TrainControl {
    let entry = app.training.chosen().map(|at| &app.training.entries[at]);
    let setting = |name: &str| {
        let settings = entry.map_or(&[][..], |entry| &entry.line.settings);
        settings.iter().find(|(known, _)| known == name)?.1.parse::<usize>().ok()
    };
    let (batch, accum) = live.batch.map_or((1, 1), |(batch, accum)| (batch as usize, accum as usize));
    let whole = setting("batch_size").unwrap_or(batch.saturating_mul(accum));
    let asked = app.training.steering.ceiling.take().filter(|(of, _)| *of == live.folder).map(|(_, n)| n);
    let now = asked.unwrap_or(batch).clamp(1, whole.max(1));
    let next = if up { now.saturating_mul(2).min(whole) } else { now.div_ceil(2) }.max(1);
    app.training.steering.ceiling = Some((live.folder.clone(), next));
    let plural = if next == 1 { "" } else { "s" };
    let free = next >= whole;
    app.say(match free {
        true => format!("Batches are as large as they were begun: {whole}"),
        false => format!("At most {next} sequence{plural} at once, of {whole}; a step is the same"),
    });
    TrainControl::BatchCeiling { batch: (!free).then_some(next) }
}

/// Asks the weights of a run.
pub(in super::super) fn ask(app: &mut App, folder: String, prompt: String) -> Vec<Effect> {
    if prompt.trim().is_empty() {
        return Vec::new();
    }
    app.training.side = super::Side::Run;
    app.say("It answers after this batch");
    let prompt = prompt.trim().to_owned();
    vec![Effect::Train(TrainOp::Control(folder, TrainControl::Sample { prompt, max_tokens: ANSWER }))]
}

/// Ctrl-C in the window of a trainer: it saves and ends; a second one leaves it to itself. None in other windows.
pub(in super::super) fn interrupt(app: &mut App) -> Option<Vec<Effect>> {
    app.training.steering.own.as_ref()?;
    if std::mem::replace(&mut app.training.steering.ended, true) {
        return Some(vec![Effect::Quit]);
    }
    app.say("It saves and ends. Ctrl-C again closes this view, and once more ends it at once");
    Some(vec![Effect::Train(TrainOp::Interrupt)])
}

impl Steering {
    /// What can be seen now need not be remembered.
    pub(super) fn saw(&mut self, live: &Live) {
        let seen = |(of, waits): &(String, bool)| *of == live.folder && *waits == (live.doing == Doing::Paused);
        if self.waits.as_ref().is_some_and(seen) {
            self.waits = None;
        }
    }
}
