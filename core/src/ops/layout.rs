//! Cutting and joining tensors: values are moved, none are computed.

use crate::saved::Saved;
use crate::{Backend, Index, Shape, Tensor};

/// Returns the block of shape `out` that begins at `start`: `y[o] = x[start + o]`. Differentiable.
pub fn slice<B: Backend>(x: &Tensor<B>, start: Index, out: Shape) -> Tensor<B> {
    let whole = x.shape();
    let inside = (0..5).all(|axis| start[axis] + out.dims()[axis] <= whole.dims()[axis]);
    assert!(inside, "slice: {out} at {start:?} is not inside {whole}");
    let output = Tensor::from_buffer(x.backend(), out, x.backend().slice(x.view(), start, out));
    output.record(&[x], move |gradient| vec![Some(place(&[(gradient, start)], whole))])
}

/// Starts from zeros and adds each part at its start; overlapping parts add. Differentiable in each part.
pub fn place<B: Backend>(parts: &[(&Tensor<B>, Index)], out: Shape) -> Tensor<B> {
    let backend = parts.first().expect("place: at least one part").0.backend();
    for (part, start) in parts {
        let inside = (0..5).all(|axis| start[axis] + part.shape().dims()[axis] <= out.dims()[axis]);
        assert!(inside, "place: {} at {start:?} is not inside {out}", part.shape());
    }
    let views: Vec<_> = parts.iter().map(|(part, start)| (part.view(), *start)).collect();
    let output = Tensor::from_buffer(backend, out, backend.place(&views, out));
    let inputs: Vec<&Tensor<B>> = parts.iter().map(|(part, _)| *part).collect();
    let cuts: Vec<(Index, Shape, bool)> =
        parts.iter().map(|(part, start)| (*start, part.shape(), part.is_tracked())).collect();
    let output = output.record(&inputs, move |gradient| {
        let cut = |&(start, shape, tracked): &(Index, Shape, bool)| tracked.then(|| slice(gradient, start, shape));
        cuts.iter().map(cut).collect()
    });
    if !output.is_tracked() {
        return output;
    }
    let kept: Vec<(Saved<B>, Index)> = parts.iter().map(|(part, start)| (part.saved(), *start)).collect();
    output.with_recipe(move || {
        let parts: Vec<(Tensor<B>, Index)> = kept.iter().map(|(part, start)| (part.numbers(), *start)).collect();
        let parts: Vec<(&Tensor<B>, Index)> = parts.iter().map(|(part, start)| (part, *start)).collect();
        place(&parts, out)
    })
}

/// Concatenates the parts along `axis`. Differentiable in each part.
pub fn concat<B: Backend>(parts: &[&Tensor<B>], axis: usize) -> Tensor<B> {
    let first = parts.first().expect("concat: at least one part").shape();
    let mut total = 0;
    let mut placed = Vec::with_capacity(parts.len());
    for part in parts {
        let extent = part.shape().dims()[axis];
        assert_eq!(part.shape().with(axis, 0), first.with(axis, 0), "concat: parts differ off axis {axis}");
        let mut start = [0; 5];
        start[axis] = total;
        placed.push((*part, start));
        total += extent;
    }
    place(&placed, first.with(axis, total))
}

/// Pads the spatial axes `[d, h, w]` with `before` and `after` zeros. Differentiable.
pub fn pad<B: Backend>(x: &Tensor<B>, before: [usize; 3], after: [usize; 3]) -> Tensor<B> {
    let spatial = x.shape().spatial();
    let out = x.shape().with_spatial(std::array::from_fn(|axis| before[axis] + spatial[axis] + after[axis]));
    place(&[(x, [0, 0, before[0], before[1], before[2]])], out)
}
