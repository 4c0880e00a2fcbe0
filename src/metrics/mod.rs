//! The points of training runs, held small and drawn fast: no files, no threads, no clocks.
//!
//! ```text
//!   Run ── rows: step, tokens, time        one entry for each line that was logged
//!    └──── Series (one a metric)
//!            ├─ rows    which row each point belongs to
//!            ├─ values  packed in chunks of 1024
//!            └─ pyramid smallest, largest and mean of 16, 128, 1024 ... points
//! ```
//!
//! A hundred million points take two to three bytes each, and a chart reads as many blocks of the pyramid as
//! it has columns, however long the history is.

pub mod alerts;
mod column;
pub mod filter;
pub mod names;
mod pack;
mod pyramid;
mod reduce;
mod rows;
mod run;
mod series;
pub mod show;

pub use column::Column;
pub use reduce::{Dot, View, nearest, reduce, smooth};
pub use run::{Axis, Happened, Row, Run, SeriesId, State};
pub use series::Series;
