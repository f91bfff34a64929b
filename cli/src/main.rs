//! The `segcal` program.

fn main() {}
