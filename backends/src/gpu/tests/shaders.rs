//! Every shader file with every set of constants, and many printed programs, through naga's validator: no device.

use segcal_core::{Fold, Opcode, Program, Shape, axis};
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
    let list: [(&'static Kernel, Vec<Vec<u32>>); 14] = [
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

/// A program, its derivative and its sums over a few broadcast patterns.
fn validate_program(program: &Program) {
    let domain = Shape::new(2, 3, 4, 5, 6);
    let patterns = [domain, Shape::new(1, 3, 1, 1, 1), Shape::new(2, 1, 4, 5, 1), Shape::SCALAR];
    for (number, &folded) in patterns.iter().enumerate() {
        let inputs: Vec<usize> = (0..program.inputs()).collect();
        let mut views: Vec<Shape> = inputs.iter().map(|input| patterns[(input + number) % 4]).collect();
        views.push(folded);
        let merged = Domain::new(domain, &views, std::array::from_fn(|axis| program.uses_coord(axis)));
        let listing = |packed| Listing::new(program, &inputs, &merged, packed);
        validate(&Code::Map(map::Pattern::new(listing(false), &merged)), 1);
        if program.inputs() > 1 {
            validate(&Code::Map(map::Pattern::new(listing(true), &merged)), 2);
        }
        for fold in [Fold::Sum, Fold::Max] {
            for grouped in [false, true] {
                validate(&Code::Reduce(reduce::Pattern::new(listing(false), &merged, fold, grouped)), 1);
            }
        }
    }
}

#[test]
fn every_opcode_and_its_derivative_is_valid() {
    use Opcode::{Abs, Add, Div, Eq, Exp, Floor, Le, Log, Log1p, Lt, Max, Min, Mul, Neg, Pow, Select, Sqrt, Sub, Tanh};
    for &opcode in Opcode::ALL {
        let program = Program::new(|p| {
            let (a, b, c) = (p.input(0), p.input(1), p.input(2));
            match opcode {
                Neg => -a,
                Abs => a.abs(),
                Exp => a.exp(),
                Log => a.ln(),
                Log1p => a.ln_1p(),
                Sqrt => a.sqrt(),
                Tanh => a.tanh(),
                Floor => a.floor(),
                Add => a + b,
                Sub => a - b,
                Mul => a * b,
                Div => a / b,
                Min => a.min(b),
                Max => a.max(b),
                Pow => a.pow(b),
                Lt => a.lt(b),
                Le => a.le(b),
                Eq => a.equals(b),
                Select => a.select(b, c),
            }
        });
        validate_program(&program);
        validate_program(&program.vjp(&(0..opcode.arity()).collect::<Vec<_>>()));
    }
}

#[test]
fn numbers_that_wgsl_cannot_write_are_parameters() {
    let program = Program::with_outputs(|p| {
        let x = p.input(0);
        let all = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, -0.0, 1e-45, 3.4e38, -1.5e-7, 16777217.0];
        let mut outputs: Vec<_> = all.into_iter().map(|constant| x * constant).collect();
        outputs.push(x * p.scalar(3) + p.coord(axis::C) + p.coord(axis::W));
        outputs
    });
    validate_program(&program);
}
