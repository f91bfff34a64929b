//! Scatter plots of two quantities, with a third shown as the size of the circles.

use plotters::prelude::*;

use super::{Chart, Drawn, Page, colors, short, tick};

/// Points of several methods.
pub struct Scatter {
    /// Title.
    pub title: String,
    /// Labels of the horizontal and the vertical axis.
    pub axes: [String; 2],
    /// Each method's name and its points `[x, y, size]`, where the size is at least 0. Points with a non-finite number
    /// are not drawn.
    pub points: Vec<(String, Vec<[f64; 3]>)>,
}

const SIZE: [u32; 2] = [500, 360];
/// Radius of the smallest and of the largest circle.
const RADII: [f64; 2] = [3.0, 11.0];

impl Scatter {
    fn drawn(points: &[[f64; 3]]) -> impl Iterator<Item = [f64; 3]> {
        points.iter().copied().filter(|point| point.iter().all(|value| value.is_finite()))
    }

    fn range(&self, axis: usize) -> [f64; 2] {
        let values = self.points.iter().flat_map(|(_, points)| Self::drawn(points)).map(|point| point[axis]);
        let [low, high] = values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], value| [a.min(value), b.max(value)]);
        if low > high {
            return [0.0, 1.0];
        }
        let room = (0.08 * (high - low)).max(1e-6);
        [low - room, high + room]
    }
}

impl Chart for Scatter {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let entries: Vec<_> = self.points.iter().map(|(name, _)| short(name)).zip(colors()).collect();
        page.legend(&entries, [10, 32], SIZE[0])?;
        let wide: u32 = entries.iter().map(|(name, _)| 20 + 7 * name.chars().count() as u32).sum();
        let [[left, right], [low, high]] = [self.range(0), self.range(1)];
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(40 + 16 * (1 + wide / SIZE[0])))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(42))
            .y_label_area_size(page.px(62))
            .build_cartesian_2d(left..right, low..high)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(6)
            .x_label_formatter(&|value| tick(*value))
            .y_labels(6)
            .y_label_formatter(&|value| tick(*value))
            .x_desc(&self.axes[0])
            .y_desc(&self.axes[1]);
        page.looks(&mut mesh, 13).draw()?;
        let largest = self.points.iter().flat_map(|(_, points)| Self::drawn(points)).map(|[.., size]| size);
        let largest = largest.fold(0.0, f64::max);
        for ((_, points), color) in self.points.iter().zip(colors()) {
            let path: Vec<_> = Self::drawn(points).map(|[x, y, _]| (x, y)).collect();
            chart.draw_series([PathElement::new(path, color.mix(0.5).stroke_width(page.px(1)))])?;
            for [x, y, size] in Self::drawn(points) {
                let share = if largest > 0.0 { (size / largest).sqrt() } else { 0.0 };
                let radius = (RADII[0] + share * (RADII[1] - RADII[0])) * f64::from(page.scale);
                chart.draw_series([Circle::new((x, y), radius as i32, color.mix(0.45).filled())])?;
                chart.draw_series([Circle::new((x, y), radius as i32, page.line(color, 1))])?;
            }
        }
        Ok(())
    }
}
