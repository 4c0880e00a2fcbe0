//! `config` as a user or a script meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn config(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bit-axon"));
    // What this machine is set to must not matter.
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIT_AXON_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME").env("HOME", home);
    command.arg("config").args(args).envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn shows_what_holds_and_where_it_comes_from() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/bit-axon/config.toml");
    let output = config(home.path(), &["--path"], &[]);
    assert_eq!(text(&output.stdout).trim_end(), file.to_str().unwrap());

    let output = config(home.path(), &["--init"], &[]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let output = config(home.path(), &["--init"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is there already"), "{output:?}");

    fs::write(&file, "[ui]\nascii = true\n[keys]\nquit = 'f10'\n").unwrap();
    let env = [("BIT_AXON_HEAT_SENSOR", "none")];
    let output = config(home.path(), &[], &env);
    let shown = text(&output.stdout);
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{shown}"));
    assert!(line("ascii = true").ends_with(&format!("# {}:2", file.display())));
    assert!(line("sensor = \"none\"").ends_with("# env BIT_AXON_HEAT_SENSOR"));
    assert!(line("theme = \"dark\"").ends_with("# default"));
    assert!(line("# seed is not set").ends_with("# default"));
    assert!(line("quit = [\"f10\"]").ends_with(":4"));

    // What is shown is a file with the same settings.
    let copy = home.path().join("copy.toml");
    fs::write(&copy, shown).unwrap();
    let json = |env: &[(&str, &str)]| -> serde_json::Value {
        serde_json::from_slice(&config(home.path(), &["--json"], env).stdout).unwrap()
    };
    let (first, again) = (json(&env), json(&[("BIT_AXON_CONFIG", copy.to_str().unwrap())]));
    assert_eq!(first["settings"]["ui.ascii"]["origin"]["line"], 2);
    for (key, setting) in first["settings"].as_object().unwrap() {
        assert_eq!(setting["value"], again["settings"][key]["value"], "{key}");
    }
}

#[test]
fn keys_and_themes_are_checked_against_the_program() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/bit-axon");
    fs::create_dir_all(folder.join("themes")).unwrap();
    let said = |settings: &str| {
        fs::write(folder.join("config.toml"), settings).unwrap();
        let output = config(home.path(), &[], &[]);
        (output.status.code(), text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
    };
    let (code, _, wrong) =
        said("[ui]\ntheme = 'ligth'\n[keys]\nqiut = 'f10'\nhelp = 'f9'\nzoom = ['alt-q', 'f9', 'q']\n");
    assert_eq!(code, Some(1));
    for want in [
        "config.toml:2: ui.theme: there is no theme `ligth`; did you mean `light`?",
        "config.toml:4: keys.qiut: there is no such action; did you mean `quit`?",
        "config.toml:6: keys.zoom: f9 is given to `help` on line 5 already",
        "config.toml:6: keys.zoom: q could not be typed any more",
    ] {
        assert!(wrong.contains(want), "{wrong}");
    }
    // A key that is given away is shown where it is now, and a theme of the user's has its mistakes told.
    fs::write(folder.join("themes/mine.toml"), "base = 'light'\n\nacent = 'red'\n").unwrap();
    let (code, shown, note) = said("[keys]\nzoom = 'ctrl-p'\n");
    assert_eq!(code, Some(0), "{note}");
    assert!(shown.lines().any(|line| line.starts_with("palette = []")), "{shown}");
    assert!(note.contains("mine.toml:3: there is no style `acent`; did you mean `accent`?"), "{note}");
    let (code, _, wrong) = said("[ui]\ntheme = 'mine'\n");
    assert!(code == Some(1) && wrong.contains("mine.toml:3"), "{wrong}");
    fs::write(folder.join("themes/mine.toml"), "base = 'light'\n").unwrap();
    let (code, shown, _) = said("[ui]\ntheme = 'mine'\n");
    assert!(code == Some(0) && shown.contains("theme = \"mine\""), "{shown}");
}

#[test]
fn mistakes_are_failures_that_say_where() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.toml");
    fs::write(&file, "[ui]\nthem = 'dark'\n[heat]\npause = \"hot\\u001b[2J\"\n").unwrap();
    let output = config(home.path(), &[], &[("BIT_AXON_CONFIG", file.to_str().unwrap())]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(said.contains("mine.toml:2: ui.them: there is no such setting; did you mean `theme`?"), "{said}");
    assert!(said.contains("mine.toml:4: "), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
