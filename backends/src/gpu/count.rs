//! `bincount` and `take`.
//!
//! Counting uses no atomic operations: each bin is summed by its own threads in a fixed order, so the same input gives
//! the same bits, for weights of any scale.

use segcal_core::Shape;

use super::buffer::Buffer;
use super::call::Call;
use super::context::Context;
use super::kernel::Kernel;
use super::params::Params;
use super::reduce;
use super::text::{ELEMENTWISE, GROUP};

pub(super) static BINCOUNT: Kernel = Kernel {
    name: "bincount",
    files: &[include_str!("shaders/bincount.wgsl")],
    constants: &[],
    reads: &["bins", "weight"],
    writes: &["y"],
};

pub(super) static TAKE: Kernel = Kernel {
    name: "take",
    files: &[include_str!("shaders/take.wgsl"), ELEMENTWISE],
    constants: &[],
    reads: &["table", "index"],
    writes: &["y"],
};

/// Minimum number of elements that one workgroup scans.
const BLOCK: usize = 16 * GROUP as usize;
/// Maximum number of blocks per bin.
const MOST_BLOCKS: usize = 1024;

/// For each weight, the sums over the elements of each bin.
pub(super) fn bincount(
    context: &Context,
    (bins, shape): (&Buffer, Shape),
    weights: &[&Buffer],
    count: usize,
) -> Vec<Buffer> {
    weights.iter().map(|weight| one(context, bins, weight, shape.len(), count)).collect()
}

/// The sums for one weight.
fn one(context: &Context, bins: &Buffer, weight: &Buffer, len: usize, count: usize) -> Buffer {
    let block = len.div_ceil(MOST_BLOCKS).next_multiple_of(GROUP as usize).max(BLOCK);
    let blocks = len.div_ceil(block).max(1);
    let parts = count.div_ceil(GROUP as usize);
    let width = count.next_power_of_two().min(GROUP as usize);
    let groups = blocks * parts;
    let partial = context.buffer("bincount", blocks * count);
    context.dispatch(&Call {
        op: "bincount",
        code: BINCOUNT.code([]),
        reads: &[bins, weight],
        writes: &[&partial],
        params: &bincount_params([groups, len, count, block, parts, width]),
        groups,
        operations: (len * count) as u64,
    });
    reduce::sum_blocks(context, partial, count, blocks)
}

pub(super) fn bincount_params([groups, len, count, block, parts, width]: [usize; 6]) -> Params {
    Params::sizes([("groups", groups), ("len", len), ("count", count)]).and_sizes([
        ("block", block),
        ("parts", parts),
        ("width", width),
    ])
}

/// `y[i] = table[index[i]]`.
pub(super) fn take(
    context: &Context,
    (table, table_shape): (&Buffer, Shape),
    (index, out): (&Buffer, Shape),
) -> Buffer {
    context.elementwise("take", TAKE.code([]), &[table, index], out.len(), take_params(table_shape))
}

pub(super) fn take_params(table: Shape) -> Params {
    Params::sizes([("entries", table.len())])
}
