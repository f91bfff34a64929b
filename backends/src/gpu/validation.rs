//! Validates generated shaders with naga, as wgpu does before passing them to a driver. No device is needed.

use segcal_core::{Fold, Program, Shape};
use wgpu::naga::AddressSpace;
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

use super::kernel::Code;
use super::params::Params;
use super::pattern::{MapPattern, ReducePattern};
use super::program::{Domain, Listing};
use super::reduce;

/// Shared memory that every WebGPU device has.
const GROUP_BYTES: u32 = 16 << 10;

/// Checks every shader generated from the program over `domain`, with input `k` read as `views[k]`: the map, and the
/// reduction to the shape `folded`, both with one array per input and with one array for all inputs.
///
/// # Errors
/// A shader is not valid WGSL, or needs more shared memory than every device has. The error holds the problem and the
/// text of the shader.
///
/// # Panics
/// There are fewer views than inputs.
pub fn validate(program: &Program, domain: Shape, views: &[Shape], folded: Shape) -> Result<(), String> {
    let inputs: Vec<usize> = (0..program.inputs()).collect();
    let mut shapes: Vec<Shape> = inputs.iter().map(|&input| views[input]).collect();
    shapes.push(folded);
    let merged = Domain::new(domain, &shapes, std::array::from_fn(|axis| program.uses_coord(axis)));
    let listing = |packed| Listing::new(program, &inputs, &merged, packed);
    let (starts, scalars) = (vec![0; inputs.len()], vec![0.0; program.scalars()]);
    let params = |packed| listing(packed).params(&merged.extents, &starts, &scalars);
    let map = |packed, bindings| {
        let code = Code::Map(MapPattern::new(listing(packed), &merged));
        validate_code(&code, &Params::sizes([("count", 0)]).and(params(packed)), bindings)
    };
    map(false, 1)?;
    if program.inputs() > 1 {
        map(true, 2)?;
    }
    for fold in [Fold::Sum, Fold::Max] {
        for grouped in [false, true] {
            let code = Code::Reduce(ReducePattern::new(listing(false), &merged, fold, grouped));
            validate_code(&code, &reduce::params(fold, [0; 5]).and(params(false)), 1)?;
        }
    }
    Ok(())
}

/// Checks one shader whose arrays take `bindings_per_array` bindings each.
pub(super) fn validate_code(code: &Code, params: &Params, bindings_per_array: u8) -> Result<(), String> {
    let [reads, writes] = code.arrays();
    let source = code.source(params, &vec![bindings_per_array; reads.len() + writes.len()], 1 << 25);
    let refused = |what: &str| format!("{}: {what}\n{source}", code.name());
    let module = wgsl::parse_str(&source).map_err(|error| refused(&error.emit_to_string(&source)))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    validator.validate(&module).map_err(|error| refused(&error.emit_to_string(&source)))?;
    let in_group = module.global_variables.iter().filter(|(_, one)| one.space == AddressSpace::WorkGroup);
    let bytes: u32 = in_group.map(|(_, one)| module.types[one.ty].inner.size(module.to_ctx())).sum();
    if bytes > GROUP_BYTES { Err(refused(&format!("{bytes} bytes of shared memory"))) } else { Ok(()) }
}
