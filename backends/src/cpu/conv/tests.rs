//! The fast paths against plain loops in f64.
