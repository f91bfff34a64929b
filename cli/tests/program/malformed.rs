//! Every malformed file ends in an error that names the file and the field: no panic, no hang, no huge allocation.

use std::io::Write;
use std::path::Path;

use segcal_data::{nifti, npy};

/// A good NIfTI-1 file: 3 x 2 x 2 float32, little-endian.
fn good() -> Vec<u8> {
    let mut bytes = vec![0_u8; 352];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &348_i32.to_le_bytes());
    put(40, &[3_i16, 3, 2, 2, 1, 1, 1, 1].map(i16::to_le_bytes).concat());
    put(70, &16_i16.to_le_bytes());
    put(72, &32_i16.to_le_bytes());
    put(76, &[1_f32, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0].map(f32::to_le_bytes).concat());
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(254, &1_i16.to_le_bytes());
    for row in 0..3 {
        put(280 + 20 * row, &1_f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes.extend((0..12_i16).flat_map(|x| f32::from(x).to_le_bytes()));
    bytes
}

fn with(at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = good();
    bytes[at..at + field.len()].copy_from_slice(field);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn extents(dim: [i16; 8]) -> Vec<u8> {
    with(40, &dim.map(i16::to_le_bytes).concat())
}

fn f32_at(at: usize, x: f32) -> Vec<u8> {
    with(at, &x.to_le_bytes())
}

/// The file with a header extension of the size that is claimed, and 16 bytes of room for it.
fn extended(size: i32) -> Vec<u8> {
    let mut bytes = f32_at(108, 368.0);
    bytes[348] = 1;
    let mut extension = size.to_le_bytes().to_vec();
    extension.resize(16, 0);
    bytes.splice(352..352, extension);
    bytes
}

fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let big = [7, 32767, 32767, 32767, 32767, 32767, 32767, 32767];
    vec![
        ("empty.nii", Vec::new(), "header"),
        ("short.nii", good()[..200].to_vec(), "header"),
        ("header_only.nii", good()[..348].to_vec(), "extension"),
        ("no_data.nii", good()[..352].to_vec(), "dim"),
        ("data_cut.nii", good()[..396].to_vec(), "dim"),
        ("sizeof.nii", with(0, &347_i32.to_le_bytes()), "sizeof_hdr"),
        ("magic.nii", with(344, b"abcd"), "magic"),
        ("analyze.nii", with(344, &[0; 4]), "magic"),
        ("pair_named_single.nii", with(344, b"ni1\0"), "magic"),
        ("single_named_pair.hdr", good(), "magic"),
        ("rank_0.nii", extents([0, 3, 2, 2, 1, 1, 1, 1]), "dim[0]"),
        ("rank_9.nii", extents([9, 3, 2, 2, 1, 1, 1, 1]), "dim[0]"),
        ("rank_negative.nii", extents([-1, 3, 2, 2, 1, 1, 1, 1]), "dim[0]"),
        ("extent_0.nii", extents([3, 3, 0, 2, 1, 1, 1, 1]), "dim[2]"),
        ("extent_negative.nii", extents([3, 3, 2, -2, 1, 1, 1, 1]), "dim[3]"),
        ("extents_huge.nii", extents(big), "dim"),
        ("extents_large.nii", extents([3, 1000, 1000, 1000, 1, 1, 1, 1]), "dim"),
        ("type_unknown.nii", with(70, &9999_i16.to_le_bytes()), "datatype"),
        ("type_complex.nii", with(70, &32_i16.to_le_bytes()), "datatype"),
        ("type_rgb.nii", with(70, &128_i16.to_le_bytes()), "datatype"),
        ("bits.nii", with(72, &8_i16.to_le_bytes()), "bitpix"),
        ("offset_negative.nii", f32_at(108, -100.0), "vox_offset"),
        ("offset_0.nii", f32_at(108, 0.0), "vox_offset"),
        ("offset_in_header.nii", f32_at(108, 100.0), "vox_offset"),
        ("offset_fraction.nii", f32_at(108, 360.5), "vox_offset"),
        ("offset_nan.nii", f32_at(108, f32::NAN), "vox_offset"),
        ("offset_inf.nii", f32_at(108, f32::INFINITY), "vox_offset"),
        ("offset_huge.nii", f32_at(108, 1e30), "vox_offset"),
        ("offset_beyond.nii", f32_at(108, 1e9), "dim"),
        ("inter_nan.nii", f32_at(116, f32::NAN), "scl_inter"),
        ("sform_nan.nii", f32_at(280, f32::NAN), "sform"),
        ("sform_flat.nii", f32_at(280, 0.0), "sform"),
        ("extension_negative.nii", extended(-16), "extension"),
        ("extension_0.nii", extended(0), "extension"),
        ("extension_4.nii", extended(4), "extension"),
        ("extension_huge.nii", extended(i32::MAX), "extension"),
        ("plain_named_gzip.nii.gz", good(), "gzip"),
        ("gzip_named_plain.nii", gzip(&good()), "gzip"),
        ("gzip_cut.nii.gz", gzip(&good())[..40].to_vec(), "gzip_cut"),
        ("gzip_followed.nii.gz", [gzip(&good()), b"garbage".to_vec()].concat(), "not gzip"),
        ("gzip_claim.nii.gz", gzip(&extents([3, 1000, 1000, 1000, 1, 1, 1, 1])), "dim"),
        ("gzip_huge.nii.gz", gzip(&extents(big)), "dim"),
        ("wrong_ending.gz", good(), "extension"),
    ]
}

#[test]
fn nifti_errors_name_the_file_and_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("good.nii"), good()).unwrap();
    assert_eq!(nifti::read_image(&path("good.nii")).unwrap().values()[11], 11.0);
    for (name, bytes, word) in cases() {
        std::fs::write(path(name), bytes).unwrap();
        let message = segcal_data::read_image(&path(name)).expect_err(name).to_string();
        assert!(message.contains(name) && message.contains(word), "{name}: {message}");
    }
}

#[test]
fn the_program_says_it_in_one_line_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, word) in cases() {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = crate::common::segcal(&["info", path.to_str().unwrap()]);
        let message = crate::common::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {message}");
        assert!(message.starts_with("error: ") && message.lines().count() == 1, "{name}: {message}");
        assert!(message.contains(name) && message.contains(word), "{name}: {message}");
    }
}

#[test]
fn a_corrupt_gzip_checksum_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checksum.nii.gz");
    let mut bytes = gzip(&good());
    let end = bytes.len();
    bytes[end - 6] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(nifti::read_image(&path).unwrap_err().to_string().contains("checksum.nii.gz"));
}

#[test]
fn a_quaternion_that_is_too_long_is_refused_and_one_of_length_1_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quaternion.nii");
    let mut bytes = with(252, &[1_i16, 0].map(i16::to_le_bytes).concat());
    bytes[256..260].copy_from_slice(&1.000_000_1_f32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(nifti::read_image(&path).unwrap().grid.axes().to_string(), "RPI");
    bytes[260..264].copy_from_slice(&0.5_f32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    assert!(nifti::read_image(&path).unwrap_err().to_string().contains("quatern"));
}

#[test]
fn padding_before_the_data_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("padded.nii");
    let mut bytes = f32_at(108, 400.0);
    bytes.splice(352..352, vec![0xff; 48]);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(nifti::read_image(&path).unwrap().values()[1], 1.0);
    std::fs::write(&path, extended(16)).unwrap();
    assert_eq!(nifti::read_image(&path).unwrap().values()[1], 1.0);
}

/// Headers that are unusual but say what is meant, as other programs write and read them.
#[test]
fn unusual_headers_are_read_as_they_are_meant() {
    let slope = |slope: f32, inter: f32| {
        let mut bytes = f32_at(112, slope);
        bytes[116..120].copy_from_slice(&inter.to_le_bytes());
        bytes
    };
    let packed = gzip(&good());
    let split = [gzip(&good()[..100]), gzip(&good()[100..]), gzip(b"")].concat();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, last) in [
        ("slope_0.nii", slope(0.0, 5.0), 11.0),
        // The NIfTI library and nibabel take a slope that is not a number for none, and the intercept with it.
        ("slope_nan.nii", slope(f32::NAN, f32::NAN), 11.0),
        ("slope_inf.nii", slope(f32::INFINITY, 1.0), 11.0),
        ("slope_negative.nii", slope(-0.5, 2.0), -3.5),
        ("unused_extents.nii", extents([3, 3, 2, 2, -7, 99, 0, 0]), 11.0),
        ("seven_axes.nii", extents([7, 3, 2, 2, 1, 1, 1, 1]), 11.0),
        ("one_axis.nii", extents([1, 12, 0, 0, 0, 0, 0, 0]), 11.0),
        ("intent.nii", with(68, &1002_i16.to_le_bytes()), 11.0),
        ("space_of_the_future.nii", with(254, &7_i16.to_le_bytes()), 11.0),
        ("trailing.nii", [good(), vec![7; 100]].concat(), 11.0),
        ("members.nii.gz", split, 11.0),
        ("padded.nii.gz", [packed, vec![0; 512]].concat(), 11.0),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let volume = nifti::read_image(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(volume.values().last(), Some(&last), "{name}");
    }
}

/// The same file as NIfTI-2, in big-endian order.
fn good_nifti2() -> Vec<u8> {
    let mut bytes = vec![0_u8; 544];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &540_i32.to_be_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &16_i16.to_be_bytes());
    put(14, &32_i16.to_be_bytes());
    put(16, &[3_i64, 3, 2, 2, 1, 1, 1, 1].map(i64::to_be_bytes).concat());
    put(104, &[1_f64; 8].map(f64::to_be_bytes).concat());
    put(168, &544_i64.to_be_bytes());
    put(348, &1_i32.to_be_bytes());
    for row in 0..3 {
        put(400 + 40 * row, &1_f64.to_be_bytes());
    }
    bytes.extend((0..12_i16).flat_map(|x| f32::from(x).to_be_bytes()));
    bytes
}

#[test]
fn nifti_2_errors_name_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.nii");
    std::fs::write(&path, good_nifti2()).unwrap();
    assert_eq!(nifti::read_image(&path).unwrap().values()[11], 11.0);
    for (at, field, word) in [
        (4, &b"n+2\0\r\n\x1a\0"[..], "magic"),
        (16, &8_i64.to_be_bytes(), "dim[0]"),
        (24, &i64::MAX.to_be_bytes(), "dim"),
        (32, &i64::MIN.to_be_bytes(), "dim[2]"),
        (168, &543_i64.to_be_bytes(), "vox_offset"),
        (168, &i64::MAX.to_be_bytes(), "vox_offset"),
        (400, &f64::INFINITY.to_be_bytes(), "sform"),
        (12, &1792_i16.to_be_bytes(), "datatype"),
    ] {
        let mut bytes = good_nifti2();
        bytes[at..at + field.len()].copy_from_slice(field);
        std::fs::write(&path, bytes).unwrap();
        let message = nifti::read_image(&path).expect_err(word).to_string();
        assert!(message.contains("two.nii") && message.contains(word), "{word}: {message}");
    }
    std::fs::write(&path, &good_nifti2()[..400]).unwrap();
    assert!(nifti::read_image(&path).unwrap_err().to_string().contains("540"));
}

/// Folders, and pipes that nobody writes to, are refused without waiting.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["folder.nii", "folder.npy", "folder.png"] {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let message = crate::common::stderr(&crate::common::segcal(&["info", path.to_str().unwrap()]));
        assert!(message.contains(name) && message.contains("not a regular file"), "{message}");
    }
    for name in ["pipe.nii", "pipe.nii.gz", "pipe.npz", "pipe.png"] {
        let path = folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if made.is_ok_and(|status| status.success()) {
            let message = crate::common::stderr(&crate::common::segcal(&["info", path.to_str().unwrap()]));
            assert!(message.contains("not a regular file"), "{message}");
        }
    }
}

/// A change of any one byte, or a cut at any place, gives a volume or an error, and nothing else.
#[test]
fn no_changed_byte_makes_the_readers_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    npy::write(&path("good.npy"), &[2, 3], &[1.0_f32; 6]).unwrap();
    npy::write_archive(&path("good.npz"), &[("a", &[2, 3], &[1.0_f32; 6])]).unwrap();
    let read_array = |path: &Path| npy::read::<f32>(path, "a").map(drop);
    let read_volume = |path: &Path| nifti::read_image(path).map(drop);
    let mangle = |name: &str, bytes: &[u8], read: &dyn Fn(&Path) -> segcal_core::Result<()>| {
        let mut refused = 0;
        let mut attempt = |bytes: &[u8]| {
            // A new file each time: some file systems flush a file that is written over.
            let _ = std::fs::remove_file(path(name));
            std::fs::write(path(name), bytes).unwrap();
            if let Err(error) = read(&path(name)) {
                assert!(error.to_string().contains(name), "{error}");
                refused += 1;
            }
        };
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] ^= change;
                attempt(&changed);
            }
            if at % 3 == 0 {
                attempt(&bytes[..at]);
            }
        }
        assert!(refused > 0, "{name}");
    };
    mangle("changed.nii", &good(), &read_volume);
    mangle("changed2.nii", &good_nifti2(), &read_volume);
    mangle("changed.nii.gz", &gzip(&good()), &read_volume);
    mangle("changed.npy", &std::fs::read(path("good.npy")).unwrap(), &read_array);
    mangle("changed.npz", &std::fs::read(path("good.npz")).unwrap(), &read_array);
}

#[test]
fn malformed_arrays_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    npy::write(&path("good.npy"), &[2, 3], &[1.0_f32, 2.0, 3.5, 4.0, 5.0, 6.0]).unwrap();
    let good = std::fs::read(path("good.npy")).unwrap();
    let text = |from: &str, to: &str| {
        let header = String::from_utf8_lossy(&good[10..128]).replace(from, to);
        [&good[..10], &header.as_bytes()[..118.min(header.len())], &good[128..]].concat()
    };
    for (name, bytes, word) in [
        ("empty.npy", Vec::new(), "header"),
        ("magic.npy", b"PICKLED DATA".to_vec(), "magic"),
        ("version.npy", [&good[..6], &[9], &good[7..]].concat(), "version"),
        ("length.npy", [&good[..6], &[2, 0, 255, 255, 255, 255], &good[12..]].concat(), "header length"),
        ("cut.npy", good[..good.len() - 1].to_vec(), "shape"),
        ("large.npy", text("(2, 3)", "(9999,9999)"), "shape"),
        ("huge.npy", text("(2, 3)", "(9999999999,9)"), "shape"),
        ("objects.npy", text("<f4", "|O"), "descr"),
        ("not_zip.npz", good.clone(), "not_zip"),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        let message = npy::read::<f64>(&path(name), "a").expect_err(name).to_string();
        assert!(message.contains(name) && message.contains(word), "{name}: {message}");
    }
    let message = npy::read::<i32>(&path("good.npy"), "").unwrap_err().to_string();
    assert!(message.contains("3.5"), "{message}");
    npy::write_archive(&path("two.npz"), &[("a", &[1], &[1.0_f32]), ("b", &[1], &[1.0])]).unwrap();
    let message = npy::read::<f32>(&path("two.npz"), "c").unwrap_err().to_string();
    assert!(message.contains("two.npz") && message.contains("a, b"), "{message}");
}

/// A zip whose entry claims a thousandfold size.
#[test]
fn a_zip_with_a_lying_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lie.npz");
    npy::write_archive(&path, &[("a", &[4], &[1.0_f32; 4])]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // The central directory's sizes: 20 (packed) and 24 (plain) bytes after its signature.
    let central = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    bytes[central + 24..central + 28].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    match npy::read::<f32>(&path, "a") {
        Ok(array) => assert_eq!(array.data, [1.0; 4]),
        Err(error) => assert!(error.to_string().contains("lie.npz"), "{error}"),
    }
    bytes[central + 20..central + 24].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let _ = npy::read::<f32>(&path, "a");
}

/// Half a gigabyte of zeros behind a header that claims it all is no more than its header says, but a header that
/// claims what the file cannot hold is refused before memory is taken.
#[test]
fn a_bomb_does_not_take_more_memory_than_its_header_claims() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.nii.gz");
    // A small volume followed by 64 MB of zeros: what follows is not read.
    let mut bytes = good();
    bytes.resize(bytes.len() + (64 << 20), 0);
    std::fs::write(&path, gzip(&bytes)).unwrap();
    let started = std::time::Instant::now();
    assert_eq!(nifti::read_image(&path).unwrap().values().len(), 12);
    assert!(started.elapsed().as_secs() < 5);
}
