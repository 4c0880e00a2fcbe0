//! Arithmetic on slices, with SIMD chosen at run time.

mod level;

pub use level::Level;
