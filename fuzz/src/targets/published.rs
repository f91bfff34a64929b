//! Formats that published data sets come in: MetaImage and NRRD.

use segcal_data::formats;

use crate::input::with_file;

/// Image and labels are read or refused; what is read has as many numbers as its grid says. The file is read under both
/// names, as either header can be asked of any bytes.
pub fn target(bytes: &[u8]) {
    for name in ["x.mha", "x.nrrd"] {
        with_file(name, bytes, |path| {
            let labels = formats::read_labels(path);
            let image = formats::read_image(path)?;
            assert_eq!(
                image.values().len(),
                image.channels() * image.grid.extent.iter().product::<usize>(),
                "numbers of the image"
            );
            labels.map(drop)
        });
    }
}

/// Both formats, plain and as they are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let meta = "NDims = 3\nDimSize = 2 1 1\nElementSpacing = 1 2 3\nOffset = 0 0 0\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n\
                ElementType = MET_USHORT\nElementDataFile = LOCAL\n";
    let nrrd = "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 1 1\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n\
                endian: big\nencoding: raw\nspace origin: (0,0,0)\n\n";
    let with_data = |header: &str| [header.as_bytes(), &[1, 0, 2, 0]].concat();
    vec![
        ("meta", with_data(meta)),
        ("meta_packed", with_data(&meta.replace("ElementType", "CompressedData = True\nElementType"))),
        ("meta_huge", with_data(&meta.replace("2 1 1", "30000 30000 1"))),
        ("meta_outside", with_data(&meta.replace("LOCAL", "/etc/passwd"))),
        ("nrrd", with_data(nrrd)),
        ("nrrd_packed", with_data(&nrrd.replace("raw", "gzip"))),
        ("nrrd_flat", with_data(&nrrd.replace("(0,2,0)", "(1,0,0)"))),
    ]
}
