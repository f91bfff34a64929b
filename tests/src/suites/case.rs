//! A case: one call of one backend method, with its numbers.

use segcal_core::{Backend, Elem, Fold, Geometry, Index, Program, Rank, Rng, Sampling, Shape, View, Window};

/// Numbers with a shape. Each is exact in f32, so that every backend starts from the same ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The extents.
    pub shape: Shape,
    /// The numbers, in the order of `shape`.
    pub data: Vec<f64>,
}

impl Array {
    /// Given numbers, rounded to f32.
    pub fn new(shape: Shape, data: impl IntoIterator<Item = f64>) -> Self {
        let data: Vec<f64> = data.into_iter().map(|value| f64::from(value as f32)).collect();
        assert_eq!(data.len(), shape.len(), "an array of shape {shape}");
        Self { shape, data }
    }

    /// Standard normal numbers.
    pub fn normal(shape: Shape, rng: Rng) -> Self {
        Self::new(shape, (0..shape.len() as u64).map(|i| rng.normal(i)))
    }

    /// Uniform numbers.
    pub fn uniform(shape: Shape, rng: Rng, low: f64, high: f64) -> Self {
        Self::new(shape, (0..shape.len() as u64).map(|i| rng.range(i, low, high)))
    }

    /// Whole numbers from `low` to `high`, both included.
    pub fn integers(shape: Shape, rng: Rng, low: i32, high: i32) -> Self {
        let count = (high - low + 1) as usize;
        Self::new(shape, (0..shape.len() as u64).map(|i| f64::from(low) + rng.below(i, count) as f64))
    }

    /// The same array with every number replaced.
    #[must_use]
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape, data: self.data.iter().map(|&value| f(value)).collect() }
    }

    fn upload<B: Backend>(&self, backend: &B) -> B::Buffer {
        backend.upload(self.data.iter().map(|&value| B::Elem::of(value)).collect::<Vec<_>>())
    }
}

/// A backend method with all its arguments but the arrays.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants and fields are those of the trait's methods")]
pub enum Op {
    Transfer,
    Map { program: Program, scalars: Vec<f64>, out: Shape },
    Reduce { fold: Fold, program: Program, scalars: Vec<f64>, domain: Shape, out: Shape },
    Slice { start: Index, out: Shape },
    Place { starts: Vec<Index>, out: Shape },
    Conv { geometry: Geometry, out: Shape },
    ConvTranspose { geometry: Geometry, out: Shape },
    ConvWeight { geometry: Geometry, out: Shape },
    MaxPool { window: Window, out: Shape },
    MaxUnpool { window: Window, out: Shape },
    Resample { sampling: Sampling, out: Shape },
    ResampleAdjoint { sampling: Sampling, out: Shape },
    RankFilter { size: [usize; 3], rank: Rank, out: Shape },
    Bincount { count: usize },
    Take,
    Distance { spacing: [f64; 3] },
}

impl Op {
    /// Every method, by name.
    pub const METHODS: [&str; 16] = [
        "transfer",
        "map",
        "reduce",
        "slice",
        "place",
        "conv",
        "conv_transpose",
        "conv_weight",
        "max_pool",
        "max_unpool",
        "resample",
        "resample_adjoint",
        "rank_filter",
        "bincount",
        "take",
        "distance",
    ];

    /// Name of the method; `transfer` for upload and download.
    pub const fn method(&self) -> &'static str {
        let number = match self {
            Self::Transfer => 0,
            Self::Map { .. } => 1,
            Self::Reduce { .. } => 2,
            Self::Slice { .. } => 3,
            Self::Place { .. } => 4,
            Self::Conv { .. } => 5,
            Self::ConvTranspose { .. } => 6,
            Self::ConvWeight { .. } => 7,
            Self::MaxPool { .. } => 8,
            Self::MaxUnpool { .. } => 9,
            Self::Resample { .. } => 10,
            Self::ResampleAdjoint { .. } => 11,
            Self::RankFilter { .. } => 12,
            Self::Bincount { .. } => 13,
            Self::Take => 14,
            Self::Distance { .. } => 15,
        };
        Self::METHODS[number]
    }

    /// Calls the method on buffers of the backend.
    fn call<B: Backend>(&self, backend: &B, v: &[View<'_, B>]) -> Vec<B::Buffer> {
        match self {
            Self::Transfer => v.iter().map(|(buffer, _)| (*buffer).clone()).collect(),
            Self::Map { program, scalars, out } => backend.map(program, scalars, v, *out),
            Self::Reduce { fold, program, scalars, domain, out } => {
                backend.reduce(*fold, program, scalars, v, *domain, *out)
            }
            Self::Slice { start, out } => vec![backend.slice(v[0], *start, *out)],
            Self::Place { starts, out } => {
                let parts: Vec<_> = v.iter().copied().zip(starts.iter().copied()).collect();
                vec![backend.place(&parts, *out)]
            }
            Self::Conv { geometry, out } => vec![backend.conv(v[0], v[1], geometry, *out)],
            Self::ConvTranspose { geometry, out } => vec![backend.conv_transpose(v[0], v[1], geometry, *out)],
            Self::ConvWeight { geometry, out } => vec![backend.conv_weight(v[0], v[1], geometry, *out)],
            Self::MaxPool { window, out } => {
                let (values, index) = backend.max_pool(v[0], window, *out);
                vec![values, index]
            }
            Self::MaxUnpool { window, out } => vec![backend.max_unpool(v[0], v[1], window, *out)],
            Self::Resample { sampling, out } => vec![backend.resample(v[0], sampling, *out)],
            Self::ResampleAdjoint { sampling, out } => vec![backend.resample_adjoint(v[0], sampling, *out)],
            Self::RankFilter { size, rank, out } => vec![backend.rank_filter(v[0], *size, *rank, *out)],
            Self::Bincount { count } => backend.bincount(v[0], &v[1..], *count),
            Self::Take => vec![backend.take(v[0], v[1])],
            Self::Distance { spacing } => vec![backend.distance(v[0], *spacing)],
        }
    }
}

/// One call: a method, its arguments, its arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The method, a slash, and what is special about the case.
    pub name: String,
    /// The method with its arguments.
    pub op: Op,
    /// The arrays, in the method's order.
    pub arrays: Vec<Array>,
}

impl Case {
    /// A case of `op` on `arrays`; `what` is special about it.
    pub fn new(what: impl AsRef<str>, op: Op, arrays: Vec<Array>) -> Self {
        Self { name: format!("{}/{}", op.method(), what.as_ref()), op, arrays }
    }

    /// The outputs, on the host. Panics if a download fails or if the call changed one of its inputs.
    pub fn run<B: Backend>(&self, backend: &B) -> Vec<Vec<f64>> {
        let buffers: Vec<B::Buffer> = self.arrays.iter().map(|array| array.upload(backend)).collect();
        let views: Vec<View<'_, B>> =
            buffers.iter().zip(&self.arrays).map(|(buffer, array)| (buffer, array.shape)).collect();
        let outputs = self.op.call(backend, &views);
        let outputs: Vec<Vec<f64>> = outputs.iter().map(|output| download(backend, output)).collect();
        for (buffer, array) in buffers.iter().zip(&self.arrays) {
            let unchanged = download(backend, buffer).iter().zip(&array.data).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(unchanged, "{} changed one of its inputs", self.name);
        }
        outputs
    }
}

fn download<B: Backend>(backend: &B, buffer: &B::Buffer) -> Vec<f64> {
    let numbers = backend.download(buffer).unwrap_or_else(|error| panic!("download: {error}"));
    numbers.into_iter().map(Elem::f64).collect()
}
