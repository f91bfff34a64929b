//! One slice of one subject under several methods: contours, confidence and reliability, one above the other.

use plotters::prelude::*;
use segcal_metrics::reliability::Bar;
use segcal_metrics::volume::Label;

use super::overlay::outline;
use super::{BLUE, CATEGORIES, Chart, Drawn, GREY, INK, ORANGE, Page, Picture, SKY, short};

/// A slice under several methods.
pub struct Subject {
    /// Title.
    pub title: String,
    /// Rows and columns of the slice.
    pub size: [usize; 2],
    /// Size of a voxel along rows and columns, in mm.
    pub spacing_mm: [f64; 2],
    /// Grey values, row by row.
    pub image: Vec<u8>,
    /// The reference's labels.
    pub reference: Vec<Label>,
    /// The labels whose contours are drawn, with their names.
    pub classes: Vec<(Label, String)>,
    /// The methods, from left to right.
    pub methods: Vec<Seen>,
}

/// The result of one method on the slice.
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its metrics for the subject, as text.
    pub figures: String,
    /// Its labels.
    pub prediction: Vec<Label>,
    /// The largest probability of each voxel; 255 means 1.
    pub confidence: Vec<u8>,
    /// Reliability over the subject's foreground.
    pub bars: Vec<Bar>,
}

/// Longest side of a panel.
const PANEL: u32 = 170;
const TOP: u32 = 92;
const LEFT: u32 = 14;
const GAP: u32 = 12;

impl Subject {
    /// Width and height of a panel, in true physical proportions.
    fn panel(&self) -> [u32; 2] {
        let (high, wide) = (self.size[0] as f64 * self.spacing_mm[0], self.size[1] as f64 * self.spacing_mm[1]);
        let scale = f64::from(PANEL) / high.max(wide);
        [wide, high].map(|side| ((side * scale).round() as u32).max(60))
    }

    /// Width of a column, wide enough for a reliability diagram.
    fn column(&self) -> u32 {
        self.panel()[0].max(PANEL)
    }

    fn left(&self, column: usize) -> u32 {
        LEFT + column as u32 * (self.column() + GAP)
    }

    /// Top of a row of panels: the contours, the map, the diagram.
    fn top(&self, row: u32) -> u32 {
        TOP + row * (self.panel()[1] + GAP)
    }

    fn darkest(&self) -> f64 {
        let least = self.methods.iter().flat_map(|seen| &seen.confidence).copied().min().unwrap_or(0);
        (f64::from(least) / 255.0 * 10.0).floor() / 10.0
    }
}

impl Chart for Subject {
    fn size(&self) -> [u32; 2] {
        let columns = self.methods.len() + 1;
        [self.left(columns).max(360), self.top(2) + PANEL + 18]
    }

    fn pictures(&self) -> Vec<Picture> {
        let ([rows, columns], size) = (self.size, self.panel());
        let pixels = [columns, rows];
        let picture = |column: usize, row: u32, grey: Vec<u8>| Picture {
            at: [self.left(column), self.top(row)],
            size,
            pixels,
            grey,
        };
        let darkest = self.darkest() * 255.0;
        let stretched = |value: &u8| ((f64::from(*value) - darkest) * 255.0 / (255.0 - darkest).max(1.0)).round() as u8;
        let mut pictures = vec![picture(0, 0, self.image.clone())];
        for (number, seen) in self.methods.iter().enumerate() {
            pictures.push(picture(number + 1, 0, self.image.clone()));
            pictures.push(picture(number + 1, 1, seen.confidence.iter().map(stretched).collect()));
        }
        pictures
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let colors = CATEGORIES[1..].iter().copied().cycle();
        let entries: Vec<_> = self.classes.iter().map(|(_, name)| short(name)).zip(colors).collect();
        page.legend(&entries, [10, 32], self.size()[0])?;
        page.text("reference", [self.left(0), TOP - 36], &page.font(13))?;
        self.contours(page, self.left(0), &self.reference)?;
        let dark = format!("largest probability: black {:.1}, white 1", self.darkest());
        for (line, text) in ["largest", "probability:"].iter().chain([&&dark[21..]]).enumerate() {
            page.text(text.trim(), [self.left(0), self.top(1) + 10 + 15 * line as u32], &page.font(12))?;
        }
        for (line, text) in
            ["reliability of", "the foreground:", "frequency of right", "against probability"].iter().enumerate()
        {
            page.text(text, [self.left(0), self.top(2) + 10 + 15 * line as u32], &page.font(12))?;
        }
        for (number, seen) in self.methods.iter().enumerate() {
            let left = self.left(number + 1);
            page.text(&short(&seen.name), [left, TOP - 36], &page.font(13))?;
            page.text(&seen.figures, [left, TOP - 18], &page.font(11))?;
            self.contours(page, left, &seen.prediction)?;
            Self::reliability(page, [left, self.top(2)], &seen.bars)?;
        }
        Ok(())
    }
}

impl Subject {
    fn contours<D: DrawingBackend>(&self, page: &Page<'_, D>, left: u32, labels: &[Label]) -> Drawn<D> {
        let ([rows, columns], [wide, high], top) = (self.size, self.panel(), self.top(0));
        let place = |[row, column]: [usize; 2]| {
            let x = f64::from(left) + f64::from(wide) * column as f64 / columns as f64;
            let y = f64::from(top) + f64::from(high) * row as f64 / rows as f64;
            ((x * f64::from(page.scale)).round() as i32, (y * f64::from(page.scale)).round() as i32)
        };
        let colors = CATEGORIES[1..].iter().cycle();
        for ((label, _), color) in self.classes.iter().zip(colors) {
            let mask: Vec<u8> = labels.iter().map(|of| u8::from(of == label)).collect();
            let lines = outline(&mask, self.size);
            for (style, width) in [(BLACK.mix(0.65), 3), (color.mix(1.0), 2)] {
                for line in &lines {
                    let points: Vec<_> = line.iter().map(|&corner| place(corner)).collect();
                    page.area.draw(&PathElement::new(points, style.stroke_width(page.px(width))))?;
                }
            }
        }
        Ok(())
    }

    /// Draws a small reliability diagram without numbers; both axes run from 0 to 1.
    fn reliability<D: DrawingBackend>(page: &Page<'_, D>, [left, top]: [u32; 2], bars: &[Bar]) -> Drawn<D> {
        let side = f64::from(PANEL);
        let place = |x: f64, y: f64| {
            let px = |units: f64| (units * f64::from(page.scale)).round() as i32;
            (px(f64::from(left) + side * x), px(f64::from(top) + side * (1.0 - y)))
        };
        page.area.draw(&Rectangle::new([place(0.0, 1.0), place(1.0, 0.0)], page.line(GREY, 1)))?;
        for bar in bars {
            let (Some(accuracy), Some(confidence)) = (bar.accuracy, bar.confidence) else { continue };
            let low = accuracy.min(confidence);
            let solid = [place(bar.lower, low), place(bar.upper, 0.0)];
            page.area.draw(&Rectangle::new(solid, BLUE.mix(0.75).filled()))?;
            let gap = [place(bar.lower, accuracy.max(confidence)), place(bar.upper, low)];
            let color = if confidence > accuracy { ORANGE.mix(0.6) } else { SKY.mix(0.6) };
            page.area.draw(&Rectangle::new(gap, color.filled()))?;
        }
        page.area.draw(&PathElement::new([place(0.0, 0.0), place(1.0, 1.0)], page.line(INK, 1)))
    }
}
