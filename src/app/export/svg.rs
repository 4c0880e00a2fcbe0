//! Routing as a picture: the heatmap with its numbers.
//!
//! Every colour is written twice: as an attribute on a painted ground, for viewers that know nothing
//! else, and in a style that follows readers who prefer dark. No cell is told by its colour alone.

use std::fmt::Write;

use super::Sheet;
use crate::app::routing::{LayerLoad, Load};
use crate::app::state::Measure;

/// Height of a row.
const ROW: usize = 20;
/// Room for the number of a layer.
const LABEL: usize = 52;
/// Each of the three figures of a layer.
const FIGURE: usize = 62;
/// Around everything, and between tables.
const MARGIN: usize = 16;
/// A cell with its number in it, and one without.
const CELLS: (usize, usize) = (44, 12);
/// With more experts than this, cells have no room for numbers.
const MOST_NUMBERED: usize = 32;
/// The deepest colour leaves the number in front of it readable, on light and on dark ground.
const DEEPEST: f64 = 0.45;

const STYLE: &str = "\
text{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px}\
@media (prefers-color-scheme:dark){\
.ground{fill:#12161d}.text{fill:#cdd6e4}.dim{fill:#9aa7ba}.cell{fill:#1d2430}.heat{fill:#6cb6ff}\
.bad{fill:#f47067}.good{fill:#8ddb8c}}";

const GROUND: &str = "class=\"ground\" fill=\"#ffffff\"";
const TEXT: &str = "class=\"text\" fill=\"#1f2430\"";
const DIM: &str = "class=\"dim\" fill=\"#566072\"";
const CELL: &str = "class=\"cell\" fill=\"#eef1f5\"";
const HEAT: &str = "class=\"heat\" fill=\"#0b62b8\"";
const BAD: &str = "class=\"bad\" fill=\"#b3261e\"";
const GOOD: &str = "class=\"good\" fill=\"#1a7f37\"";

struct Drawing {
    out: String,
}

impl Drawing {
    fn text(&mut self, x: usize, y: usize, paint: &str, text: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.out, "<text x=\"{x}\" y=\"{y}\" {paint}>{}</text>", escaped(text));
    }
}

/// The whole picture.
pub(super) fn svg(sheet: &Sheet) -> String {
    let experts = sheet.parts.iter().map(|(_, load)| load.experts()).max().unwrap_or(0);
    let numbered = experts <= MOST_NUMBERED;
    let cell = if numbered { CELLS.0 } else { CELLS.1 };
    let about = sheet.about.join(" · ");
    let figures = LABEL + experts * cell + 12;
    let width = (2 * MARGIN + figures + 3 * FIGURE).max(2 * MARGIN + 420);
    let tables: Vec<(Vec<Row>, &str)> = sheet.parts.iter().map(|(_, load)| rows(sheet, load)).collect();
    let height = 2 * MARGIN + (tables.iter().map(|(rows, _)| rows.len() + 4).sum::<usize>() + 3) * ROW;
    let layer = sheet.parts.first().and_then(|(_, load)| load.layers.get(sheet.layer)).map_or(0, |layer| layer.layer);
    let measure = match sheet.measure {
        Measure::Weights => "layers × experts, mean gate weights".to_owned(),
        Measure::Choices => "layers × experts, share of tokens that chose the expert".to_owned(),
        Measure::Together => format!("layer {layer}, experts × experts: chosen together, of either"),
    };
    let mut drawing = Drawing { out: String::new() };
    let _ = writeln!(
        drawing.out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<rect width=\"{width}\" \
         height=\"{height}\" {GROUND}/>",
        escaped(&format!("Routing, {measure}: {about}"))
    );
    let mut y = MARGIN + ROW - 6;
    drawing.text(MARGIN, y, TEXT, &short(&about, (width - 2 * MARGIN) / 8));
    y += ROW;
    drawing.text(MARGIN, y, DIM, &format!("bit-axon, {measure}"));
    for ((name, load), (rows, column)) in sheet.parts.iter().zip(&tables) {
        y += 2 * ROW;
        drawing.text(MARGIN, y, TEXT, &format!("{name}: {} tokens", load.tokens()));
        table(&mut drawing, rows, column, (cell, numbered), &mut y);
    }
    y += 2 * ROW;
    drawing.text(MARGIN, y, DIM, "○ never chosen   × muted   + forced   entropy, even: shares of the largest possible");
    drawing.out.push_str("</svg>\n");
    drawing.out
}

/// A row of a table: its name, a value, a mark and a hint for each column, and figures behind them.
struct Row {
    name: String,
    cells: Vec<Cell>,
    figures: Vec<String>,
}

struct Cell {
    value: f64,
    /// Muted, forced, dead, or nothing of it.
    mark: &'static str,
    hint: String,
}

/// Layers and experts.
fn layers(sheet: &Sheet, load: &Load) -> Vec<Row> {
    let row = |layer: &LayerLoad| {
        let altered = sheet.alterations.of(layer.layer);
        let dead: Vec<usize> = layer.dead().collect();
        let cell = |expert: usize| Cell {
            value: match sheet.measure {
                Measure::Choices => layer.share(expert),
                _ => layer.mean_weight(expert),
            },
            mark: match expert {
                e if altered.mute.contains(&e) => "×",
                e if altered.force.contains(&e) => "+",
                e if dead.contains(&e) => "○",
                _ => "",
            },
            hint: format!(
                "layer {}, expert {expert}: mean weight {:.3}, chosen by {} of {} tokens",
                layer.layer,
                layer.mean_weight(expert),
                layer.chosen[expert],
                layer.tokens
            ),
        };
        let gate = match layer.mean_shared() {
            _ if altered.no_shared => "off".to_owned(),
            Some(gate) => format!("{gate:.2}"),
            None => "–".to_owned(),
        };
        Row {
            name: layer.layer.to_string(),
            cells: (0..layer.chosen.len()).map(cell).collect(),
            figures: vec![format!("{:.2}", layer.mean_entropy()), format!("{:.2}", layer.balance()), gate],
        }
    };
    load.layers.iter().map(row).collect()
}

/// Experts and experts, of one layer.
fn pairs(layer: &LayerLoad) -> Vec<Row> {
    let experts = layer.chosen.len();
    let cell = |a: usize, b: usize| {
        let (both, either) = layer.both_and_either(a, b);
        let hint = format!("experts {a} and {b}: chosen together {both} times, either of them {either} times");
        if a == b {
            return Cell { value: 0.0, mark: "–", hint: format!("expert {a}: chosen {} times", layer.chosen[a]) };
        }
        Cell { value: layer.together(a, b), mark: "", hint }
    };
    let row =
        |a: usize| Row { name: a.to_string(), cells: (0..experts).map(|b| cell(a, b)).collect(), figures: vec![] };
    (0..experts).map(row).collect()
}

/// The rows of a part, and what they are called.
fn rows(sheet: &Sheet, load: &Load) -> (Vec<Row>, &'static str) {
    match (sheet.measure, load.layers.get(sheet.layer)) {
        (Measure::Together, Some(layer)) => (pairs(layer), "expert"),
        _ => (layers(sheet, load), "layer"),
    }
}

fn table(drawing: &mut Drawing, rows: &[Row], name: &str, (cell, numbered): (usize, bool), y: &mut usize) {
    let left = MARGIN + LABEL;
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let figures = left + columns * cell + 12;
    *y += ROW;
    drawing.text(MARGIN, *y, DIM, name);
    for column in (0..columns).step_by(if numbered { 1 } else { 8 }) {
        drawing.text(left + column * cell + 4, *y, DIM, &column.to_string());
    }
    let figured = rows.iter().any(|row| !row.figures.is_empty());
    for (at, name) in ["entropy", "even", "gate"].into_iter().enumerate().filter(|_| figured) {
        drawing.text(figures + at * FIGURE, *y, DIM, name);
    }
    let all = rows.iter().flat_map(|row| row.cells.iter().map(|cell| cell.value));
    let largest = all.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    for row in rows {
        *y += ROW;
        drawing.text(MARGIN, *y, DIM, &row.name);
        for (column, Cell { value, mark, hint }) in row.cells.iter().enumerate() {
            let (x, top) = (left + column * cell, *y - ROW + 6);
            let size = format!("x=\"{x}\" y=\"{top}\" width=\"{}\" height=\"{}\"", cell - 2, ROW - 2);
            let depth = DEEPEST * (value / largest).clamp(0.0, 1.0);
            let _ = writeln!(
                drawing.out,
                "<g><title>{}</title><rect {size} {CELL}/><rect {size} {HEAT} fill-opacity=\"{depth:.3}\"/></g>",
                escaped(hint)
            );
            let (words, paint) = match *mark {
                "" if !numbered => continue,
                "+" | "" if numbered => (format!("{value:.2}{mark}"), TEXT),
                "+" => ((*mark).to_owned(), GOOD),
                "–" => ((*mark).to_owned(), DIM),
                _ => ((*mark).to_owned(), BAD),
            };
            drawing.text(x + if numbered { 4 } else { 2 }, *y, paint, &words);
        }
        for (at, words) in row.figures.iter().enumerate() {
            drawing.text(figures + at * FIGURE, *y, TEXT, words);
        }
    }
}

fn short(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// Text as XML has it. What XML cannot hold at all, as escape characters, becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::{Document, Node};

    use super::super::tests::sheet;
    use super::*;

    fn texts(document: &Document<'_>) -> Vec<String> {
        let is_text = |node: &Node<'_, '_>| node.has_tag_name(("http://www.w3.org/2000/svg", "text"));
        document.descendants().filter(is_text).map(|node| node.text().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn it_is_xml_with_every_number_in_words() {
        let picture = svg(&sheet(2));
        let document = Document::parse(&picture).unwrap();
        let texts = texts(&document);
        assert!(texts[0].starts_with("a & b <"), "{texts:?}");
        assert!(texts.contains(&"the one, \"before\" <it>: 12 tokens".to_owned()));
        for wanted in ["×", "○", "0.25+", "0.75", "–"] {
            assert!(texts.contains(&wanted.to_owned()), "{wanted}: {texts:?}");
        }
        let hints = document.descendants().filter(|node| node.tag_name().name() == "title").count();
        assert_eq!(hints, 1 + 2 * 6);
        // Everything lies on the ground that was painted.
        let size = |node: Node<'_, '_>, name: &str| node.attribute(name).map_or(0.0, |v| v.parse::<f64>().unwrap());
        let root = document.root_element();
        for node in document.descendants().filter(|node| node.is_element() && *node != root) {
            assert!(size(node, "x") + size(node, "width") <= size(root, "width"));
            assert!(size(node, "y") + size(node, "height") <= size(root, "height"));
            if ["rect", "text"].contains(&node.tag_name().name()) {
                assert!(node.attribute("fill").is_some() && node.attribute("class").is_some());
            }
        }
    }

    #[test]
    fn many_experts_have_small_cells() {
        let mut wide = sheet(1);
        wide.parts[0].1 = Load::new(&[64, 64]);
        let picture = svg(&wide);
        let document = Document::parse(&picture).unwrap();
        assert!(document.root_element().attribute("width").unwrap().parse::<usize>().unwrap() < 1200);
    }

    #[test]
    fn pairs_are_drawn_of_one_layer() {
        let picture = svg(&Sheet { measure: Measure::Together, ..sheet(2) });
        let document = Document::parse(&picture).unwrap();
        let texts = texts(&document);
        assert!(texts[1].contains("layer 1, experts × experts"), "{texts:?}");
        assert_eq!(texts.iter().filter(|text| *text == "0.33").count(), 12);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_names_say_it_is_xml(about in any::<String>(), name in any::<String>()) {
            let mut sheet = sheet(1);
            (sheet.about, sheet.parts[0].0) = (vec![about], name);
            let picture = svg(&sheet);
            prop_assert!(Document::parse(&picture).is_ok());
        }
    }
}
