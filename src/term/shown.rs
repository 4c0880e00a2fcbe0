//! What was sent to the terminal, cell by cell, and the symbols about whose width terminals disagree.
//!
//! A family of emoji is two columns in one terminal and eight in another, which then has written over
//! what stands to the right: those cells are sent again. Where it might run over the right edge of the
//! screen it is not sent at all.

use ratatui::buffer::Cell;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The cells of the screen.
#[derive(Debug, Default)]
pub(super) struct Shown {
    columns: u16,
    rows: u16,
    cells: Vec<Cell>,
    /// Cells that a wide one to the left covers.
    covered: Vec<bool>,
}

impl Shown {
    /// A screen of this size, empty.
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        let count = usize::from(columns) * usize::from(rows);
        Self { columns, rows, cells: vec![Cell::EMPTY; count], covered: vec![false; count] }
    }

    /// Empties it, as the terminal was.
    pub(super) fn clear(&mut self, columns: u16, rows: u16) {
        if (self.columns, self.rows) == (columns, rows) {
            self.cells.fill(Cell::EMPTY);
            self.covered.fill(false);
        } else {
            *self = Self::new(columns, rows);
        }
    }

    fn index(&self, x: u16, y: u16) -> Option<usize> {
        (x < self.columns && y < self.rows).then(|| usize::from(y) * usize::from(self.columns) + usize::from(x))
    }

    /// What stands there, if that is a cell of its own.
    pub(super) fn at(&self, x: u16, y: u16) -> Option<&Cell> {
        self.index(x, y).filter(|i| !self.covered[*i]).map(|i| &self.cells[i])
    }

    /// Puts a cell.
    pub(super) fn put(&mut self, x: u16, y: u16, cell: &Cell) {
        let Some(at) = self.index(x, y) else { return };
        self.cells[at].clone_from(cell);
        let width = columns(cell.symbol()).max(1);
        let room = usize::from(self.columns - x);
        for (i, covered) in self.covered[at..at + width.min(room)].iter_mut().enumerate() {
            *covered = i > 0;
        }
    }
}

/// Columns that a symbol takes, as ratatui counts them.
pub(super) fn columns(symbol: &str) -> usize {
    symbol.width()
}

/// The most columns that any terminal may take for a symbol.
pub(super) fn most_columns(symbol: &str) -> usize {
    if !unsure(symbol) {
        return columns(symbol);
    }
    let most = |c: char| match c {
        '\u{1f000}'..='\u{1ffff}' => 2,
        c => c.width().unwrap_or(0),
    };
    symbol.chars().map(most).sum::<usize>().max(columns(symbol) + 1)
}

/// True if terminals may disagree about how far the cursor moves behind it: all but single characters
/// of scripts and marks whose width is old and settled.
pub(super) fn unsure(symbol: &str) -> bool {
    let mut chars = symbol.chars();
    let (Some(c), None) = (chars.next(), chars.next()) else { return true };
    !matches!(c,
        ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{391}'..='\u{482}' | '\u{48a}'..='\u{52f}'
        | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{2190}'..='\u{21ff}' | '\u{2200}'..='\u{22ff}'
        | '\u{2400}'..='\u{2426}' | '\u{2500}'..='\u{25fc}' | '\u{2800}'..='\u{28ff}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_known_at_their_most() {
        for (symbol, usual, most) in [
            ("a", 1, 1),
            ("漢", 2, 2),
            ("⠿", 1, 1),
            ("e\u{301}", 1, 2),
            ("👍", 2, 3),
            ("👩\u{200d}👩\u{200d}👧", 2, 6),
            ("א", 1, 2),
        ] {
            assert_eq!((columns(symbol), most_columns(symbol)), (usual, most), "{symbol}");
        }
    }

    #[test]
    fn what_a_wide_symbol_covers_is_no_cell() {
        let mut shown = Shown::new(4, 1);
        shown.put(0, 0, &Cell::new("漢"));
        assert!(shown.at(0, 0).is_some() && shown.at(1, 0).is_none() && shown.at(2, 0).is_some());
        shown.put(0, 0, &Cell::new("a"));
        shown.put(1, 0, &Cell::new("b"));
        assert_eq!(shown.at(1, 0).map(Cell::symbol), Some("b"));
        shown.put(3, 0, &Cell::new("漢"));
        assert!(shown.at(4, 0).is_none() && shown.at(0, 1).is_none());
    }
}
