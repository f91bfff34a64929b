//! `map`: one dispatch per program.

use segcal_core::{Program, Shape, Step};

use super::buffer::Buffer;
use super::context::Context;
use super::kernel::Code;
use super::pattern::MapPattern;
use super::program::{Domain, Listing};

/// One buffer per output of the program.
pub(super) fn map(
    context: &Context,
    program: &Program,
    scalars: &[f64],
    inputs: &[(&Buffer, Shape)],
    out: Shape,
) -> Vec<Buffer> {
    if let Some(refused) = context.refuse("map", out.len(), program.outputs().len(), out.len()) {
        return refused;
    }
    let outputs: Vec<Buffer> = program.outputs().iter().map(|_| context.buffer("map", out.len())).collect();
    for_each_part(context, program, inputs, out.len(), outputs.len(), |part, members| {
        let bound =
            Bound::new(context, "map", &part, inputs, out, None, members.len() * context.device.bindings(out.len()));
        let pattern = MapPattern::new(bound.listing, &bound.domain);
        let params = pattern.listing.params(&bound.domain.extents, &bound.starts, scalars);
        let reads: Vec<&Buffer> = bound.reads.iter().collect();
        let writes: Vec<&Buffer> = members.iter().map(|&member| &outputs[member]).collect();
        context.elementwise_into("map", Code::Map(pattern), &reads, &writes, out.len(), params);
    });
    outputs
}

/// Splits a program into parts whose outputs together need no more bindings than the device has. Calls `visit` with
/// each part and the numbers of its outputs.
pub(super) fn for_each_part(
    context: &Context,
    program: &Program,
    inputs: &[(&Buffer, Shape)],
    out_len: usize,
    most: usize,
    mut visit: impl FnMut(Program, &[usize]),
) {
    let read: usize = used(program).iter().map(|&input| context.device.bindings(inputs[input].1.len())).sum();
    let room = context.device.limits.bindings.saturating_sub(read).max(context.device.limits.bindings / 2);
    let at_once = (room / context.device.bindings(out_len)).clamp(1, most.max(1));
    let all: Vec<usize> = (0..program.outputs().len()).collect();
    for members in all.chunks(at_once) {
        let part = if members.len() == all.len() { program.clone() } else { program.select(members) };
        visit(part, members);
    }
}

/// A program with the buffers it reads.
pub(super) struct Bound {
    pub(super) listing: Listing,
    pub(super) domain: Domain,
    pub(super) reads: Vec<Buffer>,
    /// The offset of each input in a packed array.
    pub(super) starts: Vec<u32>,
}

impl Bound {
    /// Binds the inputs of `program` over `domain`. `folded` is a further view that keeps its axes apart when axes are
    /// merged; it is the last one in `domain.present`. If the inputs need more bindings than the `written` ones leave,
    /// they are packed into one array.
    pub(super) fn new(
        context: &Context,
        op: &'static str,
        program: &Program,
        inputs: &[(&Buffer, Shape)],
        domain: Shape,
        folded: Option<Shape>,
        written: usize,
    ) -> Self {
        let used = used(program);
        let mut views: Vec<Shape> = used.iter().map(|&input| inputs[input].1).collect();
        views.extend(folded);
        let domain = Domain::new(domain, &views, std::array::from_fn(|axis| program.uses_coord(axis)));
        let mut reads: Vec<Buffer> = used.iter().map(|&input| inputs[input].0.clone()).collect();
        let needed: usize = reads.iter().map(|buffer| context.device.bindings(buffer.len())).sum();
        let packed = reads.len() > 1 && needed + written > context.device.limits.bindings;
        let mut starts = Vec::new();
        if packed {
            (reads, starts) = pack(context, op, &reads);
        }
        let listing = Listing::new(program, &used, &domain, packed);
        Self { listing, domain, reads, starts }
    }
}

/// Concatenates the buffers into one, and returns the offset of each.
fn pack(context: &Context, op: &'static str, buffers: &[Buffer]) -> (Vec<Buffer>, Vec<u32>) {
    let whole = context.buffer(op, buffers.iter().map(Buffer::len).sum());
    let mut starts = Vec::with_capacity(buffers.len());
    let mut start = 0;
    for buffer in buffers {
        context.copy(buffer, &whole, start);
        starts.push(start as u32);
        start += buffer.len();
    }
    (vec![whole], starts)
}

/// The inputs that a program reads, in ascending order.
fn used(program: &Program) -> Vec<usize> {
    (0..program.inputs()).filter(|&input| program.steps().contains(&Step::Input(input))).collect()
}
