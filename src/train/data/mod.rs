//! From files of examples to sequences that a learner takes.
//!
//! ```text
//! lines.rs      a file of lines, read by offset; marks of a few lines are all that is kept
//! rows.rs       a line, understood: chat, text, preference
//! encode.rs     rows to tokens, with the answer whether each bears loss
//! order.rs      the shuffled order of rows, computed place by place
//! pack.rs       examples joined into sequences of one length
//! units.rs      all of it in a row: what a step is made of, and the place from which it goes on
//! feed.rs       the same on a thread of its own, a little ahead of the learner
//! prepared.rs   sequences that were packed before
//! prepare.rs    makes such files
//! ```

mod encode;
mod feed;
mod lines;
mod order;
mod pack;
mod prepare;
mod prepared;
mod rows;
#[cfg(test)]
mod tests;
mod units;

pub use encode::{Encoder, Example};
pub use feed::Feed;
pub use lines::{LONGEST_LINE, Line, Lines};
pub use order::Order;
pub use pack::{Packed, Packer, limit};
pub use prepare::{PrepareOptions, Report, prepare};
pub use prepared::{About, Prepared};
pub use rows::Row;
pub(super) use units::read_row;
pub use units::{Counts, Fed, Part, Place, Shape, Source, Unit, Units};
