//! Charts, drawn as SVG and as PNG by the same code.
//!
//! Colours are those of Okabe and Ito (2008), which can be told apart with any kind of colour vision. Pixels that a
//! chart shows (an image, a map) lie beneath the drawing: embedded as images in SVG, copied in PNG.

mod bars;
mod boxes;
mod distribution;
mod heat;
mod histogram;
mod lines;
mod overlay;
mod panels;
mod radar;
mod reliability;
mod scatter;
mod subject;

use std::fmt::Write;
use std::sync::Once;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use segcal_core::{Error, Result};
use segcal_data::xml;

pub use bars::{Bars, Series, Shares};
pub use boxes::{Boxes, MOST_DOTS, dots};
pub use distribution::Distribution;
pub use heat::Heat;
pub use histogram::Histogram;
pub use lines::{Line, Lines};
pub use overlay::Overlay;
pub use panels::Panels;
pub use radar::Radar;
pub use reliability::Reliability;
pub use scatter::Scatter;
pub use subject::{Seen, Subject};

const BLUE: RGBColor = RGBColor(0, 114, 178);
const SKY: RGBColor = RGBColor(86, 180, 233);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(110, 110, 110);
const INK: RGBColor = RGBColor(26, 26, 26);
const FAINT: RGBColor = RGBColor(225, 225, 225);
/// Colours of categories, in this order.
const CATEGORIES: [RGBColor; 7] =
    [RGBColor(70, 70, 70), BLUE, VERMILION, RGBColor(0, 158, 115), ORANGE, RGBColor(204, 121, 167), SKY];

/// Colours of the methods beyond the categories: the papers compare up to a dozen.
const MORE: [RGBColor; 5] =
    [RGBColor(140, 86, 45), RGBColor(170, 160, 20), RGBColor(90, 50, 140), RGBColor(0, 90, 90), RGBColor(150, 0, 40)];
/// Longest name in a legend, in characters.
const LONGEST: usize = 24;

/// The colours of the methods, in order.
fn colors() -> impl Iterator<Item = RGBColor> {
    CATEGORIES.into_iter().chain(MORE).cycle()
}

/// A name truncated to fit a legend.
fn short(name: &str) -> String {
    match name.chars().count() {
        ..=LONGEST => name.to_owned(),
        _ => name.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// Pixels of a PNG per unit of the drawing, so that it prints well.
const PNG_SCALE: u32 = 2;

/// Registers the font. SVG needs it too, since the layout measures text. It is compiled in, so that plots look the same
/// everywhere and nothing has to be installed.
fn with_font() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // If the font cannot be registered, drawing the first text fails.
        let _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    });
}

/// Where a chart is drawn: the area, and the number of pixels per unit.
pub struct Page<'a, D: DrawingBackend> {
    area: &'a DrawingArea<D, Shift>,
    scale: u32,
}

type Drawn<D> = std::result::Result<(), DrawingAreaErrorKind<<D as DrawingBackend>::ErrorType>>;

impl<D: DrawingBackend> Page<'_, D> {
    /// A length in pixels.
    const fn px(&self, units: u32) -> u32 {
        units * self.scale
    }

    /// A font of this size. The drawing library takes the line height as the size, which is about a quarter larger.
    fn font(&self, units: u32) -> TextStyle<'static> {
        ("sans-serif", f64::from(self.px(units)) * 1.24).into_font().color(&INK)
    }

    /// A line of this width.
    fn line(&self, color: RGBColor, units: u32) -> ShapeStyle {
        color.stroke_width(self.px(units))
    }

    /// Applies the style that all axes share, with axis titles of this size.
    fn looks<'m, 'a, 'b, X: Ranged, Y: Ranged>(
        &self,
        mesh: &'m mut MeshStyle<'a, 'b, X, Y, D>,
        description: u32,
    ) -> &'m mut MeshStyle<'a, 'b, X, Y, D> {
        mesh.axis_desc_style(self.font(description))
            .label_style(self.font(12))
            .light_line_style(TRANSPARENT)
            .bold_line_style(self.line(FAINT, 1))
            .axis_style(self.line(GREY, 1))
    }

    /// Draws the title at the top left.
    fn title(&self, text: &str) -> Drawn<D> {
        self.text(text, [10, 8], &self.font(14))
    }

    fn text(&self, text: &str, [x, y]: [u32; 2], style: &TextStyle<'_>) -> Drawn<D> {
        self.area.draw_text(text, style, (self.px(x) as i32, self.px(y) as i32))
    }

    /// Draws a legend of names with their colours, side by side from the given position.
    fn legend(&self, entries: &[(String, RGBColor)], [mut x, mut y]: [u32; 2], width: u32) -> Drawn<D> {
        let left = x;
        for (name, color) in entries {
            let wide = 20 + 7 * name.chars().count() as u32;
            if x + wide > width && x > left {
                (x, y) = (left, y + 16);
            }
            let corner = |dx: u32, dy: u32| (self.px(x + dx) as i32, self.px(y + dy) as i32);
            self.area.draw(&Rectangle::new([corner(0, 1), corner(10, 11)], color.filled()))?;
            self.text(name, [x + 14, y], &self.font(12))?;
            x += wide;
        }
        Ok(())
    }
}

/// A greyscale image beneath a drawing.
pub struct Picture {
    /// Left and top, in units of the drawing.
    at: [u32; 2],
    /// Width and height in units.
    size: [u32; 2],
    /// Columns and rows.
    pixels: [usize; 2],
    /// Grey values, row by row.
    grey: Vec<u8>,
}

/// A chart that can be drawn on any backend.
pub trait Chart {
    /// Width and height in units.
    fn size(&self) -> [u32; 2];

    /// Images beneath the drawing.
    fn pictures(&self) -> Vec<Picture> {
        Vec::new()
    }

    /// Draws everything except the images.
    ///
    /// # Errors
    /// Those of the backend.
    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D>;
}

/// Draws a chart as an SVG document.
///
/// # Errors
/// The drawing library fails.
pub fn svg(chart: &impl Chart) -> Result<String> {
    with_font();
    let [width, height] = chart.size();
    let mut text = String::new();
    finish(chart, &SVGBackend::with_string(&mut text, (width, height)).into_drawing_area(), 1)?;
    let mut ground = format!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n");
    for Picture { at, size, pixels, grey } in chart.pictures() {
        let data = STANDARD.encode(png_file(pixels, png::ColorType::Grayscale, &grey)?);
        let _ = writeln!(
            ground,
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" \
             style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>",
            at[0], at[1], size[0], size[1]
        );
    }
    // The white background and the images come first, so that they are behind the drawing.
    let start = text.find('>').map_or(0, |end| end + 1);
    text.insert_str(start, &format!("\n{ground}"));
    Ok(xml::legal(&text).into_owned())
}

/// Draws a chart as a PNG file, at twice the size so that it prints well.
///
/// # Errors
/// The drawing library fails.
pub fn png(chart: &impl Chart) -> Result<Vec<u8>> {
    with_font();
    let [width, height] = chart.size().map(|side| side * PNG_SCALE);
    let mut pixels = vec![255; (width * height * 3) as usize];
    for picture in chart.pictures() {
        copy(&picture, &mut pixels, width as usize);
    }
    finish(chart, &BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area(), PNG_SCALE)?;
    png_file([width as usize, height as usize], png::ColorType::Rgb, &pixels)
}

fn finish<D: DrawingBackend>(chart: &impl Chart, area: &DrawingArea<D, Shift>, scale: u32) -> Result<()> {
    let drawn = chart.draw(&Page { area, scale });
    drawn.and_then(|()| area.present()).map_err(|error| Error::new(format!("a plot could not be drawn: {error}")))
}

/// Copies a picture into RGB pixels, scaled to its size in the drawing by nearest neighbour.
fn copy(picture: &Picture, pixels: &mut [u8], width: usize) {
    let [left, top] = picture.at.map(|at| (at * PNG_SCALE) as usize);
    let [wide, high] = picture.size.map(|side| (side * PNG_SCALE) as usize);
    let [columns, rows] = picture.pixels;
    for y in 0..high {
        for x in 0..wide {
            let grey = picture.grey[(y * rows / high) * columns + x * columns / wide];
            pixels[3 * ((top + y) * width + left + x)..][..3].fill(grey);
        }
    }
}

fn png_file([width, height]: [usize; 2], color: png::ColorType, pixels: &[u8]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(Error::from_source)?;
    writer.write_image_data(pixels).map_err(Error::from_source)?;
    writer.finish().map_err(Error::from_source)?;
    Ok(file)
}

/// Formats an axis label with at most six decimals, without trailing zeros.
fn tick(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// Formats a count as an axis label: 1, 10, 100, 1 k, 10 k …
fn count_tick(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{} G", tick(value / 1e9)),
        value if value >= 1e6 => format!("{} M", tick(value / 1e6)),
        value if value >= 1e3 => format!("{} k", tick(value / 1e3)),
        value => tick(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::LengthUnit;

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.2, 1.0, -0.0, 12.5].map(tick), ["0.2", "1", "0", "12.5"]);
        assert_eq!([1.0, 100.0, 1e3, 1e5, 1e6, 2e9].map(count_tick), ["1", "100", "1 k", "100 k", "1 M", "2 G"]);
    }

    fn drawn(chart: &impl Chart) {
        let text = svg(chart).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        assert_eq!(text.matches("<image").count(), chart.pictures().len());
        let file = png(chart).unwrap();
        let mut reader = png::Decoder::new(file.as_slice()).read_info().unwrap();
        assert_eq!([reader.info().width, reader.info().height], chart.size().map(|side| 2 * side));
        let mut pixels = vec![0; reader.output_buffer_size()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(pixels.iter().any(|&value| value < 100), "something is drawn");
    }

    #[test]
    fn every_kind_is_drawn_in_both_formats() {
        use crate::slices::{Layers, Slice};
        use segcal_metrics::reliability::Bar;
        let bar = Bar { lower: 0.5, upper: 1.0, count: 3, share: 1.0, confidence: Some(0.8), accuracy: Some(0.6) };
        let empty = Bar { lower: 0.0, upper: 0.5, count: 0, share: 0.0, confidence: None, accuracy: None };
        drawn(&Reliability { title: "all".into(), what: "accuracy", bars: vec![empty, bar] });
        drawn(&Reliability { title: "nothing".into(), what: "accuracy", bars: vec![empty] });
        drawn(&Histogram { title: "all".into(), bins: vec![([0.0, 0.5], [0, 0]), ([0.5, 1.0], [7, 1])] });
        drawn(&Boxes { title: "dsc".into(), unit: "1".into(), groups: vec![("1 liver".into(), vec![0.5, 0.5])] });
        let line = |points: Vec<[f64; 3]>| Line { name: "a".into(), points };
        let lines = vec![line(vec![[0.0, 0.5, 0.1], [0.1, 0.4, f64::NAN], [0.2, f64::NAN, 0.1]]), line(vec![])];
        drawn(&Lines { title: "dsc".into(), along: "noise".into(), unit: "1".into(), methods: lines });
        let two = |title: &str| Lines {
            title: title.into(),
            along: "lambda".into(),
            unit: title.into(),
            methods: vec![Line { name: "a".into(), points: vec![[0.1, 0.5, 0.1], [0.2, 0.4, 0.0]] }],
        };
        drawn(&Panels { panels: vec![two("dsc"), two("ece")] });
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<String>>();
        let values = vec![vec![1.0, 2.0], vec![2.0, f64::NAN]];
        drawn(&Heat {
            title: "ranks".into(),
            rows: names(&["a", "b"]),
            columns: names(&["x", "y"]),
            values,
            digits: 0,
        });
        let values = vec![vec![0.5, 0.7, 0.9], vec![0.1, f64::NAN, 0.3]];
        drawn(&Radar { title: "dsc".into(), axes: names(&["x", "y", "z"]), names: names(&["a", "b"]), values });
        let series = || vec![Series { name: "a".into(), values: vec![[0.5, 0.1], [-0.25, f64::NAN]] }];
        drawn(&Bars { title: "dsc".into(), unit: "1".into(), groups: names(&["unet", "resunet"]), series: series() });
        let values = vec![vec![1.0, 3.0], vec![2.0, 1.0]];
        drawn(&Shares { title: "dsc".into(), groups: names(&["x", "y"]), names: names(&["a", "b"]), values });
        let points = vec![("a".to_owned(), vec![[0.5, 0.1, 0.0], [0.4, 0.2, 0.1]])];
        drawn(&Scatter { title: "noise".into(), axes: names(&["dsc", "ece"]).try_into().unwrap(), points });
        drawn(&Lines { title: "none".into(), along: "noise".into(), unit: "1".into(), methods: Vec::new() });
        let channels = vec![("0".into(), vec![0.0, 1.0]), ("1".into(), vec![0.5, 0.5])];
        drawn(&Distribution { title: "0".into(), what: "logit", edges: vec![-1.0, 0.0, 1.0], channels });
        let mut slice = Slice {
            structure: "1".into(),
            view: "axial".into(),
            number: 0,
            of: 1,
            spacing_mm: [3.0, 1.0],
            sides: Some(['R', 'L', 'A', 'P']),
            size: [2, 3],
            differing: 1,
        };
        let masks = || (vec![0, 1, 1, 0, 0, 0], vec![0, 1, 0, 0, 0, 0]);
        let layers = |confidence: Vec<u8>, image: Vec<u8>| {
            let (reference, prediction) = masks();
            Layers { reference, prediction, confidence, image }
        };
        for layers in [layers(vec![255; 6], vec![9; 6]), layers(vec![100; 6], vec![]), layers(vec![], vec![])] {
            let (title, figures) = ("a".into(), "DSC 0.5".into());
            drawn(&Overlay { title, figures, slice: slice.clone(), layers, unit: LengthUnit::Mm });
            slice.sides = None;
        }
    }

    #[test]
    fn a_subject_is_drawn_under_every_method() {
        use segcal_metrics::reliability::Bar;
        let bar = Bar { lower: 0.5, upper: 1.0, count: 3, share: 1.0, confidence: Some(0.8), accuracy: Some(0.6) };
        let seen = |name: &str, confidence: Vec<u8>| Seen {
            name: name.into(),
            figures: "DSC 0.5".into(),
            prediction: vec![0, 1, 2, 0, 0, 0],
            confidence,
            bars: vec![bar],
        };
        let methods = vec![seen("a", vec![255; 6]), seen("b", vec![99; 6])];
        let (image, reference) = (vec![9; 6], vec![0, 1, 1, 2, 0, 0]);
        let classes = vec![(1, "one".to_owned()), (2, "two".to_owned())];
        let title = "case".to_owned();
        drawn(&Subject { title, size: [2, 3], spacing_mm: [1.0, 2.0], image, reference, classes, methods });
    }

    #[test]
    fn a_picture_is_copied_to_its_place() {
        let picture = Picture { at: [1, 0], size: [1, 1], pixels: [2, 1], grey: vec![10, 20] };
        let mut pixels = vec![255; 4 * 2 * 3];
        copy(&picture, &mut pixels, 4);
        let grey: Vec<u8> = pixels.chunks(3).map(|rgb| rgb[0]).collect();
        assert_eq!(grey, [255, 255, 10, 20, 255, 255, 10, 20]);
    }
}
