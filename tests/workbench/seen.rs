//! What is seen is true, whole and answered: nothing misleads, nothing needed is cut off, no key is silent.

use bit_axon::app::action::Action;
use bit_axon::app::msg::Msg;
use bit_axon::app::state::View;

use super::driver::Driver;

fn notice(driver: &Driver) -> &str {
    driver.app.notice.as_ref().map_or("", |notice| notice.text.as_str())
}

fn row<'a>(text: &'a str, with: &str) -> &'a str {
    text.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no line has {with:?}:\n{text}"))
}

#[test]
fn lines_are_seen_as_they_were_written() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.push_back("Roses are red,\nviolets are blue.".into());
    driver.keys("first line<alt-enter>second line<enter>").answer(usize::MAX);
    let text = driver.text();
    for (a, b) in [("first line", "second line"), ("Roses are red,", "violets are blue.")] {
        assert!(!row(&text, a).contains(b), "{text}");
    }
}

#[test]
fn two_answers_are_compared_on_one_scale() {
    let mut driver = Driver::opened(120, 36);
    driver.answers.extend(["one", &"word ".repeat(40)].map(String::from));
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<ctrl-r>").answer(usize::MAX);
    driver.keys("/compare<enter>");
    driver.wait(1.0);
    let text = driver.text();
    let full: Vec<&str> = row(&text, "balance").split("█ = ").skip(1).map(|rest| &rest[..3]).collect();
    assert!(full.len() == 2 && full[0] == full[1], "{text}");
}

#[test]
fn a_word_that_is_no_longer_true_does_not_stay() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("go<enter>").answer(1);
    driver.keys("more<enter>");
    assert!(notice(&driver).contains("is being written"));
    // Typing is no answer to it, stopping is.
    driver.keys("!");
    assert!(notice(&driver).contains("is being written"));
    driver.keys("<esc>");
    assert_eq!(notice(&driver), "");
}

#[test]
fn what_is_needed_is_whole_on_small_screens() {
    for (columns, rows) in [(80, 24), (40, 12)] {
        let mut driver = Driver::opened(columns, rows);
        let welcome = driver.text();
        let first = if rows > 12 { "12 layers, 8 with experts" } else { "sends the prompt" };
        assert!(welcome.contains(first) && welcome.contains("random weights"), "{welcome}");
        driver.keys("go<enter>").answer(usize::MAX);
        driver.keys("<ctrl-t>");
        let tokens = driver.text();
        assert!(tokens.contains(" taken"), "{tokens}");
        let mut driver = Driver::opened(columns, rows);
        if columns == 40 {
            driver.keys("<tab><tab><tab><tab>");
        }
        let memory = driver.text();
        assert!(["4K 30", "16K 34", "64K 52"].iter().all(|need| memory.contains(need)), "{memory}");
    }
    // A banner takes a row, and not that of what is needed.
    let mut driver = Driver::opened(80, 24);
    driver.keys("/mute 0<enter>");
    driver.wait(6.0);
    let text = driver.text();
    assert!(["4K 30", "16K 34", "64K 52"].iter().all(|need| text.contains(need)), "{text}");
    driver.resize(40, 12);
    assert!(driver.text().contains("altered: mute 0"), "{}", driver.text());
    let mut driver = Driver::opened(80, 24);
    driver.wait(1.0);
    assert!(row(&driver.text(), "balance .00").contains("0 dead"), "{}", driver.text());
    let reason = "this machine shows no temperature in /sys; `--sensor file:PATH` and `--sensor cmd:COMMAND` can \
        name one";
    let sensor = bit_axon::protocol::SensorState::NoSensor { reason: reason.into() };
    let none = bit_axon::app::heat::Sensed { sensor, ..Default::default() };
    driver.send(Msg::Heat(Box::new(none)));
    driver.wait(1.0);
    let text = driver.text();
    assert!(text.contains("temperature in /sys"), "{text}");
}

#[test]
fn all_layers_are_seen_in_the_routing_view_of_a_small_screen() {
    let mut driver = Driver::opened(40, 12);
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<f3>");
    driver.wait(1.0);
    let text = driver.text();
    let layers = (4..12).filter(|layer| text.lines().any(|l| l.starts_with(&format!("│ {layer:>4} ")))).count();
    assert!(layers >= 6, "{text}");
    for (columns, rows) in [(80, 24), (120, 36)] {
        driver.resize(columns, rows);
        assert!(driver.text().contains("r answer again"), "{}", driver.text());
    }
}

#[test]
fn help_closes_with_its_own_key_and_ends_at_its_end() {
    let mut driver = Driver::opened(80, 24);
    driver.keys("<f1>");
    for _ in 0..40 {
        driver.keys("<pagedown>");
    }
    let end = driver.text();
    driver.keys("<up>");
    assert_ne!(driver.text(), end, "one key up is seen");
    driver.keys("<f1>");
    assert!(driver.app.overlay.is_none());
    driver.resize(40, 12);
    driver.keys("<f1>");
    assert!(!driver.text().contains('…'), "{}", driver.text());
}

#[test]
fn keys_that_can_do_nothing_say_so() {
    for (keys, says) in [
        ("/show attic<enter>", "no pane attic"),
        ("/show<enter>", "No pane is hidden"),
        ("<alt-=>", "focus"),
        ("/hide heat<enter>", "shows it again"),
        ("<f3><tab>", "F2"),
        ("<f3><alt-z>", "F2"),
        ("<f3><alt-.>", "F2"),
        ("<alt-k>", "nothing to copy"),
    ] {
        let mut driver = Driver::opened(120, 36);
        driver.keys(keys);
        assert!(notice(&driver).contains(says), "{keys}: {:?}", notice(&driver));
    }
    let mut driver = Driver::opened(120, 36);
    for _ in 0..30 {
        driver.keys("<alt-.>");
    }
    assert!(notice(&driver).contains("wide"), "{:?}", notice(&driver));
    let mut driver = Driver::opened(60, 20);
    driver.keys("<alt-.>");
    assert!(notice(&driver).contains("one pane"), "{:?}", notice(&driver));
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<alt-k>");
    assert!(notice(&driver).contains("no code block"), "{:?}", notice(&driver));
}

#[test]
fn comparing_ends_before_the_view_is_left() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<ctrl-r>").answer(usize::MAX);
    driver.keys("<f3>c<esc>");
    assert!(!driver.app.look.compare && driver.app.view == View::Routing);
    driver.keys("<esc>");
    assert_eq!(driver.app.view, View::Workbench);
}

#[test]
fn the_token_view_says_how_it_is_left() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("go<enter>").answer(usize::MAX);
    driver.keys("<ctrl-t>");
    let text = driver.text();
    let status = text.lines().last().unwrap();
    assert!(status.contains("ESC back") && status.contains("fork"), "{status}");
}

#[test]
fn a_command_says_what_it_takes_while_that_is_typed() {
    let mut driver = Driver::opened(120, 36);
    driver.keys("/temperature ");
    assert!(driver.text().contains("0 always takes the most likely"), "{}", driver.text());
    driver.keys("0.5");
    assert!(driver.text().contains("0 always takes the most likely"), "{}", driver.text());
    // The list leaves the frame of the chat whole.
    driver.app.prompt.set("/");
    let text = driver.text();
    assert!(text.lines().any(|line| line.starts_with("╰───")), "{text}");
    assert!(text.contains(" 7 of "), "how many more there are: {text}");
}

#[test]
fn a_system_prompt_that_holds_is_seen() {
    let mut driver = Driver::opened(120, 36);
    assert!(!row(&driver.text(), "╭ prompt").contains("system"));
    driver.keys("/system Answer briefly.<enter>");
    assert!(row(&driver.text(), "╭ prompt").contains("system"), "{}", driver.text());
}

#[test]
fn keys_have_the_names_that_are_on_the_keyboard() {
    let driver = Driver::opened(120, 36);
    assert_eq!(driver.app.keymap.short(Action::Zoom).as_deref(), Some("Alt-z"));
    assert_eq!(driver.app.keymap.short(Action::Palette).as_deref(), Some("^P"));
}
