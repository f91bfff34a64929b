//! PNG images and label maps, as volumes of one slice.
//!
//! Images: 1- to 16-bit grey is read as stored; colour is converted to grey by the luma of ITU-R BT.601,
//! `0.299 R + 0.587 G + 0.114 B`; an alpha channel is dropped. Label maps: the label is the palette INDEX or the grey
//! value; colour is refused, because no single channel gives the class.

use std::io::BufReader;
use std::path::Path;

use png::{BitDepth, ColorType, Decoder, Transformations};
use segcal_core::{Context, Error, Result};

use super::limits;
use super::volume::{Grid, Volume};
use crate::output;

/// Reads an image as grey, in the range of its bit depth (0..255 or 0..65535).
///
/// # Errors
/// The file is malformed.
pub fn read_image(path: &Path) -> Result<Volume<f32>> {
    let picture = decode(path, Transformations::EXPAND).at(path.display())?;
    let values = match picture.color {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => picture.values(picture.channel(0).map(|grey| grey as f32)),
        _ => {
            let luma = |((r, g), b): ((u32, u32), u32)| (0.299 * r as f32 + 0.587 * g as f32) + 0.114 * b as f32;
            picture.values(picture.channel(0).zip(picture.channel(1)).zip(picture.channel(2)).map(luma))
        }
    };
    Ok(Volume::new(values.at(path.display())?, 1, picture.grid()))
}

/// Reads red, green and blue as three channels, in the range of their bit depth; an alpha channel is dropped.
///
/// # Errors
/// The file is malformed, or grey.
pub fn read_colours(path: &Path) -> Result<Volume<f32>> {
    let picture = decode(path, Transformations::EXPAND).at(path.display())?;
    if matches!(picture.color, ColorType::Grayscale | ColorType::GrayscaleAlpha) {
        return Err(Error::new("expected three colour channels, but the image is grey").at(path.display()));
    }
    let values = (0..3).flat_map(|colour| picture.channel(colour).map(|x| x as f32).collect::<Vec<_>>()).collect();
    Ok(Volume::new(values, 3, picture.grid()))
}

/// Reads a label map: palette index or grey value.
///
/// # Errors
/// The file is malformed or has RGB colours.
pub fn read_labels(path: &Path) -> Result<Volume<i32>> {
    let picture = decode(path, Transformations::IDENTITY).at(path.display())?;
    if matches!(picture.color, ColorType::Rgb | ColorType::Rgba) {
        return Err(Error::new("a label map in RGB colours does not say which class each colour means")
            .at(path.display())
            .help("save it with a palette, or as grey values"));
    }
    // At most 16 bits.
    let labels = picture.values(picture.channel(0).map(|label| label as i32)).at(path.display())?;
    Ok(Volume::new(labels, 1, picture.grid()))
}

/// Reads the stored numbers, as [`read_labels`] does, or the grey values of an RGB image, together with a description
/// of the pixel format.
///
/// # Errors
/// The file is malformed.
pub fn read_plain(path: &Path) -> Result<(String, Volume<f32>)> {
    let picture = decode(path, Transformations::IDENTITY).at(path.display())?;
    let kind = match picture.color {
        ColorType::Grayscale => "grey",
        ColorType::GrayscaleAlpha => "grey and alpha",
        ColorType::Indexed => "palette",
        ColorType::Rgb => "rgb",
        ColorType::Rgba => "rgb and alpha",
    };
    let kind = format!("{kind}, {} bit", picture.depth as u8);
    if matches!(picture.color, ColorType::Rgb | ColorType::Rgba) {
        return Ok((kind, read_image(path)?));
    }
    let values = picture.values(picture.channel(0).map(|x| x as f32)).at(path.display())?;
    Ok((kind, Volume::new(values, 1, picture.grid())))
}

/// Writes a label map of one slice as 8-bit grey, complete or not at all.
///
/// # Errors
/// There are several slices or channels, a label is not in 0..=255, or the file cannot be written.
pub fn write_labels(path: &Path, labels: &Volume<i32>) -> Result<()> {
    let [d, h, w] = labels.grid.extent;
    if d != 1 || labels.channels() != 1 {
        return Err(Error::new(format!("{d} slices do not fit into one PNG"))
            .at(path.display())
            .help("write NIfTI instead"));
    }
    let bytes: Vec<u8> = labels.values().iter().filter_map(|&label| label.try_into().ok()).collect();
    if bytes.len() < labels.values().len() {
        return Err(Error::new("a label is not in 0..=255").at(path.display()).help("write NIfTI instead"));
    }
    write(path, [w, h], ColorType::Grayscale, &bytes)
}

/// Writes an RGB image of `[width, height]` pixels, given row by row, complete or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_colours(path: &Path, size: [usize; 2], pixels: &[[u8; 3]]) -> Result<()> {
    write(path, size, ColorType::Rgb, pixels.as_flattened())
}

fn write(path: &Path, [width, height]: [usize; 2], color: ColorType, bytes: &[u8]) -> Result<()> {
    output::write_atomic(path, |out| {
        let mut encoder = png::Encoder::new(out, width as u32, height as u32);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(Error::from_source)?;
        writer.write_image_data(bytes).map_err(Error::from_source)?;
        writer.finish().map_err(Error::from_source)
    })
}

/// A decoded PNG whose samples are still bytes.
struct Picture {
    bytes: Vec<u8>,
    width: usize,
    height: usize,
    line: usize,
    color: ColorType,
    depth: BitDepth,
}

impl Picture {
    fn grid(&self) -> Grid {
        Grid::unknown([1, self.height, self.width])
    }

    /// One value per pixel.
    fn values<T>(&self, values: impl Iterator<Item = T>) -> Result<Vec<T>> {
        let count = self.width * self.height;
        let mut all = limits::Growing::new(count)?;
        all.extend(count, values)?;
        Ok(all.into_vec())
    }

    /// One channel, row by row from the top.
    fn channel(&self, channel: usize) -> impl Iterator<Item = u32> {
        let samples = self.color.samples();
        let bits = self.depth as usize;
        self.bytes
            .chunks_exact(self.line)
            .flat_map(move |row| (0..self.width).map(move |x| sample(row, x * samples + channel, bits)))
    }
}

/// The `index`-th sample of a row; samples smaller than a byte are packed from the most significant bits down.
fn sample(row: &[u8], index: usize, bits: usize) -> u32 {
    match bits {
        16 => u32::from(u16::from_be_bytes([row[2 * index], row[2 * index + 1]])),
        8 => u32::from(row[index]),
        _ => {
            let at = index * bits;
            u32::from(row[at / 8]) >> (8 - bits - at % 8) & ((1 << bits) - 1)
        }
    }
}

fn decode(path: &Path, transformations: Transformations) -> Result<Picture> {
    let (file, size) = limits::open(path)?;
    let mut decoder = Decoder::new(BufReader::new(file));
    // Text and colour profiles are not needed and could be large.
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(transformations);
    let header = decoder.read_header_info().map_err(Error::from_source)?;
    let (width, height) = (header.width as usize, header.height as usize);
    let count = limits::count(&[width, height]).at("IHDR")?;
    let stored_bits = header.color_type.samples() * header.bit_depth as usize;
    limits::check_claim((count as u64 * stored_bits as u64).div_ceil(8), size, true).at("IHDR")?;
    let mut reader = decoder.read_info().map_err(Error::from_source)?;
    // A palette, or a depth below a byte, expands the image beyond what the header states.
    let mut bytes = limits::zeroed(reader.output_buffer_size()).at("IHDR")?;
    let frame = reader.next_frame(&mut bytes).map_err(Error::from_source)?;
    reader.finish().map_err(Error::from_source)?;
    bytes.truncate(frame.buffer_size());
    Ok(Picture { bytes, width, height, line: frame.line_size, color: frame.color_type, depth: frame.bit_depth })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn write(path: &Path, color: ColorType, depth: BitDepth, width: u32, bytes: &[u8], palette: Option<Vec<u8>>) {
        let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
    }

    #[test]
    fn grey_colour_palette_and_alpha() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write(&path, ColorType::Grayscale, BitDepth::Sixteen, 2, &[1, 0, 0, 2, 255, 255, 0, 0], None);
        assert_eq!(read_image(&path).unwrap().values(), [256.0, 2.0, 65535.0, 0.0]);
        assert_eq!(read_labels(&path).unwrap().values(), [256, 2, 65535, 0]);
        write(&path, ColorType::GrayscaleAlpha, BitDepth::Eight, 1, &[7, 255, 9, 0], None);
        assert_eq!(read_image(&path).unwrap().values(), [7.0, 9.0]);
        assert_eq!(read_labels(&path).unwrap().values(), [7, 9]);
        write(&path, ColorType::Rgb, BitDepth::Eight, 1, &[100, 0, 0, 10, 20, 30], None);
        let grey = read_image(&path).unwrap();
        assert!((grey.values()[0] - 29.9).abs() < 1e-4 && (grey.values()[1] - 18.15).abs() < 1e-4);
        assert!(read_labels(&path).unwrap_err().to_string().contains("a.png: a label map in RGB colours"));
        let palette = vec![0, 0, 0, 200, 200, 200, 50, 50, 50];
        write(&path, ColorType::Indexed, BitDepth::Two, 3, &[0b0001_1000, 0b1001_0000], Some(palette));
        assert_eq!(read_labels(&path).unwrap().values(), [0, 1, 2, 2, 1, 0]);
        assert_eq!(read_image(&path).unwrap().grid.extent, [1, 2, 3]);
        assert!((read_image(&path).unwrap().values()[1] - 200.0).abs() < 1e-4);
    }

    #[test]
    fn labels_written_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("label.png");
        let labels = Volume::new(vec![0, 1, 2, 255, 4, 5], 1, Grid::unknown([1, 2, 3]));
        write_labels(&path, &labels).unwrap();
        assert_eq!(read_labels(&path).unwrap(), labels);
        let bad = Volume::new(vec![-1], 1, Grid::unknown([1, 1, 1]));
        assert!(write_labels(&path, &bad).is_err());
    }

    #[test]
    fn malformed_files_are_errors_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.png");
        let good = folder.path().join("good.png");
        write_labels(&good, &Volume::new(vec![3; 400], 1, Grid::unknown([1, 20, 20]))).unwrap();
        let bytes = std::fs::read(&good).unwrap();
        let mut huge = bytes.clone();
        huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        for content in [&b""[..], b"text", &bytes[..30], &bytes[..bytes.len() - 20], &huge] {
            std::fs::write(&path, content).unwrap();
            assert!(read_image(&path).unwrap_err().to_string().contains("bad.png"));
            assert!(read_labels(&path).is_err());
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x40;
            std::fs::write(&path, flipped).unwrap();
            let _ = read_image(&path);
        }
    }
}
