//! The routing that is seen, for other programs and for pictures: CSV, JSON lines, SVG.

mod svg;
mod text;

use super::alter::describe;
use super::figures;
use super::msg::Effect;
use super::routing::Load;
use super::state::{App, Measure, Scope};
use crate::protocol::Alterations;

/// How routing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A row for each layer and expert.
    Csv,
    /// A JSON object for each layer.
    Jsonl,
    /// A picture of the heatmap.
    Svg,
}

impl Format {
    /// All, with the endings of their files.
    pub const ALL: [(Format, &str); 3] = [(Format::Csv, "csv"), (Format::Jsonl, "jsonl"), (Format::Svg, "svg")];

    /// The one that a file's name asks for.
    pub fn of(file: &str) -> Result<Self, String> {
        let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        let found = Self::ALL.into_iter().find(|(_, name)| ending.as_deref() == Some(name));
        found
            .map(|(format, _)| format)
            .ok_or_else(|| format!("`{file}` does not say how to write: end its name with .csv, .jsonl or .svg"))
    }
}

/// Routing on its way out: one table, or two that are compared.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// Which model, which conversation, what is altered.
    pub about: Vec<String>,
    /// What is shown of it.
    pub measure: Measure,
    /// Index of the layer whose pairs of experts are shown, among those with experts.
    pub layer: usize,
    /// The tables with their names.
    pub parts: Vec<(String, Load)>,
    /// What is altered in the routing now.
    pub alterations: Alterations,
}

impl Sheet {
    /// What the routing pane or view shows.
    pub fn seen(app: &App) -> Self {
        let mut parts = vec![(scope_name(app.look.scope).to_owned(), figures::load(app))];
        if let (true, Some(answer), Some(other)) = (app.look.compare, app.answer(), figures::other(app)) {
            parts[0].0 = figures::name_of(app, answer);
            parts.push(other);
        }
        Self { parts, ..Self::about(app) }
    }

    /// All tokens of the session.
    pub fn of_session(app: &App) -> Self {
        let name = scope_name(Scope::Session).to_owned();
        Self { parts: vec![(name, app.live.session.load.clone())], ..Self::about(app) }
    }

    /// One answer; none if that message is none that was generated.
    pub fn of_answer(app: &App, id: usize) -> Option<Self> {
        let node = app.chat.node(id).filter(|node| !node.tokens.is_empty())?;
        let alterations = node.alterations.clone().unwrap_or_default();
        let parts = vec![(format!("message {id}"), figures::of_answer(app, Some(id)))];
        Some(Self { parts, alterations, ..Self::about(app) })
    }

    fn about(app: &App) -> Self {
        let mut about: Vec<String> = app.opened().map(|opened| opened.info.name.clone()).into_iter().collect();
        about.extend(Some(app.chat.name()).filter(|name| !name.is_empty()));
        if !app.alterations.is_none() {
            about.push(format!("routing altered: {}", describe(&app.alterations)));
        }
        Self {
            about,
            measure: app.look.measure,
            layer: app.look.cursor.0,
            parts: Vec::new(),
            alterations: app.alterations.clone(),
        }
    }

    /// True if no token is counted in it.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|(_, load)| load.tokens() == 0)
    }

    /// The whole file.
    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Csv if self.measure == Measure::Together => text::pairs_csv(self),
            Format::Csv => text::csv(self),
            Format::Jsonl => text::jsonl(self),
            Format::Svg => svg::svg(self),
        }
    }
}

/// What is counted, for people.
pub fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Token => "this token",
        Scope::Answer => "this answer",
        Scope::Session => "this session",
    }
}

/// Asks for the routing that is seen to be written. Without a name it is a picture in the working folder.
pub(super) fn export(app: &mut App, file: &str) -> Vec<Effect> {
    let (name, numbered) = if file.is_empty() { ("routing.svg", true) } else { (file, false) };
    let format = match Format::of(name) {
        Ok(format) => format,
        Err(why) => {
            app.say(why);
            return Vec::new();
        }
    };
    let sheet = Sheet::seen(app);
    if sheet.is_empty() {
        app.say("No token was routed yet: there is nothing to write");
        return Vec::new();
    }
    vec![Effect::Save { name: name.to_owned(), numbered, text: sheet.write(format) }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{LayerRouting, ModelInfo};

    /// Two layers of three experts; in the second one, expert 2 is dead.
    pub(super) fn sheet(parts: usize) -> Sheet {
        let mut load = Load::new(&[0, 3, 3]);
        for n in 0..12 {
            let layer = |layer: usize, experts: Vec<usize>| LayerRouting {
                layer,
                weights: vec![0.5, 0.25][..experts.len()].to_vec(),
                experts,
                entropy: 0.5,
                shared_gate: (layer == 1).then_some(0.75),
            };
            load.add(&vec![layer(1, vec![n % 3, (n + 1) % 3]), layer(2, vec![n % 2])]);
        }
        let mut alterations = Alterations::default();
        crate::app::alter::toggle_mute(&mut alterations, Some(1), 0);
        crate::app::alter::toggle_force(&mut alterations, Some(2), 1);
        let names = ["this answer", "the one, \"before\" <it>"];
        Sheet {
            about: vec!["a & b <\u{1b}[31m>".into()],
            measure: Measure::Weights,
            layer: 0,
            parts: names[..parts].iter().map(|name| ((*name).to_owned(), load.clone())).collect(),
            alterations,
        }
    }

    #[test]
    fn endings_say_how() {
        assert_eq!(Format::of("a.b.CSV"), Ok(Format::Csv));
        assert_eq!(Format::of("~/x/y.jsonl"), Ok(Format::Jsonl));
        for bad in ["", "svg", "x.png", "x.svg.gz"] {
            assert!(Format::of(bad).unwrap_err().contains(".svg"), "{bad}");
        }
    }

    #[test]
    fn what_is_seen_is_saved_and_nothing_is_not() {
        let mut app = App::new("");
        assert!(export(&mut app, "x.csv").is_empty());
        assert!(app.notice.as_ref().unwrap().text.contains("nothing"));
        let info = ModelInfo {
            name: "m".into(),
            backend: "cpu".into(),
            arithmetic: "fast".into(),
            layers: vec!["moe".into(); 2],
            experts: vec![0, 3],
            top_k: vec![0, 1],
            total_parameters: 0,
            active_parameters: 0,
            vocabulary: 9,
            max_seq_len: 9,
        };
        let opened = crate::app::msg::Opened { info, label: String::new(), needs: vec![], budget: 0 };
        crate::app::update(&mut app, crate::app::msg::Msg::Opened(Box::new(opened)));
        app.look.scope = Scope::Session;
        let routing = LayerRouting { layer: 1, experts: vec![2], weights: vec![0.5], ..LayerRouting::default() };
        app.live.session.load.add(&vec![routing]);
        assert!(export(&mut app, "x.png").is_empty());
        let [Effect::Save { name, numbered, text }] = &export(&mut app, "x.csv")[..] else { panic!() };
        assert_eq!((name.as_str(), *numbered), ("x.csv", false));
        assert!(text.lines().nth(3).unwrap().starts_with("this session,1,2,1,1,1,0.5"), "{text}");
        let [Effect::Save { name, numbered: true, text }] = &export(&mut app, "")[..] else { panic!() };
        assert!(name == "routing.svg" && text.starts_with("<svg"));
    }
}
