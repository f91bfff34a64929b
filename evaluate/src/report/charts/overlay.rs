//! One slice: the contours of reference and prediction over the image and over the map of the largest probability.

use plotters::prelude::*;

use crate::slices::{Layers, Slice};
use crate::units::LengthUnit;

use super::{Chart, Drawn, GREY, INK, ORANGE, Page, Picture, SKY};

/// A slice of a case.
pub struct Overlay {
    /// Title.
    pub title: String,
    /// The metrics of the structure in this case, as text.
    pub figures: String,
    /// The position and orientation of the slice.
    pub slice: Slice,
    /// The masks, the image and the confidence map.
    pub layers: Layers,
    /// The unit of the scale bar.
    pub unit: LengthUnit,
}

/// Longest side of a panel.
const PANEL: u32 = 300;
const TOP: u32 = 98;
const LEFT: u32 = 20;
const GAP: u32 = 40;
/// Height of the orientation letters and the scale bar below a panel.
const BOTTOM: u32 = 42;
/// Width of the colour bar of the map.
const KEY: u32 = 12;

impl Overlay {
    /// Width and height of a panel, in true physical proportions.
    fn panel(&self) -> [u32; 2] {
        let [rows, columns] = self.slice.size;
        let [row_mm, column_mm] = self.slice.spacing_mm;
        let (high, wide) = (rows as f64 * row_mm, columns as f64 * column_mm);
        let scale = f64::from(PANEL) / high.max(wide);
        [wide, high].map(|side| ((side * scale).round() as u32).max(40))
    }

    /// Names and pixels of the panels. A label map without an image is drawn as contours on white.
    fn panels(&self) -> Vec<(&'static str, Vec<u8>)> {
        let all = [("image", &self.layers.image), ("largest probability", &self.layers.confidence)];
        let shown: Vec<_> =
            all.into_iter().filter(|(_, layer)| !layer.is_empty()).map(|(name, layer)| (name, layer.clone())).collect();
        if shown.is_empty() { vec![("", vec![255; self.layers.reference.len()])] } else { shown }
    }

    /// Left edge of a panel.
    fn left(&self, panel: usize) -> u32 {
        LEFT + panel as u32 * (self.panel()[0] + GAP)
    }

    fn has_map(&self) -> bool {
        !self.layers.confidence.is_empty()
    }

    /// The probability that the map shows as black.
    fn darkest(&self) -> f64 {
        let least = self.layers.confidence.iter().copied().min().unwrap_or(0);
        (f64::from(least) / 255.0 * 10.0).floor() / 10.0
    }

    fn key_left(&self) -> u32 {
        let [wide, _] = self.panel();
        self.left(self.panels().len() - 1) + wide + 22
    }
}

impl Chart for Overlay {
    fn size(&self) -> [u32; 2] {
        let [_, high] = self.panel();
        let right = if self.has_map() { self.key_left() + KEY + 34 } else { self.left(1) };
        [right.max(320), TOP + high + BOTTOM]
    }

    fn pictures(&self) -> Vec<Picture> {
        let [rows, columns] = self.slice.size;
        let size = self.panel();
        let darkest = self.darkest() * 255.0;
        let stretched = |value: &u8| ((f64::from(*value) - darkest) * 255.0 / (255.0 - darkest).max(1.0)).round() as u8;
        let mut pictures: Vec<Picture> = Vec::new();
        for (number, (name, grey)) in self.panels().into_iter().enumerate() {
            let is_map = name != "image" && self.has_map();
            let grey = if is_map { grey.iter().map(stretched).collect() } else { grey };
            pictures.push(Picture { at: [self.left(number), TOP], size, pixels: [columns, rows], grey });
        }
        if self.has_map() {
            let ramp = (0..=255).rev().collect();
            pictures.push(Picture { at: [self.key_left(), TOP], size: [KEY, size[1]], pixels: [1, 256], grey: ramp });
        }
        pictures
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let entries = [("reference".to_owned(), SKY), ("prediction".to_owned(), ORANGE)];
        page.text(&self.figures, [10, 27], &page.font(12))?;
        page.legend(&entries, [10, 45], self.size()[0])?;
        let [wide, high] = self.panel();
        for (number, (name, _)) in self.panels().iter().enumerate() {
            let left = self.left(number);
            page.text(name, [left, 63], &page.font(12))?;
            for (mask, color) in [(&self.layers.reference, SKY), (&self.layers.prediction, ORANGE)] {
                self.contour(page, [left, TOP], mask, color)?;
            }
            let corner = |x: u32, y: u32| (page.px(x) as i32, page.px(y) as i32);
            let frame = [corner(left, TOP), corner(left + wide, TOP + high)];
            page.area.draw(&Rectangle::new(frame, page.line(GREY, 1)))?;
            self.sides(page, left)?;
        }
        self.scale(page)?;
        if self.has_map() { self.key(page) } else { Ok(()) }
    }
}

impl Overlay {
    /// Draws the outline of a mask along voxel edges, in colour on black so that it is visible on any grey.
    fn contour<D: DrawingBackend>(
        &self,
        page: &Page<'_, D>,
        [left, top]: [u32; 2],
        mask: &[u8],
        color: RGBColor,
    ) -> Drawn<D> {
        let [rows, columns] = self.slice.size;
        let [wide, high] = self.panel().map(f64::from);
        let place = |row: usize, column: usize| {
            let x = f64::from(left) + wide * column as f64 / columns as f64;
            let y = f64::from(top) + high * row as f64 / rows as f64;
            ((x * f64::from(page.scale)).round() as i32, (y * f64::from(page.scale)).round() as i32)
        };
        let lines = outline(mask, [rows, columns]);
        for (style, width) in [(BLACK.mix(0.65), 4), (color.mix(1.0), 2)] {
            for line in &lines {
                let points: Vec<_> = line.iter().map(|&[row, column]| place(row, column)).collect();
                page.area.draw(&PathElement::new(points, style.stroke_width(page.px(width))))?;
            }
        }
        Ok(())
    }

    /// Draws the letters of the anatomical directions around a panel.
    fn sides<D: DrawingBackend>(&self, page: &Page<'_, D>, left: u32) -> Drawn<D> {
        let Some([west, east, north, south]) = self.slice.sides else { return Ok(()) };
        let [wide, high] = self.panel();
        let places = [
            (west, [left - 12, TOP + high / 2 - 6]),
            (east, [left + wide + 4, TOP + high / 2 - 6]),
            (north, [left + wide / 2 - 4, TOP - 14]),
            (south, [left + wide / 2 - 4, TOP + high + 2]),
        ];
        places.into_iter().try_for_each(|(letter, place)| page.text(&letter.to_string(), place, &page.font(12)))
    }

    /// Draws a scale bar of a round number of millimetres or voxels.
    fn scale<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        let [wide, high] = self.panel();
        let voxel = if self.unit == LengthUnit::Mm { self.slice.spacing_mm[1] } else { 1.0 };
        let width = self.slice.size[1] as f64 * voxel;
        let length = round_below(width / 3.0);
        let end = LEFT + (f64::from(wide) * length / width).round() as u32;
        let y = TOP + high + 25;
        let at = |x: u32| (page.px(x) as i32, page.px(y) as i32);
        page.area.draw(&PathElement::new([at(LEFT), at(end)], page.line(INK, 2)))?;
        page.text(&format!("{} {}", super::tick(length), self.unit.name()), [end + 6, y - 7], &page.font(12))
    }

    fn key<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        let [_, high] = self.panel();
        let left = self.key_left();
        let corner = |x: u32, y: u32| (page.px(x) as i32, page.px(y) as i32);
        page.area.draw(&Rectangle::new([corner(left, TOP), corner(left + KEY, TOP + high)], page.line(GREY, 1)))?;
        page.text("1", [left + KEY + 4, TOP], &page.font(12))?;
        page.text(&super::tick(self.darkest()), [left + KEY + 4, TOP + high - 12], &page.font(12))
    }
}

/// The largest value of the form 1, 2 or 5 times a power of ten that is at most `limit`.
fn round_below(limit: f64) -> f64 {
    let power = 10_f64.powf(limit.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|digit| digit * power).find(|&value| value <= limit).unwrap_or(power)
}

/// Lines along the border of a mask, each given by its two end points `[row, column]`.
pub(super) fn outline(mask: &[u8], [rows, columns]: [usize; 2]) -> Vec<Vec<[usize; 2]>> {
    let inside = |row: usize, column: usize| {
        row > 0 && column > 0 && row <= rows && column <= columns && mask[(row - 1) * columns + column - 1] == 1
    };
    let mut lines = Vec::new();
    // Rows and columns count from 1 here, so that index 0 and the one past the end are outside.
    for row in 0..=rows {
        runs(
            columns,
            |column| inside(row, column + 1) != inside(row + 1, column + 1),
            |from, to| {
                lines.push(vec![[row, from], [row, to]]);
            },
        );
    }
    for column in 0..=columns {
        runs(
            rows,
            |row| inside(row + 1, column) != inside(row + 1, column + 1),
            |from, to| {
                lines.push(vec![[from, column], [to, column]]);
            },
        );
    }
    lines
}

/// Calls `each(from, to)` for each run of indices for which `on` is true.
fn runs(length: usize, on: impl Fn(usize) -> bool, mut each: impl FnMut(usize, usize)) {
    let mut start = None;
    for at in 0..=length {
        match (start, at < length && on(at)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                each(from, at);
                start = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_of_an_l() {
        let mut lines = outline(&[1, 0, 1, 1], [2, 2]);
        lines.sort();
        let expected = [
            vec![[0, 0], [0, 1]],
            vec![[0, 0], [2, 0]],
            vec![[0, 1], [1, 1]],
            vec![[1, 1], [1, 2]],
            vec![[1, 2], [2, 2]],
            vec![[2, 0], [2, 2]],
        ];
        assert_eq!(lines, expected);
        assert!(outline(&[0; 4], [2, 2]).is_empty());
    }

    #[test]
    fn scales_are_round() {
        assert_eq!([0.7, 1.0, 4.9, 17.0, 60.0].map(round_below), [0.5, 1.0, 2.0, 10.0, 50.0]);
    }
}
