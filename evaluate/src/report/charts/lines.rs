//! Line charts of a metric for several methods, with standard deviations.

use plotters::prelude::*;

use super::{Chart, Drawn, Page, colors, short, tick};

/// One line for each method.
pub struct Lines {
    /// Title.
    pub title: String,
    /// Label of the horizontal axis.
    pub along: String,
    /// Label of the vertical axis.
    pub unit: String,
    /// The methods, in the order of the legend.
    pub methods: Vec<Line>,
}

/// The points of a method.
pub struct Line {
    /// Its name.
    pub name: String,
    /// Position on the horizontal axis, mean and standard deviation. Non-finite numbers are not drawn.
    pub points: Vec<[f64; 3]>,
}

const SIZE: [u32; 2] = [500, 330];
/// Largest offset between neighbouring methods at the same position, and between the first and the last method, as
/// fractions of the axis.
const DODGE: [f64; 2] = [0.008, 0.04];

impl Lines {
    /// The ranges of the drawn positions and values, with a margin.
    fn range(&self) -> [[f64; 2]; 2] {
        let points = || self.methods.iter().flat_map(Line::drawn);
        let ends = points().flat_map(|[_, mean, sd]| [mean - sd, mean + sd]);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let [low, high] =
                values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)]);
            let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
            let room = (0.05 * (high - low)).max(1e-6 * high.abs()).max(1e-9);
            [low - room, high + room]
        };
        [range(&mut points().map(|[at, ..]| at)), range(&mut { ends })]
    }
}

impl Line {
    /// The points that can be drawn; a missing standard deviation is replaced by 0.
    fn drawn(&self) -> impl Iterator<Item = [f64; 3]> {
        let finite = self.points.iter().filter(|[at, mean, _]| at.is_finite() && mean.is_finite());
        finite.map(|&[at, mean, sd]| [at, mean, if sd.is_finite() { sd } else { 0.0 }])
    }
}

impl Chart for Lines {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let entries: Vec<_> = self.methods.iter().map(|line| short(&line.name)).zip(colors()).collect();
        page.legend(&entries, [10, 32], SIZE[0])?;
        let wide: u32 = entries.iter().map(|(name, _)| 20 + 7 * name.chars().count() as u32).sum();
        let [[left, right], [low, high]] = self.range();
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(40 + 16 * (1 + wide / SIZE[0])))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(42))
            .y_label_area_size(page.px(62))
            .build_cartesian_2d(left..right, low..high)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(6)
            .x_label_formatter(&|value| tick(*value))
            .y_labels(6)
            .y_label_formatter(&|value| tick(*value))
            .x_desc(&self.along)
            .y_desc(&self.unit);
        page.looks(&mut mesh, 13).draw()?;
        // Side by side, so that error bars do not hide each other.
        let step = DODGE[0].min(DODGE[1] / self.methods.len().max(1) as f64) * (right - left);
        for (number, (line, color)) in self.methods.iter().zip(colors()).enumerate() {
            let aside = step * (number as f64 - (self.methods.len() as f64 - 1.0) / 2.0);
            let drawn = || line.drawn().map(|[at, mean, sd]| [at + aside, mean, sd]);
            chart.draw_series([PathElement::new(
                drawn().map(|[at, mean, _]| (at, mean)).collect::<Vec<_>>(),
                page.line(color, 2),
            )])?;
            let radius = page.px(4);
            chart.draw_series(drawn().map(|[at, mean, _]| Circle::new((at, mean), radius, color.filled())))?;
            let bars = drawn().filter(|[.., sd]| *sd > 0.0);
            chart.draw_series(
                bars.map(|[at, mean, sd]| PathElement::new([(at, mean - sd), (at, mean + sd)], page.line(color, 1))),
            )?;
        }
        Ok(())
    }
}
