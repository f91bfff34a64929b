//! Writes numbers that arrive in file order directly to their positions in an array with a different axis order, so
//! that no second copy of a large array is needed.

/// Tracks where the next number of a file goes.
#[derive(Clone, Debug)]
pub(super) struct Scatter {
    /// Extents along the file's axes, the fastest first.
    extents: Vec<usize>,
    /// Distance in the result between neighbours along each of these axes.
    steps: Vec<isize>,
    at: Vec<usize>,
    place: isize,
}

impl Scatter {
    /// `axes` gives the extent and step of each axis of the file, the fastest first; `start` is the index of the first
    /// number.
    pub(super) fn new(axes: &[(usize, isize)], start: usize) -> Self {
        let (extents, steps) = axes.iter().copied().unzip();
        Self { extents, steps, at: vec![0; axes.len()], place: start as isize }
    }

    /// For a file with the extents `file`, of which axis `order[i]` becomes axis `i` of the result (last axis fastest);
    /// `fortran` says that the file's first axis is the fastest.
    pub(super) fn permuted(file: &[usize], order: &[usize], fortran: bool) -> Self {
        let mut axes = vec![(0, 0); file.len()];
        let mut step = 1;
        for &own in order.iter().rev() {
            axes[own] = (file[own], step as isize);
            step *= file[own];
        }
        if !fortran {
            axes.reverse();
        }
        Self::new(&axes, 0)
    }

    /// Writes one number to `out`.
    #[inline]
    pub(super) fn put<T>(&mut self, out: &mut [T], value: T) {
        out[self.place as usize] = value;
        for ((at, &extent), &step) in self.at.iter_mut().zip(&self.extents).zip(&self.steps) {
            *at += 1;
            self.place += step;
            if *at < extent {
                break;
            }
            *at = 0;
            self.place -= step * extent as isize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_equals_the_permuted_view() {
        let shape = [2, 3, 4];
        let values: Vec<i32> = (0..24).collect();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let view = ndarray::ArrayView3::from_shape(shape, &values).unwrap();
            let expected: Vec<i32> = view.permuted_axes(order).iter().copied().collect();
            let mut out = vec![-1; 24];
            let mut scatter = Scatter::permuted(&shape, &order, false);
            values.iter().for_each(|&value| scatter.put(&mut out, value));
            assert_eq!(out, expected, "{order:?}");
            // The same array in Fortran order.
            let mut out = vec![-1; 24];
            let mut scatter = Scatter::permuted(&shape, &order, true);
            view.reversed_axes().iter().for_each(|&value| scatter.put(&mut out, value));
            assert_eq!(out, expected, "{order:?}, Fortran");
        }
    }

    #[test]
    fn an_axis_can_run_backwards() {
        let mut out = vec![0; 6];
        let mut scatter = Scatter::new(&[(3, -1), (2, 3)], 2);
        (1..=6).for_each(|value| scatter.put(&mut out, value));
        assert_eq!(out, [3, 2, 1, 6, 5, 4]);
    }
}
