//! How the workbench looks: options of every command that opens it, and the settings behind them.

use anyhow::Result;
use clap::Args;

use super::settings;
use crate::app::App;
use crate::app::state::Pane;
use crate::config::{Settings, SlowLink};
use crate::run::themes::Themes;

/// Options that win over the settings.
#[derive(Debug, Clone, Args)]
pub(super) struct Look {
    /// Colours: dark, light, high-contrast, colour-blind, mono16, or a theme of your own
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
    /// Draw less often, as on a slow connection (found out by itself when writing stalls)
    #[arg(long)]
    slow_link: bool,
    /// Scroll with the mouse; the terminal's own selection then needs Shift
    #[arg(long)]
    mouse: bool,
    /// Use no colours, as NO_COLOR=1 does
    #[arg(long)]
    no_color: bool,
}

impl Look {
    pub(super) fn fill(&mut self, settings: &mut Settings) {
        let ui = &mut settings.ui;
        if let Some(theme) = self.theme.take() {
            ui.theme = theme;
        }
        ui.ascii |= self.ascii;
        ui.mouse |= self.mouse;
        if self.slow_link {
            ui.slow_link = SlowLink::On;
        }
        if self.no_color {
            ui.colours = "none".into();
        }
    }
}

/// Gives a workbench the looks, keys and panes that the settings say.
pub(super) fn dress(app: &mut App, settings: &Settings, themes: &Themes) -> Result<()> {
    dress_training(app, settings, themes)?;
    app.panes.chat_percent = settings.ui.chat_percent;
    app.panes.hidden =
        Pane::ALL.into_iter().filter(|pane| settings.ui.hidden.iter().any(|h| h == pane.name())).collect();
    Ok(())
}

/// What of it matters where training runs are all there is to see.
pub(super) fn dress_training(app: &mut App, settings: &Settings, themes: &Themes) -> Result<()> {
    app.themes = themes.names();
    app.theme.clone_from(&settings.ui.theme);
    app.keymap = settings::keymap(settings)?;
    app.figures_every = 1.0 / settings.ui.figures_fps;
    app.heat_limits = settings.heat.limits;
    Ok(())
}
