//! What the environment says about colours.

use crate::ui::theme::Depth;

/// How many colours to use: `truecolor`, `256`, `16` or `none`; else as many as the terminal says that
/// it knows.
pub fn color_depth(wanted: &str) -> Depth {
    match wanted {
        "truecolor" => return Depth::True,
        "256" => return Depth::Indexed,
        "16" => return Depth::Sixteen,
        "none" => return Depth::None,
        _ => {}
    }
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let term = var("TERM");
    if !var("NO_COLOR").is_empty() || term == "dumb" {
        return Depth::None;
    }
    let truecolor = matches!(var("COLORTERM").as_str(), "truecolor" | "24bit");
    if truecolor || term.ends_with("-direct") || term.contains("kitty") {
        Depth::True
    } else if term.contains("256") || var("TERM_PROGRAM") == "Apple_Terminal" {
        Depth::Indexed
    } else {
        Depth::Sixteen
    }
}
