//! Ten thousand tokens: none is lost on its way to the screen, and none comes out of order.

use super::{Model, lossless};

#[test]
fn no_token_is_lost_or_reordered_on_the_screen() {
    let model = Model::counting(lossless::WORDS);
    let mut pty = model.chat().size(lossless::SIZE.0, lossless::SIZE.1).spawn();
    let done = lossless::walk(&mut pty, 10_000);
    assert!(done.stopped > 2 && done.forked > 2 && done.resized > 20, "{done:?}");
    pty.keys("<ctrl-q>");
    assert!(pty.ends().success());
}
