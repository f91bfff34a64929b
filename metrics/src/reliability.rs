//! The data for reliability diagrams and confidence histograms.

use serde::{Deserialize, Serialize};

use crate::calibration::{Bin, RegionBins};

/// One bar of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Lower edge, exclusive (except for 0, the lower edge of the first bin).
    pub lower: f64,
    /// Upper edge, inclusive.
    pub upper: f64,
    /// Number of voxels.
    pub count: u64,
    /// Share of all voxels of the region.
    pub share: f64,
    /// Mean probability; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Share of hits; `None` in an empty bin.
    pub accuracy: Option<f64>,
}

/// The bars for the largest probability: accuracy against confidence.
pub fn top_label(region: &RegionBins) -> Vec<Bar> {
    bars(&region.top_bins())
}

/// The bars for class `k`: frequency of the class against its probability.
pub fn of_class(region: &RegionBins, k: usize) -> Vec<Bar> {
    bars(&region.class_bins(k))
}

fn bars(bins: &[Bin]) -> Vec<Bar> {
    let total: u64 = bins.iter().map(|bin| bin.count).sum();
    let bar = |(number, bin): (usize, &Bin)| Bar {
        lower: number as f64 / bins.len() as f64,
        upper: (number + 1) as f64 / bins.len() as f64,
        count: bin.count,
        share: if total == 0 { 0.0 } else { bin.count as f64 / total as f64 },
        confidence: (bin.count > 0).then(|| bin.confidence()),
        accuracy: (bin.count > 0).then(|| bin.accuracy()),
    };
    bins.iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::{Calibration, Region};
    use crate::volume::Probabilities;

    #[test]
    fn bars_by_hand() {
        let values = [0.75, 0.25, 1.0, 0.25, 0.75, 0.0]; // two classes, three voxels
        let mut state = Calibration::new(2, 4);
        state.add(Probabilities::new(&values, 2), &[0, 0, 0], None).unwrap();
        let region = state.region(Region::All);
        let top = top_label(&region);
        let empty = |bar: &Bar| (bar.count, bar.confidence) == (0, None);
        assert!(empty(&top[0]) && empty(&top[1]), "{top:?}");
        let half =
            Bar { lower: 0.5, upper: 0.75, count: 2, share: 2.0 / 3.0, confidence: Some(0.75), accuracy: Some(0.5) };
        assert_eq!(top[2], half);
        assert_eq!((top[3].confidence, top[3].accuracy), (Some(1.0), Some(1.0)));
        let class = of_class(&region, 1);
        assert_eq!((class[0].count, class[0].confidence, class[0].accuracy), (2, Some(0.125), Some(0.0)));
    }
}
