//! Tokens: attention between them, and positional embeddings.
//!
//! A token is a voxel of a map `[n, c, 1, h, w]`, so that a linear layer on tokens is a 1x1 convolution.

use segcal_core::{Backend, Border, Geometry, Interpolation, Sampling, Shape, Tensor, ops, stable};

use crate::init::{Fill, Spec};
use crate::params::Parameters;

/// Multi-head scaled dot-product attention (Vaswani et al. 2017): `softmax(q k^T / sqrt(c / heads)) v` for each head,
/// a head being `c / heads` consecutive channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Name of the layer.
    pub name: String,
    /// Number of heads.
    pub heads: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
}

impl Attention {
    /// Returns the attended values, in the shape of the queries.
    ///
    /// Both products are grouped convolutions with one group for each head of each sample: keys and values have the
    /// memory layout of weights `[out, in]`.
    pub fn forward<B: Backend>(&self, [q, k, v]: [&Tensor<B>; 3]) -> Tensor<B> {
        let shape = q.shape();
        let (groups, tokens, width) = (shape.n() * self.heads, shape.voxels(), shape.c() / self.heads);
        let geometry = Geometry { groups, ..Geometry::VALID };
        let rows = Shape::new(1, groups * width, 1, 1, tokens);
        let weight = Shape::new(groups * width, tokens, 1, 1, 1);
        let by_key = Shape::new(1, groups * tokens, 1, 1, tokens);
        // [group, key, query] = sum over channels of k[channel, key] q[channel, query].
        let scores = ops::conv_transpose(&q.reshape(rows), &k.reshape(weight), &geometry, by_key);
        let scale = (width as f64).sqrt().recip();
        let scaled = ops::map(&[&scores], |p| p.input(0) * scale).reshape(Shape::new(groups, tokens, 1, 1, tokens));
        let shares = stable::softmax(&scaled).reshape(by_key);
        ops::conv(&shares, &v.reshape(weight), &geometry).reshape(shape)
    }
}

/// A learnt table `<name>` of one row per token, `[1, tokens, c]`, added to the tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    /// Name of the table.
    pub name: String,
    /// Rows and columns of tokens.
    pub grid: [usize; 2],
    /// Channels of a token.
    pub channels: usize,
}

impl Positions {
    /// The table, initialised to 0.
    pub fn specs(&self) -> Vec<Spec> {
        let tokens = self.grid[0] * self.grid[1];
        vec![Spec {
            name: self.name.clone(),
            dims: vec![1, tokens, self.channels],
            shape: Shape::new(1, 1, 1, tokens, self.channels),
            fill: Fill::Constant(0.0),
            trainable: true,
        }]
    }

    /// Resizes a table of extents `dims` for another square grid to this one, by linear interpolation with aligned
    /// corners; a leading row for a class token is dropped. Returns `None` if the table does not have this form.
    pub fn resized(&self, dims: &[usize], table: &[f64]) -> Option<Vec<f64>> {
        let &[1, rows, channels] = dims else { return None };
        let side = |tokens: usize| (1..=tokens).find(|side| side * side >= tokens).filter(|side| side * side == tokens);
        let (first, old) = side(rows).map(|old| (0, old)).or_else(|| Some((1, side(rows.checked_sub(1)?)?)))?;
        if channels != self.channels || old == 0 {
            return None;
        }
        let at = |[y, x]: [usize; 2], channel| table[(first + y * old + x) * channels + channel];
        // Old row or column: the lower neighbour, the upper, and the share of the upper.
        let between = |new: usize, extent: usize| {
            let position = new as f64 * (old - 1) as f64 / (extent - 1).max(1) as f64;
            let low = (position.floor() as usize).min(old - 1);
            (low, (low + 1).min(old - 1), position - low as f64)
        };
        let mut resized = Vec::with_capacity(self.grid[0] * self.grid[1] * channels);
        for row in 0..self.grid[0] {
            let (top, bottom, down) = between(row, self.grid[0]);
            for column in 0..self.grid[1] {
                let (left, right, along) = between(column, self.grid[1]);
                resized.extend((0..channels).map(|channel| {
                    let mix = |y| (1.0 - along) * at([y, left], channel) + along * at([y, right], channel);
                    (1.0 - down) * mix(top) + down * mix(bottom)
                }));
            }
        }
        Some(resized)
    }

    /// `x` plus the table.
    pub fn forward<B: Backend>(&self, parameters: &Parameters<B>, x: &Tensor<B>) -> Tensor<B> {
        let [rows, columns] = self.grid;
        let table = transposed(parameters.get(&self.name)).reshape(Shape::new(1, self.channels, 1, rows, columns));
        ops::map(&[x, &table], |p| p.input(0) + p.input(1))
    }
}

/// Exchanges the axes h and w.
fn transposed<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let [_, h, w] = x.shape().spatial();
    let exchange = Sampling {
        matrix: [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
        interpolation: Interpolation::Nearest,
        border: Border::Clamp,
    };
    ops::resample(x, &exchange, [1, w, h])
}
