//! What is written is read back: by this program, and by the `nifti` crate as a second opinion.

use ndarray::{Array3, Axis};
use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
use segcal_core::Rng;
use segcal_data::{Axes, Grid, Volume, nifti as ours, npy};

/// A grid turned, mirrored and stretched at random.
fn random_grid(rng: &mut Numbers) -> Grid {
    let extent = [1 + rng.below(5), 1 + rng.below(5), 1 + rng.below(5)];
    let mut q = [0.0; 4].map(|_| rng.unit() - 0.5);
    let length = q.iter().map(|x| x * x).sum::<f64>().sqrt();
    q = q.map(|x| x / length);
    let [a, b, c, d] = q;
    let rotation = [
        [1.0 - 2.0 * (c * c + d * d), 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), 1.0 - 2.0 * (b * b + d * d), 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), 1.0 - 2.0 * (b * b + c * c)],
    ];
    let sizes = [0.0; 3].map(|_| 0.3 + 3.0 * rng.unit());
    let sign = if rng.below(2) == 0 { 1.0 } else { -1.0 };
    let affine = rotation
        .map(|row| [row[0] * sizes[0], row[1] * sizes[1], sign * row[2] * sizes[2], 200.0 * rng.unit() - 100.0]);
    Grid::new(extent, affine, 1).unwrap()
}

/// Random numbers for the tests, one after the other.
struct Numbers(Rng, u64);

impl Numbers {
    fn unit(&mut self) -> f64 {
        self.1 += 1;
        self.0.uniform(self.1)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.unit() * limit as f64) as usize
    }
}

#[test]
fn volumes_of_every_written_type_and_geometry() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Numbers(Rng::new(1), 0);
    for round in 0..60 {
        let grid = random_grid(&mut rng);
        let channels = 1 + rng.below(3);
        let count = channels * grid.extent.iter().product::<usize>();
        let path = folder.path().join(if round % 2 == 0 { "v.nii" } else { "v.nii.gz" });
        macro_rules! round_trip {
            ($type:ty, $value:expr) => {{
                let values: Vec<$type> = (0..count).map($value).collect();
                ours::write(&path, &Volume::new(values.clone(), channels, grid.clone())).unwrap();
                let back = ours::read_image(&path).unwrap();
                assert_eq!(back.values(), values.iter().map(|&x| x as f32).collect::<Vec<_>>());
                back
            }};
        }
        let back = match round % 4 {
            0 => round_trip!(u8, |i| (i * 7) as u8),
            1 => round_trip!(i16, |i| i as i16 * 99 - 500),
            2 => round_trip!(i32, |i| i as i32 - 5),
            _ => round_trip!(f32, |i| i as f32 * 0.37 - 2.0),
        };
        grid.expect_same("written", &back.grid, "read").unwrap();
        assert_eq!(back.grid.axes(), grid.axes());
        let header = ours::read_header(&path).unwrap();
        assert_eq!(header.dim.len(), if channels == 1 { 3 } else { 4 });
        assert_second_opinion(&path, &back);
    }
}

/// The `nifti` crate sees the same numbers, and the same geometry in sform and qform.
fn assert_second_opinion(path: &std::path::Path, volume: &Volume<f32>) {
    let object = ReaderOptions::new().read_file(path).unwrap();
    let header = object.header().clone();
    let array = object.into_volume().into_ndarray::<f32>().unwrap();
    let [d, h, w] = volume.grid.extent;
    for ((c, z, y, x), &value) in volume.data.indexed_iter() {
        let other = if volume.channels() == 1 { array[[x, y, z]] } else { array[[x, y, z, c]] };
        assert_eq!(other, value);
    }
    assert_eq!(&header.dim[1..4], [w as u16, h as u16, d as u16]);
    for (row, sform) in [header.srow_x, header.srow_y, header.srow_z].iter().enumerate() {
        for column in 0..4 {
            assert!((f64::from(sform[column]) - volume.grid.affine[row][column]).abs() < 1e-5);
        }
    }
    // The qform, read by itself, is the same affine.
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "nii") {
        let mut header = bytes[..348].to_vec();
        header[254..256].copy_from_slice(&[0, 0]);
        let (affine, source) = ours::Header::parse(&header).unwrap().affine().unwrap();
        assert_eq!(source.as_str(), "qform");
        for (a, b) in affine.iter().flatten().zip(volume.grid.affine.iter().flatten()) {
            assert!((a - b).abs() < 2e-5, "{affine:?} {:?}", volume.grid.affine);
        }
    }
}

#[test]
fn what_the_second_opinion_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.nii.gz");
    let data = Array3::from_shape_fn((4, 3, 2), |(x, y, z)| x as f32 + 10.0 * y as f32 + 100.0 * z as f32);
    nifti::writer::WriterOptions::new(&path).write_nifti(&data).unwrap();
    let volume = ours::read_image(&path).unwrap();
    assert_eq!(volume.grid.extent, [2, 3, 4]);
    for ((x, y, z), &value) in data.indexed_iter() {
        assert_eq!(volume.data[[0, z, y, x]], value);
    }
}

#[test]
fn arrays_of_every_type_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    macro_rules! each {
        ($($type:ty)*) => {$(
            for shape in [&[][..], &[5], &[2, 3, 4], &[1, 1, 2, 1, 3], &[0, 3]] {
                let count: usize = shape.iter().product();
                let data: Vec<$type> = (0..count).map(|i| (i as f64 * 1.5) as $type).collect();
                npy::write(&path, shape, &data).unwrap();
                let back = npy::read::<f64>(&path, "").unwrap();
                assert_eq!(back.shape, shape);
                assert_eq!(back.data, data.iter().map(|&x| x as f64).collect::<Vec<_>>());
            }
        )*};
    }
    each!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
}

/// Files as NumPy writes them in other orders, made by hand.
#[test]
fn fortran_order_and_big_endian() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    let text = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
    header.extend_from_slice(&(text.len() as u16).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    // Element (i, j) is 10 i + j; the first axis is fastest in the file.
    for j in 0..3_i16 {
        for i in 0..2_i16 {
            header.extend_from_slice(&(10 * i + j).to_be_bytes());
        }
    }
    std::fs::write(&path, header).unwrap();
    let array = npy::read::<f32>(&path, "").unwrap();
    assert_eq!(array.data, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
}

#[test]
fn archives_hold_arrays_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    npy::write_archive(&path, &[("probabilities", &[2, 2], &[0.25_f32, 0.75, 0.5, 0.5]), ("other", &[1], &[3.0])])
        .unwrap();
    assert_eq!(npy::names(&path).unwrap(), ["probabilities", "other"]);
    assert_eq!(npy::read::<f64>(&path, "probabilities").unwrap().data, [0.25, 0.75, 0.5, 0.5]);
    assert_eq!(npy::read::<f64>(&path, "other").unwrap().shape, [1]);
}

#[test]
fn labels_come_as_whole_numbers_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("label.nii");
    let grid = Grid::unknown([1, 1, 4]);
    ours::write(&path, &Volume::new(vec![0.0_f32, 2.0, -1.0, 1.0], 1, grid.clone())).unwrap();
    assert_eq!(ours::read_labels(&path).unwrap().values(), [0, 2, -1, 1]);
    for bad in [0.5_f32, f32::NAN, 1e12] {
        ours::write(&path, &Volume::new(vec![0.0, 1.0, bad, 0.0], 1, grid.clone())).unwrap();
        let message = ours::read_labels(&path).unwrap_err().to_string();
        assert!(message.contains("label.nii: voxel (2, 0, 0)"), "{message}");
    }
    // Floats that a writer squeezed into 16 bits with a slope: 1 comes back as 1.0000000xx.
    ours::write(&path, &Volume::new(vec![0_i16, 16384, 32767, -32767], 1, grid)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[112..116].copy_from_slice(&(2.0_f32 / 32767.0).to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(ours::read_labels(&path).unwrap().values(), [0, 1, 2, -2]);
}

#[test]
fn reorienting_through_a_file_keeps_every_voxel_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turned.nii.gz");
    let mut rng = Numbers(Rng::new(2), 0);
    for _ in 0..20 {
        let grid = random_grid(&mut rng);
        let count = grid.extent.iter().product::<usize>();
        let volume = Volume::new((0..count as i32).collect(), 1, grid);
        let ras = volume.reoriented(Axes::RAS);
        ours::write(&path, &ras).unwrap();
        let back = ours::read_labels(&path).unwrap();
        assert_eq!(back.grid.axes(), Axes::RAS);
        let turned_back = back.reoriented(volume.grid.axes());
        assert_eq!(turned_back.data.len_of(Axis(1)), volume.grid.extent[0]);
        assert_eq!(turned_back.values(), volume.values());
        volume.grid.expect_same("original", &turned_back.grid, "turned back").unwrap();
    }
}
