//! Classes that are made of several labels.

/// A class that is made of several labels, as by nnU-Net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// The labels whose voxels it holds.
    pub labels: Vec<i32>,
    /// The label that its voxels get in a label map, over those of the regions before it.
    pub becomes: i32,
}
