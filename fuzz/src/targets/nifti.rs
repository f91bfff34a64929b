//! NIfTI-1 and -2, plain, compressed and as pairs. The first byte says how the rest is stored.

use std::io::Write;

use segcal_core::Result;
use segcal_data::nifti;

use crate::input::{Bytes, answered, with_file};

/// Image, labels and header are read or refused; what is read has as many numbers as its grid says.
pub fn target(bytes: &[u8]) {
    let mut bytes = Bytes::new(bytes);
    match bytes.below(4) {
        0 => drop(with_file("x.nii", bytes.rest(), read)),
        1 => drop(with_file("x.nii.gz", bytes.rest(), read)),
        2 => drop(with_file("x.nii.gz", &gzip(bytes.rest()), read)),
        _ => {
            let bytes = bytes.rest();
            let (header, data) = bytes.split_at(bytes.len().min(if bytes.starts_with(&[0x5c]) { 348 } else { 540 }));
            with_file("x.hdr", header, |path| {
                std::fs::write(path.with_extension("img"), data)?;
                // The data file may be the one at fault.
                let _ = answered("x.", read(path));
                Ok(())
            });
        }
    }
}

fn read(path: &std::path::Path) -> Result<()> {
    let (labels, header) = (nifti::read_labels(path), nifti::read_header(path));
    let image = nifti::read_image(path)?;
    let count = image.channels() * image.grid.extent.iter().product::<usize>();
    assert_eq!(image.values().len(), count, "numbers of the image");
    assert_eq!(header?.count(), count, "numbers that the header claims");
    labels.map(drop)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("memory takes all");
    packed.finish().expect("memory takes all")
}

/// 3 x 2 x 2 numbers behind a NIfTI-1 header of this type code and size of a number.
fn version_1(code: i16, size: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; 352];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &348_i32.to_le_bytes());
    put(40, &[3_i16, 3, 2, 2, 1, 1, 1, 1].map(i16::to_le_bytes).concat());
    put(70, &code.to_le_bytes());
    put(72, &(8 * size as i16).to_le_bytes());
    put(76, &[1_f32; 8].map(f32::to_le_bytes).concat());
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(252, &[1_i16, 1].map(i16::to_le_bytes).concat());
    for row in 0..3 {
        put(280 + 20 * row, &1_f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes.extend((0..12 * size).map(|byte| u8::from(byte % size == 0)));
    bytes
}

/// The same as NIfTI-2 in big-endian order.
fn version_2() -> Vec<u8> {
    let mut bytes = vec![0_u8; 544];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &540_i32.to_be_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &[4_i16, 16].map(i16::to_be_bytes).concat());
    put(16, &[3_i64, 3, 2, 2, 1, 1, 1, 1].map(i64::to_be_bytes).concat());
    put(104, &[1_f64; 8].map(f64::to_be_bytes).concat());
    put(168, &544_i64.to_be_bytes());
    put(348, &1_i32.to_be_bytes());
    for row in 0..3 {
        put(400 + 40 * row, &1_f64.to_be_bytes());
    }
    bytes.extend([0, 1].repeat(12));
    bytes
}

/// One of each way of storing, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let stored = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    let mut pair = version_1(4, 2);
    pair[344..348].copy_from_slice(b"ni1\0");
    pair[108..112].fill(0);
    pair.drain(348..352);
    let mut huge = version_1(2, 1);
    huge[40..56]
        .copy_from_slice(&[7_i16, 32767, 32767, 32767, 32767, 32767, 32767, 32767].map(i16::to_le_bytes).concat());
    vec![
        ("float", stored(0, &version_1(16, 4))),
        ("bytes", stored(0, &version_1(2, 1))),
        ("version_2", stored(0, &version_2())),
        ("compressed", stored(1, &gzip(&version_1(4, 2)))),
        ("inside", stored(2, &version_1(512, 2))),
        ("pair", stored(3, &pair)),
        ("huge", stored(0, &huge)),
        ("cut", stored(0, &version_1(64, 8)[..400])),
        ("empty", Vec::new()),
    ]
}
