//! The screen for fonts without block characters: our own marks become ASCII; what people and models
//! say stays as it is.

use ratatui::buffer::Buffer;

/// Puts ASCII in the place of marks.
pub(super) fn fold(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let mut chars = cell.symbol().chars();
        let (Some(c), None) = (chars.next(), chars.next()) else { continue };
        if c.is_ascii() {
            continue;
        }
        if let Some(plain) = plain(c) {
            cell.set_char(plain);
        }
    }
}

fn plain(c: char) -> Option<char> {
    Some(match c {
        '─' | '━' | '┄' | '–' => '-',
        '│' | '▏' | '▎' | '┃' => '|',
        '┼' | '├' | '┤' | '┬' | '┴' | '╭' | '╮' | '╯' | '╰' => '+',
        '·' | '∙' => '.',
        '▁' => '_',
        '▂' => ':',
        '▃' => '-',
        '▄' => '=',
        '▅' => '+',
        '▆' => 'x',
        '▇' | '▉' | '▊' => '%',
        '█' => '#',
        '▍' | '▌' | '▋' => '|',
        '•' | '●' | '■' => '*',
        '◦' | '○' => 'o',
        '☑' => 'x',
        '☐' => 'o',
        '▲' | '↑' => '^',
        '▼' | '↓' => 'v',
        '◀' | '←' | '‹' => '<',
        '▶' | '→' | '›' | '❯' => '>',
        '×' => 'x',
        '⏎' => '$',
        '␣' => '_',
        '…' => '~',
        '“' | '”' => '"',
        // Braille of charts.
        '\u{2800}' => ' ',
        '\u{2801}'..='\u{28ff}' => '*',
        _ => return None,
    })
}
