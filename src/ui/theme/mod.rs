//! Themes: a style for each kind of thing on the screen, from `themes/*.toml`.

mod color;
mod file;

use ratatui::style::Style;

use crate::protocol::HeatPhase;

pub use color::Depth;

/// The key of a theme file that names the built-in theme whose styles hold where it gives none.
const BASE: &str = "base";

/// The themes that are built in: name and text.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../../themes/colour-blind.toml")),
    ("mono16", include_str!("../../../themes/mono16.toml")),
];

macro_rules! theme {
    ($($field:ident $about:literal)*) => {
        /// How everything looks.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Theme {
            /// What it is called.
            pub name: String,
            /// How many colours it uses.
            pub depth: Depth,
            /// Only ASCII for borders, bars and marks.
            pub ascii: bool,
            $(#[doc = $about] pub $field: Style,)*
        }

        /// The styles that a theme must give.
        pub const KEYS: &[&str] = &[$(stringify!($field)),*];

        impl Theme {
            /// Reads a theme file. Every style must be there, and no other, unless it is based on a
            /// built-in theme. `place` is the file, for errors: all of them are told, with their lines.
            pub fn parse(name: &str, place: &str, text: &str, depth: Depth, ascii: bool) -> Result<Self, String> {
                let (base, styles) = file::read(place, text, KEYS, depth)?;
                let base = base.map(|base| Self::built_in(&base, depth, ascii)).transpose()?;
                $(let $field = styles.get(stringify!($field)).copied().or(base.as_ref().map(|base| base.$field));)*
                let missing = [$((stringify!($field), $field.is_none())),*].map(|(key, lacks)| lacks.then_some(key));
                let missing: Vec<&str> = missing.into_iter().flatten().collect();
                if !missing.is_empty() {
                    return Err(file::missing(place, &missing));
                }
                let theme = Self { name: name.to_owned(), depth, ascii, $($field: $field.unwrap_or_default(),)* };
                Ok(theme.told_apart())
            }
        }
    };
}

theme! {
    background "What nothing else covers."
    text "What is read."
    dim "What matters less."
    faint "What may be overlooked: rules, empty cells."
    border "Borders of panes."
    focus "The border of the pane that has the focus."
    title "Titles of panes."
    accent "Marks and the brand."
    user "The name of the person."
    answer "The name of the model."
    system "The system prompt."
    good "All is well."
    warn "Look here."
    bad "Something is wrong."
    selection "The chosen line."
    found "What a search found."
    banner "The routing is altered."
    status "The line at the bottom."
    key "Keys in that line and in help."
    heading "Headings of Markdown."
    strong "Strong words."
    emphasis "Emphasised words."
    link "Links."
    quote "Quoted lines."
    code "Code."
    code_keyword "Words of the language."
    code_string "Texts in code."
    code_comment "Comments in code."
    code_number "Numbers in code."
    code_name "Names of functions and types."
    heat_low "A small value of a heatmap."
    heat_mid "A middling one."
    heat_high "A large one."
    muted "A muted expert."
    forced "A forced expert."
    sure "A token with a probability of 0.9 or more."
    likely "0.5 or more."
    unlikely "0.2 or more."
    rare "Less."
    cool "Temperatures that ask for nothing."
    warm "Those that ask for smaller batches: from 75 degrees on."
    hot "Those that ask to wait: usually from 85 on."
    critical "Those that ask to stop: usually from 95 on."
    meter "The filled part of a bar."
    meter_back "The rest of it."
}

impl Theme {
    /// A built-in theme.
    pub fn built_in(name: &str, depth: Depth, ascii: bool) -> Result<Self, String> {
        let found = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        let names = || BUILT_IN.map(|(name, _)| name).join(", ");
        let (name, text) = found.ok_or_else(|| format!("there is no theme {name}: there are {}", names()))?;
        Self::parse(name, &format!("theme {name}"), text, depth, ascii)
    }

    /// Where the terminal has too few colours to tell probabilities apart, the shape of the letters does.
    fn told_apart(self) -> Self {
        let all = [self.sure, self.likely, self.unlikely, self.rare];
        if (1..all.len()).all(|i| !all[..i].contains(&all[i])) {
            return self;
        }
        let (likely, unlikely, rare) =
            (self.likely.italic(), self.unlikely.underlined(), self.rare.bold().underlined());
        Self { likely, unlikely, rare, ..self }
    }

    /// The style of temperatures that ask for this.
    pub fn phase(&self, phase: HeatPhase) -> Style {
        match phase {
            HeatPhase::Normal => self.cool,
            HeatPhase::Reduce => self.warm,
            HeatPhase::Pause => self.hot,
            HeatPhase::Stop => self.critical,
        }
    }

    /// The style of a probability; of one that is not known, where it is no number.
    pub fn probability(&self, p: f32) -> Style {
        match p {
            p if p.is_nan() => self.text,
            p if p >= 0.9 => self.sure,
            p if p >= 0.5 => self.likely,
            p if p >= 0.2 => self.unlikely,
            _ => self.rare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast as WCAG has it: 1 to 21.
    fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
        let luminance = |rgb: [u8; 3]| {
            let linear = rgb.map(|v| {
                let v = f64::from(v) / 255.0;
                if v <= 0.03928 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn every_theme_is_whole_at_every_depth() {
        for (name, _) in BUILT_IN {
            for depth in [Depth::None, Depth::Sixteen, Depth::Indexed, Depth::True] {
                Theme::built_in(name, depth, false).unwrap();
            }
        }
        assert!(Theme::built_in("plaid", Depth::True, false).unwrap_err().contains("dark"));
        let (_, dark) = BUILT_IN[0];
        let error = |text: &str| Theme::parse("mine", "F", text, Depth::True, false).unwrap_err();
        let last = dark.lines().count() + 1;
        assert!(
            error(&format!("{dark}\nglow = \"red\"")).starts_with(&format!("F:{}: there is no style `glow`", last + 1))
        );
        assert!(error(&dark.replace("faint =", "# faint =")).contains("F: the style `faint` is missing"));
        assert!(error(&dark.replace("accent = \"", "accent = \"reddish ")).contains("accent: `reddish`"));
        assert!(error("\nx = [").starts_with("F:2: this is not TOML"));
        assert!(error("base = \"drak\"").starts_with("F:1: base: there is no theme drak"));
        assert!(error("base = 3\ntext = 4").contains("F:2: text: it must be a text, as"));
    }

    #[test]
    fn probabilities_are_told_apart_at_every_depth() {
        for (name, _) in BUILT_IN {
            for depth in [Depth::None, Depth::Sixteen, Depth::Indexed, Depth::True] {
                let theme = Theme::built_in(name, depth, false).unwrap();
                let styles = [0.95, 0.6, 0.3, 0.1].map(|p| theme.probability(p));
                for (i, style) in styles.iter().enumerate() {
                    assert!(!styles[..i].contains(style), "{name} at {depth:?}: {styles:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_read_can_be_read() {
        for (name, _) in BUILT_IN {
            let theme = Theme::built_in(name, Depth::True, false).unwrap();
            let Some(back) = theme.background.bg.and_then(color::rgb) else { continue };
            let least = |wanted: f64, what: &str, style: Style| {
                let on = style.bg.and_then(color::rgb).unwrap_or(back);
                let Some(fg) = style.fg.and_then(color::rgb) else { return };
                let found = contrast(fg, on);
                assert!(found >= wanted, "{name}: {what} has a contrast of {found:.1}, wanted {wanted}");
            };
            let (full, half) = if name == "high-contrast" { (7.0, 7.0) } else { (4.5, 3.0) };
            for (what, style) in [
                ("text", theme.text),
                ("user", theme.user),
                ("answer", theme.answer),
                ("code", theme.code),
                ("heading", theme.heading),
                ("strong", theme.strong),
                ("selection", theme.selection),
                ("banner", theme.banner),
                ("found", theme.found),
                ("status", theme.status),
                ("key", theme.key),
                ("bad", theme.bad),
                ("warn", theme.warn),
                ("good", theme.good),
                ("quote", theme.quote),
                ("code_keyword", theme.code_keyword),
                ("code_string", theme.code_string),
                ("code_number", theme.code_number),
                ("code_name", theme.code_name),
                ("sure", theme.sure),
                ("likely", theme.likely),
                ("unlikely", theme.unlikely),
                ("rare", theme.rare),
            ] {
                least(full, what, style);
            }
            for (what, style) in [
                ("dim", theme.dim),
                ("title", theme.title),
                ("focus", theme.focus),
                ("accent", theme.accent),
                ("code_comment", theme.code_comment),
                ("heat_mid", theme.heat_mid),
                ("heat_high", theme.heat_high),
                ("cool", theme.cool),
                ("warm", theme.warm),
                ("hot", theme.hot),
                ("critical", theme.critical),
            ] {
                least(half, what, style);
            }
        }
    }
}
