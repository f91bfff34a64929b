//! Failures on the device become the error of a download, with the name of an operation.

use segcal_core::{Program, Tensor, ops};

use super::*;
use crate::gpu::call::Call;
use crate::gpu::kernel::Kernel;
use crate::gpu::params::Params;
use crate::gpu::text::ELEMENTWISE;

#[test]
fn a_lost_card_is_an_error_that_names_its_last_work() {
    let Some(gpu) = own(95) else { return };
    let x = Tensor::full(&gpu, Shape::new(1, 1, 1, 1, 1000), 2.0);
    let y = ops::map(&[&x], |p| p.input(0) * 3.0);
    assert_eq!(ops::sum_all(&[&y], |p| p.input(0)).item().unwrap(), 6000.0);
    gpu.0.device.raw.destroy();
    let after = ops::map(&[&y], |p| p.input(0) + 1.0);
    let fresh = Tensor::new(&gpu, Shape::SCALAR, vec![1.0]);
    for lost in [&y, &after, &fresh] {
        let message = lost.to_vec().unwrap_err().to_string();
        assert!(message.starts_with("gpu: device: the card was lost"), "{message}");
        assert!(message.contains("last operations: ") && message.contains("reduce"), "{message}");
    }
}

static INVALID: Kernel = Kernel {
    name: "invalid",
    files: &["fn element(i: u32) { y_set(i, x_at(i) + 1i); }\n", ELEMENTWISE],
    constants: &[],
    reads: &["x"],
    writes: &["y"],
};

#[test]
fn a_shader_that_is_refused_spoils_its_own_results_only() {
    let Some(gpu) = own(95) else { return };
    let context = &gpu.0;
    let x = gpu.upload(vec![1.0; 8]);
    let y = context.elementwise("twist", INVALID.code([]), &[&x], 8, Params::default());
    let shape = Shape::new(1, 1, 1, 1, 8);
    let double = Program::new(|p| p.input(0) * 2.0);
    let z = gpu.map(&double, &[], &[(&y, shape)], shape).pop().unwrap();
    for spoilt in [&y, &z] {
        let message = gpu.download(spoilt).unwrap_err().to_string();
        assert!(message.starts_with("gpu: twist: "), "{message}");
    }
    let fine = gpu.map(&double, &[], &[(&x, shape)], shape).pop().unwrap();
    assert_eq!(gpu.download(&fine).unwrap(), [2.0; 8]);
}

#[test]
fn more_bindings_than_the_card_has_are_an_error() {
    let Some([_, narrow]) = cards() else { return };
    // 40 bindings of 8 KiB for each of the two arrays.
    let words = 40 * (8 << 10) / 4 - GUARD_WORDS;
    let x = narrow.upload(vec![1.0; words]);
    let y = narrow.0.buffer("test", words);
    static COPY: Kernel = Kernel {
        name: "copy",
        files: &["fn element(i: u32) { y_set(i, x_at(i)); }\n", ELEMENTWISE],
        constants: &[],
        reads: &["x"],
        writes: &["y"],
    };
    let call = Call {
        op: "twist",
        code: COPY.code([]),
        reads: &[&x],
        writes: &[&y],
        params: &Params::sizes([("count", words)]),
        groups: 1,
        operations: 0,
    };
    let limit = narrow.adapter().limits.bindings;
    if limit < 80 {
        narrow.0.dispatch(&call);
        let message = narrow.download(&y).unwrap_err().to_string();
        assert!(message.starts_with("gpu: twist: 80 storage bindings"), "{message}");
        assert!(message.contains(&format!("the card has only {limit}")), "{message}");
    }
}

/// The driver reports how full the card is; one percent of it is soon used up.
#[test]
fn a_full_card_is_an_error_that_names_the_operation_and_what_is_there_stays() {
    let Some(gpu) = own(1) else { return };
    let small = Tensor::full(&gpu, Shape::new(1, 1, 1, 1, 100), 2.0);
    let mut held: Vec<Buffer> = Vec::new();
    while held.len() < 40 && held.iter().all(|buffer| Context::failure_of(buffer).is_none()) {
        held.push(gpu.0.buffer("conv", 24 << 20));
    }
    let Err(failed) = gpu.download(&held.pop().unwrap()) else {
        eprintln!("skipped: the driver does not report how full the card is");
        return;
    };
    let message = failed.to_string();
    assert!(message.starts_with("gpu: conv: ") && message.contains("no room for another"), "{message}");
    drop(held);
    assert_eq!(ops::sum_all(&[&small], |p| p.input(0)).item().unwrap(), 200.0);
}
