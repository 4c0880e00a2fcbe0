//! Where everything stands.
//!
//! ```text
//! wide (from 80x16)                               narrow: one at a time
//! ┌ chat ─────────────────────┐┌ routing ──────┐  Chat  Routing  Heat  Memory   tabs
//! │                           ││               │  ┌ chat ───────────────────┐
//! │                           │├ heat ─────────┤  │                         │
//! │                           ││               │  │                         │
//! ├ prompt ───────────────────┤├ memory ───────┤  ├ prompt ─────────────────┤
//! │                           ││               │  │                         │
//! └───────────────────────────┘└───────────────┘  └─────────────────────────┘
//!  routing altered: ...                           banner, when there is cause
//!  playing 0:12/0:48 ━━━●─── token 34/120         where a recording is, when one is played
//!  bit-axon  model  backend  ...                  status
//! ```

use ratatui::layout::Rect;

use crate::app::state::{App, LEAST_CHAT, LEAST_SIDE, Pane, SIDE_BY_SIDE, View};
use crate::ui::text::width;

/// Columns and rows below which nothing sensible can be shown.
pub const SMALLEST: (u16, u16) = (40, 12);
/// Rows of the prompt, frame included: as many as its text needs, within these.
const PROMPT_ROWS: (u16, u16) = (3, 10);

/// The screen, divided.
pub(super) struct Split {
    /// Names of the panes, where only one is seen at a time.
    pub(super) tabs: Option<Rect>,
    /// What views other than the workbench fill.
    pub(super) main: Rect,
    /// The panes of the workbench that are seen.
    pub(super) panes: Vec<(Pane, Rect)>,
    pub(super) banner: Option<Rect>,
    pub(super) transport: Option<Rect>,
    pub(super) status: Rect,
}

/// True if only one pane is seen at a time.
pub(super) fn is_narrow(area: Rect) -> bool {
    area.width < SIDE_BY_SIDE.0 || area.height < SIDE_BY_SIDE.1
}

pub(super) fn split(app: &App, area: Rect) -> Split {
    let mut main = area;
    let status = Rect { y: area.bottom() - 1, height: 1, ..area };
    main.height -= 1;
    let transport = app.replay.is_some().then(|| {
        main.height -= 1;
        Rect { y: main.bottom(), height: 1, ..area }
    });
    let banner = (!app.alterations.is_none()).then(|| {
        main.height -= 1;
        Rect { y: main.bottom(), height: 1, ..area }
    });
    let narrow = is_narrow(area);
    let tabs = (narrow && app.view == View::Workbench).then(|| {
        let tabs = Rect { height: 1, ..main };
        (main.y, main.height) = (main.y + 1, main.height - 1);
        tabs
    });
    let panes = match app.view {
        View::Workbench if narrow || app.panes.zoom => one(app, main),
        View::Workbench => columns(app, main),
        _ => Vec::new(),
    };
    Split { tabs, main, panes, banner, transport, status }
}

/// The focused pane alone; chat and prompt stay together.
fn one(app: &App, area: Rect) -> Vec<(Pane, Rect)> {
    match app.focus {
        // Who walks tokens types nothing.
        Pane::Chat if app.walk.is_some() => vec![(Pane::Chat, area)],
        Pane::Chat | Pane::Prompt => chat_and_prompt(app, area),
        pane => vec![(pane, area)],
    }
}

fn chat_and_prompt(app: &App, area: Rect) -> Vec<(Pane, Rect)> {
    // Nobody is asked while a recording is played: the prompt is there for who goes to it.
    if app.replay.is_some() && app.focus != Pane::Prompt {
        return vec![(Pane::Chat, area)];
    }
    let inner = usize::from(area.width.saturating_sub(4)).max(1);
    let needed: usize = app.prompt.area.lines().iter().map(|line| width(line) / inner + 1).sum();
    let most = (area.height / 3).clamp(PROMPT_ROWS.0, PROMPT_ROWS.1);
    let rows = (needed as u16).saturating_add(2).clamp(PROMPT_ROWS.0, most);
    let chat = Rect { height: area.height - rows, ..area };
    let prompt = Rect { y: chat.bottom(), height: rows, ..area };
    vec![(Pane::Chat, chat), (Pane::Prompt, prompt)]
}

fn columns(app: &App, area: Rect) -> Vec<(Pane, Rect)> {
    let right: Vec<Pane> = app.visible_panes().filter(|p| !matches!(p, Pane::Chat | Pane::Prompt)).collect();
    if right.is_empty() {
        return chat_and_prompt(app, area);
    }
    let wanted = area.width * app.panes.chat_percent / 100;
    let chat_width = wanted.clamp(LEAST_CHAT as u16, area.width - LEAST_SIDE as u16);
    let mut panes = chat_and_prompt(app, Rect { width: chat_width, ..area });
    let column = Rect { x: area.x + chat_width, width: area.width - chat_width, ..area };
    let mut y = column.y;
    for (pane, rows) in right.iter().zip(rows(app, &right, column.width, column.height)) {
        panes.push((*pane, Rect { y, height: rows, ..column }));
        y += rows;
    }
    panes
}

/// Rows of each pane of the right column: what it likes to have, then routing takes the rest.
fn rows(app: &App, panes: &[Pane], width: u16, height: u16) -> Vec<u16> {
    let layers = app.shown.load.layers.len().max(8) as i32 + 5;
    let liked = |pane: &Pane| match pane {
        Pane::Routing => (layers + i32::from(app.panes.more_rows[0]), 6),
        Pane::Heat => (super::heat::rows_liked(app, width) + i32::from(app.panes.more_rows[1]), 4),
        _ => (12 + i32::from(app.panes.more_rows[2]), 4),
    };
    let least: i32 = panes.iter().map(|p| liked(p).1).sum();
    let spare = (i32::from(height) - least).max(0);
    let wishes: Vec<i32> = panes.iter().map(|p| (liked(p).0 - liked(p).1).max(0)).collect();
    let all: i32 = wishes.iter().sum::<i32>().max(1);
    let mut given: Vec<i32> =
        panes.iter().zip(&wishes).map(|(p, wish)| liked(p).1 + (wish * spare / all).min(*wish)).collect();
    // What is over goes to the first; what is short is taken from the last.
    let mut over = i32::from(height) - given.iter().sum::<i32>();
    if over > 0 {
        given[0] += over;
    }
    for rows in given.iter_mut().rev() {
        let taken = over.min(0).max(-*rows);
        *rows += taken;
        over -= taken;
    }
    given.into_iter().map(|rows| rows as u16).collect()
}
