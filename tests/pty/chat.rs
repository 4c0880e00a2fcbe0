//! What a user does in a session.

use super::{Model, pty};

#[test]
fn the_built_in_model_is_asked_and_left() {
    let mut pty = pty::start(&[] as &[&str]).spawn();
    pty.taken_over().ready();
    pty.sees(" bit-axon ").sees("built in");
    pty.keys("/max-tokens 20<enter>").sees("max-tokens: 20");
    pty.keys("Which key opens the help?<enter>").sees("❯ you").sees("F1").sees(" tok ·");
    pty.keys("<ctrl-q>");
    assert!(pty.ends().success());
    pty.given_back();
}

#[test]
fn an_answer_is_stopped_and_kept() {
    let model = Model::counting(2000);
    let mut pty = model.chat().arg("--max-speed").arg("50").spawn();
    pty.ready().keys("go<enter>").sees("w5").keys("<esc>").sees("■ stopped");
    let stopped = pty.text();
    assert!(stopped.contains("w0 w1 w2") && !stopped.contains("w1999"), "{stopped}");
    pty.keys("more<enter>").until("the second answer", |screen| screen.contents().matches("w0 w1 w2").count() == 2);
    pty.keys("<ctrl-c>").until("the second end", |screen| screen.contents().matches("■ stopped").count() == 2);
    pty.keys("<ctrl-c>").sees("Press Ctrl-C again").keys("<ctrl-c>");
    assert!(pty.ends().success());
    pty.given_back();
}

#[test]
fn an_answer_is_forked_at_a_token_and_both_branches_are_there() {
    let model = Model::counting(12);
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>").sees("w10 w11").sees("12 tok");
    pty.keys("<ctrl-t>").sees("1 of 12").keys("<right><right>").sees("3 of 12").keys("<down>").keys("<enter>");
    pty.sees("‹ 2/2 ›");
    let forked = pty.text();
    // The answer goes on from another word than w2.
    assert!(forked.contains("w0 w1 w") && !forked.contains("w0 w1 w2 w3"), "{forked}");
    pty.keys("<alt-left>").sees("‹ 1/2 ›").sees("w0 w1 w2 w3");
    pty.keys("<ctrl-r>").sees("‹ 3/3 ›").keys("<ctrl-q>");
    assert!(pty.ends().success());
}

#[test]
fn an_expert_is_muted_and_the_banner_says_so() {
    let model = Model::counting(40);
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>").sees("w39").keys("<f3>").sees("entropy").keys("<down><right>m");
    pty.sees("routing altered: L3 mute 1").keys("<f2>").sees("go").keys("<ctrl-r>").sees("‹ 2/2 ›");
    pty.sees("●").until("the mark at the answer", |screen| screen.contents().matches("routing altered").count() == 2);
    pty.keys("/k 1<enter>").sees("k 1").keys("<alt-u>");
    pty.until("no banner", |screen| !screen.contents().contains("routing altered:"));
    pty.keys("/mute 99<enter>").sees("99");
    pty.keys("<ctrl-q>");
    assert!(pty.ends().success());
}

#[test]
fn panes_are_zoomed_and_the_screen_may_be_any_size() {
    let model = Model::counting(60);
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>").sees("w59").sees(" memory ").sees(" heat ");
    pty.keys("<tab><tab><alt-z>").loses(" memory ").sees(" routing ").keys("<alt-z>").sees(" memory ");
    pty.resize(20, 5).sees("bit-axon needs 40x12");
    pty.resize(1, 1).resize(3, 2).resize(40, 12).sees("routing");
    pty.resize(200, 60).sees(" memory ").sees("w59");
    // Back to the same size before the program has looked: what the terminal cut off must come again.
    pty.resize(30, 8).resize(200, 60);
    pty.resize(120, 36).sees(" memory ").sees("w59").sees(" bit-axon ");
    pty.keys("<ctrl-q>");
    assert!(pty.ends().success());
    pty.given_back();
}

#[test]
fn views_help_and_palette_are_a_key_away() {
    let mut pty = pty::start(&[] as &[&str]).spawn();
    pty.ready().keys("<f1>").sees("Show the keys").keys("<esc>");
    pty.loses("Show the keys").keys("<ctrl-p>").sees("palette").keys("zoo").sees("zoom").keys("<esc>");
    pty.loses("whole screen").keys("<f4>").sees("╭ sessions").keys("<f5>").sees("╭ training");
    pty.keys("<f2>").ready().keys("/quit<enter>");
    assert!(pty.ends().success());
}

#[test]
fn an_answer_is_copied_to_the_users_clipboard() {
    let model = Model::saying("copy this text, all of it");
    let mut pty = model.chat().spawn();
    pty.ready().keys("go<enter>").sees("all of it").sees(" tok ").keys("<alt-c>").sees("opied");
    // "copy this text, all of it" in base64.
    let copied = b"\x1b]52;c;Y29weSB0aGlzIHRleHQsIGFsbCBvZiBpdA==\x07";
    assert!(pty.raw.windows(copied.len()).any(|window| window == copied));
}
