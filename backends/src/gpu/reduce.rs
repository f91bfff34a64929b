//! `reduce`: reduction trees in a fixed order, so that the same shapes give the same bits.
//!
//! Two shaders share the generated program. If the innermost axis is folded, a workgroup adds one block of terms: each
//! thread adds every 256th term, then the sums of the threads are added in a binary tree. If it is kept, one thread
//! adds one block, and neighbouring threads read neighbouring values. Each block leaves a partial result; the same
//! shaders fold these again until one is left.

use segcal_core::{Fold, Program, Shape};

use super::buffer::Buffer;
use super::call::Call;
use super::context::Context;
use super::kernel::Code;
use super::map::{Bound, for_each_part};
use super::params::Params;
use super::pattern::ReducePattern;
use super::program::{Domain, Listing};
use super::text::GROUP;

/// Number of terms that one thread adds sequentially.
const SERIAL_BLOCK: usize = 64;
/// Number of terms that one workgroup adds.
const GROUP_BLOCK: usize = 16 * GROUP as usize;
/// Maximum number of blocks per output; beyond it, blocks get more terms.
const MOST_BLOCKS: usize = 1024;
/// Maximum number of outputs of one dispatch: they fit the shared memory of every device, with some to spare.
const MOST_OUTPUTS: usize = 8;

/// One buffer per output of the program.
pub(super) fn reduce(
    context: &Context,
    fold: Fold,
    program: &Program,
    scalars: &[f64],
    inputs: &[(&Buffer, Shape)],
    domain: Shape,
    out: Shape,
) -> Vec<Buffer> {
    if let Some(refused) = context.refuse("reduce", domain.len(), program.outputs().len(), out.len()) {
        return refused;
    }
    let mut outputs = Vec::new();
    for_each_part(context, program, inputs, out.len(), MOST_OUTPUTS, |part, members| {
        let written = members.len() * context.device.bindings(out.len());
        let bound = Bound::new(context, "reduce", &part, inputs, domain, Some(out), written);
        outputs.extend(stage(context, fold, scalars, bound, domain.len(), out.len()));
    });
    outputs
}

/// One dispatch, followed by the reduction of its partial results.
fn stage(context: &Context, fold: Fold, scalars: &[f64], bound: Bound, places: usize, out: usize) -> Vec<Buffer> {
    let terms = places.checked_div(out).unwrap_or(0);
    let grouped = bound.domain.folds_innermost() && terms > SERIAL_BLOCK / 2;
    let least = if grouped { GROUP_BLOCK } else { SERIAL_BLOCK };
    let block = terms.div_ceil(MOST_BLOCKS).max(least);
    let blocks = terms.div_ceil(block).max(1);
    let count = bound.listing.outputs();
    let results: Vec<Buffer> = (0..count).map(|_| context.buffer("reduce", out * blocks)).collect();
    let sizes = [out * blocks, out, terms, block, blocks];
    let params = params(fold, sizes).and(bound.listing.params(&bound.domain.extents, &bound.starts, scalars));
    let reads: Vec<&Buffer> = bound.reads.iter().collect();
    let writes: Vec<&Buffer> = results.iter().collect();
    let groups = if grouped { out * blocks } else { (out * blocks).div_ceil(GROUP as usize) };
    let code = Code::Reduce(ReducePattern::new(bound.listing, &bound.domain, fold, grouped));
    let operations = code.operations() * places as u64;
    let call = Call { op: "reduce", code, reads: &reads, writes: &writes, params: &params, groups, operations };
    context.dispatch(&call);
    fold_blocks(context, fold, results, out, blocks, grouped)
}

/// The parameters of a reduction, which precede those of its program.
pub(super) fn params(fold: Fold, [count, out, terms, block, blocks]: [usize; 5]) -> Params {
    let start = if fold == Fold::Sum { 0.0 } else { f64::NEG_INFINITY };
    let sizes = [("count", count), ("out", out), ("terms", terms), ("block", block), ("blocks", blocks)];
    Params::sizes(sizes).and_number("start", start)
}

/// The sums over `blocks` of partial sums `[blocks, out]`.
pub(super) fn sum_blocks(context: &Context, partial: Buffer, out: usize, blocks: usize) -> Buffer {
    fold_blocks(context, Fold::Sum, vec![partial], out, blocks, false).pop().expect("one output")
}

/// Folds partial results: `[out, blocks]` after the shader with workgroups, `[blocks, out]` after the other one.
fn fold_blocks(
    context: &Context,
    fold: Fold,
    partial: Vec<Buffer>,
    out: usize,
    blocks: usize,
    grouped: bool,
) -> Vec<Buffer> {
    if blocks == 1 {
        return partial;
    }
    let (domain, shape) = if grouped {
        (Shape::new(1, 1, 1, out, blocks), Shape::new(1, 1, 1, out, 1))
    } else {
        (Shape::new(1, 1, 1, blocks, out), Shape::new(1, 1, 1, 1, out))
    };
    let mut views = vec![domain; partial.len()];
    views.push(shape);
    let merged = Domain::new(domain, &views, [false; 5]);
    let listing = Listing::identity(partial.len(), &merged);
    let bound = Bound { listing, domain: merged, reads: partial, starts: Vec::new() };
    stage(context, fold, &[], bound, domain.len(), out)
}
