//! Radar charts of several methods.

use std::f64::consts::TAU;

use plotters::prelude::*;

use super::{Chart, Drawn, FAINT, GREY, Page, colors, short, tick};

/// Values of methods on several axes; further out is better.
pub struct Radar {
    /// Title.
    pub title: String,
    /// Names of the axes, at least three.
    pub axes: Vec<String>,
    /// Names of the methods.
    pub names: Vec<String>,
    /// `values[method][axis]`. Non-finite values are not drawn.
    pub values: Vec<Vec<f64>>,
}

const SIZE: [u32; 2] = [500, 430];
const RADIUS: f64 = 128.0;
/// Number of grid rings.
const RINGS: usize = 4;

impl Radar {
    /// The smallest and largest value, rounded outwards. The centre is the smallest value rather than 0, so that
    /// differences are visible.
    fn range(&self) -> [f64; 2] {
        let values = self.values.iter().flatten().copied().filter(|value| value.is_finite());
        let [low, high] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], value| [a.min(value), b.max(value)]);
        if low > high {
            return [0.0, 1.0];
        }
        let low = (10.0 * low).floor() / 10.0;
        [low, ((10.0 * high).ceil() / 10.0).max(low + 0.1)]
    }

    fn legend_rows(&self) -> u32 {
        let wide: u32 = self.names.iter().map(|name| 20 + 7 * short(name).chars().count() as u32).sum();
        1 + wide / SIZE[0]
    }
}

impl Chart for Radar {
    fn size(&self) -> [u32; 2] {
        [SIZE[0], SIZE[1] + 16 * (self.legend_rows() - 1)]
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let entries: Vec<_> = self.names.iter().map(|name| short(name)).zip(colors()).collect();
        page.legend(&entries, [10, 32], SIZE[0])?;
        let centre = [f64::from(SIZE[0]) / 2.0, 78.0 + f64::from(16 * self.legend_rows()) + RADIUS];
        let [low, high] = self.range();
        let count = self.axes.len();
        let at = |axis: usize, share: f64| {
            let angle = TAU * axis as f64 / count as f64 - TAU / 4.0;
            let place = |middle: f64, along: f64| ((middle + RADIUS * share * along) * f64::from(page.scale)) as i32;
            (place(centre[0], angle.cos()), place(centre[1], angle.sin()))
        };
        for ring in 1..=RINGS {
            let share = ring as f64 / RINGS as f64;
            let points: Vec<_> = (0..=count).map(|axis| at(axis % count, share)).collect();
            page.area.draw(&PathElement::new(points, page.line(FAINT, 1)))?;
            let value = tick(((low + share * (high - low)) * 1000.0).round() / 1000.0);
            let y = centre[1] - RADIUS * share;
            page.text(&value, [centre[0] as u32 + 4, y as u32 + 2], &page.font(10).color(&GREY))?;
        }
        for (axis, name) in self.axes.iter().enumerate() {
            page.area.draw(&PathElement::new([at(axis, 0.0), at(axis, 1.0)], page.line(FAINT, 1)))?;
            self.name(page, centre, axis, name)?;
        }
        for (values, color) in self.values.iter().zip(colors()) {
            let share = |value: f64| (value - low) / (high - low);
            let drawn: Vec<_> = (0..count).filter(|&axis| values[axis].is_finite()).collect();
            let points = drawn.iter().chain(drawn.first()).map(|&axis| at(axis, share(values[axis])));
            page.area.draw(&PathElement::new(points.collect::<Vec<_>>(), page.line(color, 2)))?;
            for &axis in &drawn {
                page.area.draw(&Circle::new(at(axis, share(values[axis])), page.px(3), color.filled()))?;
            }
        }
        Ok(())
    }
}

impl Radar {
    /// Draws the name of an axis beyond its end, one word per line.
    fn name<D: DrawingBackend>(&self, page: &Page<'_, D>, centre: [f64; 2], axis: usize, name: &str) -> Drawn<D> {
        let angle = TAU * axis as f64 / self.axes.len() as f64 - TAU / 4.0;
        let words: Vec<&str> = name.split(' ').collect();
        for (line, word) in words.iter().enumerate() {
            let wide = 6.5 * word.chars().count() as f64;
            let x = centre[0] + (RADIUS + 12.0) * angle.cos() - wide * (1.0 - angle.cos()) / 2.0;
            let middle = words.len() as f64 / 2.0;
            let above = 14.0 * (middle - middle * angle.sin());
            let y = centre[1] + (RADIUS + 10.0) * angle.sin() - above + 14.0 * line as f64;
            page.text(word, [x.max(2.0) as u32, y.max(0.0) as u32], &page.font(12))?;
        }
        Ok(())
    }
}
