//! Archives of NumPy arrays.

use segcal_data::npy;

use crate::input::with_file;

/// Names and arrays are read or refused; what is read has as many numbers as its shape says.
pub fn target(bytes: &[u8]) {
    with_file("x.npz", bytes, |path| {
        let only = npy::read::<i32>(path, "");
        for name in npy::names(path)? {
            let array = npy::read::<f64>(path, &name)?;
            assert_eq!(array.data.len(), array.shape.iter().product::<usize>(), "numbers of {name}");
        }
        only.map(drop)
    });
}

/// Written by the program itself, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let archive = |arrays: &[(&str, &[usize], &[f32])]| {
        let folder = tempfile::tempdir().expect("room for temporary files");
        let path = folder.path().join("x.npz");
        npy::write_archive(&path, arrays).expect("room for temporary files");
        std::fs::read(path).expect("the file that was written")
    };
    let one = archive(&[("probabilities", &[2, 1, 2], &[0.25, 0.5, 0.75, 0.5])]);
    let mut lie = one.clone();
    let central = lie.windows(4).position(|four| four == b"PK\x01\x02").expect("a central directory");
    lie[central + 20..central + 28].fill(0x7f);
    let cut = one[..one.len() / 2].to_vec();
    vec![("one", one), ("two", archive(&[("a", &[1], &[1.0]), ("b", &[], &[2.0])])), ("lie", lie), ("cut", cut)]
}
