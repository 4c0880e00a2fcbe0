//! Colours, and what becomes of them on terminals that know fewer.

use ratatui::style::{Color, Modifier, Style};

/// How many colours the terminal knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// None: only bold, dim, underlined and reversed.
    None,
    /// The 16 of the terminal's own palette.
    Sixteen,
    /// 256 fixed ones.
    Indexed,
    /// 24 bits.
    True,
}

const NAMED: [(&str, Color, [u8; 3]); 16] = [
    ("black", Color::Black, [0, 0, 0]),
    ("red", Color::Red, [170, 0, 0]),
    ("green", Color::Green, [0, 170, 0]),
    ("yellow", Color::Yellow, [170, 120, 0]),
    ("blue", Color::Blue, [0, 0, 170]),
    ("magenta", Color::Magenta, [170, 0, 170]),
    ("cyan", Color::Cyan, [0, 170, 170]),
    ("gray", Color::Gray, [190, 190, 190]),
    ("darkgray", Color::DarkGray, [110, 110, 110]),
    ("lightred", Color::LightRed, [255, 85, 85]),
    ("lightgreen", Color::LightGreen, [85, 255, 85]),
    ("lightyellow", Color::LightYellow, [255, 255, 85]),
    ("lightblue", Color::LightBlue, [85, 85, 255]),
    ("lightmagenta", Color::LightMagenta, [255, 85, 255]),
    ("lightcyan", Color::LightCyan, [85, 255, 255]),
    ("white", Color::White, [255, 255, 255]),
];

/// Reads `#c8d3e0`, a name of the 16 colours, or `default`.
fn color(text: &str) -> Result<Color, String> {
    if text == "default" {
        return Ok(Color::Reset);
    }
    if let Some((_, color, _)) = NAMED.iter().find(|(name, ..)| *name == text) {
        return Ok(*color);
    }
    let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.is_ascii());
    let value = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let value =
        value.ok_or_else(|| format!("`{text}` is no colour: write #c8d3e0, a name such as lightblue, or default"))?;
    let [_, r, g, b] = value.to_be_bytes();
    Ok(Color::Rgb(r, g, b))
}

/// Reads `COLOUR [on COLOUR] [bold] [dim] [italic] [underline] [reverse]`.
pub(super) fn style(text: &str, depth: Depth) -> Result<Style, String> {
    let mut style = Style::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let modifier = match word {
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underline" => Modifier::UNDERLINED,
            "reverse" => Modifier::REVERSED,
            "on" => {
                let word = words.next().ok_or("a colour is missing after `on`")?;
                style = style.bg(reduce(color(word)?, depth));
                continue;
            }
            word => {
                style = style.fg(reduce(color(word)?, depth));
                continue;
            }
        };
        style = style.add_modifier(modifier);
    }
    Ok(style)
}

/// The nearest colour that the terminal knows.
fn reduce(color: Color, depth: Depth) -> Color {
    let Color::Rgb(r, g, b) = color else {
        return if depth == Depth::None { Color::Reset } else { color };
    };
    match depth {
        Depth::True => color,
        Depth::Indexed => Color::Indexed(nearest_indexed([r, g, b])),
        Depth::Sixteen => {
            let nearest = NAMED.iter().min_by_key(|(.., rgb)| distance(*rgb, [r, g, b]));
            nearest.map_or(Color::Reset, |(_, color, _)| *color)
        }
        Depth::None => Color::Reset,
    }
}

/// The nearest of the 6×6×6 cube and the 24 greys.
fn nearest_indexed(rgb: [u8; 3]) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |value: u8| (0..6).min_by_key(|i| STEPS[*i].abs_diff(value)).unwrap_or(0);
    let [r, g, b] = rgb.map(step);
    let cube = [STEPS[r], STEPS[g], STEPS[b]];
    let grey = (0..24u8).min_by_key(|i| distance([8 + 10 * i; 3], rgb)).unwrap_or(0);
    if distance([8 + 10 * grey; 3], rgb) < distance(cube, rgb) { 232 + grey } else { (16 + 36 * r + 6 * g + b) as u8 }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    // Eyes weigh green most.
    let weighted = [(0, 3), (1, 6), (2, 1)].map(|(i, w)| w * u32::from(a[i].abs_diff(b[i])).pow(2));
    weighted.iter().sum()
}

/// The red, green and blue of a colour, where it has fixed ones.
#[cfg(test)]
pub(super) fn rgb(color: Color) -> Option<[u8; 3]> {
    match color {
        Color::Rgb(r, g, b) => Some([r, g, b]),
        other => NAMED.iter().find(|(_, named, _)| *named == other).map(|(.., rgb)| *rgb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_read() {
        let s = style("#ff0000 on black bold underline", Depth::True).unwrap();
        assert_eq!((s.fg, s.bg), (Some(Color::Rgb(255, 0, 0)), Some(Color::Black)));
        assert_eq!(s.add_modifier, Modifier::BOLD | Modifier::UNDERLINED);
        assert_eq!(style("#ff0000", Depth::Indexed).unwrap().fg, Some(Color::Indexed(196)));
        assert_eq!(style("#808080", Depth::Indexed).unwrap().fg, Some(Color::Indexed(244)));
        assert_eq!(style("#ff5050", Depth::Sixteen).unwrap().fg, Some(Color::LightRed));
        assert_eq!(style("cyan bold", Depth::None).unwrap().fg, Some(Color::Reset));
        for bad in ["#ff", "#gggggg", "blue on", "purplish"] {
            assert!(style(bad, Depth::True).is_err(), "{bad}");
        }
    }
}
