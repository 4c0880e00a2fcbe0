//! Killed without a warning, it goes on where it was.

use rustix::process::Signal;

use super::Model;

/// The words of the answer on the screen, which must stand in their order.
fn words(screen: &vt100::Screen) -> usize {
    let text = screen.contents();
    let shown: Vec<usize> = text.split_whitespace().filter_map(|word| word.strip_prefix('w')?.parse().ok()).collect();
    assert_eq!(shown, (0..shown.len()).collect::<Vec<_>>(), "the screen:\n{text}");
    shown.len()
}

#[test]
fn killed_in_an_answer_it_loses_at_most_the_token_being_written() {
    let model = Model::counting(260);
    for at in [1, 20, 90, 200] {
        let folder = tempfile::tempdir().unwrap();
        let session = folder.path().join("talk.jsonl");
        let start = || model.chat().arg("--session").arg(&session).arg("--max-speed").arg("400");
        let mut pty = start().spawn();
        pty.ready().keys("count for me<enter>").sees(&format!("w{at}")).signal(Signal::KILL);
        assert!(!pty.ends().success());
        let shown = words(pty.screen());
        assert!(shown > at);

        let mut pty = start().spawn();
        pty.ready().sees("count for me").settles();
        let kept = words(pty.screen());
        assert!(kept + 1 >= shown, "{shown} words were seen, {kept} are left:\n{}", pty.text());
        // It can be gone on with, and ended well this time.
        pty.keys("<ctrl-r>").sees("‹ 2/2 ›").sees("w259").keys("<ctrl-q>");
        assert!(pty.ends().success());
        let mut pty = start().spawn();
        pty.ready().sees("‹ 2/2 ›").sees("w259").keys("<ctrl-q>");
        assert!(pty.ends().success());
    }
}
