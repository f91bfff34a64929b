//! `curves.svg` of a run: the loss with its terms, the validation figures and the loss's multipliers, epoch by epoch.

use std::fmt::Write;

use super::record::EpochRecord;
use segcal_data::output::escape;

/// The colours of the reports (Okabe and Ito 2008).
const COLOURS: [&str; 8] = ["#464646", "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#8c6d31"];
/// Left end of a panel's lines.
const LEFT: f64 = 64.0;
/// Width of the lines.
const WIDE: f64 = 460.0;
/// Height of a panel.
const HIGH: f64 = 150.0;
/// Distance from one panel to the next.
const STEP: f64 = 214.0;

/// A name, and one value per epoch.
type Line = (String, Vec<f64>);

/// Draws these epochs.
pub(super) fn svg(records: &[EpochRecord]) -> String {
    let panels = panels(records);
    let height = STEP * panels.len() as f64 + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#1a1a1a\">\n<rect width=\"720\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (number, (title, lines)) in panels.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate(0 {})\">", STEP * number as f64);
        panel(&mut text, title, lines, records.len());
        text += "</g>\n";
    }
    text + "</svg>\n"
}

/// The panels: the loss, the validation, and each part of the loss's state except counters.
fn panels(records: &[EpochRecord]) -> Vec<(String, Vec<Line>)> {
    let Some(first) = records.first() else { return Vec::new() };
    let of = |value: &dyn Fn(&EpochRecord) -> f64| records.iter().map(value).collect::<Vec<f64>>();
    let terms = first.loss.iter().enumerate();
    let loss = terms.map(|(i, (name, _))| (name.clone(), of(&|record| record.loss.get(i).map_or(f64::NAN, |x| x.1))));
    let validation =
        vec![("DSC".to_owned(), of(&|record| record.dsc.0)), ("ECE".to_owned(), of(&|record| record.ece.0))];
    let mut panels = vec![("Training loss".to_owned(), loss.collect()), ("Validation".to_owned(), validation)];
    for (part, (name, _)) in first.state.iter().enumerate().filter(|(_, (name, _))| !name.ends_with("epoch")) {
        let entries = records.iter().map(|record| record.state[part].1.len()).max().unwrap_or(0);
        // A single number applies to all entries.
        let entry = |record: &EpochRecord, i: usize| {
            let values = &record.state[part].1;
            values.get(i.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        let lines = (0..entries).map(|i| (format!("{}", i + 1), of(&|record| entry(record, i))));
        panels.push((format!("Multipliers of the loss: {name}"), lines.collect()));
    }
    panels
}

fn panel(text: &mut String, title: &str, lines: &[Line], epochs: usize) {
    let numbers = || lines.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite());
    let (low, high) = (numbers().fold(0.0, f64::min), numbers().fold(0.0, f64::max));
    let ticks = ticks(low, high);
    let (low, high) = (ticks[0].min(low), ticks[ticks.len() - 1].max(high));
    let x = |epoch: usize| LEFT + WIDE * (epoch as f64 + 0.5) / epochs as f64;
    let y = |value: f64| 30.0 + HIGH * (high - value) / (high - low);
    let _ = writeln!(text, "<text x=\"10\" y=\"18\" font-size=\"14\">{}</text>", escape(title));
    for tick in ticks {
        let (at, right, label) = (y(tick), LEFT + WIDE, shortest(tick));
        let _ = writeln!(text, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e1e1e1\"/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, at + 4.0);
    }
    let step = epochs.div_ceil(10);
    for epoch in (step - 1..epochs).step_by(step) {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(epoch),
            HIGH + 48.0,
            epoch + 1
        );
    }
    let _ = writeln!(text, "<text x=\"{}\" y=\"{}\">epoch</text>", LEFT + WIDE + 14.0, HIGH + 48.0);
    for (number, (name, values)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // A second round of colours is dashed.
        let dash = if number >= COLOURS.len() { " stroke-dasharray=\"5 3\"" } else { "" };
        let points: Vec<String> = (0..values.len())
            .filter(|&epoch| values[epoch].is_finite())
            .map(|epoch| format!("{:.1},{:.1}", x(epoch), y(values[epoch])))
            .collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            points.join(" ")
        );
        for (cx, cy) in points.iter().filter_map(|point| point.split_once(',')) {
            let _ = writeln!(text, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"2.5\" fill=\"{colour}\"/>");
        }
        let [column, row] = [number / 10, number % 10].map(|place| place as f64);
        let (left, top) = (LEFT + WIDE + 14.0 + 60.0 * column, 36.0 + 15.0 * row);
        let _ = writeln!(text, "<path d=\"M{left} {top}h14\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>");
        let _ = writeln!(text, "<text x=\"{}\" y=\"{}\">{}</text>", left + 20.0, top + 4.0, escape(name));
    }
}

/// Round numbers, the first at or below `low`, the last at or above `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let room = if high > low { high - low } else { 1.0 };
    let power = 10_f64.powf((room / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| room / step <= 4.0);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor() as i64, ((low + room) / step).ceil() as i64);
    (first..=last).map(|number| number as f64 * step).collect()
}

/// A tick without rounding noise in its last digits.
fn shortest(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::chain::Link;
    use super::*;
    use segcal_data::output::Number;

    fn record(epoch: usize, lambda: Vec<f64>) -> EpochRecord {
        EpochRecord {
            epoch,
            learning_rate: 1e-3,
            loss: vec![("loss".into(), 1.0 / epoch as f64), ("a < b".into(), 0.5)],
            dsc: Number(if epoch == 1 { f64::NAN } else { 0.8 }),
            dsc_by_structure: Vec::new(),
            ece: Number(0.1),
            state: vec![("lambda".into(), lambda), ("epoch".into(), vec![epoch as f64])],
            seconds: 1.0,
            images_per_second: 1.0,
            hashes: Link::default(),
        }
    }

    #[test]
    fn multipliers_are_drawn_beside_the_loss_and_the_counter_is_not() {
        let drawing = svg(&[record(1, vec![1e-6]), record(2, vec![0.25, 0.5])]);
        let titles: Vec<&str> = drawing.lines().filter(|line| line.contains("font-size=\"14\"")).collect();
        assert_eq!(titles.len(), 3, "{titles:?}");
        assert!(titles[2].contains("of the loss: lambda"), "{titles:?}");
        // Two terms, two figures, two multipliers; an undefined DSC has no point.
        assert_eq!(drawing.matches("<polyline").count(), 6);
        assert_eq!(drawing.matches("<circle").count(), 2 + 2 + 1 + 2 + 2 + 2);
        assert!(drawing.contains("a &lt; b") && !drawing.contains("NaN"));
    }

    #[test]
    fn ticks_are_round_and_reach_both_ends() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(0.0, 0.0), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(-3.0, 7.0), [-5.0, 0.0, 5.0, 10.0]);
        assert_eq!([0.3, 0.0, 1e-6, 2e7].map(shortest), ["0.3", "0", "1e-6", "2e7"]);
    }
}
