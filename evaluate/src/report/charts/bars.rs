//! Grouped bar charts of several methods, side by side or stacked as shares of one bar.

use plotters::prelude::*;

use super::{Chart, Drawn, GREY, INK, Page, colors, short, tick};

/// Groups of bars side by side.
pub struct Bars {
    /// Title.
    pub title: String,
    /// Label of the axis of values.
    pub unit: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The methods, from left to right in each group.
    pub series: Vec<Series>,
}

/// The bars of one method.
pub struct Series {
    /// Its name.
    pub name: String,
    /// The value and its standard deviation for each group. Non-finite numbers are not drawn.
    pub values: Vec<[f64; 2]>,
}

/// One stacked bar for each group, with each method's share of the sum.
pub struct Shares {
    /// Title.
    pub title: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Names of the methods.
    pub names: Vec<String>,
    /// `values[method][group]`, at least 0. Non-finite values count as 0.
    pub values: Vec<Vec<f64>>,
}

const WIDTH: u32 = 500;
const HEIGHT: u32 = 330;
/// Minimum width of a bar.
const BAR: u32 = 14;
/// Space between groups.
const ROOM: u32 = 34;

/// The width of a chart with this many groups of this many bars.
fn width(groups: usize, bars: usize) -> u32 {
    (90 + groups as u32 * (ROOM + BAR * bars as u32)).max(WIDTH)
}

fn legend_rows(names: &[&String], width: u32) -> u32 {
    1 + names.iter().map(|name| 20 + 7 * short(name).chars().count() as u32).sum::<u32>() / width
}

impl Bars {
    fn names(&self) -> Vec<&String> {
        self.series.iter().map(|series| &series.name).collect()
    }

    fn drawn(&self) -> impl Iterator<Item = (usize, usize, [f64; 2])> {
        self.series.iter().enumerate().flat_map(|(number, series)| {
            let finite = series.values.iter().enumerate().filter(|(_, [value, _])| value.is_finite());
            finite.map(move |(group, &[value, sd])| (number, group, [value, if sd.is_finite() { sd } else { 0.0 }]))
        })
    }
}

impl Chart for Bars {
    fn size(&self) -> [u32; 2] {
        let wide = width(self.groups.len(), self.series.len());
        [wide, HEIGHT + 16 * (legend_rows(&self.names(), wide) - 1)]
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let [wide, _] = self.size();
        let entries: Vec<_> = self.names().into_iter().map(|name| short(name)).zip(colors()).collect();
        page.legend(&entries, [10, 32], wide)?;
        let ends = self.drawn().flat_map(|(_, _, [value, sd])| [value - sd, value + sd]);
        let [low, high] = ends.fold([0.0_f64, 0.0_f64], |[low, high], end| [low.min(end), high.max(end)]);
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let room = 0.05 * (high - low);
        let low = if low < 0.0 { low - room } else { low };
        let groups = self.groups.len().max(1) as f64;
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(40 + 16 * legend_rows(&self.names(), wide)))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(30))
            .y_label_area_size(page.px(62))
            .build_cartesian_2d(0.0..groups, low..high + room)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).y_labels(6).y_label_formatter(&|value| tick(*value)).y_desc(&self.unit);
        page.looks(&mut mesh, 13).draw()?;
        let (share, count) = (0.8, self.series.len().max(1) as f64);
        let palette: Vec<_> = colors().take(self.series.len()).collect();
        for (number, group, [value, sd]) in self.drawn() {
            let left = group as f64 + (1.0 - share) / 2.0 + share * number as f64 / count;
            let right = left + share / count * 0.92;
            chart.draw_series([Rectangle::new([(left, 0.0), (right, value)], palette[number].mix(0.85).filled())])?;
            if sd > 0.0 {
                let middle = f64::midpoint(left, right);
                let bar = [(middle, value - sd), (middle, value + sd)];
                chart.draw_series([PathElement::new(bar, page.line(INK, 1))])?;
            }
        }
        if low < 0.0 {
            chart.draw_series([PathElement::new([(0.0, 0.0), (groups, 0.0)], page.line(GREY, 1))])?;
        }
        group_names(page, &self.groups, self.size())
    }
}

/// Draws the names of the groups below the axis, each centred, on two lines if one is too short.
fn group_names<D: DrawingBackend>(page: &Page<'_, D>, groups: &[String], [wide, high]: [u32; 2]) -> Drawn<D> {
    let (left, right) = (66.0, f64::from(wide) - 16.0);
    let each = (right - left) / groups.len().max(1) as f64;
    let most = ((each / 7.0) as usize).max(4);
    for (number, name) in groups.iter().enumerate() {
        for (line, text) in in_lines(name, most).iter().enumerate() {
            let x = left + each * (number as f64 + 0.5) - 3.3 * text.chars().count() as f64;
            page.text(text, [x.max(0.0) as u32, high - 27 + 13 * line as u32], &page.font(12))?;
        }
    }
    Ok(())
}

/// Breaks a name longer than `most` characters at its first space, and truncates lines that are still too long.
fn in_lines(name: &str, most: usize) -> Vec<String> {
    let parts = match name.split_once(' ') {
        Some((first, second)) if name.chars().count() > most => vec![first, second],
        _ => vec![name],
    };
    let cut = |part: &str| {
        if part.chars().count() > most { part.chars().take(most - 1).chain(['…']).collect() } else { part.to_owned() }
    };
    parts.into_iter().map(cut).collect()
}

impl Chart for Shares {
    fn size(&self) -> [u32; 2] {
        let wide = width(self.groups.len(), 3);
        [wide, HEIGHT + 16 * (legend_rows(&self.names.iter().collect::<Vec<_>>(), wide) - 1)]
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        page.title(&self.title)?;
        let [wide, _] = self.size();
        let entries: Vec<_> = self.names.iter().map(|name| short(name)).zip(colors()).collect();
        page.legend(&entries, [10, 32], wide)?;
        let groups = self.groups.len().max(1);
        let rows = legend_rows(&self.names.iter().collect::<Vec<_>>(), wide);
        let mut chart = ChartBuilder::on(page.area)
            .margin_top(page.px(40 + 16 * rows))
            .margin_right(page.px(16))
            .margin_left(page.px(4))
            .x_label_area_size(page.px(30))
            .y_label_area_size(page.px(62))
            .build_cartesian_2d(0.0..groups as f64, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|value| tick(*value))
            .y_desc("share of the sum");
        page.looks(&mut mesh, 13).draw()?;
        for group in 0..self.groups.len() {
            let value = |method: &Vec<f64>| if method[group].is_finite() { method[group].max(0.0) } else { 0.0 };
            let total: f64 = self.values.iter().map(value).sum();
            let mut below = 0.0;
            for (method, color) in self.values.iter().zip(colors()) {
                let share = if total > 0.0 { value(method) / total } else { 0.0 };
                let corners = [(group as f64 + 0.22, below), (group as f64 + 0.78, below + share)];
                chart.draw_series([Rectangle::new(corners, color.mix(0.85).filled())])?;
                below += share;
            }
        }
        group_names(page, &self.groups, self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_broken_before_they_are_cut() {
        assert_eq!(in_lines("usgra unet", 12), ["usgra unet"]);
        assert_eq!(in_lines("hippocampus unet-tiny", 12), ["hippocampus", "unet-tiny"]);
        assert_eq!(in_lines("hippocampus unet-tiny", 6), ["hippo…", "unet-…"]);
    }
}
