//! `config`: the settings that hold, and where each comes from.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Map, Value, json};

use super::output::{self, Stream, Style};
use super::settings::{self, rules};
use crate::config::{Config, Origin, Rules, SETTINGS, template};

/// Show the settings that hold, and where each comes from
///
/// Options win over environment variables, those over the file, that over the defaults. What is
/// printed is a settings file itself. Mistakes in the file, in variables and in themes of your own are
/// told with their lines, and the exit code is 1 then. A setting `theme` of the section `[ui]` can also be set by the
/// variable BIT_AXON_UI_THEME, and so on. The file is $XDG_CONFIG_HOME/bit-axon/config.toml
/// (~/.config/bit-axon/config.toml), config.toml in $BIT_AXON_HOME, or what BIT_AXON_CONFIG names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConfigArgs {
    /// Print one JSON object
    #[arg(long, conflicts_with_all = ["path", "init"])]
    json: bool,
    /// Print only where the file is, whether it is there or not
    #[arg(long, conflicts_with = "init")]
    path: bool,
    /// Write a file with every setting, explained and commented out; an existing file is left alone
    #[arg(long)]
    init: bool,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon config
  bit-axon config --init && $EDITOR \"$(bit-axon config --path)\"
  BIT_AXON_UI_THEME=light bit-axon config | grep theme
  bit-axon config --json | jq '.settings[\"heat.sensor\"]'";

/// Runs the command.
pub fn run(args: ConfigArgs) -> Result<()> {
    if args.path || args.init {
        // The place is known even if what is there is wrong.
        let env = |name: &str| std::env::var_os(name);
        let path = crate::config::Places::new(&env).config;
        let path = path.context("there is no place for settings: set HOME, XDG_CONFIG_HOME or BIT_AXON_CONFIG")?;
        if args.path {
            // For programs: the path as it is.
            let mut out = output::stdout();
            out.write_all(path.as_os_str().as_encoded_bytes())?;
            out.write_all(b"\n")?;
            return Ok(out.flush()?);
        }
        init(&path, &rules(Vec::new()))?;
        output::note(format!("wrote {}", path.display()));
        return Ok(());
    }
    let own = settings::load()?;
    for (name, why) in own.broken_themes() {
        ensure!(name != own.settings.ui.theme, "{why}");
        output::note(format!("the theme {name} cannot be used: {why}"));
    }
    let rules = rules(Vec::new());
    if args.json { output::json_line(&as_json(&own.config, &rules)) } else { show(&own.config, &rules) }
}

/// Writes a file to begin with, unless there is one.
fn init(path: &Path, rules: &Rules<'_>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut file = match fs::File::create_new(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already, and is left alone: move it away to begin anew", path.display())
        }
        file => file.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(template(rules).as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn show(config: &Config, rules: &Rules<'_>) -> Result<()> {
    let lines = config.shown(rules);
    // One column for origins; long values push theirs to the right.
    let width = lines.iter().map(|line| line.text.chars().count()).filter(|width| *width <= 48).max().unwrap_or(0);
    let mut out = io::BufWriter::new(output::stdout());
    let file = match config.file() {
        None => "there is no place for a file".into(),
        Some(path) if config.file_was_read() => format!("{} was read", path.display()),
        Some(path) => format!("{} is not there", path.display()),
    };
    writeln!(out, "{}", output::paint(Stream::Out, Style::Dim, &output::safe(&format!("# {file}"))))?;
    for line in lines {
        let text = output::safe(&line.text);
        match line.origin {
            Some(whose) => {
                let gap = " ".repeat(width.saturating_sub(text.chars().count()));
                let origin = format!("# {whose}");
                let style = if whose == Origin::Default { Style::Dim } else { Style::Accent };
                let origin = output::paint(Stream::Out, style, &output::safe(&origin));
                writeln!(out, "{text}{gap}  {origin}")?;
            }
            None => writeln!(out, "{text}")?,
        }
    }
    Ok(out.flush()?)
}

fn as_json(config: &Config, rules: &Rules<'_>) -> Value {
    let origin = |origin: &Origin| match origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::File { path, line } => json!({ "kind": "file", "file": path.display().to_string(), "line": line }),
        Origin::Env(name) => json!({ "kind": "env", "name": name }),
        Origin::Flag(name) => json!({ "kind": "flag", "name": name }),
    };
    let settings = SETTINGS.iter().map(|setting| {
        let of = json!({ "value": config.get(setting.key), "origin": origin(&config.origin(setting.key)) });
        (setting.key.to_owned(), of)
    });
    let keys = config.effective_keys(&rules.actions).into_iter();
    let keys = keys.map(|binding| (binding.action, json!({ "keys": binding.keys, "origin": origin(&binding.origin) })));
    json!({
        "file": config.file().map(|path| path.display().to_string()),
        "file_read": config.file_was_read(),
        "settings": settings.collect::<Map<_, _>>(),
        "keys": keys.collect::<Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Places;

    #[test]
    fn the_defaults_are_those_of_the_backend() {
        let settings = Config::defaults(&Places::default()).settings().unwrap();
        assert_eq!(settings.memory.rewind, crate::backend::cpu::REWIND_BUDGET);
    }

    #[test]
    fn a_file_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/config.toml");
        init(&path, &rules(Vec::new())).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("#theme = \"dark\""));
        fs::write(&path, "mine").unwrap();
        assert!(init(&path, &rules(Vec::new())).unwrap_err().to_string().contains("left alone"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert!(init(&path.join("below"), &rules(Vec::new())).is_err());
    }
}
