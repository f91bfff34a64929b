//! PNG images and label maps.

use segcal_data::png;

use crate::input::with_file;

/// Image and labels are read or refused; what is read has as many numbers as its grid says.
pub fn target(bytes: &[u8]) {
    with_file("x.png", bytes, |path| {
        let labels = png::read_labels(path);
        let image = png::read_image(path)?;
        let count = image.channels() * image.grid.extent.iter().product::<usize>();
        assert_eq!(image.values().len(), count, "numbers of the image");
        labels.map(drop)
    });
}

fn encoded(color: ::png::ColorType, depth: ::png::BitDepth, row: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, 3, 2);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ::png::ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 0, 0, 0, 255, 0]);
    }
    let mut writer = encoder.write_header().expect("memory takes all");
    writer.write_image_data(&vec![0x11; 2 * row]).expect("memory takes all");
    writer.finish().expect("memory takes all");
    bytes
}

/// Every kind of pixel, and some that are refused.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use ::png::{BitDepth, ColorType};
    let gray = encoded(ColorType::Grayscale, BitDepth::Eight, 3);
    let mut huge = gray.clone();
    huge[16..24].fill(0x7f);
    vec![
        ("rgb", encoded(ColorType::Rgb, BitDepth::Eight, 9)),
        ("rgba", encoded(ColorType::Rgba, BitDepth::Eight, 12)),
        ("sixteen", encoded(ColorType::Grayscale, BitDepth::Sixteen, 6)),
        ("bits", encoded(ColorType::Grayscale, BitDepth::One, 1)),
        ("palette", encoded(ColorType::Indexed, BitDepth::Two, 1)),
        ("huge", huge),
        ("cut", gray[..gray.len() - 14].to_vec()),
        ("gray", gray),
    ]
}
