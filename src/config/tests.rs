//! Files, variables and options as people write them.

use std::collections::HashMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::protocol::{HeatLimits, Sampling, SensorChoice};

/// An environment with a home folder, and perhaps a file in it.
struct Home {
    dir: TempDir,
    env: HashMap<String, OsString>,
}

impl Home {
    fn new(file: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            fs::create_dir_all(dir.path().join(".config/bit-axon")).unwrap();
            fs::write(dir.path().join(".config/bit-axon/config.toml"), text).unwrap();
        }
        let env = HashMap::from([("HOME".to_owned(), dir.path().as_os_str().to_owned())]);
        Self { dir, env }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn load(&self) -> Result<Config, Mistakes> {
        self.load_by(&Rules::default())
    }

    fn load_by(&self, rules: &Rules<'_>) -> Result<Config, Mistakes> {
        Config::load_from(&|name| self.env.get(name).cloned(), rules)
    }
}

fn mistakes(text: &str) -> String {
    let home = Home::new(Some(text));
    let mistakes = home.load_by(&rules()).unwrap_err().to_string();
    mistakes.replace(&home.dir.path().join(".config/bit-axon/config.toml").display().to_string(), "F")
}

fn key(action: &str, name: &str) -> Result<String, String> {
    let name = name.to_lowercase();
    if action == "list" && name == "ctrl-l" {
        return Err("`ctrl-l` is no key for lists".into());
    }
    if name.starts_with("ctrl-") || name.starts_with('f') { Ok(name) } else { Err(format!("`{name}` is no key")) }
}

fn rules() -> Rules<'static> {
    let action = |name: &str, context: &str, key: &str| KnownAction {
        name: name.into(),
        context: context.into(),
        keys: vec![key.into()],
        about: format!("Do {name}"),
    };
    Rules {
        actions: vec![
            action("quit", "anywhere", "ctrl-q"),
            action("zoom", "anywhere", "f6"),
            action("next-pane", "anywhere", "ctrl-n"),
            action("list", "list", "ctrl-n"),
        ],
        key: &key,
        themes: vec!["dark".into(), "light".into()],
    }
}

#[test]
fn defaults_are_sound_and_those_of_the_program() {
    for setting in SETTINGS {
        for text in [setting.default, setting.example] {
            let value = setting.kind.read(text);
            assert!(value.is_ok(), "{}: {value:?}", setting.key);
        }
        assert!(!setting.default.is_empty() || !setting.example.is_empty(), "{} shows nothing", setting.key);
        assert!(schema::SECTIONS.iter().any(|(name, _)| *name == setting.section()), "{}", setting.key);
    }
    let home = Home::new(None);
    let config = home.load().unwrap();
    let settings = config.settings().unwrap();
    assert_eq!(settings.sampling.sampling, Sampling::default());
    assert_eq!(settings.heat.limits, HeatLimits::default());
    assert_eq!(settings.heat.sensor, SensorChoice::Auto);
    assert_eq!(settings.memory.rewind, 256 << 20);
    assert_eq!(settings.model, ModelSettings { default: None, threads: None, exact: false });
    assert_eq!(settings.paths.sessions, Some(home.dir.path().join(".local/state/bit-axon/sessions")));
    assert_eq!(settings.paths.themes, Some(home.dir.path().join(".config/bit-axon/themes")));
    assert_eq!(config.file(), Some(home.dir.path().join(".config/bit-axon/config.toml").as_path()));
    assert!(!config.file_was_read());
    assert!(SETTINGS.iter().all(|setting| config.origin(setting.key) == Origin::Default));
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let file = "[ui]\nascii = true\n\n[sampling]\ntemperature = 1\ntop_k = 40\n";
    let home = Home::new(Some(file)).with("BIT_AXON_SAMPLING_TOP_K", "50").with("BIT_AXON_SAMPLING_MIN_P", "");
    let mut config = home.load().unwrap();
    config.set("sampling.top_p", "0.5", "--top-p", &rules()).unwrap();
    let path = home.dir.path().join(".config/bit-axon/config.toml");
    let settings = config.settings().unwrap();
    let s = &settings.sampling.sampling;
    assert_eq!((s.temperature, s.top_k, s.top_p, s.min_p), (1.0, 50, 0.5, 0.0));
    assert!(settings.ui.ascii);
    assert_eq!(config.origin("ui.ascii"), Origin::File { path: path.clone(), line: 2 });
    assert_eq!(config.origin("sampling.temperature").to_string(), format!("{}:5", path.display()));
    assert_eq!(config.origin("sampling.top_k").to_string(), "env BIT_AXON_SAMPLING_TOP_K");
    assert_eq!(config.origin("sampling.top_p").to_string(), "flag --top-p");
    assert_eq!(config.origin("sampling.min_p"), Origin::Default);
    config.set("sampling.top_k", "7", "--top-k", &rules()).unwrap();
    assert_eq!(config.get("sampling.top_k"), Some(&Value::Whole(7)));
    assert!(config.file_was_read());
}

#[test]
fn the_file_is_where_the_environment_says() {
    let path = |pairs: &[(&str, &str)]| {
        let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Places::new(&env).config.map(|path| path.display().to_string())
    };
    assert_eq!(path(&[("HOME", "/h")]).unwrap(), "/h/.config/bit-axon/config.toml");
    assert_eq!(path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).unwrap(), "/x/bit-axon/config.toml");
    assert_eq!(path(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).unwrap(), "/h/.config/bit-axon/config.toml");
    assert_eq!(path(&[("HOME", "/h"), ("BIT_AXON_HOME", "/b")]).unwrap(), "/b/config.toml");
    assert_eq!(path(&[("HOME", "/h"), ("BIT_AXON_CONFIG", "c.toml")]).unwrap(), "c.toml");
    assert_eq!(path(&[("HOME", ""), ("BIT_AXON_CONFIG", "")]), None);
    let config = Config::load_from(&|_| None, &Rules::default()).unwrap();
    assert_eq!(config.settings().unwrap().paths, PathSettings { sessions: None, themes: None });
}

#[test]
fn a_file_that_cannot_be_read_is_no_file_without_settings() {
    let error = |home: &Home| home.load().unwrap_err().to_string();
    let home = Home::new(None).with("BIT_AXON_CONFIG", "/no/such/file.toml");
    assert!(error(&home).starts_with("/no/such/file.toml: cannot be read") && error(&home).contains("BIT_AXON_CONFIG"));
    let home = Home::new(None);
    fs::create_dir_all(home.dir.path().join(".config/bit-axon/config.toml")).unwrap();
    assert!(error(&home).contains("no plain file"));
    let home = Home::new(Some(""));
    let file = home.dir.path().join(".config/bit-axon/config.toml");
    fs::write(&file, b"# fine\n[ui]\n# \xff\n").unwrap();
    assert!(error(&home).contains("not UTF-8 text (line 3)"));
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(error(&home).contains("longer than 1 MiB"));
    fs::write(&file, "").unwrap();
    assert!(home.load().unwrap().file_was_read());
}

#[test]
fn mistakes_name_the_line_the_key_and_what_is_allowed() {
    for (text, want) in [
        ("[ui]\nthem = \"dark\"", "F:2: ui.them: there is no such setting; did you mean `theme`?"),
        ("[ui]\nTHEME = \"dark\"", "F:2: ui.THEME: there is no such setting; did you mean `theme`?"),
        ("[ui]\npause = 80", "F:2: ui.pause: there is no such setting; did you mean `heat.pause`?"),
        ("[memory]\nx = 1", "F:2: memory.x: there is no such setting: [memory] has rewind, kv"),
        ("[samplin]\n", "F:1: samplin: there is no such section; did you mean `sampling`?"),
        ("theme = \"dark\"", "F:1: theme: it belongs into the section [ui]"),
        ("colour = 1", "F:1: colour: settings belong into sections, as [ui]"),
        ("ui = 3", "F:1: ui: is the number 3: it is a section, written as [ui]"),
        ("[ui]\nascii = \"yes\"", "F:2: ui.ascii: is the text `yes`: it must be true or false"),
        (
            "[ui]\ntheme = \"drak\"",
            "F:2: ui.theme: there is no theme `drak`; did you mean `dark`?: there are dark, light",
        ),
        ("[ui]\ntheme = \"\"", "F:2: ui.theme: is empty: it must be a text"),
        (
            "[ui]\n\nslow_link = \"onn\"",
            "F:3: ui.slow_link: `onn` is not allowed; did you mean `on`?: it must be one of auto, on, off",
        ),
        ("[ui]\ntext_fps = 60", "F:2: ui.text_fps: `60` is not allowed: it must be a number from 1 to 30"),
        ("[ui]\ntext_fps = nan", "it must be a number from 1 to 30"),
        (
            "[ui]\nhidden = [\"heat\", 3]",
            "F:2: ui.hidden: holds the number 3: it must be a list of routing, heat, memory",
        ),
        ("[ui]\nhidden = [\"heaat\"]", "did you mean `heat`?"),
        ("[sampling]\ntop_k = -1", "F:2: sampling.top_k: `-1` is not allowed: it must be a whole number of 0 or more"),
        ("[sampling]\ntop_k = 1.5", "F:2: sampling.top_k: is the number 1.5: it must be a whole number of 0 or more"),
        (
            "[sampling]\ntemperature = \"0.7\"",
            "F:2: sampling.temperature: is the text `0.7`: it must be a number from 0 to 100",
        ),
        ("[sampling]\ntemperature = inf", "it must be a number from 0 to 100"),
        (
            "[heat]\nsensor = \"gpu\"",
            "F:2: heat.sensor: `gpu` is no sensor: auto, none, nvidia, file:PATH or cmd:COMMAND",
        ),
        (
            "[memory]\nrewind = \"lots\"",
            "F:2: memory.rewind: `lots` is not allowed: it must be a size as 256MiB, 2GiB or 0",
        ),
        ("[memory]\nrewind = \"99999999999TiB\"", "it must be a size"),
        (
            "[paths]\nsessions = \"chats\"",
            "F:2: paths.sessions: `chats` is not allowed: it must be a path that begins with / or ~",
        ),
        ("[keys]\nqiut = \"ctrl-x\"", "F:2: keys.qiut: there is no such action; did you mean `quit`?"),
        ("[keys]\nquit = \"hyper-x\"", "F:2: keys.quit: `hyper-x` is no key"),
        ("[keys]\nquit = [\n\"ctrl-x\",\n\"x\"]", "F:4: keys.quit: `x` is no key"),
        ("[keys]\nquit = 3", "F:2: keys.quit: is the number 3: it must be a key or a list of keys"),
        ("[keys]\nquit = [true]", "F:2: keys.quit: holds true: it must be a key or a list of keys"),
        ("[keys]\nlist = \"ctrl-l\"", "F:2: keys.list: `ctrl-l` is no key for lists"),
        (
            "[keys]\nzoom = \"f1\"\n\nquit = [\"f2\",\n\"F1\"]",
            "F:5: keys.quit: f1 is given to `zoom` on line 2 already",
        ),
        ("[ui]\ntheme = dark", "F:2: this is not TOML"),
        ("[ui]\nascii = true\nascii = false", "F:3: this is not TOML"),
        ("[ui\n", "F:1: this is not TOML"),
    ] {
        let found = mistakes(text);
        assert!(found.contains(want), "{text}\n  gave {found}\n  not  {want}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let home = Home::new(Some("[ui]\nthem = 1\n[heat]\npause = true\n")).with("BIT_AXON_UI_MOUSE", "maybe");
    let Mistakes(all) = home.load().unwrap_err();
    let keys: Vec<&str> = all.iter().filter_map(|mistake| mistake.key.as_deref()).collect();
    assert_eq!(keys, ["ui.them", "heat.pause", "ui.mouse"]);
    assert_eq!(all[2].to_string(), "env BIT_AXON_UI_MOUSE: ui.mouse: `maybe` is not allowed: it must be true or false");
    let mut config = Home::new(None).load().unwrap();
    let wrong = config.set("ui.theme", "drak", "--theme", &rules()).unwrap_err();
    assert!(wrong.to_string().starts_with("flag --theme: ui.theme: there is no theme `drak`; did you mean `dark`?"));
    assert!(config.set("ui.colour", "x", "--colour", &rules()).is_err());
}

#[test]
fn limits_must_suit_each_other() {
    let home = Home::new(Some("[heat]\npause = 96\n"));
    let wrong = home.load().unwrap().settings().unwrap_err().to_string();
    assert!(
        wrong.contains("config.toml:2: heat: pause at 96 °C and stop at 95 °C: it must be 75 < pause < stop"),
        "{wrong}"
    );
    let home = home.with("BIT_AXON_HEAT_STOP", "97.5");
    assert_eq!(home.load().unwrap().settings().unwrap().heat.limits, HeatLimits { pause: 96.0, stop: 97.5 });
    let home = home.with("BIT_AXON_HEAT_PAUSE", "75");
    assert!(
        home.load()
            .unwrap()
            .settings()
            .unwrap_err()
            .to_string()
            .contains("env BIT_AXON_HEAT_PAUSE and env BIT_AXON_HEAT_STOP")
    );
}

#[test]
fn every_kind_of_value_is_understood() {
    let text = "
[model]
default = 'owner/name'
threads = 0x10
[sampling]
seed = 9_000_000_000
system = \"\"
[ui]
hidden = ['heat', 'memory']
slow_link = 'on'
[heat]
sensor = 'cmd:sh -c \"echo 50\"'
interval = 2
[memory]
rewind = '1.5 GiB'
[paths]
sessions = '~/chats'
[keys]
quit = 'ctrl-x'
zoom = []
";
    let home = Home::new(Some(text)).with("BIT_AXON_UI_HIDDEN", "routing, heat");
    let config = home.load_by(&rules()).unwrap();
    let settings = config.settings().unwrap();
    assert_eq!(settings.model, ModelSettings { default: Some("owner/name".into()), threads: Some(16), exact: false });
    assert_eq!((settings.sampling.sampling.seed, settings.sampling.system.clone()), (Some(9_000_000_000), None));
    assert_eq!(
        (settings.ui.hidden.clone(), settings.ui.slow_link),
        (vec!["routing".into(), "heat".into()], SlowLink::On)
    );
    assert_eq!(settings.heat.sensor, SensorChoice::Command("sh -c \"echo 50\"".into()));
    assert_eq!(settings.heat.interval.as_secs(), 2);
    assert_eq!(settings.memory.rewind, 3 << 29);
    assert_eq!(settings.paths.sessions, Some(home.dir.path().join("chats")));
    let keys = config.effective_keys(&rules().actions);
    let keys: Vec<(&str, &[String])> = keys.iter().map(|b| (b.action.as_str(), b.keys.as_slice())).collect();
    let n = ["ctrl-n".to_owned()];
    assert_eq!(keys, [("quit", &["ctrl-x".to_owned()][..]), ("zoom", &[]), ("next-pane", &n), ("list", &n)]);
}

#[test]
fn a_key_that_is_given_away_is_taken_from_where_it_was() {
    let home = Home::new(Some("[keys]\nzoom = ['CTRL-N', 'ctrl-n']\nlist = 'f6'\n"));
    let keys = home.load_by(&rules()).unwrap().effective_keys(&rules().actions);
    let of = |name: &str| keys.iter().find(|binding| binding.action == name).unwrap().keys.join(" ");
    assert_eq!((of("zoom").as_str(), of("next-pane").as_str()), ("ctrl-n", ""));
    assert_eq!((of("list").as_str(), of("quit").as_str()), ("f6", "ctrl-q"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text =
        "[ui]\ntheme = 'light'\n[heat]\nsensor = 'file:/t \"x\"'\n[memory]\nrewind = 1000\n[keys]\nquit = 'ctrl-x'\n";
    let first = Home::new(Some(text)).load_by(&rules()).unwrap();
    let lines: Vec<String> = first.shown(&rules()).into_iter().map(|line| line.text).collect();
    let again = Home::new(Some(&lines.join("\n"))).load_by(&rules()).unwrap();
    for setting in SETTINGS {
        assert_eq!(first.get(setting.key), again.get(setting.key), "{}", setting.key);
    }
    let keys = |config: &Config| -> Vec<_> {
        let all = config.effective_keys(&rules().actions);
        all.into_iter().map(|binding| (binding.action, binding.keys)).collect()
    };
    assert_eq!(keys(&first), keys(&again));
}

#[test]
fn the_file_to_begin_with_changes_nothing_and_its_lines_are_right() {
    let template = template(&rules());
    let config = Home::new(Some(&template)).load_by(&rules()).unwrap();
    assert!(SETTINGS.iter().all(|setting| config.origin(setting.key) == Origin::Default));
    assert!(config.bindings().is_empty());
    assert!(template.lines().all(|line| line.chars().count() <= 100), "{template}");
    // Without the # before them the lines say the defaults, or the examples.
    let bare: Vec<&str> = template
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let config = Home::new(Some(&bare.join("\n"))).load_by(&rules()).unwrap();
    for setting in SETTINGS {
        let wanted = if setting.default.is_empty() { setting.example } else { setting.default };
        assert_eq!(config.get(setting.key), setting.kind.read(wanted).unwrap().as_ref(), "{}", setting.key);
        assert!(matches!(config.origin(setting.key), Origin::File { .. }), "{}", setting.key);
    }
    assert_eq!(config.bindings().len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_makes_it_panic(text in "(\\[(ui|keys|heat|sampling|memory|x)\\]\n|[a-z_]{1,8}|theme|top_k|quit|seed|rewind| = |\n|\"|'|\\[|\\]|\\{|\\}|,|#|-?[0-9]{1,20}|0x[0-9a-f]{1,20}|1e999|nan|true|é|\\PC){0,24}") {
        let places = Places { config: Some("F".into()), ..Places::default() };
        let (mut config, mut mistakes) = (Config::defaults(&places), Vec::new());
        file::apply(&mut config, Path::new("F"), &text, &rules(), &mut mistakes);
        prop_assert!(mistakes.iter().all(|mistake| mistake.place.starts_with('F') && !mistake.problem.is_empty()));
        if mistakes.is_empty() {
            let _ = config.settings();
            prop_assert!(!config.shown(&rules()).is_empty());
        }
    }

    #[test]
    fn no_value_makes_it_panic(text in "\\PC{0,16}|-?[0-9.e]{1,24}( ?[kmgt]i?b)?") {
        for setting in SETTINGS {
            if let Ok(Some(value)) = setting.kind.read(&text) {
                let toml = format!("x = {}", value.to_toml());
                let table = toml::de::DeTable::parse(&toml).unwrap();
                let read = setting.kind.read_toml(table.get_ref().values().next().unwrap().get_ref());
                prop_assert_eq!(read, Ok(Some(value)), "{} from {}", setting.key, toml);
            }
        }
    }
}
