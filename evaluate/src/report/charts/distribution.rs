//! Distributions of the logits of all classes over the voxels of one true class, as the papers show them.

use plotters::prelude::*;

use super::{CATEGORIES, Chart, Drawn, Page, tick};

/// One curve for each channel.
pub struct Distribution {
    /// Title.
    pub title: String,
    /// Label of the horizontal axis.
    pub what: &'static str,
    /// Edges of the bins.
    pub edges: Vec<f64>,
    /// Name of each channel, and the fraction of voxels in each bin.
    pub channels: Vec<(String, Vec<f64>)>,
}

const SIZE: [u32; 2] = [360, 310];
/// Lower end of the axis, in percent.
const LEAST: f64 = 0.05;

/// A fraction in percent, clamped to the lower end of the logarithmic axis.
fn percent(share: f64) -> f64 {
    (100.0 * share).max(LEAST)
}

impl Chart for Distribution {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let colors = || CATEGORIES.into_iter().cycle();
        let entries: Vec<_> = self.channels.iter().map(|(name, _)| name.clone()).zip(colors()).collect();
        page.legend(&entries, [10, 30], SIZE[0])?;
        let rows = 1 + entries.iter().map(|(name, _)| 20 + 7 * name.chars().count() as u32).sum::<u32>() / SIZE[0];
        let [from, to] = self.shown();
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(38 + 16 * rows))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(40))
            .y_label_area_size(page.px(56))
            .build_cartesian_2d(self.edges[from]..self.edges[to], (LEAST..130.0).log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(7)
            .x_label_formatter(&|value| tick(*value))
            .y_labels(4)
            .y_label_formatter(&|value| format!("{} %", tick(*value)))
            .x_desc(self.what)
            .y_desc("share of the voxels (log)");
        page.looks(&mut mesh, 12).draw()?;
        for ((_, shares), color) in self.channels.iter().zip(colors()) {
            let mut outline = vec![(self.edges[from], LEAST)];
            for bin in from..to {
                outline.extend([(self.edges[bin], percent(shares[bin])), (self.edges[bin + 1], percent(shares[bin]))]);
            }
            outline.push((self.edges[to], LEAST));
            chart.draw_series([Polygon::new(outline.clone(), color.mix(0.18).filled())])?;
            chart.draw_series([PathElement::new(outline, page.line(color, 2))])?;
        }
        Ok(())
    }
}

impl Distribution {
    /// The range of bins in which any channel is visible.
    fn shown(&self) -> [usize; 2] {
        let bins = self.edges.len() - 1;
        let held = |bin: &usize| self.channels.iter().any(|(_, shares)| 100.0 * shares[*bin] > LEAST);
        let first = (0..bins).find(held).unwrap_or(0);
        let last = (0..bins).rfind(held).unwrap_or(bins - 1);
        [first.saturating_sub(1), (last + 2).min(bins)]
    }
}
