//! Charts as a picture: one for each metric, with all runs in it.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Choice;
use crate::metrics::{Dot, View, names, reduce, show};
use crate::monitor::Shared;
use crate::monitor::follow::lock;

const CHART: (f64, f64) = (480.0, 260.0);
/// Room around the lines of a chart: left, top, right, bottom.
const ROOM: (f64, f64, f64, f64) = (64.0, 30.0, 14.0, 30.0);
const ACROSS: usize = 2;
/// Charts of a picture.
const MOST: usize = 60;
/// Colours that those who confuse red and green can tell apart.
const COLOURS: [&str; 8] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#555555"];

/// One run in a chart.
struct Line {
    run: usize,
    dots: Vec<Dot>,
}

struct Chart {
    name: String,
    from: f64,
    to: f64,
    lines: Vec<Line>,
}

/// Writes the picture.
pub fn svg(runs: &[Shared], choice: &Choice, out: &mut dyn Write) -> io::Result<()> {
    let (names, charts) = collect(runs, choice);
    let rows = charts.len().div_ceil(ACROSS).max(1);
    let legend = 26.0 + 18.0 * names.len().div_ceil(ACROSS) as f64;
    let (width, height) = (CHART.0 * ACROSS as f64, CHART.1 * rows as f64 + legend);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, name) in names.iter().enumerate() {
        let (x, y) = (12.0 + CHART.0 * (i % ACROSS) as f64, 20.0 + 18.0 * (i / ACROSS) as f64);
        let colour = COLOURS[i % COLOURS.len()];
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            y - 6.0,
            x + 20.0,
            escaped(name)
        );
    }
    for (i, chart) in charts.iter().enumerate() {
        let at = (CHART.0 * (i % ACROSS) as f64, legend + CHART.1 * (i / ACROSS) as f64);
        draw(chart, at, choice.axis.name(), &mut text);
    }
    text.push_str("</svg>\n");
    out.write_all(text.as_bytes())
}

fn collect(runs: &[Shared], choice: &Choice) -> (Vec<String>, Vec<Chart>) {
    let mut run_names = Vec::new();
    let mut charts: Vec<Chart> = Vec::new();
    let chosen: Vec<&Shared> = runs.iter().filter(|run| choice.takes(&lock(run))).collect();
    // First what is there, so that all runs of a chart share its axis.
    for (i, run) in chosen.iter().enumerate() {
        let run = lock(run);
        run_names.push(run.name.clone());
        let Some((from, to)) = run.extent(choice.axis) else { continue };
        for series in choice.series(&run) {
            let name = names::common(series.name());
            let chart = match charts.iter().position(|chart| chart.name == name) {
                Some(at) => &mut charts[at],
                None if charts.len() < MOST => {
                    charts.push(Chart { name, from, to, lines: Vec::new() });
                    charts.last_mut().unwrap_or_else(|| unreachable!("it was pushed"))
                }
                None => continue,
            };
            (chart.from, chart.to) = (chart.from.min(from), chart.to.max(to));
            if chart.lines.iter().all(|line| line.run != i) {
                chart.lines.push(Line { run: i, dots: Vec::new() });
            }
        }
    }
    let columns = (CHART.0 - ROOM.0 - ROOM.2) as usize;
    for chart in &mut charts {
        let view = View { axis: choice.axis, from: chart.from, to: chart.to, columns };
        for line in &mut chart.lines {
            let run = lock(chosen[line.run]);
            let found = choice.series(&run).into_iter().find(|series| names::common(series.name()) == chart.name);
            if let Some(series) = found {
                reduce(&run, series, view, &mut line.dots);
            }
        }
    }
    charts.sort_by_key(|chart| names::rank(&chart.name));
    (run_names, charts)
}

fn draw(chart: &Chart, (left, top): (f64, f64), axis: &str, text: &mut String) {
    let dots = || chart.lines.iter().flat_map(|line| &line.dots).filter(|dot| !dot.is_empty());
    let (mut low, mut high) = dots().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), d| (l.min(d.min), h.max(d.max)));
    if low > high {
        (low, high) = (0.0, 1.0);
    } else if low == high {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        (low, high) = (low - room, high + room);
    }
    let (x0, y0) = (left + ROOM.0, top + ROOM.1);
    let (x1, y1) = (left + CHART.0 - ROOM.2, top + CHART.1 - ROOM.3);
    let y = |value: f64| y1 - (value - low) / (high - low) * (y1 - y0);
    let _ = writeln!(text, "<text x=\"{x0}\" y=\"{}\" font-weight=\"bold\">{}</text>", y0 - 8.0, escaped(&chart.name));
    for i in 0..=4 {
        let value = low + (high - low) * f64::from(i) / 4.0;
        let line = y(value);
        let _ = writeln!(
            text,
            "<path d=\"M{x0} {line:.1}H{x1}\" stroke=\"#e4e4e4\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x0 - 6.0,
            line + 4.0,
            show::number(value)
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{x0}\" y=\"{2}\">{0}</text><text x=\"{x1}\" y=\"{2}\" text-anchor=\"end\">{1}</text>\
         <text x=\"{3}\" y=\"{2}\" text-anchor=\"middle\" fill=\"#777777\">{axis}</text>",
        show::number(chart.from),
        show::number(chart.to),
        y1 + 16.0,
        f64::midpoint(x0, x1)
    );
    for line in &chart.lines {
        let colour = COLOURS[line.run % COLOURS.len()];
        let (mut band, mut path) = (String::new(), String::new());
        for (column, dot) in line.dots.iter().enumerate().filter(|(_, dot)| !dot.is_empty()) {
            let x = x0 + column as f64 + 0.5;
            let _ = write!(path, "{}{x:.1} {:.1}", if path.is_empty() { "M" } else { "L" }, y(dot.mean));
            if dot.max > dot.min {
                let _ = write!(band, "M{x:.1} {:.1}V{:.1}", y(dot.min), y(dot.max));
            }
        }
        if !band.is_empty() {
            let _ = writeln!(text, "<path d=\"{band}\" stroke=\"{colour}\" stroke-opacity=\"0.3\" fill=\"none\"/>");
        }
        if !path.is_empty() {
            let _ = writeln!(text, "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"1.3\" fill=\"none\"/>");
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::{choice, runs};
    use super::*;

    #[test]
    fn a_picture_has_a_chart_a_metric_and_a_line_a_run() {
        let mut out = Vec::new();
        svg(&runs(), &choice("", &[]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"), "{text}");
        assert_eq!(text.matches("stroke-width=\"1.3\"").count(), 4, "{text}");
        assert!(text.contains(">loss</text>") && text.contains(">lr</text>") && text.contains("a, &quot;b&quot;"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let mut nothing = Vec::new();
        svg(&[], &choice("", &[]), &mut nothing).unwrap();
        assert!(nothing.ends_with(b"</svg>\n"));
    }
}
