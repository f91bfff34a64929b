//! Pooling.

use segcal_core::{Backend, Interpolation, Sampling, Shape, Tensor, Window, ops};

/// Maximum pooling with any window, stride and padding.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    /// Name of the layer.
    pub name: String,
    /// Extents of the window.
    pub size: [usize; 3],
    /// Stride of the window.
    pub stride: [usize; 3],
    /// Padding on both sides, in voxels. It counts as 0, so a padded layer must follow a rectifier, whose smallest
    /// output is 0: there, 0 acts as minus infinity does elsewhere.
    pub pad: [usize; 3],
}

impl MaxPool {
    /// The maximum of each tile; each spatial extent is divided by that of the tile.
    pub fn tiles(name: &str, size: [usize; 3]) -> Self {
        Self { name: name.into(), size, stride: size, pad: [0; 3] }
    }

    fn window(&self) -> Window {
        Window { size: self.size, stride: self.stride }
    }

    /// Shape of the output; `None` if a tile would be cut off, since a decoder could not restore the extent.
    pub(crate) fn output(&self, x: Shape) -> Option<Shape> {
        let tiles = self.size == self.stride;
        let whole = (0..3).all(|axis| x.spatial()[axis].is_multiple_of(self.stride[axis]));
        let padded = std::array::from_fn(|axis| x.spatial()[axis] + 2 * self.pad[axis]);
        if tiles && !whole { None } else { self.window().output(x.with_spatial(padded)) }
    }

    /// Returns the maxima.
    pub fn forward<B: Backend>(&self, x: &Tensor<B>) -> Tensor<B> {
        assert!(self.output(x.shape()).is_some(), "{}: {} cannot be divided into whole tiles", self.name, x.shape());
        if self.pad == [0; 3] {
            return ops::max_pool(x, &self.window());
        }
        ops::max_pool(&ops::pad(x, self.pad, self.pad), &self.window())
    }
}

/// The mean of each tile of extents 1 or 2. The mean of two voxels is the linear interpolation half-way between them.
pub fn average_pool<B: Backend>(x: &Tensor<B>, tile: [usize; 3]) -> Tensor<B> {
    assert!(tile.iter().all(|extent| [1, 2].contains(extent)), "average_pool: tiles of {tile:?}");
    let input = x.shape().spatial();
    let output = std::array::from_fn(|axis| input[axis] / tile[axis]);
    ops::resample(x, &Sampling::resize(input, output, Interpolation::Linear), output)
}
