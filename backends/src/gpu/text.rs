//! Pieces of shader text that several files print.

use std::fmt::Write;

/// Threads of a workgroup. Every WebGPU device offers as many.
pub(super) const GROUP: u32 = 256;

/// Calls `element(i)` for each `i` below `p.count`: the last file of an elementwise kernel.
pub(super) const ELEMENTWISE: &str = include_str!("shaders/elementwise.wgsl");

/// Adds a line to a shader.
pub(super) fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes every text");
}
