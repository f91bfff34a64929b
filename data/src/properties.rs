//! The properties file that nnU-Net writes next to the probabilities of a case, which positions the array in space.

use std::path::Path;

use segcal_core::Result;
use serde_json::json;

use crate::Grid;
use crate::formats::lps;
use crate::output;

impl Grid {
    /// Writes the geometry of an array `[z, y, x]` in the form of nnU-Net's `CASE.properties.json`: the spacing, origin
    /// and direction of SimpleITK (x, y, z; LPS), and a bounding box that crops nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_properties(&self, path: &Path) -> Result<()> {
        let (steps, origin) = lps(self);
        let [z, y, x] = self.spacing_mm();
        let spacing = [x, y, z];
        // Row by row: the components of all axes along one world axis.
        let direction: Vec<f64> = (0..9).map(|at| steps[at % 3][at / 3] / spacing[at % 3]).collect();
        let document = json!({
            "sitk_stuff": { "spacing": spacing, "origin": origin, "direction": direction },
            "spacing": [z, y, x],
            "shape_before_cropping": self.extent,
            "bbox_used_for_cropping": self.extent.map(|extent| [0, extent]),
            "shape_after_cropping_and_before_resampling": self.extent,
        });
        output::write_text(path, &(output::to_json(&document)? + "\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_origin_and_directions_of_simple_itk() {
        // x points posterior, y to the right, z superior.
        let affine = [[0.0, 2.0, 0.0, 5.0], [-0.5, 0.0, 0.0, 6.0], [0.0, 0.0, 3.0, 7.0]];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.properties.json");
        Grid::new([4, 3, 2], affine, 1).unwrap().write_properties(&path).unwrap();
        let stored: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let expected = json!({ "spacing": [0.5, 2.0, 3.0], "origin": [-5.0, -6.0, 7.0],
            "direction": [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0] });
        assert_eq!(stored["sitk_stuff"], expected);
        assert_eq!(stored["bbox_used_for_cropping"], json!([[0, 4], [0, 3], [0, 2]]));
    }
}
