//! Timestamps of the card, and the cache of compiled shaders.

use segcal_core::{Geometry, Tensor, ops};

use super::*;

#[test]
fn every_dispatch_is_timed_under_the_name_of_its_kernel() {
    let Some(gpu) = &own(95) else { return };
    if !gpu.adapter().features.contains(&"timestamps") {
        eprintln!("skipped: this card does not support timestamps");
        return;
    }
    let (x_shape, w_shape) = (Shape::new(2, 3, 1, 20, 21), Shape::new(5, 3, 1, 3, 3));
    let x = Tensor::full(gpu, x_shape, 1.0);
    let w = Tensor::full(gpu, w_shape, 1.0).tracked();
    let work = || {
        let y = ops::conv(&x, &w, &Geometry::same([1, 3, 3]));
        ops::sum_all(&[&y], |p| p.input(0).square()).backward().take(&w).unwrap().to_vec().unwrap()
    };
    let before = gpu.counters();
    let expected = work();
    let dispatches = (gpu.counters() - before).dispatches;
    let (found, times) = gpu.time(work).unwrap();
    assert_eq!(found, expected, "timing does not change the bits");
    assert_eq!(times.iter().map(|time| time.dispatches).sum::<u64>(), dispatches);
    assert!(times.iter().all(|time| time.seconds > 0.0 && time.seconds < 10.0 && time.bytes > 0), "{times:?}");
    assert!(times.is_sorted_by(|a, b| a.seconds >= b.seconds));
    let conv = times.iter().find(|time| time.operation == "conv").unwrap();
    let y_len = 2 * 5 * 20 * 21;
    assert_eq!((conv.kernel, conv.dispatches), ("conv", 1));
    assert_eq!(conv.operations, 2 * y_len * 27);
    assert_eq!(conv.bytes, 4 * (y_len + (x_shape.len() + w_shape.len()) as u64));
    let map = times.iter().find(|time| time.operation == "map").unwrap();
    assert!(map.operations >= y_len, "{map:?}");
    assert_eq!(gpu.time(|| ()).unwrap().1, [], "nothing is left of the previous measurement");
}

/// More dispatches than one submission has timestamps for.
#[test]
fn a_long_measurement_loses_nothing() {
    let Some(gpu) = &own(95) else { return };
    if !gpu.adapter().features.contains(&"timestamps") {
        return;
    }
    let mut x = Tensor::full(gpu, Shape::SCALAR, 0.0);
    let ((), times) = gpu.time(|| (0..2500).for_each(|_| x = ops::map(&[&x], |p| p.input(0) + 1.0))).unwrap();
    assert_eq!(times.iter().map(|time| time.dispatches).sum::<u64>(), 2500);
    assert_eq!(x.item().unwrap(), 2500.0);
}

#[test]
fn compiled_shaders_are_kept_and_a_damaged_file_is_replaced() {
    let Some([card, _]) = cards() else { return };
    if !card.adapter().features.contains(&"pipeline cache") {
        eprintln!("skipped: this card cannot cache compiled shaders");
        return;
    }
    let folder = std::env::temp_dir().join(format!("segcal-pipelines-{}", std::process::id()));
    let run = || {
        let gpu = Gpu::open(&Options { cache: Some(folder.clone()), ..Options::default() }).unwrap();
        let x = Tensor::full(&gpu, Shape::new(1, 1, 1, 1, 50), 2.0);
        assert_eq!(ops::sum_all(&[&x], |p| p.input(0)).item().unwrap(), 100.0);
    };
    let files = || -> Vec<_> { std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    run();
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let stored = std::fs::read(file).unwrap();
    std::fs::write(file, &stored[..stored.len() - 1]).unwrap();
    run();
    assert_eq!(files().len(), 1, "no other file is left behind");
    assert!(std::fs::read(file).unwrap().len() >= stored.len(), "the damaged file was replaced");
    std::fs::remove_dir_all(&folder).unwrap();
}
