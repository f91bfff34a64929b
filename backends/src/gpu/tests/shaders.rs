//! Validates every shader file with every set of constants, and many generated programs, with naga; needs no device.

use segcal_core::{Geometry, Interpolation, Opcode, Program, Sampling, Shape, Window, axis};

use crate::gpu::conv::CONV_WEIGHT;
use crate::gpu::count::{BINCOUNT, TAKE};
use crate::gpu::distance::DISTANCE;
use crate::gpu::kernel::Kernel;
use crate::gpu::layout::{PLACE, SLICE};
use crate::gpu::params::Params;
use crate::gpu::pool::{MAX_POOL, MAX_UNPOOL};
use crate::gpu::product::{CONV, TILES};
use crate::gpu::rank::{MODE_FILTER, RANK_FILTER};
use crate::gpu::resample::{AFFINE_ADJOINT, AFFINE_FORWARD, SEPARABLE};
use crate::gpu::validate;
use crate::gpu::validation::validate_code;
use crate::gpu::winograd::{INPUT, OUTPUT, Plan, WEIGHT};
use crate::gpu::{conv, count, distance, layout, pool, product, rank, resample, winograd};

/// Every shader file with the parameters of a call and its sets of constants.
fn files() -> Vec<(&'static Kernel, Params, Vec<Vec<u32>>)> {
    let (x, w) = (Shape::new(2, 4, 3, 5, 6), Shape::new(4, 4, 1, 3, 3));
    let geometry = Geometry::same([1, 3, 3]);
    let (sizes, axes, weights) = product::forward(x, w, &geometry, x);
    let product = sizes.product(&axes).params(product::gather_params(&sizes, &axes, &weights));
    let (of_weight, params) = conv::weight_product(x, x, &geometry, w);
    let plan = Plan::forward(&geometry, x, w, x).expect("a plane of 3 x 3");
    let sampling = Sampling::resize([3, 5, 6], [3, 5, 6], Interpolation::Linear);
    let pooling = || pool::params(x, &Window::tiles([1, 2, 2]), x);
    let grid = || winograd::grid([1; 5]);
    let counted = |params: Params| Params::sizes([("count", 1)]).and(params);
    let none = || vec![Vec::new()];
    let flags = || vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]];
    let tiles = || TILES.iter().map(|tile| tile.map(|extent| extent as u32).to_vec()).collect();
    vec![
        (&SLICE, counted(layout::walk(x, x, [0; 5])), none()),
        (&PLACE, counted(layout::walk(x, x, [0; 5])), vec![vec![0], vec![1]]),
        (&MAX_POOL, counted(pooling()), none()),
        (&MAX_UNPOOL, counted(pooling()), none()),
        (&RANK_FILTER, counted(rank::params(x, [1, 3, 3], 4, x)), none()),
        (&MODE_FILTER, counted(rank::params(x, [1, 3, 3], 0, x)), none()),
        (&BINCOUNT, count::bincount_params([1; 6]), none()),
        (&TAKE, counted(count::take_params(x)), none()),
        (&DISTANCE, counted(distance::params(x, axis::W, 1.0)), flags()),
        (&SEPARABLE, counted(resample::table_params([1; 3], [1; 3], [0; 3])), none()),
        (&AFFINE_FORWARD, counted(resample::affine(&sampling, x, x)), flags()),
        (&AFFINE_ADJOINT, counted(resample::affine(&sampling, x, x)), flags()),
        (&CONV, product, tiles()),
        (&CONV_WEIGHT, of_weight.params(params), tiles()),
        (&WEIGHT, counted(plan.weight_params()), none()),
        (&INPUT, counted(grid().and(plan.input_params())), none()),
        (&OUTPUT, counted(grid().and(plan.output_params())), none()),
    ]
}

#[test]
fn every_file_is_valid() {
    for (kernel, params, constants) in files() {
        for values in constants {
            assert_eq!(values.len(), kernel.constants.len(), "{}", kernel.name);
            for bindings in [1, 3] {
                validate_code(&kernel.code(values.clone()), &params, bindings).unwrap_or_else(|what| panic!("{what}"));
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
