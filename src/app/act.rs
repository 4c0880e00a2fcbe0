//! What each action does.

use super::action::Action;
use super::chat::Change;
use super::generate::{self, change};
use super::msg::Effect;
use super::overlay::{Ask, Asked, List, Overlay, SETTINGS, Search, matching, setting, step_setting};
use super::state::{App, Measure, Pane, Scope, Scroll, View};
use super::update::{search_again, send};
use super::{alter, copy, figures, navigate, replay, sessions, slash, training};
use crate::protocol::Command;

/// Lines that the wheel of lists turns at once.
const PAGE: usize = 10;

/// Does it. `argument` is what stood behind its name on a slash line.
pub(super) fn act(app: &mut App, action: Action, argument: &str) -> Vec<Effect> {
    use Action::*;
    if app.replay.is_some()
        && let Some(why) = replay::refusal(action)
    {
        app.say(why);
        return Vec::new();
    }
    if let Some(effects) = replay::act(app, action, argument) {
        return effects;
    }
    if app.view == View::Training
        && let Some(effects) = training::act(app, action)
    {
        return effects;
    }
    match action {
        Help if matches!(app.overlay, Some(Overlay::Help(_))) => app.overlay = None,
        Help | ChatHelp => app.overlay = Some(Overlay::Help(0)),
        Palette => app.overlay = Some(Overlay::Palette(List::default())),
        Interrupt => return interrupt(app),
        Escape => return escape(app),
        Stop => return generate::stop(app),
        ViewWorkbench => {
            app.view = View::Workbench;
        }
        ViewRouting => return navigate::view(app, View::Routing),
        ViewSessions => return navigate::view(app, View::Sessions),
        ViewTraining => return navigate::view(app, View::Training),
        Train => return training::form::open(app),
        NextPane => navigate::focus(app, 1),
        PreviousPane => navigate::focus(app, -1),
        Zoom => navigate::zoom(app),
        HidePane => navigate::hide(app, argument),
        ShowPanes => navigate::show(app, argument),
        Wider => navigate::wider(app, 4),
        Narrower => navigate::wider(app, -4),
        Taller => navigate::taller(app, 1),
        Shorter => navigate::taller(app, -1),
        Regenerate | ChatRegenerate | RegenerateHere => {
            navigate::leave_tokens(app);
            return generate::regenerate(app);
        }
        Edit | ChatEdit => navigate::edit(app),
        PreviousBranch | ChatPrevious => return navigate::branch(app, -1),
        NextBranch | ChatNext => return navigate::branch(app, 1),
        SelectUp | ChatSelectUp => navigate::select(app, false),
        SelectDown | ChatSelectDown => navigate::select(app, true),
        ScrollUp => navigate::page(app, false),
        ScrollDown => navigate::page(app, true),
        ChatUp => navigate::scroll(app, -1),
        ChatDown => navigate::scroll(app, 1),
        ChatTop | ChatFirst => navigate::top(app),
        ChatEnd | ChatLast => navigate::end(app),
        Tokens | ChatTokens => navigate::tokens(app),
        Copy | ChatCopy => return copy::copy(app, None),
        CopyCode | ChatCopyCode => return copy::copy(app, Some(argument)),
        Search | ChatSearch => return search(app, false, argument),
        SearchAll | SessionSearch => return search(app, true, argument),
        NewChat | SessionNew => return sessions::new_chat(app),
        Rename => return change(app, Change::Title { title: argument.to_owned() }).into_iter().collect(),
        Export => return sessions::export(app, argument),
        System => return system(app, argument),
        Settings => app.overlay = Some(Overlay::Settings(0)),
        Temperature | TopK | TopP | MinP | Penalty | Seed | MaxTokens | MaxSpeed => set(app, action, argument),
        Mute | Force | ExpertsPerToken | RouterTemperature | SharedExpert => return alter_by(app, action, argument),
        Unalter | UnalterHere => {
            app.alterations = crate::protocol::Alterations::default();
            return altered(app);
        }
        Compare | CompareHere => compare(app),
        CompareWith | CompareWithHere => compare_with_next(app),
        ExportRouting | ExportHere => return super::export::export(app, argument),
        Theme => return theme(app, argument),
        Redraw => return vec![Effect::Redraw],
        Suspend => return vec![Effect::Suspend],
        Quit if !sessions::may_let_go(app) => {}
        Quit => return vec![Effect::Quit],

        Send => return send(app),
        Newline => app.prompt.area.insert_newline(),
        HistoryBack => drop(app.prompt.back()),
        HistoryOn => drop(app.prompt.on()),
        Complete => match slash::completions(app).first() {
            Some(completion) => app.prompt.set(&completion.line.clone()),
            None => navigate::focus(app, 1),
        },

        TokenLeft => navigate::walk(app, -1),
        TokenRight => navigate::walk(app, 1),
        TokenBack => navigate::walk(app, -10),
        TokenOn => navigate::walk(app, 10),
        TokenFirst => navigate::walk(app, isize::MIN),
        TokenLast => navigate::walk(app, isize::MAX),
        TokenSurprise => navigate::surprise(app),
        AlternativeUp => navigate::alternative(app, -1),
        AlternativeDown => navigate::alternative(app, 1),
        TokenExperts => navigate::token_experts(app),
        ForkHere => return generate::fork(app),

        ExpertLeft => navigate::expert(app, 0, -1),
        ExpertRight => navigate::expert(app, 0, 1),
        LayerUp => navigate::expert(app, -1, 0),
        LayerDown => navigate::expert(app, 1, 0),
        Scope => {
            app.look.scope = match app.look.scope {
                self::Scope::Token => self::Scope::Answer,
                self::Scope::Answer => self::Scope::Session,
                self::Scope::Session => self::Scope::Token,
            };
            figures::refresh(app);
        }
        Measure => {
            app.look.measure = match app.look.measure {
                self::Measure::Weights => self::Measure::Choices,
                self::Measure::Choices => self::Measure::Together,
                self::Measure::Together => self::Measure::Weights,
            };
        }
        MuteHere | MuteEverywhere | ForceHere | ForceEverywhere | MoreExperts | FewerExperts | MoreEverywhere
        | FewerEverywhere | SharedHere => {
            return alter_here(app, action);
        }
        SessionUp => return sessions::step(app, -1),
        SessionDown => return sessions::step(app, 1),
        SessionPageUp => return sessions::step(app, -(PAGE as isize)),
        SessionPageDown => return sessions::step(app, PAGE as isize),
        SessionFirst => return sessions::step(app, isize::MIN),
        SessionLast => return sessions::step(app, isize::MAX),
        SessionOpen | SessionRename | SessionDelete | SessionCopy | SessionExport | SessionExportJson => {
            return sessions::session(app, action);
        }
        // Those of the view of training runs were done above, if it is shown.
        RunUp | RunDown | ChartNext | ChartBefore | ChartLarge | CrossLeft | CrossRight | CrossBack | CrossOn
        | ZoomIn | ZoomOut | PanLeft | PanRight | ZoomAll | NextAxis | LogScale | Smoother | Rougher | RunHide
        | RunOnly | RunPin | RunColour | SortNext | SortBackwards | FilterRuns | FilterMetrics | ShowConsole
        | ShowAlerts | ShowExperts | ShowRun | ExpertLayer | ChartFront | ChartJoin | RunGrid | RunTable | RunPause
        | RunSave | RunSlower | RunFaster | RunAsk | RunEnd | RunNew => {}
        ListUp | ListDown | ListPageUp | ListPageDown | ListLess | ListMore | ListTake => {
            return in_overlay(app, action);
        }
        // Done above.
        Seek | Speed | PlayPause | StepOn | StepBack | MessageOn | MessageBack | Faster | Slower | ReplayStart
        | ReplayEnd | ReplayTenth | Loop | ReplayCommand => {}
    }
    Vec::new()
}

/// Closes or stops one thing after another, from the innermost.
fn escape(app: &mut App) -> Vec<Effect> {
    if app.overlay.take().is_some() || navigate::leave_tokens(app) {
        return Vec::new();
    }
    if app.running.as_ref().is_some_and(|running| !running.stopping) {
        return generate::stop(app);
    } else if app.editing.take().is_some() {
        app.prompt.set("");
        app.selected = None;
    } else if app.selected.take().is_some() {
        (app.scroll, app.live.stale) = (Scroll::Follow, true);
    } else if app.look.compare && app.view == View::Routing {
        compare(app);
    } else if app.view != View::Workbench {
        app.view = View::Workbench;
    } else if app.panes.zoom {
        app.panes.zoom = false;
    } else {
        app.focus = if app.replay.is_some() { Pane::Chat } else { Pane::Prompt };
    }
    Vec::new()
}

fn interrupt(app: &mut App) -> Vec<Effect> {
    if app.overlay.take().is_some() {
        return Vec::new();
    }
    if let Some(effects) = training::steer::interrupt(app) {
        return effects;
    }
    if app.running.as_ref().is_some_and(|running| !running.stopping) {
        return generate::stop(app);
    }
    if !app.prompt.is_empty() {
        app.prompt.set("");
        app.editing = None;
        return Vec::new();
    }
    if app.leaving.is_some_and(|until| app.now < until) {
        return vec![Effect::Quit];
    }
    app.leaving = Some(app.now + 2.0);
    app.say("Press Ctrl-C again to leave");
    Vec::new()
}

/// What a list lying over the screen does with its actions.
pub(super) fn in_overlay(app: &mut App, action: Action) -> Vec<Effect> {
    let Some(overlay) = &mut app.overlay else { return Vec::new() };
    let step = |at: usize, count: usize| match action {
        Action::ListUp => at.saturating_sub(1),
        Action::ListDown => (at + 1).min(count.saturating_sub(1)),
        Action::ListPageUp => at.saturating_sub(PAGE),
        Action::ListPageDown => (at + PAGE).min(count.saturating_sub(1)),
        _ => at,
    };
    match overlay {
        Overlay::Help(line) => *line = step(*line, app.drawn.help_end + 1),
        Overlay::Palette(list) => {
            let found = matching(&list.query);
            list.at = step(list.at, found.len());
            if action == Action::ListTake {
                let taken = found.get(list.at).copied();
                app.overlay = None;
                return match taken {
                    // What needs words is asked for in the prompt.
                    Some(info) if !info.argument.is_empty() && !info.argument.ends_with(']') => {
                        app.prompt.set(&format!("/{} ", info.name));
                        (app.focus, app.view) = (Pane::Prompt, View::Workbench);
                        Vec::new()
                    }
                    Some(info) => act(app, info.action, ""),
                    None => Vec::new(),
                };
            }
        }
        Overlay::Search(search) => {
            search.list.at = step(search.list.at, search.hits.len());
            if action == Action::ListTake {
                let hit = search.hits.get(search.list.at).cloned();
                app.overlay = None;
                return hit.map_or_else(Vec::new, |hit| sessions::go_to(app, hit));
            }
        }
        Overlay::Settings(at) => {
            *at = step(*at, SETTINGS.len());
            let at = *at;
            match action {
                Action::ListLess => step_setting(app, at, false),
                Action::ListMore => step_setting(app, at, true),
                Action::ListTake => app.overlay = None,
                _ => {}
            }
        }
        Overlay::Ask(ask) if action == Action::ListTake => {
            let Ask { text, of, .. } = ask.clone();
            app.overlay = None;
            return match of {
                Asked::Title(session) => sessions::rename(app, session, text),
                Asked::Run(folder) => training::steer::ask(app, folder, text),
            };
        }
        // The form has keys of its own.
        Overlay::Ask(_) | Overlay::Form => {}
    }
    Vec::new()
}

fn search(app: &mut App, all: bool, text: &str) -> Vec<Effect> {
    let list = List { query: text.to_owned(), at: 0 };
    app.overlay = Some(Overlay::Search(self::Search { list, all, ..self::Search::default() }));
    search_again(app)
}

fn system(app: &mut App, text: &str) -> Vec<Effect> {
    if text.is_empty() {
        let shown = if app.chat.system.is_empty() { "There is no system prompt" } else { &app.chat.system };
        app.say(shown.to_owned());
        return Vec::new();
    }
    let text = if text == "none" { String::new() } else { text.to_owned() };
    app.say("The system prompt holds from the next answer on; /system none removes it");
    change(app, Change::System { text }).into_iter().collect()
}

fn set(app: &mut App, action: Action, argument: &str) {
    if argument.is_empty() && !matches!(action, Action::Seed | Action::MaxSpeed) {
        app.overlay = SETTINGS.iter().position(|(a, _)| *a == action).map(Overlay::Settings);
        return;
    }
    let name = action.info().name;
    let share = |low: f32, high: f32| match argument.parse::<f32>() {
        Ok(x) if (low..=high).contains(&x) => Ok(x),
        _ => Err(format!("/{name} takes a number from {low} to {high}")),
    };
    let count = |low: usize| match argument.parse::<usize>() {
        Ok(n) if n >= low => Ok(n),
        _ => Err(format!("/{name} takes a whole number from {low} on")),
    };
    let s = &mut app.sampling;
    let done = match action {
        Action::Temperature => share(0.0, 5.0).map(|x| s.temperature = x),
        Action::TopP => share(0.01, 1.0).map(|x| s.top_p = x),
        Action::MinP => share(0.0, 1.0).map(|x| s.min_p = x),
        Action::Penalty => share(0.5, 3.0).map(|x| s.repetition_penalty = x),
        Action::TopK => count(0).map(|n| s.top_k = n),
        Action::MaxTokens => count(1).map(|n| app.max_tokens = n),
        Action::MaxSpeed if argument.is_empty() => {
            app.max_speed = None;
            Ok(())
        }
        Action::MaxSpeed => share(0.1, 1e6).map(|x| app.max_speed = Some(x)),
        _ if argument.is_empty() => {
            s.seed = None;
            Ok(())
        }
        _ => argument.parse().map(|n| s.seed = Some(n)).map_err(|_| format!("/{name} takes a whole number")),
    };
    match done {
        Ok(()) => app.say(format!("{name}: {}", setting(app, action))),
        Err(why) => app.say(why),
    }
}

/// Tells the engine what is altered, and shows it.
fn altered(app: &mut App) -> Vec<Effect> {
    app.dirty = true;
    if app.running.is_some() {
        app.say("This holds from the next answer on; ctrl-r answers again");
    }
    vec![Effect::Engine(Command::Alter(app.alterations.clone()))]
}

fn routes(app: &mut App) -> bool {
    let routes = app.opened().is_some_and(|opened| opened.info.experts.iter().any(|experts| *experts > 0));
    if !routes {
        app.say("There is no model with experts open");
    }
    routes
}

fn alter_by(app: &mut App, action: Action, argument: &str) -> Vec<Effect> {
    if !routes(app) {
        return Vec::new();
    }
    if argument.is_empty() && action != Action::SharedExpert {
        // Chosen from the palette: the cursor of the routing view says which.
        app.view = View::Routing;
        return Vec::new();
    }
    let a = &mut app.alterations;
    let done = match action {
        Action::Mute => alter::parse_place(argument).map(|(layer, expert)| alter::toggle_mute(a, layer, expert)),
        Action::Force => alter::parse_place(argument).map(|(layer, expert)| alter::toggle_force(a, layer, expert)),
        Action::ExpertsPerToken => alter::parse_place(argument)
            .map(|(layer, k)| alter::set_k(a, layer, (k > 0).then_some(k)))
            .map_err(|_| "Write /k 1 for one expert a token everywhere, /k 4.1 for layer 4, /k 0 to undo it".into()),
        Action::RouterTemperature => match argument.parse::<f32>() {
            Ok(t) if t.is_finite() && t > 0.0 => {
                alter::set_temperature(a, t);
                Ok(())
            }
            _ => Err("/router-temperature takes a number above 0".into()),
        },
        _ if argument.is_empty() => {
            alter::toggle_shared(a, None);
            Ok(())
        }
        _ => match argument.parse() {
            Ok(layer) => {
                alter::toggle_shared(a, Some(layer));
                Ok(())
            }
            Err(_) => Err("/shared takes the number of a layer, or nothing for all".into()),
        },
    };
    match done {
        Ok(()) => altered(app),
        Err(why) => {
            app.say(why);
            Vec::new()
        }
    }
}

fn alter_here(app: &mut App, action: Action) -> Vec<Effect> {
    if !routes(app) {
        return Vec::new();
    }
    let Some((layer, expert)) = app.expert_at_cursor() else { return Vec::new() };
    let Some(opened) = app.opened() else { return Vec::new() };
    let own_k = opened.info.top_k.get(layer).copied().unwrap_or(1);
    let experts = opened.info.experts.get(layer).copied().unwrap_or(1);
    let a = &mut app.alterations;
    match action {
        Action::MuteHere => alter::toggle_mute(a, Some(layer), expert),
        Action::MuteEverywhere => alter::toggle_mute(a, None, expert),
        Action::ForceHere => alter::toggle_force(a, Some(layer), expert),
        Action::ForceEverywhere => alter::toggle_force(a, None, expert),
        Action::SharedHere => alter::toggle_shared(a, Some(layer)),
        more_or_fewer => {
            let everywhere = matches!(more_or_fewer, Action::MoreEverywhere | Action::FewerEverywhere);
            let place = (!everywhere).then_some(layer);
            let now = if everywhere { a.all.top_k } else { a.of(layer).top_k };
            let k = now.unwrap_or(own_k);
            let more = matches!(more_or_fewer, Action::MoreExperts | Action::MoreEverywhere);
            let k = if more { (k + 1).min(experts) } else { k.saturating_sub(1).max(1) };
            alter::set_k(a, place, (k != own_k).then_some(k));
        }
    }
    altered(app)
}

fn compare(app: &mut App) {
    app.look.compare = !app.look.compare;
    if app.look.compare && figures::compared(app).is_none() {
        app.look.compare = false;
        app.say("There is one answer only; ctrl-r answers again");
    } else if app.look.compare {
        (app.look.scope, app.view) = (Scope::Answer, View::Routing);
    }
    figures::refresh(app);
}

/// Compares with the next answer of the chat, in a circle.
fn compare_with_next(app: &mut App) {
    let others = figures::comparable(app);
    let now = figures::compared(app).filter(|_| app.look.compare);
    let at = now.and_then(|now| others.iter().position(|id| *id == now));
    app.look.against = others.get(at.map_or(0, |at| at + 1) % others.len().max(1)).copied();
    if app.look.compare {
        figures::refresh(app);
    } else {
        compare(app);
    }
}

fn theme(app: &mut App, name: &str) -> Vec<Effect> {
    let at = app.themes.iter().position(|theme| *theme == app.theme);
    let chosen = match name {
        "" => app.themes.get(at.map_or(0, |at| at + 1) % app.themes.len().max(1)).cloned(),
        name => app.themes.iter().find(|theme| *theme == name).cloned(),
    };
    match chosen {
        Some(theme) => {
            app.say(format!("Theme: {theme}"));
            vec![Effect::Theme(theme)]
        }
        None => {
            app.say(format!("There is no theme {name}: there are {}", app.themes.join(", ")));
            Vec::new()
        }
    }
}
