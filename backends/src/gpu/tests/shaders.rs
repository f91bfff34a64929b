//! Every shader file with every set of constants, and many printed programs, through naga's validator: no device.

use segcal_core::{Fold, Program, Shape};
use wgpu::naga::front::wgsl;
use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::gpu::conv::{CONV, CONV_WEIGHT, TILES};
use crate::gpu::count::{BINCOUNT, TAKE};
use crate::gpu::distance::DISTANCE;
use crate::gpu::kernel::{Code, Kernel};
use crate::gpu::layout::{PLACE, SLICE};
use crate::gpu::pool::{MAX_POOL, MAX_UNPOOL};
use crate::gpu::program::{Domain, Listing};
use crate::gpu::rank::{MODE_FILTER, RANK_FILTER};
use crate::gpu::resample::{AFFINE_ADJOINT, AFFINE_FORWARD, SEPARABLE};
use crate::gpu::{map, reduce};

/// Shared memory that every WebGPU device has.
const GROUP_BYTES: u32 = 16 << 10;

fn validate(code: &Code, bindings_per_array: u8) {
    let [reads, writes] = code.arrays();
    let source = code.source(&vec![bindings_per_array; reads.len() + writes.len()], 1 << 25);
    let module = wgsl::parse_str(&source).unwrap_or_else(|error| {
        panic!("{}: {}\n{source}", code.name(), error.emit_to_string(&source));
    });
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
    if let Err(error) = validator.validate(&module) {
        panic!("{}: {}\n{source}", code.name(), error.emit_to_string(&source));
    }
    let in_group = module.global_variables.iter().filter(|(_, one)| one.space == wgpu::naga::AddressSpace::WorkGroup);
    let sizes = in_group.map(|(_, one)| module.types[one.ty].inner.size(module.to_ctx()));
    let bytes: u32 = sizes.sum();
    assert!(bytes <= GROUP_BYTES, "{}: {bytes} bytes of shared memory", code.name());
}

#[test]
fn every_file_is_valid() {
    let flags: Vec<Vec<u32>> = vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]];
    let tiles: Vec<Vec<u32>> = TILES.iter().map(|tile| tile.map(|extent| extent as u32).to_vec()).collect();
    let none = vec![Vec::new()];
    let list: [(&'static Kernel, Vec<Vec<u32>>); 15] = [
        (&SLICE, none.clone()),
        (&PLACE, vec![vec![0], vec![1]]),
        (&MAX_POOL, none.clone()),
        (&MAX_UNPOOL, none.clone()),
        (&RANK_FILTER, none.clone()),
        (&MODE_FILTER, none.clone()),
        (&BINCOUNT, none.clone()),
        (&TAKE, none.clone()),
        (&DISTANCE, flags.clone()),
        (&SEPARABLE, none),
        (&AFFINE_FORWARD, flags.clone()),
        (&AFFINE_ADJOINT, flags),
        (&CONV, tiles.clone()),
        (&CONV_WEIGHT, tiles),
        (&SLICE, vec![Vec::new()]),
    ];
    for (kernel, constants) in list {
        for values in constants {
            assert_eq!(values.len(), kernel.constants.len(), "{}", kernel.name);
            for bindings in [1, 3] {
                validate(&Code::File(kernel, values.clone()), bindings);
            }
        }
    }
}
