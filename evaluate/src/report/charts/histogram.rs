//! Histograms of the confidence of right and of wrong voxels.

use plotters::prelude::*;

use super::{BLUE, Chart, Drawn, Page, VERMILION, count_tick, tick};

/// The numbers of right and wrong voxels by confidence.
pub struct Histogram {
    /// Title.
    pub title: String,
    /// Edges of the bins with the numbers of right and wrong voxels.
    pub bins: Vec<([f64; 2], [u64; 2])>,
}

const SIZE: [u32; 2] = [360, 300];

impl Chart for Histogram {
    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let total = |side: usize| self.bins.iter().map(|(_, counts)| counts[side]).sum::<u64>();
        let totals = [total(0), total(1)];
        let name = |what: &str, count: u64| format!("{what}: {} voxels", count_tick(three_digits(count)));
        let entries = [(name("right", totals[0]), BLUE), (name("wrong", totals[1]), VERMILION)];
        page.legend(&entries, [10, 30], SIZE[0])?;
        let share = |count: u64, side: usize| 100.0 * count as f64 / totals[side].max(1) as f64;
        let shares = || self.bins.iter().flat_map(|(_, counts)| (0..2).map(|side| share(counts[side], side)));
        let tallest = shares().fold(1.0, f64::max);
        // The largest of K probabilities is never below 1 / K.
        let first = self.bins.iter().find(|(_, counts)| counts[0] + counts[1] > 0);
        let start = first.map_or(0.0, |([lower, _], _)| lower.min(0.5));
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(54))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(40))
            .y_label_area_size(page.px(56))
            .build_cartesian_2d(start..1.0, 0.0..1.05 * tallest)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(6)
            .x_label_formatter(&|value| tick(*value))
            .y_labels(5)
            .y_label_formatter(&|value| format!("{} %", tick(*value)))
            .x_desc("confidence (largest probability)")
            .y_desc("share of right / wrong voxels");
        page.looks(&mut mesh, 12).draw()?;
        for (side, color) in [BLUE, VERMILION].into_iter().enumerate() {
            chart.draw_series(self.bins.iter().filter(|(_, counts)| counts[side] > 0).map(
                |([lower, upper], counts)| {
                    let width = upper - lower;
                    let from = lower + width * (0.08 + 0.42 * side as f64);
                    Rectangle::new([(from, 0.0), (from + 0.42 * width, share(counts[side], side))], color.filled())
                },
            ))?;
        }
        Ok(())
    }
}

/// Rounds a count to three digits, enough for a legend.
fn three_digits(count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let unit = 10_f64.powi((count as f64).log10().floor() as i32 - 2).max(1.0);
    (count as f64 / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legends_round_counts() {
        assert_eq!(
            [0, 7, 999, 1234, 64_951, 2_406_212].map(three_digits),
            [0.0, 7.0, 999.0, 1230.0, 65_000.0, 2_410_000.0]
        );
    }
}
