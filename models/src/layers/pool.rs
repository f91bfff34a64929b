//! Maximum pooling.

use segcal_core::{Backend, Tensor, Window, ops};

/// The maximum of each tile of extents `size = [d, h, w]`; each spatial extent is divided by that of the tile.
/// Panics where it is not a multiple: a decoder could not restore the extent.
pub fn max_pool<B: Backend>(x: &Tensor<B>, size: [usize; 3]) -> Tensor<B> {
    let whole = x.shape().spatial().iter().zip(size).all(|(extent, tile)| extent.is_multiple_of(tile));
    assert!(whole, "max_pool: {} is not made of whole tiles {size:?}", x.shape());
    ops::max_pool(x, &Window::tiles(size))
}
