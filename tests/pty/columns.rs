//! Borders stay where they are, whatever stands beside them.

use super::{Model, pty};

/// Text that terminals find hard to measure.
const HARD: &str = "plain line to begin with, long enough to fill what there is of the pane and to be wrapped once\n\n\
    漢字かな交じり文と한국어 텍스트 그리고 中文字符 wide letters in a row 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字\n\n\
    combining: e\u{301} o\u{308} n\u{303} z\u{335}\u{321}\u{322}\u{327} कि क्षि தமிழ் ไทยกำลัง עִבְרִית שלום עולם العربية لا إله ﷺ\n\n\
    emoji: 👩\u{200d}👩\u{200d}👧\u{200d}👦 👍🏽 🏳\u{fe0f}\u{200d}🌈 ❤\u{fe0f} ☺\u{fe0f} ✈\u{fe0f} 1\u{fe0f}\u{20e3} 🇩🇪🇯🇵 🧑🏿\u{200d}🚀 🫠 🪿 ⌚ ☕ ⚡\n\n\
    👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👧👩\u{200d}👩\u{200d}👦\u{200d}👦👨\u{200d}👩\u{200d}👧\u{200d}👦👨\u{200d}👨\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👦x👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👧👩\u{200d}👩\u{200d}👦\u{200d}👦👨\u{200d}👩\u{200d}👧\u{200d}👦👨\u{200d}👨\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👧👩\u{200d}👩\u{200d}👦\u{200d}👦👨\u{200d}👩\u{200d}👧\u{200d}👦👨\u{200d}👨\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👦👩\u{200d}👩\u{200d}👧\u{200d}👧👩\u{200d}👩\u{200d}👦\u{200d}👦👨\u{200d}👩\u{200d}👧\u{200d}👦👨\u{200d}👨\u{200d}👧\u{200d}👦\n\n\
    ❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}\n\n\
    zero\u{200b}width\u{200d}joined\u{feff}\u{ad} tab\there \u{1b}[31m bell\u{7} ﷽ ꧅ 𒐫 ㈱ ① ½ ™ … — “q”\n\nthe end";

/// Columns of the screen in which a row that has borders has them.
fn borders(pty: &pty::Pty, row: u16) -> Vec<u16> {
    let screen = pty.screen();
    let columns = screen.size().1.get();
    (0..columns)
        .filter(|c| screen.cell(row, *c).is_some_and(|cell| matches!(cell.contents(), "│" | "╭" | "╮" | "╰" | "╯")))
        .collect()
}

fn straight(pty: &pty::Pty, when: &str) {
    let (rows, columns) = pty.screen().size();
    let (rows, columns) = (rows.get(), columns.get());
    // Small screens have a row of tabs at the top.
    let top = u16::from(borders(pty, 0).is_empty());
    let chat = borders(pty, top);
    assert_eq!((chat.first(), chat.last()), (Some(&0), Some(&(columns - 1))), "{when}:\n{}", pty.text());
    for row in top..rows - 1 {
        let here = borders(pty, row);
        assert!(
            chat.iter().all(|column| here.contains(column)),
            "{when}, row {row}: {here:?} lacks some of {chat:?}:\n{}",
            pty.text()
        );
    }
}

#[test]
fn letters_of_every_width_leave_the_borders_alone() {
    let model = Model::saying(HARD);
    for (columns, rows) in [(120, 36), (97, 40), (80, 30)] {
        let mut pty = model.chat().arg("--max-speed").arg("2000").size(columns, rows).spawn();
        pty.ready().keys("go<enter>").sees("the end").settles();
        straight(&pty, "after streaming");
        for step in 0..8 {
            pty.keys(if step < 5 { "<pageup>" } else { "<pagedown>" }).settles();
            straight(&pty, "while scrolling");
        }
        pty.keys("<tab>").keys("kkkjjjkkk").keys("<alt->>").sees("the end").settles();
        straight(&pty, "after scrolling");
        pty.keys("<alt-z>").loses(" memory ").settles();
        straight(&pty, "zoomed");
        pty.keys("<alt-z>").sees(" memory ").resize(columns - 7, rows - 3).sees("the end");
        pty.settles();
        straight(&pty, "resized");
        pty.keys("<ctrl-q>");
        assert!(pty.ends().success());
    }
}
