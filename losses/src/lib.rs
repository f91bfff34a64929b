//! Segmentation losses and label priors for calibrated confidence.
//!
//! A loss is found by name, takes its parameters by name, and gives a scalar with its terms on any backend:
//!
//! ```
//! use segcal_core::{Reference, Shape, Tensor};
//! use segcal_losses::{Batch, Convention, Given, Loss};
//! let logits = Tensor::new(&Reference, Shape::new(1, 2, 1, 1, 2), vec![2.0, -1.0, 0.0, 1.0]).tracked();
//! let labels = Tensor::new(&Reference, Shape::new(1, 1, 1, 1, 2), vec![0.0, 1.0]);
//! let given = Given::from([("lambda".into(), 0.3.into())]);
//! let loss = Loss::new("nacl", &given, Convention::Authors)?;
//! let value = loss.value(&Batch::new(&logits, &labels));
//! assert_eq!(value.terms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["ce", "penalty"]);
//! let gradients = value.total.backward();
//! assert_eq!(gradients.of(&logits).unwrap().shape(), logits.shape());
//! # Ok::<(), segcal_core::Error>(())
//! ```
//!
//! To add one: a file that implements [`Criterion`] and [`Listed`] (or [`LabelPrior`]) and one line in the list at the end of this
//! file. It is then in the command line, the configs, the gradient checks and the theorem check.

mod batch;
pub mod calculator;
mod fused;
pub mod lagrangian;
mod objective;
mod pixelwise;
mod regional;
mod setting;
mod spec;
mod statistics;
pub mod theorems;
mod weighting;
mod words;

use segcal_core::{Backend, Result, Tensor, ops};

pub use batch::{Batch, Second};
pub use fused::Pixel;
pub use objective::Objective;
pub use regional::Regional;
pub use setting::{Given, Setting};
pub use spec::{Convention, Param, Range, Settings, Spec};
pub use weighting::Weighting;
pub use words::Word;

/// The value of a loss.
pub struct Value<B: Backend> {
    /// A scalar, differentiable in the logits.
    pub total: Tensor<B>,
    /// The parts it is made of, as scalars without history, before their weights.
    pub terms: Vec<(&'static str, Tensor<B>)>,
}

impl<B: Backend> Value<B> {
    /// This value plus `weight` times another; the terms of both.
    #[must_use]
    pub(crate) fn plus(mut self, weight: f64, other: Self) -> Self {
        let total = ops::map(&[&self.total, &other.total], |p| p.input(0) + p.input(1) * weight);
        self.terms.extend(other.terms);
        Self { total, terms: self.terms }
    }
}

/// Named small vectors: what a loss remembers between epochs, for checkpoints and logs.
pub type State = Vec<(String, Vec<f64>)>;

/// What training minimises: a loss of the list, a weighted sum of them ([`Objective`]), or one of your own, which needs
/// [`Criterion::value`] alone.
pub trait Criterion {
    /// The value on a batch.
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B>;

    /// How many views of a batch are compared. For two, a training loop draws [`TwoViews`](crate::bwcr::TwoViews) and
    /// gives the second by [`Batch::with_second`].
    fn views(&self) -> usize {
        1
    }

    /// Whether the parameters fit the number of classes.
    ///
    /// # Errors
    /// They do not, such as a list of weights of another length.
    fn check(&self, classes: usize) -> Result<()> {
        let _ = classes;
        Ok(())
    }

    /// What it remembers; empty for most.
    fn state(&self) -> State {
        State::new()
    }

    /// Takes up what [`Criterion::state`] gave.
    ///
    /// # Errors
    /// The state belongs to another loss or another number of classes.
    fn restore(&mut self, state: &State) -> Result<()> {
        match state.first() {
            None => Ok(()),
            Some((name, _)) => {
                let problem = format!("keeps no state, the checkpoint holds \"{name}\"");
                Err(segcal_core::Error::new(problem).help("resume with the loss that the run was started with"))
            }
        }
    }

    /// Looks at a batch of the validation pass.
    ///
    /// # Errors
    /// As [`Backend::download`].
    fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
        let _ = batch;
        Ok(())
    }

    /// Updates the state at the end of an epoch from what was observed since the last one.
    fn end_epoch(&mut self) {}
}

/// A loss of the list. One file each; see `focal.rs` for the shape of such a file.
pub trait Listed: Criterion + Sized {
    /// Name, source and parameters.
    const SPEC: Spec;

    /// From checked parameters of its spec.
    ///
    /// # Errors
    /// Parameters that are fine one by one do not go together.
    fn new(settings: &Settings) -> Result<Self>;
}

/// A prior: a distribution over the classes at each pixel, made of the labels around it. One file each.
pub trait LabelPrior: Sized {
    /// Name, source and parameters.
    const SPEC: Spec;

    /// From checked parameters of its spec.
    ///
    /// # Errors
    /// Parameters that are fine one by one do not go together.
    fn new(settings: &Settings) -> Result<Self>;

    /// The prior `[n, classes, d, h, w]` of labels `[n, 1, d, h, w]`; image-driven priors also read the image.
    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B>;
}

/// The enum of a list, with what every member can do found by name.
macro_rules! list {
    ($(#[$doc:meta])* $List:ident: $Trait:ident, $kind:literal, $($Type:ident $($path:ident)::+,)*) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each member's own type is documented")]
        pub enum $List {
            $($Type($($path)::+::$Type),)*
        }

        impl $List {
            /// What every member says about itself, in the order of the list.
            pub const SPECS: &[Spec] = &[$(<$($path)::+::$Type as $Trait>::SPEC),*];

            /// Every name, in the order of the list.
            pub fn names() -> Vec<&'static str> {
                Self::SPECS.iter().map(|spec| spec.name).collect()
            }

            /// The spec of a name.
            ///
            /// # Errors
            /// There is no such name; the nearest is proposed.
            pub fn spec(name: &str) -> Result<&'static Spec> {
                let found = Self::SPECS.iter().find(|spec| spec.name == name);
                found.ok_or_else(|| spec::unknown($kind, name, &Self::names()))
            }

            /// By name, with parameters by name.
            ///
            /// # Errors
            /// There is no such name or parameter, or a value is out of range.
            pub fn new(name: &str, given: &Given, convention: Convention) -> Result<Self> {
                Self::build(name, &Self::spec(name)?.settings(given, convention)?)
            }

            /// By name, with parameters that [`Spec::settings`] has checked.
            ///
            /// # Errors
            /// There is no such name, or the parameters do not go together.
            pub fn build(name: &str, settings: &Settings) -> Result<Self> {
                $(if name == <$($path)::+::$Type as $Trait>::SPEC.name {
                    return <$($path)::+::$Type as $Trait>::new(settings).map(Self::$Type).map_err(|e| e.at(name));
                })*
                Err(spec::unknown($kind, name, &Self::names()))
            }

            /// Its spec.
            pub fn own_spec(&self) -> Spec {
                match self { $(Self::$Type(_) => <$($path)::+::$Type as $Trait>::SPEC,)* }
            }
        }
    };
}

macro_rules! losses {
    ($($Type:ident $module:ident,)*) => {
        $(pub mod $module;)*

        list! {
            /// Any loss of the list.
            Loss: Listed, "loss", $($Type $module,)*
        }

        impl Loss {
            /// The value on a batch.
            pub fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
                match self { $(Self::$Type(loss) => loss.value(batch),)* }
            }

            /// Whether the parameters fit the number of classes.
            ///
            /// # Errors
            /// They do not, such as a list of weights of another length.
            pub fn check(&self, classes: usize) -> Result<()> {
                match self { $(Self::$Type(loss) => loss.check(classes),)* }
            }

            /// What it remembers; see [`Criterion::state`].
            pub fn state(&self) -> State {
                match self { $(Self::$Type(loss) => loss.state(),)* }
            }

            /// Takes up a state; see [`Criterion::restore`].
            ///
            /// # Errors
            /// The state belongs to another loss or another number of classes.
            pub fn restore(&mut self, state: &State) -> Result<()> {
                match self { $(Self::$Type(loss) => loss.restore(state),)* }
            }

            /// Looks at a batch of the validation pass; see [`Criterion::observe`].
            ///
            /// # Errors
            /// As [`Backend::download`].
            pub fn observe<B: Backend>(&mut self, batch: &Batch<'_, B>) -> Result<()> {
                match self { $(Self::$Type(loss) => loss.observe(batch),)* }
            }

            /// Updates the state at the end of an epoch; see [`Criterion::end_epoch`].
            pub fn end_epoch(&mut self) {
                match self { $(Self::$Type(loss) => loss.end_epoch(),)* }
            }
        }
    };
}

macro_rules! priors {
    ($($Type:ident $module:ident,)*) => {
        /// Label priors: distributions over the classes at each pixel, made of the labels around it.
        pub mod priors {
            pub(crate) mod patch;
            $(pub mod $module;)*
        }

        list! {
            /// Any prior of the list.
            Prior: LabelPrior, "prior", $($Type priors::$module,)*
        }

        impl Prior {
            /// The prior `[n, classes, d, h, w]` of labels `[n, 1, d, h, w]`, without history.
            pub fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B> {
                match self { $(Self::$Type(prior) => prior.value(labels, classes, image),)* }
            }

            /// The prior that a loss names in its own parameters, with those of the prior among them.
            pub(crate) fn within(settings: &Settings) -> Result<Self> {
                let name = settings.word("prior");
                Self::new(name, &settings.given_for(Self::spec(name)?), settings.convention)
            }

            /// The prior of a batch.
            pub(crate) fn of_batch<B: Backend>(&self, batch: &Batch<'_, B>) -> Tensor<B> {
                self.value(&batch.labels.detach(), batch.classes(), batch.image)
            }
        }
    };
}

// The order is that of `segcal list losses`.
losses! {
    Ce ce,
    Dice dice,
    CeDice ce_dice,
    Focal focal,
    Ecp ecp,
    LabelSmoothing label_smoothing,
    Svls svls,
    Mbls mbls,
    MblsDice mbls_dice,
    Nacl nacl,
    Crac crac,
    CracFixed crac_fixed,
    Cals cals,
    Bwcr bwcr,
    Meep meep,
    ConfidencePenalty confidence_penalty,
    AceL1 ace_l1,
}

// The order is that of `segcal list priors`.
priors! {
    Mean mean,
    Gaussian gaussian,
    Max max,
    Min min,
    Median median,
    Mode mode,
    Bilateral bilateral,
    Gradient gradient,
    ImageProportionsL1 image_proportions_l1,
    ImageProportionsL2 image_proportions_l2,
    MonaiMean monai_mean,
    MonaiGaussian monai_gaussian,
}
