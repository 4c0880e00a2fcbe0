//! Cells to bytes, as few as will do: only what changed is said, the cursor moves by the shortest
//! code, and colours stay as they were from one frame to the next.

use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

use super::shown::{Shown, columns, most_columns, unsure};

/// A backend that collects bytes.
#[derive(Debug)]
pub struct CellWriter {
    bytes: Vec<u8>,
    size: Size,
    /// Where the terminal's cursor is, as far as is known.
    at: Option<Position>,
    /// What the terminal writes in now; none if not known.
    pen: Option<Pen>,
    shown: Option<bool>,
    /// Where the cursor shall be after the frame.
    wanted: Option<Position>,
    sent: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Pen {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

const PLAIN: Pen = Pen { fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() };
/// Modifiers and the codes that switch them on.
const CODES: [(Modifier, u8); 7] = [
    (Modifier::BOLD, 1),
    (Modifier::DIM, 2),
    (Modifier::ITALIC, 3),
    (Modifier::UNDERLINED, 4),
    (Modifier::SLOW_BLINK, 5),
    (Modifier::REVERSED, 7),
    (Modifier::CROSSED_OUT, 9),
];

impl CellWriter {
    /// For a terminal of this size, of which nothing else is known.
    pub fn new(columns: u16, rows: u16) -> Self {
        let size = Size { width: columns, height: rows };
        let sent = Shown::new(columns, rows);
        Self { bytes: Vec::new(), size, at: None, pen: None, shown: None, wanted: None, sent }
    }

    /// The terminal has this size now.
    pub fn set_size(&mut self, columns: u16, rows: u16) {
        self.size = Size { width: columns, height: rows };
    }

    /// Something else wrote to the terminal: nothing is known of it any more.
    pub fn forget(&mut self) {
        (self.at, self.pen, self.shown) = (None, None, None);
    }

    /// What was collected.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn go(&mut self, x: u16, y: u16) {
        let target = Position { x, y };
        match self.at {
            Some(at) if at == target => {}
            Some(at) if at.y == y && at.x < x => {
                let by = x - at.x;
                let _ = if by == 1 { write!(self.bytes, "\x1b[C") } else { write!(self.bytes, "\x1b[{by}C") };
            }
            Some(at) if at.y + 1 == y && x == 0 => self.bytes.extend_from_slice(b"\r\n"),
            _ => {
                let _ = write!(self.bytes, "\x1b[{};{}H", y + 1, x + 1);
            }
        }
        self.at = Some(target);
    }

    fn dip(&mut self, pen: Pen) {
        if self.pen == Some(pen) {
            return;
        }
        let mut codes = String::new();
        let mut now = self.pen.unwrap_or(PLAIN);
        if self.pen.is_none() || !pen.modifier.contains(now.modifier) {
            codes.push_str("0;");
            now = PLAIN;
        }
        for (modifier, code) in CODES {
            if pen.modifier.contains(modifier) && !now.modifier.contains(modifier) {
                codes.push_str(&format!("{code};"));
            }
        }
        if pen.fg != now.fg {
            color(&mut codes, pen.fg, 30);
        }
        if pen.bg != now.bg {
            color(&mut codes, pen.bg, 40);
        }
        codes.pop();
        let _ = write!(self.bytes, "\x1b[{codes}m");
        self.pen = Some(pen);
    }

    fn put(&mut self, x: u16, y: u16, cell: &Cell) {
        self.go(x, y);
        self.dip(Pen { fg: cell.fg, bg: cell.bg, modifier: cell.modifier });
        let symbol = cell.symbol();
        let (usual, most) = (columns(symbol), most_columns(symbol));
        let behind = x + usual as u16;
        if !unsure(symbol) {
            self.bytes.extend_from_slice(symbol.as_bytes());
            // At the right edge some terminals wrap and some wait.
            self.at = (behind < self.size.width).then_some(Position { x: behind, y });
        } else if usize::from(x) + most > usize::from(self.size.width) {
            // It might go on in the next row.
            self.bytes.push(b'?');
            self.bytes.extend(std::iter::repeat_n(b' ', usual.saturating_sub(1)));
            self.at = None;
        } else {
            if usual > 1 {
                // A terminal that takes fewer columns would leave what stood in the others.
                self.bytes.extend(std::iter::repeat_n(b' ', usual));
                self.at = None;
                self.go(x, y);
            }
            self.bytes.extend_from_slice(symbol.as_bytes());
            self.at = None;
        }
    }
}

fn color(codes: &mut String, color: Color, base: u8) {
    let named = |n: u8| if n < 8 { base + n } else { base + 60 + n - 8 };
    let code = match color {
        Color::Reset => base + 9,
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => named(8),
        Color::LightRed => named(9),
        Color::LightGreen => named(10),
        Color::LightYellow => named(11),
        Color::LightBlue => named(12),
        Color::LightMagenta => named(13),
        Color::LightCyan => named(14),
        Color::White => named(15),
        Color::Indexed(i) => return codes.push_str(&format!("{};5;{i};", base + 8)),
        Color::Rgb(r, g, b) => return codes.push_str(&format!("{};2;{r};{g};{b};", base + 8)),
    };
    codes.push_str(&format!("{code};"));
}

impl Backend for CellWriter {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut sent = std::mem::take(&mut self.sent);
        let mut places: Vec<(u16, u16)> = Vec::new();
        let mut in_order = true;
        for (x, y, cell) in content {
            sent.put(x, y, cell);
            places.push((y, x));
            let (usual, most) = (columns(cell.symbol()), most_columns(cell.symbol()));
            // What it may have run over is sent again.
            places.extend((usual..most).map(|over| (y, x.saturating_add(over as u16))));
            in_order &= usual == most;
        }
        if !in_order {
            places.sort_unstable();
            places.dedup();
        }
        for (y, x) in places {
            if let Some(cell) = sent.at(x, y) {
                self.put(x, y, cell);
            }
        }
        self.sent = sent;
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        if self.shown != Some(false) {
            self.bytes.extend_from_slice(b"\x1b[?25l");
            self.shown = Some(false);
        }
        self.wanted = None;
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if self.shown != Some(true) {
            self.bytes.extend_from_slice(b"\x1b[?25h");
            self.shown = Some(true);
        }
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.at.unwrap_or_default())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.wanted = Some(position.into());
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.dip(PLAIN);
        self.bytes.extend_from_slice(b"\x1b[2J");
        self.sent.clear(self.size.width, self.size.height);
        Ok(())
    }

    fn clear_region(&mut self, _region: ClearType) -> io::Result<()> {
        // Only whole screens are ever cleared.
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(wanted) = self.wanted {
            self.go(wanted.x, wanted.y);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn said(writer: &mut CellWriter) -> String {
        String::from_utf8(writer.take()).unwrap()
    }

    #[test]
    fn only_what_changed_is_said() {
        let mut writer = CellWriter::new(80, 24);
        let mut a = Cell::new("a");
        a.set_style(Style::default().fg(Color::Red));
        let b = Cell::new("b");
        writer.draw([(0, 0, &a), (1, 0, &a), (5, 0, &b), (0, 1, &b)].into_iter()).unwrap();
        assert_eq!(said(&mut writer), "\x1b[1;1H\x1b[0;31maa\x1b[3C\x1b[39mb\r\nb");
        writer.set_cursor_position((3, 1)).unwrap();
        writer.flush().unwrap();
        assert_eq!(said(&mut writer), "\x1b[2C");
        writer.flush().unwrap();
        assert_eq!(said(&mut writer), "");
    }

    #[test]
    fn where_terminals_disagree_the_cursor_is_placed_anew() {
        let mut writer = CellWriter::new(80, 24);
        let (letter, wide, x) = (Cell::new("א"), Cell::new("漢"), Cell::new("x"));
        writer.draw([(0, 0, &letter), (1, 0, &wide), (3, 0, &x), (79, 0, &x), (0, 1, &x)].into_iter()).unwrap();
        assert_eq!(said(&mut writer), "\x1b[1;1H\x1b[0mא\x1b[1;2H漢x\x1b[75Cx\x1b[2;1Hx");
    }

    #[test]
    fn what_a_symbol_may_have_run_over_is_sent_again() {
        let mut writer = CellWriter::new(12, 1);
        let (family, border) = (Cell::new("👩‍👩‍👧"), Cell::new("|"));
        writer.draw([(5, 0, &border)].into_iter()).unwrap();
        said(&mut writer);
        // Six columns in some terminals: blanks first, where it takes fewer than two; then the border anew.
        writer.draw([(2, 0, &family)].into_iter()).unwrap();
        assert_eq!(said(&mut writer), "\x1b[1;3H  \x1b[1;3H👩‍👩‍👧\x1b[1;5H |  ");
        // At the edge of the screen it could go on in the next row.
        writer.draw([(10, 0, &family)].into_iter()).unwrap();
        assert_eq!(said(&mut writer), "\x1b[2C? ");
    }
}
