//! Charts, each drawn once for SVG and for PNG.
//!
//! Colours are those of Okabe and Ito (2008), which people with any colour vision tell apart.

use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use segcal_core::{Error, Result};
use segcal_metrics::reliability::Bar;

/// Width and height in pixels.
pub(super) const SIZE: (u32, u32) = (480, 480);

const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Text needs a font also for SVG, whose layout measures it. It is compiled in, so that the plots look the same
/// everywhere and nothing must be installed.
fn with_font() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // A font that cannot be registered shows as an error of the first text drawn.
        let _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    });
}

/// What can be drawn.
pub(super) enum Chart {
    /// Accuracy against confidence, with the shares of the bins beneath.
    Reliability {
        /// Title.
        title: String,
        /// Label of the vertical axis.
        what: &'static str,
        /// The bins.
        bars: Vec<Bar>,
    },
    /// One box for each group of values.
    Boxes {
        /// Title.
        title: String,
        /// Label of the vertical axis.
        unit: String,
        /// Names and values.
        groups: Vec<(String, Vec<f64>)>,
    },
}

impl Chart {
    /// As an SVG document.
    ///
    /// # Errors
    /// The drawing library fails.
    pub(super) fn svg(&self) -> Result<String> {
        with_font();
        let mut text = String::new();
        self.draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area())?;
        Ok(text)
    }

    /// As a PNG file, at twice the size so that it prints well.
    ///
    /// # Errors
    /// The drawing library fails.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        with_font();
        let (width, height) = SIZE;
        let mut pixels = vec![0; (width * height * 3) as usize];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area())?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(Error::from_source)?;
        writer.write_image_data(&pixels).map_err(Error::from_source)?;
        writer.finish().map_err(Error::from_source)?;
        Ok(file)
    }

    fn draw<D: DrawingBackend>(&self, area: &DrawingArea<D, Shift>) -> Result<()> {
        let drawn = match self {
            Self::Reliability { title, what, bars } => reliability(area, title, what, bars),
            Self::Boxes { title, unit, groups } => boxes(area, title, unit, groups),
        };
        drawn.and_then(|()| area.present()).map_err(|error| Error::new(format!("a plot could not be drawn: {error}")))
    }
}

type Drawn<D> = std::result::Result<(), DrawingAreaErrorKind<<D as DrawingBackend>::ErrorType>>;

/// Bars of accuracy with the gap to the mean confidence, the diagonal, and the shares of the bins beneath.
fn reliability<D: DrawingBackend>(area: &DrawingArea<D, Shift>, title: &str, what: &str, bars: &[Bar]) -> Drawn<D> {
    area.fill(&WHITE)?;
    let (top, bottom) = area.split_vertically(SIZE.1 * 7 / 10);
    let mut chart = ChartBuilder::on(&top)
        .caption(title, ("sans-serif", 17))
        .margin(8)
        .x_label_area_size(14)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart.configure_mesh().disable_x_mesh().y_desc(what).x_labels(6).y_labels(6).light_line_style(WHITE).draw()?;
    // Empty bins show nothing: a bar there would be an invention.
    let filled = || bars.iter().filter_map(|bar| Some((bar, bar.accuracy?, bar.confidence?)));
    chart.draw_series(filled().map(|(bar, accuracy, _)| {
        Rectangle::new([(bar.lower, 0.0), (bar.upper, accuracy)], BLUE.mix(0.75).filled())
    }))?;
    chart.draw_series(filled().map(|(bar, accuracy, confidence)| {
        Rectangle::new([(bar.lower, accuracy), (bar.upper, confidence)], ORANGE.mix(0.45).filled())
    }))?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], GREY.stroke_width(1)))?;
    chart.draw_series(
        filled().map(|(_, accuracy, confidence)| Circle::new((confidence, accuracy), 3, VERMILION.filled())),
    )?;
    let tallest = bars.iter().map(|bar| bar.share).fold(0.0, f64::max).max(1e-9);
    let mut counts = ChartBuilder::on(&bottom)
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..1.0, 0.0..tallest * 1.05)?;
    counts
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("probability")
        .y_desc("share of voxels")
        .x_labels(6)
        .y_labels(4)
        .light_line_style(WHITE)
        .draw()?;
    counts.draw_series(
        bars.iter().map(|bar| Rectangle::new([(bar.lower, 0.0), (bar.upper, bar.share)], GREY.mix(0.6).filled())),
    )?;
    Ok(())
}

/// Box plots (quartiles, whiskers to the furthest value within 1.5 interquartile ranges) over the single values.
fn boxes<D: DrawingBackend>(
    area: &DrawingArea<D, Shift>,
    title: &str,
    unit: &str,
    groups: &[(String, Vec<f64>)],
) -> Drawn<D> {
    area.fill(&WHITE)?;
    let all = || groups.iter().flat_map(|(_, values)| values.iter().copied());
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let room = (0.06 * (high - low)).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.5..groups.len() as f64 - 0.5, low - room..high + room)?;
    let name = |at: &f64| {
        let on_group = (at - at.round()).abs() < 1e-9 && *at > -0.5;
        groups.get(at.round() as usize).filter(|_| on_group).map_or_else(String::new, |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_desc(unit)
        .x_labels(groups.len().max(2))
        .x_label_formatter(&name)
        .light_line_style(WHITE)
        .draw()?;
    for (number, (_, values)) in groups.iter().enumerate() {
        let at = number as f64;
        let [lower, first, middle, third, upper] = five_numbers(values);
        chart.draw_series([
            Rectangle::new([(at - 0.22, first), (at + 0.22, third)], BLUE.mix(0.25).filled()),
            Rectangle::new([(at - 0.22, first), (at + 0.22, third)], BLUE.stroke_width(1)),
        ])?;
        let lines =
            [[(at - 0.22, middle), (at + 0.22, middle)], [(at, lower), (at, first)], [(at, third), (at, upper)]];
        chart.draw_series(lines.map(|line| PathElement::new(line, BLUE.stroke_width(2))))?;
        // A fixed spread sideways, so that equal values do not hide each other.
        let spread = |index: usize| 0.12 * ((index * 7 % 11) as f64 / 5.0 - 1.0);
        let dots = values
            .iter()
            .enumerate()
            .map(|(index, &value)| Circle::new((at + spread(index), value), 2, VERMILION.mix(0.6).filled()));
        chart.draw_series(dots)?;
    }
    Ok(())
}

/// Lower whisker, quartiles, upper whisker.
fn five_numbers(values: &[f64]) -> [f64; 5] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quartile = |percent| segcal_metrics::surface::percentile(&sorted, percent);
    let (first, middle, third) = (quartile(25.0), quartile(50.0), quartile(75.0));
    let reach = 1.5 * (third - first);
    let inside = || sorted.iter().copied().filter(|&value| value >= first - reach && value <= third + reach);
    [inside().fold(first, f64::min), first, middle, third, inside().fold(third, f64::max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_numbers_by_hand() {
        assert_eq!(five_numbers(&[1.0, 2.0, 3.0, 4.0, 100.0]), [1.0, 2.0, 3.0, 4.0, 4.0]);
        assert_eq!(five_numbers(&[5.0]), [5.0; 5]);
    }

    #[test]
    fn both_kinds_are_drawn_in_both_formats() {
        let bar = Bar { lower: 0.5, upper: 1.0, count: 3, share: 1.0, confidence: Some(0.8), accuracy: Some(0.6) };
        let empty = Bar { lower: 0.0, upper: 0.5, count: 0, share: 0.0, confidence: None, accuracy: None };
        let diagram = Chart::Reliability { title: "all".into(), what: "accuracy", bars: vec![empty, bar] };
        let boxes = Chart::Boxes { title: "dsc".into(), unit: "1".into(), groups: vec![("1".into(), vec![0.5, 0.7])] };
        for chart in [diagram, boxes] {
            assert!(chart.svg().unwrap().starts_with("<svg"));
            assert_eq!(chart.png().unwrap()[..4], [0x89, b'P', b'N', b'G']);
        }
    }
}
