//! The `bit-axon` program.
fn main() {}
