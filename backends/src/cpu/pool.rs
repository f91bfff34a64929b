//! `max_pool` and its adjoint.

use segcal_core::{Shape, Window};

use super::isa::wide;
use super::{Array, CHUNK, Cpu};

/// The maximum of each window and its index within the window, the first if several are equal; NaN counts as the
/// largest value.
pub(super) fn max_pool(
    cpu: &Cpu,
    (x, x_shape): Array<'_>,
    window: &Window,
    y: &mut [f32],
    index: &mut [f32],
    out: Shape,
) {
    let [_, out_h, out_w] = out.spatial();
    let rows = (CHUNK / 4).div_ceil(out_w.max(1));
    let tasks: Vec<_> =
        y.chunks_mut((rows * out_w).max(1)).zip(index.chunks_mut((rows * out_w).max(1))).enumerate().collect();
    cpu.for_each_with(
        tasks,
        || (),
        |(), (task, (y, index))| {
            for (i, (y, index)) in y.chunks_mut(out_w).zip(index.chunks_mut(out_w)).enumerate() {
                let (outer, h) = ((task * rows + i) / out_h, (task * rows + i) % out_h);
                let (plane, d) = (outer / out.spatial()[0], outer % out.spatial()[0]);
                let volume = &x[plane * x_shape.voxels()..][..x_shape.voxels()];
                pool_row(volume, x_shape, window, [d, h], y, index);
            }
        },
    );
}

/// One row of the output, tap row by tap row.
fn pool_row(volume: &[f32], x_shape: Shape, window: &Window, [d, h]: [usize; 2], y: &mut [f32], index: &mut [f32]) {
    let ([_, x_h, x_w], [size_d, size_h, size_w]) = (x_shape.spatial(), window.size);
    y.fill(f32::NEG_INFINITY);
    index.fill(0.0);
    for inside_d in 0..size_d {
        for inside_h in 0..size_h {
            let row = (d * window.stride[0] + inside_d) * x_h + h * window.stride[1] + inside_h;
            let taps = &volume[row * x_w..][..x_w];
            let place = (inside_d * size_h + inside_h) * size_w;
            pool_taps(taps, size_w, window.stride[2], place, y, index);
        }
    }
}

/// Whether `new` replaces the maximum `old`.
#[inline(always)]
fn replaces(new: f32, old: f32) -> bool {
    new > old || (new.is_nan() && !old.is_nan())
}

wide! {
    /// Updates the maxima with the taps of one row of each window; the first tap has index `place`.
    fn pool_taps(row: &[f32], size: usize, stride: usize, place: usize, y: &mut [f32], index: &mut [f32]) {
        match (size, stride) {
            (2, 2) => pool_tiles::<2>(row, place, y, index),
            (4, 4) => pool_tiles::<4>(row, place, y, index),
            _ => {
                for tap in 0..size {
                    let number = (place + tap) as f32;
                    for (o, (y, index)) in y.iter_mut().zip(index.iter_mut()).enumerate() {
                        let value = row[o * stride + tap];
                        if replaces(value, *y) {
                            (*y, *index) = (value, number);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn pool_tiles<const SIZE: usize>(row: &[f32], place: usize, y: &mut [f32], index: &mut [f32]) {
    for ((tile, y), index) in row.as_chunks::<SIZE>().0.iter().zip(y).zip(index) {
        let (mut best, mut best_place) = (*y, *index);
        for tap in 0..SIZE {
            let replace = replaces(tile[tap], best);
            best = if replace { tile[tap] } else { best };
            best_place = if replace { (place + tap) as f32 } else { best_place };
        }
        (*y, *index) = (best, best_place);
    }
}

/// Adds each value at the position given by its index.
pub(super) fn max_unpool(
    cpu: &Cpu,
    (y, y_shape): Array<'_>,
    index: &[f32],
    window: &Window,
    x: &mut [f32],
    x_shape: Shape,
) {
    if window.size == window.stride {
        unpool_tiles(cpu, (y, y_shape), index, window, x, x_shape);
    } else {
        let voxels = y_shape.voxels();
        cpu.chunks(x, x_shape.voxels(), |plane, x| {
            let range = plane * voxels..(plane + 1) * voxels;
            unpool_plane(&y[range.clone()], &index[range], y_shape, window, x, x_shape);
        });
    }
}

/// Adjacent windows: each row of `x` belongs to one row of windows.
fn unpool_tiles(cpu: &Cpu, (y, y_shape): Array<'_>, index: &[f32], window: &Window, x: &mut [f32], x_shape: Shape) {
    let ([x_d, x_h, x_w], [y_d, y_h, y_w], [size_d, size_h, size_w]) =
        (x_shape.spatial(), y_shape.spatial(), window.size);
    let rows = (CHUNK / 4).div_ceil(x_w);
    cpu.chunks(x, rows * x_w, |task, x| {
        for (i, x) in x.chunks_mut(x_w).enumerate() {
            let row = task * rows + i;
            let (plane, d, h) = (row / (x_h * x_d), row / x_h % x_d, row % x_h);
            if d / size_d < y_d && h / size_h < y_h {
                let from = ((plane * y_d + d / size_d) * y_h + h / size_h) * y_w;
                let place = (d % size_d * size_h + h % size_h) * size_w;
                unpool_row(&y[from..from + y_w], &index[from..from + y_w], size_w, place, x);
            } else {
                x.fill(0.0);
            }
        }
    });
}

wide! {
    /// One row of the input within one row of windows; its first tap has index `place`.
    fn unpool_row(y: &[f32], index: &[f32], size: usize, place: usize, x: &mut [f32]) {
        let (tiled, rest) = x.split_at_mut(y.len() * size);
        rest.fill(0.0);
        match size {
            2 => unpool_tile_row::<2>(y, index, place, tiled),
            4 => unpool_tile_row::<4>(y, index, place, tiled),
            _ => {
                for ((tile, &y), &index) in tiled.chunks_mut(size).zip(y).zip(index) {
                    for (tap, x) in tile.iter_mut().enumerate() {
                        *x = if index == (place + tap) as f32 { y } else { 0.0 };
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn unpool_tile_row<const SIZE: usize>(y: &[f32], index: &[f32], place: usize, x: &mut [f32]) {
    for ((tile, &y), &index) in x.as_chunks_mut::<SIZE>().0.iter_mut().zip(y).zip(index) {
        *tile = std::array::from_fn(|tap| if index == (place + tap) as f32 { y } else { 0.0 });
    }
}

/// Windows that may overlap: one channel, in memory order.
fn unpool_plane(y: &[f32], index: &[f32], y_shape: Shape, window: &Window, x: &mut [f32], x_shape: Shape) {
    let ([y_d, y_h, y_w], [_, x_h, x_w], [_, size_h, size_w]) = (y_shape.spatial(), x_shape.spatial(), window.size);
    x.fill(0.0);
    for d in 0..y_d {
        for h in 0..y_h {
            for w in 0..y_w {
                let from = (d * y_h + h) * y_w + w;
                let place = index[from] as usize;
                let at_d = d * window.stride[0] + place / (size_w * size_h);
                let at_h = h * window.stride[1] + place / size_w % size_h;
                let at_w = w * window.stride[2] + place % size_w;
                x[(at_d * x_h + at_h) * x_w + at_w] += y[from];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use segcal_core::Backend;

    use super::*;

    #[test]
    fn tiles_give_their_maximum_and_its_place() {
        let cpu = Cpu::default();
        let shape = Shape::new(1, 1, 1, 2, 5);
        let x = cpu.upload(vec![1.0, 5.0, 3.0, 3.0, 9.0, 2.0, 4.0, 3.0, 3.0, 9.0]);
        let window = Window::tiles([1, 2, 2]);
        let out = window.output(shape).unwrap();
        let (y, index) = cpu.max_pool((&x, shape), &window, out);
        assert_eq!((y.to_vec(), index.to_vec()), (vec![5.0, 3.0], vec![1.0, 0.0]));
        let back = cpu.max_unpool((&y, out), (&index, out), &window, shape);
        assert_eq!(back.to_vec(), [0.0, 5.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn overlapping_windows_add_on_the_way_back() {
        let cpu = Cpu::default();
        let shape = Shape::new(1, 1, 1, 1, 4);
        let window = Window::sliding([1, 1, 2]);
        let out = window.output(shape).unwrap();
        let x = cpu.upload(vec![1.0, 7.0, 2.0, 3.0]);
        let (y, index) = cpu.max_pool((&x, shape), &window, out);
        assert_eq!((y.to_vec(), index.to_vec()), (vec![7.0, 7.0, 3.0], vec![1.0, 0.0, 1.0]));
        let back = cpu.max_unpool((&y, out), (&index, out), &window, shape);
        assert_eq!(back.to_vec(), [0.0, 14.0, 0.0, 3.0]);
    }
}
