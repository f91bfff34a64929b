//! The loss terms of an epoch.

/// Means of the loss terms over the samples of an epoch.
#[derive(Default)]
pub(super) struct TermMeans {
    sums: Vec<(&'static str, f64)>,
    pub(super) samples: usize,
}

impl TermMeans {
    pub(super) fn add(&mut self, values: &[(&'static str, f64)], samples: usize) {
        if self.sums.is_empty() {
            self.sums = values.iter().map(|(name, _)| (*name, 0.0)).collect();
        }
        self.sums.iter_mut().zip(values).for_each(|(sum, (_, value))| sum.1 += value * samples as f64);
        self.samples += samples;
    }

    pub(super) fn means(&self) -> Vec<(String, f64)> {
        self.sums.iter().map(|(name, sum)| ((*name).to_owned(), sum / self.samples as f64)).collect()
    }
}
