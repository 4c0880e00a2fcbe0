//! The portable CPU backend.

pub mod linear;
pub mod ops;
pub mod pool;
pub mod quantised_rows;
pub mod roofline;
