//! Slash lines: `/temperature 0.2`.

use super::action::{Action, ActionInfo, Context};
use super::overlay::matching;
use super::state::App;

/// The line after the slash, if the prompt is a command: one slash, one line.
pub fn command_line(prompt: &str) -> Option<&str> {
    prompt.strip_prefix('/').filter(|rest| !rest.starts_with('/') && !rest.contains('\n'))
}

/// Reads `name argument`.
pub fn parse(line: &str) -> Result<(Action, &str), String> {
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let known = Action::named(name).filter(|action| action.info().context == Context::Everywhere);
    let action = known.ok_or_else(|| match matching(name).first() {
        Some(near) => format!("There is no /{name}. Do you mean /{}?", near.name),
        None => format!("There is no /{name}. Type / to see what there is, // for a prompt that begins with a slash"),
    })?;
    let wanted = action.info().argument;
    if argument.is_empty() && !wanted.is_empty() && !optional(wanted) {
        return Err(format!("Write /{name} {wanted}: {}", action.info().about));
    }
    if !argument.is_empty() && wanted.is_empty() {
        return Err(format!("/{name} takes nothing behind it"));
    }
    Ok((action, argument))
}

/// `[N]` may be left out, `[LAYER.]EXPERT` may not.
fn optional(argument: &str) -> bool {
    argument.starts_with('[') && argument.ends_with(']')
}

/// One way to go on with a slash line.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The whole line with it.
    pub line: String,
    /// What it does.
    pub about: String,
}

/// What the command that is being typed takes, once its name is whole: `/temperature X   Set ...`.
pub fn usage(app: &App) -> Option<String> {
    let text = app.prompt.text();
    let (name, _) = command_line(&text)?.split_once(' ')?;
    let info = Action::named(name).filter(|action| action.info().context == Context::Everywhere)?.info();
    let takes = if info.argument.is_empty() { "takes nothing behind it" } else { info.argument };
    Some(format!("/{name} {takes}   {}", info.about))
}

/// How the prompt can go on, if it is a slash line.
pub fn completions(app: &App) -> Vec<Completion> {
    let text = app.prompt.text();
    let Some(line) = command_line(&text) else { return Vec::new() };
    if let Some((name, begun)) = line.split_once(' ') {
        let names: Vec<String> = match Action::named(name) {
            Some(Action::Theme) => app.themes.clone(),
            Some(Action::Export) => ["md", "json"].map(str::to_owned).to_vec(),
            Some(Action::HidePane | Action::ShowPanes) => {
                super::state::Pane::ALL.iter().skip(1).map(|p| p.name().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let begun = begun.trim_start();
        let fits = names.into_iter().filter(|n| n.starts_with(begun) && n != begun);
        return fits.map(|n| Completion { line: format!("/{name} {n}"), about: String::new() }).collect();
    }
    // The name first, then what has it inside; what only speaks of it is for the palette.
    let named = |info: &&ActionInfo| info.name.contains(line);
    let completion = |info: &ActionInfo| {
        let gap = if info.argument.is_empty() { "" } else { " " };
        let about = format!("{}{gap}{}", info.argument, if info.argument.is_empty() { "" } else { "  " });
        Completion { line: format!("/{}{gap}", info.name), about: about + info.about }
    };
    matching(line).into_iter().filter(named).map(completion).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_mistakes_named() {
        assert_eq!(parse("temperature 0.2"), Ok((Action::Temperature, "0.2")));
        assert_eq!(parse("system  be brief "), Ok((Action::System, "be brief")));
        assert_eq!(parse("system"), Ok((Action::System, "")));
        assert!(parse("temperature").unwrap_err().contains("/temperature X"));
        assert!(parse("mute").unwrap_err().contains("EXPERT"));
        assert!(parse("quit now").unwrap_err().contains("nothing"));
        assert!(parse("temp").unwrap_err().contains("/temperature"));
        assert!(parse("xyzzy").unwrap_err().contains("//"));
        assert!(parse("token-left").is_err());
        assert_eq!(command_line("/a\nb"), None);
        assert_eq!(command_line("//etc"), None);
    }

    #[test]
    fn what_is_begun_is_completed() {
        let mut app = App::new("");
        app.themes = vec!["dark".into(), "light".into()];
        app.prompt.set("/the");
        assert_eq!(completions(&app)[0].line, "/theme ");
        app.prompt.set("/theme l");
        assert_eq!(completions(&app).iter().map(|c| c.line.as_str()).collect::<Vec<_>>(), ["/theme light"]);
        app.prompt.set("hello");
        assert!(completions(&app).is_empty());
    }
}
