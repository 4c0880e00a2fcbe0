//! Limits: a session file may come from anywhere.

/// Longer lines are passed over, and texts that would make longer ones are not written.
pub(super) const LONGEST_LINE: usize = 32 << 20;
/// Larger files are refused: they would not fit in memory.
pub(super) const LARGEST_FILE: u64 = 2 << 30;
/// Layers of a model, and experts of a layer: screens allocate by these.
pub(super) const MOST_LAYERS: usize = 1024;
/// Experts of a layer.
pub(super) const MOST_EXPERTS: usize = 1024;
/// Pairs of experts of a layer, summed over the layers: they are counted.
pub(super) const MOST_PAIRS: usize = 1 << 22;
/// So many notes about a file are kept; the rest is counted.
pub(super) const MOST_NOTES: usize = 20;
/// What waits to be written while the disk is full; beyond it, saving is given up.
pub(super) const MOST_WAITING: usize = 16 << 20;
/// Characters of a title.
pub(super) const LONGEST_TITLE: usize = 200;
