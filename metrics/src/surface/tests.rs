use super::*;
use proptest::prelude::*;
use segcal_core::Reference;

/// The definition by brute force: edges by checking each face neighbour, distances by checking every pair.
fn brute(from: &[bool], to: &[bool], grid: Grid) -> Vec<f64> {
    let at = |i: usize| {
        let [_, h, w] = grid.spatial;
        [i / (h * w), i / w % h, i % w]
    };
    let inside = |mask: &[bool], at: [isize; 3]| {
        let [d, h, w] = grid.spatial.map(|extent| extent as isize);
        let within = at[0] >= 0 && at[0] < d && at[1] >= 0 && at[1] < h && at[2] >= 0 && at[2] < w;
        within && mask[((at[0] * h + at[1]) * w + at[2]) as usize]
    };
    let edge = |mask: &[bool]| -> Vec<[usize; 3]> {
        let on_edge = |i: &usize| {
            let single = grid.voxels() == 1;
            let mut axes = (0..3).filter(|&axis| single || grid.spatial[axis] > 1);
            mask[*i]
                && axes.any(|axis| {
                    [-1, 1].iter().any(|step| {
                        let mut next = at(*i).map(|x| x as isize);
                        next[axis] += step;
                        !inside(mask, next)
                    })
                })
        };
        (0..mask.len()).filter(on_edge).map(at).collect()
    };
    let to = edge(to);
    let nearest = |a: &[usize; 3]| {
        let distance = |b: &[usize; 3]| {
            (0..3).map(|axis| ((a[axis] as f64 - b[axis] as f64) * grid.spacing[axis]).powi(2)).sum::<f64>().sqrt()
        };
        to.iter().map(distance).fold(f64::INFINITY, f64::min)
    };
    let mut distances: Vec<f64> = edge(from).iter().map(nearest).collect();
    distances.sort_by(f64::total_cmp);
    distances
}

fn measured(prediction: &[bool], reference: &[bool], grid: Grid) -> SurfaceDistances {
    match Surface::measure(&Reference, prediction, reference, grid).expect("a usable grid") {
        Surface::Measured(distances) => distances,
        Surface::Empty(which) => panic!("empty: {which:?}"),
    }
}

fn marks(places: &[usize], len: usize) -> Vec<bool> {
    (0..len).map(|place| places.contains(&place)).collect()
}

#[test]
fn two_points_at_three_four_five() {
    let grid = Grid::new([1, 5, 5], [7.0, 1.0, 2.0]);
    let d = measured(&marks(&[0], 25), &marks(&[3 * 5 + 2], 25), grid);
    assert_eq!((d.hd(), d.hd95_max(), d.hd95_pooled()), (5.0, 5.0, 5.0));
    assert_eq!((d.asd(), d.assd(), d.masd()), (5.0, 5.0, 5.0));
    assert_eq!((d.nsd(4.9), d.nsd(5.0)), (0.0, 1.0));
}

#[test]
fn a_stray_voxel_separates_the_kinds_of_hd95() {
    // Reference: one voxel. Prediction: the same voxel and one 10 mm away.
    let grid = Grid::voxel_units([1, 1, 11]);
    let d = measured(&marks(&[0, 10], 11), &marks(&[0], 11), grid);
    assert_eq!(d.to_reference(), [0.0, 10.0]);
    assert_eq!(d.to_prediction(), [0.0]);
    assert_eq!((d.hd(), d.asd(), d.asd_reverse()), (10.0, 5.0, 0.0));
    assert_eq!((d.assd(), d.masd()), (10.0 / 3.0, 2.5));
    assert!((d.hd95_max() - 9.5).abs() < 1e-12);
    assert!((d.hd95_pooled() - 9.0).abs() < 1e-12);
    assert_eq!(d.nsd(1.0), 2.0 / 3.0);
}

#[test]
fn an_inner_voxel_is_no_edge_and_the_border_is() {
    let full = vec![true; 27];
    let centre = marks(&[13], 27);
    let d = measured(&full, &centre, Grid::voxel_units([3, 3, 3]));
    assert_eq!((d.to_reference().len(), d.to_prediction()), (26, [1.0].as_slice()));
    // In 2-D the slice axis has no neighbours: the centre of a full square is not an edge.
    let d = measured(&[true; 9], &marks(&[4], 9), Grid::voxel_units([1, 3, 3]));
    assert_eq!(d.to_reference().len(), 8);
}

#[test]
fn a_grid_of_one_voxel() {
    let d = measured(&[true], &[true], Grid::voxel_units([1, 1, 1]));
    assert_eq!((d.hd(), d.assd(), d.nsd(0.0)), (0.0, 0.0, 1.0));
}

#[test]
fn empty_masks() {
    let grid = Grid::voxel_units([1, 1, 3]);
    let (some, none) = (marks(&[1], 3), marks(&[], 3));
    let measure = |p: &[bool], r: &[bool]| Surface::measure(&Reference, p, r, grid).expect("a usable grid");
    assert_eq!(measure(&none, &some), Surface::Empty(Emptiness::Prediction));
    assert_eq!(measure(&some, &none), Surface::Empty(Emptiness::Reference));
    assert_eq!(measure(&none, &none), Surface::Empty(Emptiness::Both));
    assert_eq!(measure(&none, &some).nsd(1.0).formula(), Some(0.0));
    assert_eq!(measure(&none, &none).nsd(1.0).formula(), None);
    assert_eq!(measure(&some, &none).figure(SurfaceDistances::hd).formula(), None);
}

#[test]
fn a_voxel_size_of_zero_is_an_error() {
    let grid = Grid::new([1, 1, 1], [1.0, 0.0, 1.0]);
    assert!(Surface::measure(&Reference, &[true], &[true], grid).is_err());
}

fn case() -> impl Strategy<Value = (Grid, Vec<bool>, Vec<bool>)> {
    let spacing = || prop::sample::select(vec![0.5, 1.0, 1.25, 3.0]);
    let grid = ((1..4_usize, 1..6_usize, 1..6_usize), (spacing(), spacing(), spacing()));
    grid.prop_flat_map(|((d, h, w), (sd, sh, sw))| {
        let masks = || prop::collection::vec(prop::bool::weighted(0.6), d * h * w);
        (Just(Grid::new([d, h, w], [sd, sh, sw])), masks(), masks())
    })
}

proptest! {
    #[test]
    fn equals_brute_force_and_is_symmetric((grid, a, b) in case()) {
        let surface = Surface::measure(&Reference, &a, &b, grid).expect("a usable grid");
        let Surface::Measured(forth) = surface else {
            prop_assert!(a.iter().all(|x| !x) || b.iter().all(|x| !x));
            return Ok(());
        };
        let close = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b))
        };
        prop_assert!(close(forth.to_reference(), &brute(&a, &b, grid)), "{forth:?}");
        prop_assert!(close(forth.to_prediction(), &brute(&b, &a, grid)), "{forth:?}");
        let back = measured(&b, &a, grid);
        prop_assert_eq!(forth.hd(), back.hd());
        prop_assert_eq!(forth.hd95_max(), back.hd95_max());
        prop_assert_eq!(forth.hd95_pooled(), back.hd95_pooled());
        prop_assert_eq!(forth.nsd(1.0), back.nsd(1.0));
        prop_assert!((forth.assd() - back.assd()).abs() < 1e-12);
        prop_assert_eq!(forth.asd(), back.asd_reverse());
        prop_assert!(forth.hd95_max() <= forth.hd() && forth.hd95_pooled() <= forth.hd());
    }
}

/// f32 distances: one rounding, below 2^-22 relative.
#[test]
fn the_cpu_backend_agrees_with_the_reference() {
    let rng = segcal_core::Rng::new(11);
    let grid = Grid::new([9, 24, 20], [3.0, 0.7, 0.7]);
    let blob = |centre: [f64; 3], stream: u64| -> Vec<bool> {
        let inside = |i: usize| {
            let at = [i / 480, i / 20 % 24, i % 20];
            let r2: f64 = (0..3).map(|axis| ((at[axis] as f64 - centre[axis]) * grid.spacing[axis]).powi(2)).sum();
            r2.sqrt() < 5.0 + rng.stream(stream).uniform(i as u64)
        };
        (0..grid.voxels()).map(inside).collect()
    };
    let (a, b) = (blob([4.0, 12.0, 9.0], 0), blob([4.5, 10.0, 11.0], 1));
    let cpu = segcal_backends::Cpu::new(None).expect("threads");
    let Surface::Measured(fast) = Surface::measure(&cpu, &a, &b, grid).expect("a grid") else { panic!("not empty") };
    let exact = measured(&a, &b, grid);
    assert_eq!(fast.to_reference().len(), exact.to_reference().len());
    for (fast, exact) in fast.to_reference().iter().zip(exact.to_reference()) {
        assert!((fast - exact).abs() <= exact * 2_f64.powi(-22), "{fast} {exact}");
    }
    for figure in
        [SurfaceDistances::hd, SurfaceDistances::hd95_max, SurfaceDistances::hd95_pooled, SurfaceDistances::assd]
    {
        assert!((figure(&fast) - figure(&exact)).abs() <= figure(&exact) * 2_f64.powi(-21));
    }
    assert_eq!(fast.nsd(0.7), exact.nsd(0.7));
}
