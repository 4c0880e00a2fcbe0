//! The workbench on a screen: reads the app, changes nothing in it.
//!
//! [`Screen`] keeps what was laid out, so that a frame costs what is seen and not what was said.

mod ascii;
mod chat;
mod format;
mod heat;
mod help;
mod layout;
pub mod markdown;
mod memory;
mod overlay;
mod prompt;
mod routing;
mod routing_pairs;
mod routing_view;
mod sessions;
mod status;
pub mod text;
pub mod theme;
mod tokens;
mod training;
mod transport;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};

use crate::app::state::{App, Drawn, Pane, View};
use chat::ChatCache;
use theme::Theme;

pub use layout::SMALLEST;

/// Draws the app, and remembers what it laid out.
#[derive(Debug, Default)]
pub struct Screen {
    chat: ChatCache,
    training: training::Cache,
    /// Whose layout is remembered: chat, theme and its depth.
    of: Option<(u64, String, theme::Depth)>,
}

impl Screen {
    /// Draws everything, and gives what scrolling needs to know.
    pub fn draw(&mut self, app: &App, theme: &Theme, frame: &mut Frame<'_>) -> Drawn {
        let of = Some((app.chat_generation, theme.name.clone(), theme.depth));
        if self.of != of {
            (self.chat, self.of) = (ChatCache::default(), of);
        }
        let area = frame.area();
        frame.buffer_mut().set_style(area, theme.background);
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            too_small(theme, area, frame);
            return app.drawn;
        }
        let screen = layout::split(app, area);
        let mut drawn = app.drawn;
        if let Some(tabs) = screen.tabs {
            status::tabs(app, theme, tabs, frame);
        }
        if let Some(banner) = screen.banner {
            status::banner(app, theme, banner, frame);
        }
        match app.view {
            View::Workbench => {
                for (pane, area) in &screen.panes {
                    match pane {
                        Pane::Chat if app.walk.is_some() => tokens::draw(app, theme, *area, frame),
                        Pane::Chat => drawn = chat::draw(app, theme, *area, frame, &mut self.chat),
                        Pane::Prompt => prompt::draw(app, theme, *area, frame),
                        Pane::Routing => routing::draw(app, theme, *area, frame),
                        Pane::Heat => heat::draw(app, theme, *area, frame),
                        Pane::Memory => memory::draw(app, theme, *area, frame),
                    }
                }
                prompt::completions(app, theme, &screen, frame);
            }
            View::Routing => routing_view::draw(app, theme, screen.main, frame),
            View::Sessions => sessions::draw(app, theme, screen.main, frame),
            View::Training => training::draw(app, theme, screen.main, frame, &mut self.training),
        }
        if let (Some(line), Some(replay)) = (screen.transport, &app.replay) {
            transport::draw(app, replay, theme, line, frame);
        }
        status::draw(app, theme, screen.status, frame);
        drawn.help_end = overlay::draw(app, theme, area, frame);
        if theme.ascii {
            ascii::fold(frame.buffer_mut());
        }
        drawn
    }
}

fn too_small(theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let words = [
        format!("bit-axon needs {}x{}", SMALLEST.0, SMALLEST.1),
        format!("{}x{} is too small", area.width, area.height),
        "too small".to_owned(),
    ];
    let room = usize::from(area.width);
    let fits = words.iter().find(|w| w.len() <= room).map_or("", String::as_str);
    if area.height > 0 {
        frame.buffer_mut().set_string(area.x, area.y + area.height / 2, fits, theme.warn);
    }
}

/// The frame of a pane; gives what is inside.
fn pane(theme: &Theme, title: &str, focused: bool, area: Rect, frame: &mut Frame<'_>) -> Rect {
    let (line, name) = if focused { (theme.focus, theme.focus) } else { (theme.border, theme.title) };
    let set = if theme.ascii { ASCII_BORDER } else { border::ROUNDED };
    let block = Block::bordered().border_set(set).border_style(line).title(Line::from(vec![
        Span::raw(" "),
        Span::styled(text::cut(title, usize::from(area.width).saturating_sub(4)), name),
        Span::raw(" "),
    ]));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// Words at the right end of a pane's upper border.
fn corner(words: &str, style: Style, area: Rect, frame: &mut Frame<'_>) {
    let w = text::width(words) as u16 + 2;
    if w + 4 > area.width {
        return;
    }
    let x = area.right() - w - 1;
    let buffer = frame.buffer_mut();
    // A long title has the right of way.
    if (x - 1..area.right() - 1).all(|x| matches!(buffer[(x, area.y)].symbol(), "─" | "-")) {
        buffer.set_string(x, area.y, format!(" {words} "), style);
    }
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Writes one line; what is too long is cut by the buffer's edge.
fn put(frame: &mut Frame<'_>, area: Rect, row: u16, line: &Line<'_>) {
    if row < area.height {
        frame.buffer_mut().set_line(area.x, area.y + row, line, area.width);
    }
}

/// An empty frame over the screen, in its middle; gives what is inside.
fn popup(theme: &Theme, title: &str, size: (u16, u16), area: Rect, frame: &mut Frame<'_>) -> Rect {
    let (width, height) = (size.0.min(area.width), size.1.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 3;
    let rect = Rect { x, y, width, height };
    Clear.render(rect, frame.buffer_mut());
    frame.buffer_mut().set_style(rect, theme.background);
    pane(theme, title, true, rect, frame)
}
