//! The axes of a domain, merged as far as every view allows, and iteration over them.

use segcal_core::Shape;

/// One or more adjacent axes of the domain that every view traverses with one stride.
#[derive(Clone, Debug)]
pub(in crate::cpu) struct Axis {
    pub(in crate::cpu) extent: usize,
    /// The stride of each view.
    pub(in crate::cpu) strides: Vec<usize>,
    /// The axis of the domain whose coordinate is used, if any.
    pub(super) coordinate: Option<usize>,
}

/// Merges the axes of `domain`, outermost first. Axes of extent 1 are dropped, and those marked `alone` are not merged.
pub(super) fn merge_axes(domain: Shape, views: &[Shape], alone: [bool; 5]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for axis in (0..5).rev().filter(|&axis| domain.dims()[axis] != 1) {
        let extent = domain.dims()[axis];
        let strides: Vec<usize> = views.iter().map(|view| view.broadcast_strides()[axis]).collect();
        let continues = |inner: &Axis| strides.iter().zip(&inner.strides).all(|(&o, &i)| o == i * inner.extent);
        match axes.last_mut() {
            Some(inner) if !alone[axis] && inner.coordinate.is_none() && continues(inner) => inner.extent *= extent,
            _ => axes.push(Axis { extent, strides, coordinate: alone[axis].then_some(axis) }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { extent: 1, strides: vec![0; views.len()], coordinate: None });
    }
    axes.reverse();
    axes
}

/// Splits `len` elements of the domain into parts within rows. Calls `visit` with the start coordinate of each part and
/// its length.
pub(in crate::cpu) fn for_each_row(
    axes: &[Axis],
    start: usize,
    len: usize,
    mut visit: impl FnMut(&[Axis], &[usize], usize),
) {
    let mut at = [0; 5];
    let at = &mut at[..axes.len()];
    let mut rest = start;
    for (index, axis) in at.iter_mut().zip(axes).rev() {
        *index = rest % axis.extent;
        rest /= axis.extent;
    }
    let last = axes.len() - 1;
    let mut left = len;
    while left > 0 {
        let part = left.min(axes[last].extent - at[last]);
        visit(axes, at, part);
        left -= part;
        at[last] = 0;
        for outer in (0..last).rev() {
            at[outer] += 1;
            if at[outer] < axes[outer].extent {
                break;
            }
            at[outer] = 0;
        }
    }
}
