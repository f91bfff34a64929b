//! Line charts side by side: several metrics against one parameter.

use plotters::prelude::*;

use super::{Chart, Drawn, Lines, Page};

/// Line charts in a row.
pub struct Panels {
    /// The charts, from left to right.
    pub panels: Vec<Lines>,
}

impl Chart for Panels {
    fn size(&self) -> [u32; 2] {
        let sizes = || self.panels.iter().map(Chart::size);
        [sizes().map(|[wide, _]| wide).sum::<u32>().max(1), sizes().map(|[_, high]| high).max().unwrap_or(1)]
    }

    fn draw<D: DrawingBackend>(&self, page: &Page<'_, D>) -> Drawn<D> {
        let areas = page.area.split_evenly((1, self.panels.len()));
        self.panels.iter().zip(&areas).try_for_each(|(panel, area)| panel.draw(&Page { area, scale: page.scale }))
    }
}
