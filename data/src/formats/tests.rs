use std::io::Write;
use std::path::PathBuf;

use super::*;

fn folder() -> (tempfile::TempDir, impl Fn(&str, &[u8]) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let write = move |name: &str, bytes: &[u8]| {
        std::fs::write(root.join(name), bytes).unwrap();
        root.join(name)
    };
    (folder, write)
}

fn joined(header: &str, data: &[u8]) -> Vec<u8> {
    [header.as_bytes(), data].concat()
}

const SHORTS: [u8; 12] = [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 255, 255];

#[test]
fn metaimage_with_its_numbers_beside_it() {
    let (_folder, write) = folder();
    let header = "ObjectType = Image\nNDims = 3\nBinaryDataByteOrderMSB = True\nCompressedData = False\n\
        TransformMatrix = 0 1 0 1 0 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 0.5 2 3\nDimSize = 3 2 1\n\
        ElementType = MET_SHORT\nElementDataFile = a.raw\n";
    let path = write("a.mhd", header.as_bytes());
    assert!(read_image(&path).unwrap_err().to_string().contains("a.raw"));
    write("a.raw", &SHORTS);
    let volume = read_image(&path).unwrap();
    assert_eq!(volume.values(), [1.0, 2.0, 3.0, 4.0, 5.0, -1.0]);
    assert_eq!(volume.grid.extent, [1, 2, 3]);
    // The first axis runs along the second of LPS, in steps of 0.5 mm; RAS flips the first two.
    let expected = [[0.0, -2.0, 0.0, -10.0], [-0.5, 0.0, 0.0, -20.0], [0.0, 0.0, 3.0, 30.0]];
    assert_eq!(volume.grid.affine, expected);
    assert_eq!(read_labels(&path).unwrap().values(), [1, 2, 3, 4, 5, -1]);
}

#[test]
fn metaimage_in_one_file_packed() {
    let (_folder, write) = folder();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&[7, 8]).unwrap();
    let header =
        "NDims = 3\nDimSize = 1 1 2\nCompressedData = True\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n";
    let path = write("a.mha", &joined(header, &packed.finish().unwrap()));
    assert_eq!(read_labels(&path).unwrap().values(), [7, 8]);
}

#[test]
fn nrrd_packed_and_in_every_space() {
    let (_folder, write) = folder();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&SHORTS).unwrap();
    let packed = packed.finish().unwrap();
    let spaces =
        [("left-posterior-superior", [-1.0, -1.0]), ("RAS", [1.0, 1.0]), ("left-anterior-superior", [-1.0, 1.0])];
    for (space, sign) in spaces {
        let header = format!(
            "NRRD0004\n# a comment: with a colon\ntype: short\ndimension: 3\nspace: {space}\nsizes: 2 3 1\nmark:=a: b\n\
             space directions: (0.625,0,0) (0,0.625,0) (0,0,1.25)\nkinds: domain domain domain\nendian: big\n\
             encoding: gzip\nspace origin: (1,2,3)\n\n"
        );
        let volume = read_image(&write("a.nrrd", &joined(&header, &packed))).unwrap();
        assert_eq!(volume.values(), [1.0, 2.0, 3.0, 4.0, 5.0, -1.0]);
        assert_eq!(volume.grid.extent, [1, 3, 2]);
        let [x, y] = sign;
        let affine = [[0.625 * x, 0.0, 0.0, x], [0.0, 0.625 * y, 0.0, 2.0 * y], [0.0, 0.0, 1.25, 3.0]];
        assert_eq!(volume.grid.affine, affine, "{space}");
    }
}

#[test]
fn malformed_files_are_errors_that_name_the_field() {
    let (_folder, write) = folder();
    let meta = "NDims = 3\nDimSize = 3 2 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n";
    let nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 2 1\nencoding: raw\n\n";
    let cases = [
        ("a.mha", meta, "NDims = 3", "NDims = 5", "NDims: expected 2 to 4, got 5"),
        ("a.mha", meta, "3 2 1", "3 2", "DimSize: \"3 2\""),
        ("a.mha", meta, "3 2 1", "3 -2 1", "DimSize"),
        ("a.mha", meta, "3 2 1", "30000 20000 10000", "values"),
        ("a.mha", meta, "3 2 1", "300 200 1", "the header claims"),
        ("a.mha", meta, "MET_SHORT", "MET_STRING", "ElementType: \"MET_STRING\""),
        ("a.mha", meta, "LOCAL", "../x.raw", "ElementDataFile: the data file"),
        (
            "a.mha",
            meta,
            "ElementType = ",
            "ElementType ",
            "header: expected Key = Value, got \"ElementType MET_SHORT\"",
        ),
        ("a.nrrd", nrrd, "NRRD0004", "NIFTI", "magic"),
        ("a.nrrd", nrrd, "dimension: 3", "dimension: 5", "dimension: expected 2 to 4, got 5"),
        ("a.nrrd", nrrd, "encoding: raw", "encoding: bzip2", "encoding: \"bzip2\""),
        ("a.nrrd", nrrd, "type: short", "type: block", "type: \"block\""),
        ("a.nrrd", nrrd, "sizes: 3 2 1", "space: RAS", "sizes: is missing"),
        (
            "a.nrrd",
            nrrd,
            "sizes: 3 2 1",
            "sizes: 3 2 1\nspace directions: (1,0,0) (1,0,0) (0,0,1)\nspace: LPS",
            "plane",
        ),
    ];
    for (name, good, from, to, expected) in cases {
        assert_eq!(read_image(&write(name, &joined(good, &SHORTS))).unwrap().values().len(), 6);
        let message = read_image(&write(name, &joined(&good.replace(from, to), &SHORTS))).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(expected), "{to}: {message}");
    }
    for (name, header) in [("a.mha", meta), ("a.nrrd", nrrd)] {
        let whole = joined(header, &SHORTS);
        for length in 0..whole.len() {
            let error = read_image(&write(name, &whole[..length])).map(|_| length);
            assert!(error.is_err(), "{name}, cut off after {length} bytes");
        }
    }
    let endless = read_image(&write("b.mha", &vec![b'a'; 1 << 17])).unwrap_err().to_string();
    assert!(endless.contains("too long"), "{endless}");
}

#[test]
fn several_numbers_a_voxel_are_channels() {
    let (_folder, write) = folder();
    let meta =
        "NDims = 3\nDimSize = 3 1 1\nElementNumberOfChannels = 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n";
    let fourth = "NDims = 4\nDimSize = 3 1 1 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n";
    let nrrd = "NRRD0004\ntype: uchar\ndimension: 4\nspace: RAS\nsizes: 2 3 1 1\nencoding: raw\n\
                space directions: none (1, 0, 0) (0, 1, 0) (0, 0, 1)\n\n";
    let list =
        "NRRD0004\ntype: uchar\ndimension: 4\nkinds: domain domain domain list\nsizes: 3 1 1 2\nencoding: raw\n\n";
    let cases = [("a.mha", meta, true), ("b.mha", fourth, false), ("a.nrrd", nrrd, true), ("b.nrrd", list, false)];
    for (name, header, together) in cases {
        let volume = read_labels(&write(name, &joined(header, &[1, 2, 3, 4, 5, 6]))).unwrap();
        assert_eq!((volume.channels(), volume.grid.extent), (2, [1, 1, 3]), "{name}");
        let expected = if together { [1, 3, 5, 2, 4, 6] } else { [1, 2, 3, 4, 5, 6] };
        assert_eq!(volume.values(), expected, "{name}");
    }
}

#[test]
fn pictures_have_one_slice() {
    let (_folder, write) = folder();
    let meta = "NDims = 2\nDimSize = 3 2\nElementSpacing = 0.5 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n";
    let nrrd = "NRRD0004\ntype: short\ndimension: 2\nsizes: 3 2\nspacings: 0.5 2\nencoding: raw\n\n";
    for (name, header) in [("a.mha", meta), ("a.nrrd", nrrd)] {
        let volume = read_image(&write(name, &joined(header, &SHORTS))).unwrap();
        assert_eq!((volume.grid.extent, volume.grid.spacing_mm()), ([1, 2, 3], [1.0, 2.0, 0.5]), "{name}");
    }
}

#[test]
fn lengths_of_nrrd_have_units() {
    let (_folder, write) = folder();
    let read = |units: &str| {
        let header = format!(
            "NRRD0004\ntype: uchar\ndimension: 3\nspace: LPS\nsizes: 1 1 1\nencoding: raw\n{units}\
             space directions: (0.25,0,0) (0,0.5,0) (0,0,1)\nspace origin: (2,0,0)\n\n"
        );
        read_image(&write("a.nrrd", &joined(&header, &[1]))).map(|volume| volume.grid)
    };
    for (units, factor) in [
        ("", 1.0),
        ("space units: \"\" \"\" \"\"\n", 1.0),
        ("space units: \"mm\" \"mm\" \"mm\"\n", 1.0),
        ("space units: \"microns\" \"microns\" \"microns\"\n", 1e-3),
        ("space units: \"m\" \"m\" \"m\"\n", 1e3),
    ] {
        let grid = read(units).unwrap();
        assert_eq!(grid.spacing_mm(), [1.0, 0.5, 0.25].map(|x| x * factor), "{units}");
        assert_eq!(grid.affine[0][3], -2.0 * factor, "{units}");
    }
    for bad in ["\"inch\" \"inch\" \"inch\"", "\"mm\" \"um\" \"mm\""] {
        let message = read(&format!("space units: {bad}\n")).unwrap_err().to_string();
        assert!(message.contains("a.nrrd: space units"), "{message}");
    }
}

#[test]
fn a_space_without_a_name_has_no_sides() {
    let (_folder, write) = folder();
    let header = "NRRD0004\ntype: uchar\ndimension: 3\nspace dimension: 3\nsizes: 1 1 1\nencoding: raw\n\
                  space directions: (0.25,0,0) (0,0.5,0) (0,0,1)\n\n";
    let grid = read_image(&write("a.nrrd", &joined(header, &[1]))).unwrap().grid;
    assert_eq!((grid.spacing_mm(), grid.space), ([1.0, 0.5, 0.25], 0));
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    // Oblique, sheared and flipped.
    let affine = [[-0.4, 0.1, 0.3, 7.0], [0.2, 0.9, 0.0, -3.25], [0.1, 0.0, 2.5, 0.0]];
    let grid = Grid::new([2, 3, 4], affine, 1).unwrap();
    for channels in [1, 3] {
        let floats: Vec<f32> = (0..24 * channels).map(|x| x as f32 / 7.0).collect();
        let volume = Volume::new(floats, channels, grid.clone());
        let labels = Volume::new((0..24 * channels).map(|x| x as i32 - 5).collect(), channels, grid.clone());
        for name in ["a.mha", "a.nrrd"] {
            let path = folder.path().join(name);
            super::write(&path, &volume).unwrap();
            let read = read_image(&path).unwrap();
            assert_eq!(read.data, volume.data, "{name}");
            read.grid.expect_same("read", &volume.grid, "written").unwrap();
            super::write(&path, &labels).unwrap();
            assert_eq!(read_labels(&path).unwrap().data, labels.data, "{name}");
        }
    }
}

#[test]
fn packed_numbers_are_compared_with_their_checksum() {
    let (_folder, write) = folder();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&SHORTS).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    zlib.write_all(&SHORTS).unwrap();
    let nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 3 2 1\nendian: big\nencoding: gzip\n\n";
    let meta = "NDims = 3\nDimSize = 3 2 1\nElementType = MET_SHORT\nElementByteOrderMSB = True\nCompressedData = True\n\
                ElementDataFile = LOCAL\n";
    for (name, header, packed) in [("a.nrrd", nrrd, gzip.finish().unwrap()), ("a.mha", meta, zlib.finish().unwrap())] {
        let values = |packed: &[u8]| read_image(&write(name, &joined(header, packed)));
        assert_eq!(values(&packed).unwrap().values(), [1.0, 2.0, 3.0, 4.0, 5.0, -1.0]);
        // A number among those that are stored as they are, a byte of the checksum, and no checksum.
        let at = packed.windows(SHORTS.len()).position(|window| window == SHORTS).unwrap();
        for place in [at, at + SHORTS.len(), packed.len() - 1] {
            let mut flipped = packed.clone();
            flipped[place] ^= 1;
            assert!(values(&flipped).is_err() || place == packed.len() - 1 && name == "a.nrrd", "{name}: byte {place}");
        }
        assert!(values(&packed[..packed.len() - 4]).is_err(), "{name}: cut off before its checksum");
    }
}
