//! Reliability diagrams: frequency against probability, with the number of voxels in each bin below.

use plotters::prelude::*;
use segcal_metrics::reliability::Bar;

use super::{BLUE, Chart, Drawn, GREY, INK, ORANGE, Page, SKY, VERMILION, count_tick, tick};

/// A reliability diagram.
pub struct Reliability {
    /// Title.
    pub title: String,
    /// Label of the vertical axis.
    pub what: &'static str,
    /// The bins.
    pub bars: Vec<Bar>,
}

const SIZE: [u32; 2] = [360, 430];
/// Height of the diagram; the rest shows the counts.
const UPPER: u32 = 318;

impl Chart for Reliability {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let entries = [(self.what, BLUE), ("over-confident", ORANGE), ("under-confident", SKY)];
        page.legend(&entries.map(|(name, color)| (name.to_owned(), color)), [10, 30], SIZE[0])?;
        let (upper, lower) = page.area.split_vertically(page.px(UPPER));
        self.diagram(page, &upper)?;
        self.counts(page, &lower)
    }
}

impl Reliability {
    fn diagram<D: DrawingBackend>(
        &self,
        page: &Page<'_, D>,
        area: &DrawingArea<D, plotters::coord::Shift>,
    ) -> Drawn<D> {
        let mut chart = ChartBuilder::on(area)
            .margin_top(page.px(54))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(4))
            .y_label_area_size(page.px(56))
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).y_labels(6).y_label_formatter(&|value| tick(*value)).y_desc(self.what);
        page.looks(&mut mesh, 13).draw()?;
        // Nothing is drawn for empty bins, which have no frequency.
        let filled = || self.bars.iter().filter_map(|bar| Some((bar, bar.accuracy?, bar.confidence?)));
        chart.draw_series(filled().map(|(bar, accuracy, confidence)| {
            Rectangle::new([(bar.lower, 0.0), (bar.upper, accuracy.min(confidence))], BLUE.mix(0.75).filled())
        }))?;
        chart.draw_series(filled().map(|(bar, accuracy, confidence)| {
            let color = if confidence > accuracy { ORANGE.mix(0.6) } else { SKY.mix(0.6) };
            Rectangle::new([(bar.lower, accuracy), (bar.upper, confidence)], color.filled())
        }))?;
        chart.draw_series(filled().map(|(bar, accuracy, confidence)| {
            Rectangle::new([(bar.lower, 0.0), (bar.upper, accuracy.max(confidence))], page.line(WHITE, 1))
        }))?;
        let diagonal = [(0.0, 0.0), (1.0, 1.0)];
        chart.draw_series(DashedLineSeries::new(diagonal, page.px(5), page.px(4), page.line(INK, 1)))?;
        let radius = page.px(3);
        chart.draw_series(
            filled().map(|(_, accuracy, confidence)| Circle::new((confidence, accuracy), radius, VERMILION.filled())),
        )?;
        Ok(())
    }

    /// Draws the counts on a logarithmic axis, since one bin often holds almost all voxels.
    fn counts<D: DrawingBackend>(&self, page: &Page<'_, D>, area: &DrawingArea<D, plotters::coord::Shift>) -> Drawn<D> {
        let tallest = self.bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(10) as f64;
        let bottom = 0.7;
        let mut chart = ChartBuilder::on(area)
            .margin_top(page.px(8))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(40))
            .y_label_area_size(page.px(56))
            .build_cartesian_2d(0.0..1.0, (bottom..tallest * 1.5).log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(6)
            .x_label_formatter(&|value| tick(*value))
            .y_labels(4)
            .y_label_formatter(&|value| count_tick(*value))
            .x_desc("probability")
            .y_desc("voxels (log)");
        page.looks(&mut mesh, 13).draw()?;
        let filled = self.bars.iter().filter(|bar| bar.count > 0);
        chart.draw_series(filled.map(|bar| {
            let inset = 0.06 * (bar.upper - bar.lower);
            let corners = [(bar.lower + inset, bottom), (bar.upper - inset, bar.count as f64)];
            Rectangle::new(corners, GREY.mix(0.7).filled())
        }))?;
        Ok(())
    }
}
