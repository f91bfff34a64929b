//! A picture of augmented training samples, to inspect before training.
//!
//! Each row is one sample: first unchanged, then augmented as in several epochs. It shows the first channel of the
//! middle plane, between the percentiles 1 and 99 of the unchanged sample, with labels in colour.

use std::path::Path;

use segcal_core::{Result, Rng};
use segcal_data::png;

use super::block::flat_last;
use super::normalise::percentiles;
use super::samples::{self, HostBatch};
use super::settings::Settings;
use super::source::Source;

/// Number of samples, and of pictures of each.
const ROWS: usize = 6;
const COLUMNS: usize = 8;
/// Pixels between two pictures.
const GAP: usize = 2;
/// Approximate length, in pixels, to which a picture's shorter side is enlarged.
const SIDE: usize = 96;
/// Colours of the labels from 1 on, in turn (Okabe and Ito 2008).
const COLOURS: [[u8; 3]; 6] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167]];
/// Opacity of a label's colour.
const OPAQUE: f32 = 0.35;

/// Writes the picture of the first samples of a training.
///
/// # Errors
/// A case cannot be read, or the file cannot be written.
pub fn write(cases: &dyn Source, settings: &Settings, path: &Path) -> Result<()> {
    let rng = Rng::new(settings.seed);
    let mut blocks = samples::epoch_blocks(cases, &settings.samples, rng.stream(0))?;
    blocks.truncate(ROWS);
    let [_, height, width] = flat_last(settings.samples.block_size());
    let scale = (SIDE / height.min(width).max(1)).max(1);
    let [height, width] = [height * scale, width * scale];
    let size = [COLUMNS * (width + GAP), blocks.len() * (height + GAP)];
    let mut pixels = vec![[255_u8; 3]; size[0] * size[1]];
    for column in 0..COLUMNS {
        let operators = settings.augment.operators.as_ref().filter(|_| column > 0);
        if column > 0 {
            let rng = rng.stream(column as u64);
            samples::vary(&mut blocks, &settings.augment, [rng.stream(0), rng.stream(1)]);
        }
        for (row, block) in blocks.iter().enumerate() {
            let mut plain = *block;
            (plain.orientation, plain.changes) = Default::default();
            let window = window(&HostBatch::cut(cases, &[plain], None)?);
            let picture = picture(&HostBatch::cut(cases, &[*block], operators)?, window);
            for y in 0..height {
                let start = (row * (height + GAP) + y) * size[0] + column * (width + GAP);
                let line = &picture[y / scale * (width / scale)..];
                (0..width).for_each(|x| pixels[start + x] = line[x / scale]);
            }
        }
    }
    png::write_colours(path, size, &pixels)
}

/// The intensities that are drawn as black and white.
fn window(sample: &HostBatch) -> (f32, f32) {
    let channel = sample.shape().spatial().iter().product::<usize>();
    percentiles(&sample.images()[..channel], 1.0, 99.0)
}

/// The first channel of the middle plane, with labels in colour.
fn picture(sample: &HostBatch, (black, white): (f32, f32)) -> Vec<[u8; 3]> {
    let [depth, height, width] = sample.shape().spatial();
    let plane = depth / 2 * height * width..(depth / 2 + 1) * height * width;
    let pixel = |(&value, &label): (&f32, &f32)| {
        let grey = 255.0 * ((value - black) / (white - black).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
        let colour = (label >= 1.0).then(|| COLOURS[(label as usize - 1) % COLOURS.len()]);
        let mixed = |channel: usize| match colour {
            Some(colour) => (1.0 - OPAQUE) * grey + OPAQUE * f32::from(colour[channel]),
            None => grey,
        };
        std::array::from_fn(|channel| mixed(channel) as u8)
    };
    sample.images()[plane.clone()].iter().zip(&sample.labels()[plane]).map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepared::{Classes, Prepared};
    use crate::source::Memory;
    use segcal_data::{Grid, Volume};

    #[test]
    fn a_sheet_has_a_row_for_each_sample_and_begins_with_it_as_it_lies() {
        let grid = Grid::unknown([2, 24, 20]);
        let image = Volume::new((0..960).map(|x| x as f32).collect(), 1, grid.clone());
        let label = Volume::new((0..960).map(|x| i32::from(x % 20 > 15)).collect(), 1, grid);
        let classes = Classes { count: 2, ignored: None };
        let cases = Memory::new(vec![Prepared { name: "a".into(), image, label }], classes).unwrap();
        let drawn = |augment: &str| {
            let settings = Settings::with(&["samples.size=[24,20]", augment]).unwrap();
            let file = tempfile::tempdir().unwrap().path().join("sheet.png");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            write(&cases, &settings, &file).unwrap();
            let red = segcal_data::png::read_colours(&file).unwrap();
            (0..COLUMNS)
                .map(|column| red.data.slice(ndarray::s![.., 0, ..96, column * 82..column * 82 + 80]).to_owned())
                .collect::<Vec<_>>()
        };
        let (plain, changed) = (drawn("augment=none"), drawn("augment=nnunet"));
        assert!(plain.iter().all(|picture| *picture == plain[0]));
        assert_eq!(changed[0], plain[0]);
        assert!(changed[1..].iter().any(|picture| *picture != plain[0]));
    }
}
