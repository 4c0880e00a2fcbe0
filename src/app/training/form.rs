//! The form with which a run is started: fields with their usual values, mistakes beside them.

use crossterm::event::KeyCode;

use super::super::action::Action;
use super::super::key::Key;
use super::super::msg::{Effect, TrainOp};
use super::super::overlay::Overlay;
use super::super::state::App;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// Text that must be there.
    Needed,
    /// Text that may be left out.
    Text,
    /// One of these; the first leaves it open.
    Choice(Vec<String>),
    /// A whole number from 1 on.
    Count,
    /// A number.
    Number,
}

/// A line of the form.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The option of `train` that it is.
    pub name: &'static str,
    /// What it is, for people.
    pub about: String,
    /// What it holds.
    pub kind: FieldKind,
    /// What is filled in.
    pub value: String,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// How far starting is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FormState {
    /// It is being filled in.
    #[default]
    Filling,
    /// What was filled in is being checked.
    Checking,
    /// It can be done: what would be. Once more, and it begins.
    Planned(String),
    /// It begins.
    Starting,
}

/// The form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Form {
    /// Its lines; behind them comes the one that starts.
    pub fields: Vec<Field>,
    /// The chosen line.
    pub at: usize,
    /// How far it is.
    pub state: FormState,
    /// What is wrong, and belongs to no field.
    pub error: Option<String>,
    /// Nothing was changed in the chosen line yet: what is typed takes the place of a number.
    fresh: bool,
}

impl Form {
    /// With these lines.
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields, ..Self::default() }
    }

    /// What was filled in: names of options, and their values; what is left open is left out.
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let chosen = |field: &&Field| match &field.kind {
            FieldKind::Choice(all) => all.first() != Some(&field.value),
            _ => !field.value.trim().is_empty(),
        };
        self.fields.iter().filter(chosen).map(|field| (field.name, field.value.trim().to_owned())).collect()
    }

    /// Finds what can be found here; true if nothing is wrong.
    fn check(&mut self) -> bool {
        self.error = None;
        for field in &mut self.fields {
            let value = field.value.trim();
            let wrong = match &field.kind {
                FieldKind::Needed if value.is_empty() => Some("this must be filled in"),
                FieldKind::Count if !value.is_empty() && value.parse::<u64>().is_ok_and(|n| n > 0) => None,
                FieldKind::Count => Some("this must be a whole number from 1 on"),
                FieldKind::Number if value.parse::<f64>().is_ok_and(|x| x.is_finite() && x >= 0.0) => None,
                FieldKind::Number => Some("this must be a number, as 1e-4 or 0.05"),
                _ => None,
            };
            field.error = wrong.map(str::to_owned);
        }
        let first = self.fields.iter().position(|field| field.error.is_some());
        (self.at, self.fresh) = (first.unwrap_or(self.at), true);
        first.is_none()
    }

    /// Puts what the trainer said is wrong beside the field that it is about.
    fn refused(&mut self, why: &str) {
        (self.state, self.fresh) = (FormState::Filling, true);
        // The first word of a refusal is the option, or the path that could not be read.
        let names = |field: &Field| {
            let option = format!("--{}", field.name);
            let at = why.find(&option)?;
            let next = why[at + option.len()..].chars().next();
            (!next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')).then_some(at)
        };
        let option = self.fields.iter().enumerate().filter_map(|(at, field)| Some((names(field)?, at))).min();
        let holds = |field: &Field| matches!(field.kind, FieldKind::Needed) && why.contains(field.value.trim());
        let place = option.map(|(_, at)| at).or_else(|| self.fields.iter().position(holds));
        match place {
            Some(at) => {
                self.at = at;
                self.fields[at].error = Some(why.to_owned());
            }
            None => self.error = Some(why.to_owned()),
        }
    }

    fn step(&mut self, by: isize) {
        let count = self.fields.len() as isize + 1;
        (self.at, self.fresh) = ((self.at as isize + by).rem_euclid(count) as usize, true);
    }

    /// A letter.
    fn type_in(&mut self, c: char) {
        let fresh = self.fresh;
        self.edit(|field| match &field.kind {
            FieldKind::Choice(all) => {
                if let Some(choice) = all.iter().find(|choice| choice.starts_with(c)) {
                    field.value.clone_from(choice);
                }
            }
            FieldKind::Count | FieldKind::Number if fresh => field.value = c.into(),
            _ => field.value.push(c),
        });
    }

    /// Changes the chosen field; what was wrong with it may be right now.
    fn edit(&mut self, change: impl FnOnce(&mut Field)) {
        if let Some(field) = self.fields.get_mut(self.at) {
            change(field);
            field.error = None;
            self.error = None;
        }
        (self.state, self.fresh) = (FormState::Filling, false);
    }
}

/// Opens the form, as it was left.
pub(in super::super) fn open(app: &mut App) -> Vec<Effect> {
    if app.training.form.fields.is_empty() {
        app.say("Runs are started from the workbench: `bit-axon`, then F5 and R, or `bit-axon train`");
        return Vec::new();
    }
    let form = &mut app.training.form;
    (form.at, form.state, form.fresh) = (0, FormState::Filling, true);
    app.overlay = Some(Overlay::Form);
    app.dirty = true;
    Vec::new()
}

/// Takes a key while the form is open; none if it is not the form's.
pub(in super::super) fn press(app: &mut App, key: Key) -> Option<Vec<Effect>> {
    if app.overlay != Some(Overlay::Form) {
        return None;
    }
    let action = app.keymap.action(&[super::super::action::Context::List], key);
    let form = &mut app.training.form;
    match (key.code, action, key.typed()) {
        (KeyCode::Tab, ..) => form.step(1),
        (KeyCode::BackTab, ..) => form.step(-1),
        (KeyCode::Backspace, ..) => form.edit(|field| match &field.kind {
            FieldKind::Choice(_) => {}
            _ => drop(field.value.pop()),
        }),
        (KeyCode::Char('u'), ..) if key.ctrl => form.edit(|field| match &field.kind {
            FieldKind::Choice(all) => field.value = all.first().cloned().unwrap_or_default(),
            _ => field.value.clear(),
        }),
        (_, Some(Action::ListUp), _) => form.step(-1),
        (_, Some(Action::ListDown), _) => form.step(1),
        (_, Some(Action::ListLess), _) => form.edit(|field| turn(field, -1)),
        (_, Some(Action::ListMore), _) => form.edit(|field| turn(field, 1)),
        (_, Some(Action::ListTake), _) if form.at < form.fields.len() => form.step(1),
        (_, Some(Action::ListTake), _) => return Some(go(app)),
        (_, _, Some(' ')) if matches!(form.fields.get(form.at), Some(Field { kind: FieldKind::Choice(_), .. })) => {
            form.edit(|field| turn(field, 1));
        }
        (_, _, Some(c)) => form.type_in(c),
        _ => return None,
    }
    app.dirty = true;
    Some(Vec::new())
}

/// Text that was pasted.
pub(in super::super) fn paste(app: &mut App, text: &str) {
    app.training.form.edit(|field| match &field.kind {
        FieldKind::Choice(_) => {}
        _ => field.value.push_str(text),
    });
}

/// The choice after, or before.
fn turn(field: &mut Field, by: isize) {
    if let FieldKind::Choice(all) = &field.kind {
        let at = all.iter().position(|choice| *choice == field.value).unwrap_or(0) as isize;
        field.value.clone_from(&all[(at + by).rem_euclid(all.len().max(1) as isize) as usize]);
    }
}

/// The option that names the run folder.
const OUTPUT: &str = "output-dir";

/// The run folder, from its line in a plan.
fn planned_folder(line: &str) -> Option<String> {
    let rest = line.strip_prefix("folder ")?.trim();
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// Checks what was filled in, or starts what was checked.
fn go(app: &mut App) -> Vec<Effect> {
    let form = &mut app.training.form;
    let op = match &form.state {
        FormState::Checking | FormState::Starting => return Vec::new(),
        FormState::Planned(plan) => {
            // In the folder that was shown.
            let mut values = form.values();
            values.retain(|(name, _)| *name != OUTPUT);
            values.extend(plan.lines().find_map(planned_folder).map(|folder| (OUTPUT, folder)));
            form.state = FormState::Starting;
            TrainOp::Start(values)
        }
        FormState::Filling => {
            if !form.check() {
                return Vec::new();
            }
            form.state = FormState::Checking;
            TrainOp::Check(form.values())
        }
    };
    vec![Effect::Train(op)]
}

/// What the trainer says of the form: what it would do, or why not.
pub(in super::super) fn checked(app: &mut App, plan: Result<String, String>) {
    let form = &mut app.training.form;
    if form.state != FormState::Checking {
        return;
    }
    match plan {
        Ok(plan) => (form.state, form.at) = (FormState::Planned(plan), form.fields.len()),
        Err(why) => form.refused(&why),
    }
    app.dirty = true;
}

/// The run began in this folder, or could not: why.
pub(in super::super) fn started(app: &mut App, begun: Result<String, String>) -> Vec<Effect> {
    let form = &mut app.training.form;
    form.state = FormState::Filling;
    match begun {
        Err(why) => {
            form.refused(&why);
            Vec::new()
        }
        Ok(folder) => {
            if app.overlay == Some(Overlay::Form) {
                app.overlay = None;
            }
            app.say(format!("Training begins in {folder}; it goes on when this window is closed"));
            app.view = super::super::state::View::Training;
            app.training.side = super::Side::Run;
            app.training.wanted = Some(folder);
            vec![Effect::Train(TrainOp::Look)]
        }
    }
}
