//! Horizontal box plots, which leave room for long names.

use plotters::prelude::*;

use super::{BLUE, Chart, Drawn, Page, VERMILION, tick};

/// One box for each group of values.
pub struct Boxes {
    /// Title.
    pub title: String,
    /// Label of the axis of values.
    pub unit: String,
    /// Names and values, from top to bottom. No group is empty.
    pub groups: Vec<(String, Vec<f64>)>,
}

/// Number of dots of a group of very many values: more cannot be told apart.
pub const MOST_DOTS: usize = 2000;

/// The indices of the values that are drawn as dots, ascending: of more than [`MOST_DOTS`], those at equal distances in
/// the order of the values, the smallest and the largest among them.
pub fn dots(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if order.len() > MOST_DOTS {
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        order = (0..MOST_DOTS).map(|dot| order[dot * (values.len() - 1) / (MOST_DOTS - 1)]).collect();
        order.sort_unstable();
    }
    order
}

const WIDTH: u32 = 500;
const ROW: u32 = 46;
const TOP: u32 = 32;
const AXIS: u32 = 42;

impl Chart for Boxes {
    fn size(&self) -> [u32; 2] {
        [WIDTH, TOP + ROW * self.groups.len() as u32 + AXIS]
    }

    /// Draws quartiles, whiskers to the furthest value within 1.5 interquartile ranges, and values as [`dots`].
    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let all = || self.groups.iter().flat_map(|(_, values)| values.iter().copied());
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let room = (0.04 * (high - low)).max(1e-3);
        let longest = self.groups.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(24) as u32;
        let rows = self.groups.len() as f64;
        let left = 24 + 7 * longest;
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(TOP))
            .margin_right(page.px(18))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(AXIS))
            .y_label_area_size(page.px(left))
            .build_cartesian_2d(low - room..high + room, -rows + 0.5..0.5)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().y_labels(0).x_labels(6).x_label_formatter(&|value| tick(*value)).x_desc(&self.unit);
        page.looks(&mut mesh, 13).draw()?;
        let middle_of = |row: usize| TOP + ROW / 2 + row as u32 * ROW;
        for (row, (name, values)) in self.groups.iter().enumerate() {
            let shown: String =
                if name.chars().count() > 24 { name.chars().take(23).chain(['…']).collect() } else { name.clone() };
            page.text(&shown, [12, middle_of(row) - 8], &page.font(13))?;
            let at = -(row as f64);
            let [lower, first, middle, third, upper] = five_numbers(values);
            let outline = [(first, at - 0.26), (third, at + 0.26)];
            chart.draw_series([
                Rectangle::new(outline, BLUE.mix(0.2).filled()),
                Rectangle::new(outline, page.line(BLUE, 1)),
            ])?;
            let lines =
                [[(middle, at - 0.26), (middle, at + 0.26)], [(lower, at), (first, at)], [(third, at), (upper, at)]];
            chart.draw_series(lines.map(|line| PathElement::new(line, page.line(BLUE, 2))))?;
            // A deterministic jitter, so that equal values do not hide each other.
            let spread = |index: usize| 0.18 * ((index * 7 % 11) as f64 / 5.0 - 1.0);
            let radius = page.px(2);
            chart.draw_series(dots(values).into_iter().enumerate().map(|(place, index)| {
                Circle::new((values[index], at + spread(place)), radius, VERMILION.mix(0.7).filled())
            }))?;
        }
        Ok(())
    }
}

/// Lower whisker, quartiles, upper whisker.
fn five_numbers(values: &[f64]) -> [f64; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quartile = |percent| segcal_metrics::stats::percentile(&sorted, percent);
    let (first, middle, third) = (quartile(25.0), quartile(50.0), quartile(75.0));
    let reach = 1.5 * (third - first);
    let inside = || sorted.iter().copied().filter(|&value| value >= first - reach && value <= third + reach);
    [inside().fold(first, f64::min), first, middle, third, inside().fold(third, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_of_very_many_values_are_spread_over_their_range() {
        assert_eq!(dots(&[3.0, 1.0, 2.0]), [0, 1, 2]);
        let values: Vec<f64> = (0..10 * MOST_DOTS).map(|index| (index * 7919 % (10 * MOST_DOTS)) as f64).collect();
        let mut drawn: Vec<f64> = dots(&values).into_iter().map(|index| values[index]).collect();
        drawn.sort_by(f64::total_cmp);
        assert_eq!(drawn.len(), MOST_DOTS);
        assert_eq!((drawn[0], drawn[MOST_DOTS - 1]), (0.0, 19_999.0));
        assert!(drawn.windows(2).all(|pair| (10.0..=11.0).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn five_numbers_by_hand() {
        assert_eq!(five_numbers(&[1.0, 2.0, 3.0, 4.0, 100.0]), [1.0, 2.0, 3.0, 4.0, 4.0]);
        assert_eq!(five_numbers(&[5.0]), [5.0; 5]);
    }
}
