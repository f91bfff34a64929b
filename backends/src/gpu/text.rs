//! Pieces of shader text that several files use.

use std::fmt::Write;

/// Number of threads in a workgroup. Every WebGPU device supports this many.
pub(super) const GROUP: u32 = 256;

/// The last file of an elementwise kernel: calls `element(i)` for each `i` below `p.count`.
pub(super) const ELEMENTWISE: &str = include_str!("shaders/elementwise.wgsl");

/// Adds a line to a shader.
pub(super) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string cannot fail");
}
