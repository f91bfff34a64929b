//! Every shader file with every set of constants, and many printed programs, through naga's validator: no device.

use segcal_core::{Opcode, Program, Shape, axis};

use crate::gpu::conv::{CONV, CONV_WEIGHT, TILES};
use crate::gpu::count::{BINCOUNT, TAKE};
use crate::gpu::distance::DISTANCE;
use crate::gpu::kernel::Kernel;
use crate::gpu::layout::{PLACE, SLICE};
use crate::gpu::pool::{MAX_POOL, MAX_UNPOOL};
use crate::gpu::rank::{MODE_FILTER, RANK_FILTER};
use crate::gpu::resample::{AFFINE_ADJOINT, AFFINE_FORWARD, SEPARABLE};
use crate::gpu::validate;
use crate::gpu::validation::validate_code;
use crate::gpu::winograd::{INPUT, OUTPUT, WEIGHT};

#[test]
fn every_file_is_valid() {
    let flags: Vec<Vec<u32>> = vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]];
    let tiles: Vec<Vec<u32>> = TILES.iter().map(|tile| tile.map(|extent| extent as u32).to_vec()).collect();
    let none = vec![Vec::new()];
    let list: [(&'static Kernel, Vec<Vec<u32>>); 17] = [
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
        (&WEIGHT, vec![Vec::new()]),
        (&INPUT, vec![Vec::new()]),
        (&OUTPUT, vec![Vec::new()]),
    ];
    for (kernel, constants) in list {
        for values in constants {
            assert_eq!(values.len(), kernel.constants.len(), "{}", kernel.name);
            for bindings in [1, 3] {
                validate_code(&kernel.code(values.clone()), bindings).unwrap_or_else(|what| panic!("{what}"));
            }
        }
    }
}

/// A program and its sums over a few broadcast patterns.
fn validate_program(program: &Program) {
    let domain = Shape::new(2, 3, 4, 5, 6);
    let patterns = [domain, Shape::new(1, 3, 1, 1, 1), Shape::new(2, 1, 4, 5, 1), Shape::SCALAR];
    for (number, &folded) in patterns.iter().enumerate() {
        let views: Vec<Shape> = (0..program.inputs()).map(|input| patterns[(input + number) % 4]).collect();
        validate(program, domain, &views, folded).unwrap_or_else(|what| panic!("{what}"));
    }
}

#[test]
fn every_opcode_and_its_derivative_is_valid() {
    for &opcode in Opcode::ALL {
        let program = Program::new(|p| opcode.apply([0, 1, 2].map(|i| p.input(i))));
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
