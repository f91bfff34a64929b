//! Classes that combine several labels.

/// A class that combines several labels, as in nnU-Net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// The labels whose voxels belong to it.
    pub labels: Vec<i32>,
    /// The label of its voxels in a label map; it overwrites the labels of the regions before it.
    pub becomes: i32,
}
