//! NumPy arrays.

use segcal_data::npy;

use crate::input::with_file;

/// An array is read or refused, in any number type; what is read has as many numbers as its shape says.
pub fn target(bytes: &[u8]) {
    with_file("x.npy", bytes, |path| {
        let (whole, header) = (npy::read::<i32>(path, ""), npy::read_header(path, ""));
        let array = npy::read::<f64>(path, "")?;
        assert_eq!(array.data.len(), array.shape.iter().product::<usize>(), "numbers of the array");
        assert_eq!(header?.shape, array.shape, "shape of header and array");
        whole.map(drop)
    });
}

/// An array of format 1.0 with this header and these bytes.
pub(super) fn array(header: &str, data: &[u8]) -> Vec<u8> {
    let mut text = header.to_owned();
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

/// Arrays of several types and orders, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let header = |descr: &str, fortran: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}")
    };
    vec![
        ("float", array(&header("<f4", "False", "(2, 3)"), &1_f32.to_le_bytes().repeat(6))),
        ("big_endian", array(&header(">i2", "True", "(2, 2, 1)"), &[0, 1].repeat(4))),
        ("bytes", array(&header("|u1", "False", "(5,)"), &[1; 5])),
        ("bool", array(&header("|b1", "False", "()"), &[1])),
        ("half", array(&header("<f2", "False", "(1, 2)"), &[0, 60, 0, 64])),
        ("long", array(&header("<i8", "False", "(1,)"), &i64::MAX.to_le_bytes())),
        ("object", array(&header("|O", "False", "(2,)"), b"pickle")),
        ("huge", array(&header("<f8", "False", "(99999999999, 99999999999)"), &[])),
        ("empty", Vec::new()),
    ]
}
