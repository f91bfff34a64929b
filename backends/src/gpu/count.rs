//! `bincount` and `take`.
//!
//! Counting uses no atomic operation: each bin is summed by threads of its own in a fixed order, so that the same
//! input gives the same bits, for weights of any scale.

use segcal_core::{Fold, Shape};

use super::buffer::Buffer;
use super::context::{Call, Context};
use super::kernel::{Code, GROUP, Kernel};
use super::reduce;

pub(super) static BINCOUNT: Kernel = Kernel {
    name: "bincount",
    files: &[include_str!("shaders/bincount.wgsl")],
    constants: &[],
    reads: &["bins", "weight"],
    writes: &["y"],
};

pub(super) static TAKE: Kernel = Kernel {
    name: "take",
    files: &[include_str!("shaders/take.wgsl"), include_str!("shaders/elementwise.wgsl")],
    constants: &[],
    reads: &["table", "index"],
    writes: &["y"],
};

/// Elements that one workgroup looks at, at least.
const BLOCK: usize = 16 * GROUP as usize;
/// Blocks per bin, at most.
const MOST_BLOCKS: usize = 1024;

/// For each weight the sums over the elements of each bin.
pub(super) fn bincount(
    context: &Context,
    (bins, shape): (&Buffer, Shape),
    weights: &[&Buffer],
    count: usize,
) -> Vec<Buffer> {
    weights.iter().map(|weight| one(context, bins, weight, shape.len(), count)).collect()
}

fn one(context: &Context, bins: &Buffer, weight: &Buffer, len: usize, count: usize) -> Buffer {
    let block = len.div_ceil(MOST_BLOCKS).next_multiple_of(GROUP as usize).max(BLOCK);
    let blocks = len.div_ceil(block).max(1);
    let parts = count.div_ceil(GROUP as usize);
    let width = count.next_power_of_two().min(GROUP as usize);
    let groups = blocks * parts;
    let partial = context.buffer("bincount", blocks * count);
    let params = [groups, len, count, block, parts, width].map(|number| number as u32);
    let code = Code::File(&BINCOUNT, Vec::new());
    let (reads, writes) = ([bins, weight], [&partial]);
    let operations = (len * count) as u64;
    let call = Call { op: "bincount", code, reads: &reads, writes: &writes, params: &params, groups, operations };
    context.dispatch(&call);
    if blocks == 1 {
        return partial;
    }
    reduce::fold_blocks(context, Fold::Sum, vec![partial], count, blocks, false).pop().expect("one output")
}

/// `y[i] = table[index[i]]`.
pub(super) fn take(
    context: &Context,
    (table, table_shape): (&Buffer, Shape),
    (index, out): (&Buffer, Shape),
) -> Buffer {
    let y = context.buffer("take", out.len());
    let params = [out.len() as u32, table_shape.len() as u32];
    context.elementwise("take", Code::File(&TAKE, Vec::new()), &[table, index], &[&y], &params, out.len());
    y
}
