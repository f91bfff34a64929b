//! Each operator against a slow and obvious version, its ranges and probabilities by counting, and the cases in which
//! nothing may change.

use segcal_core::Rng;
use segcal_data::{Grid, Volume};

use super::*;
use crate::settings::Settings;

/// Textured numbers about 1, different for each voxel.
fn texture(extent: [usize; 3], channels: usize) -> Vec<f32> {
    let rng = Rng::new(11);
    (0..channels as u64 * extent.iter().product::<usize>() as u64).map(|i| rng.range(i, 0.2, 1.8) as f32).collect()
}

fn case(extent: [usize; 3], channels: usize) -> Prepared {
    let grid = Grid::unknown(extent);
    let label = (0..extent.iter().product::<usize>()).map(|voxel| (voxel % 7) as i32 % 3).collect();
    Prepared {
        name: "case".into(),
        image: Volume::new(texture(extent, channels), channels, grid.clone()),
        label: Volume::new(label, 1, grid),
    }
}

/// Operators with only those enabled that the keys name.
fn operators(keys: &[&str]) -> Operators {
    let patches = ["samples.kind=patches", "samples.size=[12,12,12]"];
    let keys: Vec<&str> = patches.into_iter().chain(keys.iter().copied()).collect();
    Settings::with(&keys).unwrap().augment.operators.unwrap()
}

fn plane(keys: &[&str]) -> Operators {
    Settings::with(&[&["samples.size=[12,12]"], keys].concat()).unwrap().augment.operators.unwrap()
}

/// A single intensity operator on a copy of a channel.
fn changed_channel(keys: &[&str], extent: [usize; 3], seed: u64) -> Vec<f32> {
    let mut image = texture(extent, 1);
    change_intensities(&mut image, extent, &operators(keys), Rng::new(seed));
    image
}

fn assert_near(a: &[f32], b: &[f32], bound: f32) {
    assert_eq!(a.len(), b.len());
    for (place, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= bound, "{place}: {a} {b}");
    }
}

#[test]
fn nothing_changes_where_nothing_is_asked_for() {
    let case = case([14, 15, 16], 2);
    let block = Block::plain(0, [1, -2, 3], [12, 12, 12]);
    let none = operators(&["augment.noise.p=0.0"]);
    let still = operators(&[
        "augment.rotation={p=1,range=[0,0]}",
        "augment.scaling={p=1,range=[1,1]}",
        "augment.elastic={p=1,range=[0,0]}",
        "augment.noise={p=1,range=[0,0]}",
        "augment.blur={p=1,range=[0,0]}",
        "augment.brightness={p=1,range=[1,1]}",
        "augment.low_resolution={p=1,range=[1,1]}",
        "augment.contrast={p=1,range=[1,1]}",
    ]);
    let plain = block.cut(&case);
    for number in 0..20 {
        assert_eq!(changed(&case, &block, &none, Rng::new(number)), plain);
        let (image, label) = changed(&case, &block, &still, Rng::new(number));
        // Contrast subtracts the mean and adds it back.
        assert_near(&image, &plain.0, 1e-6);
        assert_eq!(label, plain.1);
    }
    // A gamma of 1 preserves the mean and the deviation.
    let one = changed_channel(&["augment.gamma={p=1,range=[1,1]}"], [4, 5, 6], 0);
    assert_near(&one, &texture([4, 5, 6], 1), 1e-6);
}

/// By 90 degrees and by half the extent the new voxels are old ones, wherever the block lies.
#[test]
fn a_right_angle_is_a_quarter_turn_and_zero_lies_beyond_the_case() {
    let case = case([1, 12, 12], 2);
    let block = Block::plain(0, [0, 0, 0], [1, 12, 12]);
    let turn = plane(&["augment.rotation={p=1,range=[90,90]}"]);
    let (image, label) = changed(&case, &block, &turn, Rng::new(1));
    let (plain, labels) = block.cut(&case);
    for (y, x) in (0..12).flat_map(|y| (0..12).map(move |x| (y, x))) {
        // The place (y, x) about the middle comes from cos y - sin x, sin y + cos x.
        let from = (11 - x) * 12 + y;
        for channel in 0..2 {
            assert!((image[channel * 144 + y * 12 + x] - plain[channel * 144 + from]).abs() < 1e-5, "{y} {x}");
        }
        assert_eq!(label[y * 12 + x], labels[from]);
    }
    let far = Block::plain(0, [0, 40, 0], [1, 12, 12]);
    let (image, label) = changed(&case, &far, &turn, Rng::new(1));
    assert!(image.iter().chain(&label).all(|&x| x == 0.0));
}

/// Rotation, scaling and deformation of a linear function give the function at the moved positions; labels are those of
/// the nearest voxel.
#[test]
fn moved_samples_are_those_at_the_moved_places() {
    let extent = [40, 40, 40];
    let mut case = case(extent, 1);
    let plane_of = |[z, y, x]: [f64; 3]| 0.5 * z - 0.25 * y + 0.125 * x + 3.0;
    let at = |place: usize| [place / 1600, place / 40 % 40, place % 40];
    let values = (0..64_000).map(|place| plane_of(at(place).map(|x| x as f64)) as f32).collect();
    case.image = Volume::new(values, 1, case.image.grid.clone());
    let keys = ["augment.rotation={p=1,range=[-30,30]}", "augment.scaling={p=1,range=[0.7,1.4]}"];
    let bent = "augment.elastic={p=1,range=[1,1],spacing=5}";
    let block = Block::plain(0, [15, 14, 13], [10, 11, 12]);
    for (seed, keys) in [(1, &keys[..]), (2, &[keys[0], keys[1], bent]), (3, &[bent])] {
        let operators = operators(keys);
        let motion = Motion::draw(&operators, block.size, Rng::new(seed)).unwrap();
        let (image, label) = motion.cut(&case, &block);
        let mut moved = 0.0_f64;
        for place in 0..10 * 11 * 12 {
            let here = [place / 132, place / 12 % 11, place % 12];
            let source = motion.source(here, block.size);
            let from: [f64; 3] = std::array::from_fn(|axis| source[axis] + block.start[axis] as f64);
            assert!((f64::from(image[place]) - plane_of(from)).abs() < 1e-5);
            let [z, y, x] = from.map(|x| (x + 0.5).floor() as usize);
            assert_eq!(label[place] as i32, case.label.data[[0, z, y, x]]);
            moved = moved.max((source[0] - here[0] as f64).abs());
        }
        assert!(moved > 0.1);
    }
}

/// Lengths are scaled by the factor, angles are preserved, and the centre does not move.
#[test]
fn rotation_and_scaling_are_a_similarity_about_the_middle() {
    let operators = operators(&["augment.rotation={p=1,range=[-180,180]}", "augment.scaling={p=1,range=[1.25,1.25]}"]);
    for seed in 0..20 {
        let motion = Motion::draw(&operators, [9, 9, 9], Rng::new(seed)).unwrap();
        let middle = motion.source([4, 4, 4], [9, 9, 9]);
        assert!(middle.iter().all(|x| (x - 4.0).abs() < 1e-12));
        let arms = [[8, 4, 4], [4, 8, 4], [4, 4, 8]].map(|at| motion.source(at, [9, 9, 9]).map(|x| x - 4.0));
        for (a, b) in [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)] {
            let product: f64 = (0..3).map(|axis| arms[a][axis] * arms[b][axis]).sum();
            let expected = if a == b { 25.0 } else { 0.0 };
            assert!((product - expected).abs() < 1e-9, "{a} {b} {product}");
        }
    }
}

/// In planes and in thick slices, nothing moves perpendicular to them.
#[test]
fn nothing_moves_across_the_plane() {
    let flat = plane(&["augment=nnunet", "augment.rotation.p=1", "augment.elastic={p=1,spacing=4}"]);
    let thick =
        Settings::with(&["augment=nnunet", "samples.kind=patches", "samples.size=[4,16,16]", "augment.rotation.p=1"]);
    let thick = thick.unwrap().augment.operators.unwrap();
    for (operators, extent) in [(flat, [1, 12, 12]), (thick, [4, 16, 16])] {
        let motion = Motion::draw(&operators, extent, Rng::new(4)).unwrap();
        for z in 0..extent[0] {
            let from = motion.source([z, 3, 5], extent);
            assert_eq!(from[0], z as f64);
            assert!((from[1] - 3.0).abs() + (from[2] - 5.0).abs() > 0.01);
        }
    }
}

/// The displacement is the sum over all control points of the product of three B-splines, by its definition as a piecewise
/// polynomial of the distance.
#[test]
fn deformation_is_a_spline_of_its_control_points() {
    let basis = |x: f64| match x.abs() {
        x if x < 1.0 => 2.0 / 3.0 - x * x + x.powi(3) / 2.0,
        x if x < 2.0 => (2.0 - x).powi(3) / 6.0,
        _ => 0.0,
    };
    let (extent, spacing) = ([6, 9, 7], 3.0);
    let operators = operators(&["augment.elastic={p=1,range=[2,2],spacing=3}"]);
    let rng = Rng::new(5);
    let motion = Motion::draw(&operators, extent, rng).unwrap();
    let points = extent.map(|voxels| (voxels as f64 / spacing).ceil() as usize + 3);
    let stream = rng.stream(2);
    for at in [[0, 0, 0], [5, 8, 6], [2, 3, 4]] {
        let mut sum = at.map(|x| x as f64);
        for point in 0..points.iter().product::<usize>() {
            let index = [point / (points[1] * points[2]), point / points[2] % points[1], point % points[2]];
            let weight: f64 =
                (0..3).map(|axis| basis(at[axis] as f64 / spacing - (index[axis] as f64 - 1.0))).product();
            (0..3).for_each(|axis| sum[axis] += weight * 2.0 * stream.stream(axis as u64).normal(point as u64));
        }
        let from = motion.source(at, extent);
        assert!((0..3).all(|axis| (from[axis] - sum[axis]).abs() < 1e-9), "{from:?} {sum:?}");
    }
}

#[test]
fn blur_is_the_sum_over_the_mirrored_neighbourhood() {
    let extent = [5, 6, 7];
    let image = texture(extent, 1);
    let mut blurred = image.clone();
    let sigmas = [0.5, 1.0, 0.8];
    smooth::blur(&mut blurred, extent, |axis| sigmas[axis as usize]);
    let radii = [1_i64, 2, 1];
    let mirror = |at: i64, extent: usize| if at < 0 { -at } else { at.min(2 * (extent as i64 - 1) - at) } as usize;
    let reach = |axis: usize| -radii[axis]..=radii[axis];
    let weight = |x: i64, axis: usize| (-0.5 * (x as f64 / sigmas[axis]).powi(2)).exp();
    let total: f64 = (0..3).map(|axis| reach(axis).map(|x| weight(x, axis)).sum::<f64>()).product();
    for (place, &value) in blurred.iter().enumerate() {
        let [z, y, x] = [place / 42, place / 7 % 6, place % 7].map(|x| x as i64);
        let mut sum = 0.0;
        for (dz, dy) in reach(0).flat_map(|dz| reach(1).map(move |dy| (dz, dy))) {
            for dx in reach(2) {
                let at = (mirror(z + dz, 5) * 6 + mirror(y + dy, 6)) * 7 + mirror(x + dx, 7);
                sum += f64::from(image[at]) * weight(dz, 0) * weight(dy, 1) * weight(dx, 2) / total;
            }
        }
        assert!((f64::from(value) - sum).abs() < 1e-6, "{place}");
    }
    // A plane has no neighbours perpendicular to it.
    let mut flat = texture([1, 6, 7], 1);
    smooth::blur(&mut flat, [1, 6, 7], |axis| if axis == 0 { 9.0 } else { 0.0 });
    assert_eq!(flat, texture([1, 6, 7], 1));
}

#[test]
fn low_resolution_is_nearest_down_and_linear_up() {
    let (extent, factor) = ([1, 8, 9], 0.6);
    let image = texture(extent, 1);
    let mut coarse = image.clone();
    smooth::low_resolution(&mut coarse, extent, [1, 2].into_iter(), factor);
    // 4.8 and 5.4 voxels.
    let (rows, columns) = (5, 5);
    let down = |at: usize, from: usize, to: usize| ((at as f64 + 0.5) * from as f64 / to as f64).floor() as usize;
    let small = |y: usize, x: usize| f64::from(image[down(y, 8, rows) * 9 + down(x, 9, columns)]);
    let up = |at: usize, from: usize, to: usize| {
        let at = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
        (at as usize, (at as usize + 1).min(from - 1), at.fract())
    };
    for (y, x) in (0..8).flat_map(|y| (0..9).map(move |x| (y, x))) {
        let ((y0, y1, v), (x0, x1, u)) = (up(y, rows, 8), up(x, columns, 9));
        let row = |y: usize| (1.0 - u) * small(y, x0) + u * small(y, x1);
        let expected = (1.0 - v) * row(y0) + v * row(y1);
        assert!((f64::from(coarse[y * 9 + x]) - expected).abs() < 1e-6, "{y} {x}");
    }
}

#[test]
fn intensities_follow_their_formulas() {
    let image = [0.0_f32, 1.0, 2.0, 5.0];
    let apply = |change: &dyn Fn(&mut [f32])| {
        let mut channel = image;
        change(&mut channel);
        channel
    };
    assert_eq!(apply(&|c| intensity::brightness(c, 1.5)), [0.0, 1.5, 3.0, 7.5]);
    // Mean 2; values below 0 or above 5 are clipped.
    assert_eq!(apply(&|c| intensity::contrast(c, 2.0)), [0.0, 0.0, 2.0, 5.0]);
    assert_eq!(apply(&|c| intensity::contrast(c, 0.5)), [1.0, 1.5, 2.0, 3.5]);
    let bent = |image: [f64; 4], power: f64| {
        let raw = image.map(|x| ((x - image[0]) / 5.0).abs().powf(power) * 5.0);
        let moments = |x: [f64; 4]| {
            let mean = x.iter().sum::<f64>() / 4.0;
            (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4.0).sqrt())
        };
        let ((mean, sd), (own, deviation)) = (moments(image), moments(raw));
        raw.map(|x| (x - own) / deviation * sd + mean)
    };
    let expected = bent([0.0, 1.0, 2.0, 5.0], 1.5).map(|x| x as f32);
    assert_near(&apply(&|c| intensity::gamma(c, 1.5)), &expected, 1e-5);
    let mut mirrored = bent([-5.0, -2.0, -1.0, 0.0], 0.7).map(|x| -x as f32);
    mirrored.reverse();
    assert_near(&apply(&|c| intensity::inverted(c, |c| intensity::gamma(c, 0.7))), &mirrored, 1e-5);
    let mut flat = [3.0; 4];
    intensity::gamma(&mut flat, 0.7);
    assert_eq!(flat, [3.0; 4]);
}

#[test]
fn cutouts_are_boxes_of_the_mean() {
    let extent = [6, 10, 20];
    let cutouts = operators(&["augment.cutouts={p=1,range=[0.2,0.5],most=3}"]).cutouts;
    let mut counts = [0; 3];
    for seed in 0..300 {
        let boxes = intensity::boxes(&cutouts, extent, Rng::new(seed));
        counts[boxes.len() - 1] += 1;
        for (start, size) in &boxes {
            for axis in 0..3 {
                assert!(size[axis] as f64 >= (0.2 * extent[axis] as f64).round() && size[axis] * 2 <= extent[axis] + 1);
                assert!(start[axis] + size[axis] <= extent[axis]);
            }
        }
        let image = texture(extent, 1);
        let mut blanked = image.clone();
        intensity::blank(&mut blanked, extent, &boxes);
        let mean = (image.iter().map(|&x| f64::from(x)).sum::<f64>() / image.len() as f64) as f32;
        for (place, (&new, &old)) in blanked.iter().zip(&image).enumerate() {
            let at = [place / 200, place / 20 % 10, place % 20];
            let within = |(start, size): &([usize; 3], [usize; 3])| {
                (0..3).all(|axis| at[axis] >= start[axis] && at[axis] < start[axis] + size[axis])
            };
            assert_eq!(new, if boxes.iter().any(within) { mean } else { old });
        }
    }
    // 100 of 300 expected, standard deviation 8.2.
    assert!(counts.iter().all(|count| (59..=141).contains(count)), "{counts:?}");
}

/// Each operator is applied to its share of the samples and of their channels; five standard deviations of 4000
/// samples.
#[test]
fn operators_happen_as_often_as_they_should() {
    let count = 4000_u64;
    let near = |found: usize, of: u64, p: f64, what: &str| {
        let (expected, deviation) = (of as f64 * p, (of as f64 * p * (1.0 - p)).sqrt());
        assert!((found as f64 - expected).abs() <= 5.0 * deviation, "{what}: {found} of {of} for {p}");
    };
    let extent = [1, 4, 4];
    let before = texture(extent, 2);
    for (key, p, each) in [
        ("noise", 0.1, 1.0),
        ("blur", 0.2, 0.5),
        ("brightness", 0.15, 1.0),
        ("contrast", 0.15, 1.0),
        ("low_resolution", 0.25, 0.5),
        ("gamma_inverted", 0.1, 1.0),
        ("gamma", 0.3, 1.0),
    ] {
        // The preset's values, for a single operator.
        let nnunet = toml::Table::try_from(plane(&["augment=nnunet"])).unwrap();
        assert_eq!((nnunet[key]["p"].as_float(), nnunet[key]["per_channel"].as_float()), (Some(p), Some(each)));
        let keys = [format!("augment.{key}.p={p}"), format!("augment.{key}.per_channel={each}")];
        let range = if key == "low_resolution" { "augment.low_resolution.range=[0.5,0.6]" } else { "seed=0" };
        let operators = plane(&[&keys[0], &keys[1], range]);
        let mut found = [0; 2];
        for number in 0..count {
            let mut image = before.clone();
            change_intensities(&mut image, extent, &operators, Rng::new(3).stream(number));
            (0..2).for_each(|c| found[c] += usize::from(image[16 * c..][..16] != before[16 * c..][..16]));
        }
        found.iter().for_each(|&found| near(found, count, p * each, key));
    }
    for (key, p) in [("rotation", 0.2), ("scaling", 0.2), ("elastic", 0.3)] {
        let operators = plane(&[&format!("augment.{key}.p={p}")]);
        let moved = (0..count).filter(|&n| Motion::draw(&operators, [1, 12, 12], Rng::new(8).stream(n)).is_some());
        near(moved.count(), count, p, key);
    }
}

/// Uniform on each side of 1, and as often below as above.
#[test]
fn factors_lie_in_their_range_on_both_sides_of_one() {
    let rng = Rng::new(2);
    let factors: Vec<f64> =
        (0..4000).map(|n| intensity::about_one(rng.uniform(2 * n), rng.uniform(2 * n + 1), [0.75, 1.5])).collect();
    assert!(factors.iter().all(|factor| (0.75..1.5).contains(factor)));
    let below: Vec<f64> = factors.iter().copied().filter(|&factor| factor < 1.0).collect();
    // 2000 expected, standard deviation 32; the mean of the lower half is 0.875, that of its mean 0.25 / sqrt(12 * 2000).
    assert!((1840..=2160).contains(&below.len()), "{}", below.len());
    let mean = below.iter().sum::<f64>() / below.len() as f64;
    assert!((mean - 0.875).abs() < 5.0 * 0.25 / (12.0 * 1840.0_f64).sqrt(), "{mean}");
    assert_eq!(intensity::about_one(0.9, 0.5, [0.5, 0.7]), 0.6);
    // Each factor, read from a channel of ones.
    for seed in 0..200 {
        let mut ones = vec![1.0_f32; 8];
        let brightness = operators(&["augment.brightness={p=1,range=[0.75,1.25]}"]);
        change_intensities(&mut ones, [2, 2, 2], &brightness, Rng::new(seed));
        assert!((0.75..=1.25).contains(&ones[0]) && ones.iter().all(|&x| x == ones[0]));
    }
}

/// Mean 0 and the requested standard deviation, within five standard errors.
#[test]
fn noise_is_normal_and_of_one_deviation_for_all_channels() {
    let extent = [10, 20, 20];
    let mut image = vec![0.0; 2 * 4000];
    let operators = operators(&["augment.noise={p=1,range=[0.0,0.5]}"]);
    let rng = Rng::new(9);
    change_intensities(&mut image, extent, &operators, rng);
    let sigma = between(rng.stream(streams::NOISE), [0.0, 0.5]);
    let channels: Vec<&[f32]> = image.chunks(4000).collect();
    assert_ne!(channels[0], channels[1]);
    for channel in channels {
        let mean = channel.iter().map(|&x| f64::from(x)).sum::<f64>() / 4000.0;
        let squares = channel.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 5.0 * sigma / 4000_f64.sqrt());
        assert!((squares - sigma * sigma).abs() < 5.0 * sigma * sigma * (2.0 / 4000.0_f64).sqrt());
    }
}
