//! Segmentation losses and label priors for calibrated confidence.
//!
//! A loss is selected by name, takes named parameters, and computes a scalar and its terms on any backend:
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
//! To add a loss or a prior, write a file that implements [`Criterion`] and [`Listed`] (or [`LabelPrior`]) and add one
//! line to the list at the end of this file. The command line, the configs, the gradient checks and the theorem check
//! then include it.

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
    /// Its unweighted terms, as scalars without history.
    pub terms: Vec<(&'static str, Tensor<B>)>,
}

impl<B: Backend> Value<B> {
    /// Returns this value plus `weight` times another, with the terms of both.
    #[must_use]
    pub(crate) fn plus(mut self, weight: f64, other: Self) -> Self {
        let total = ops::map(&[&self.total, &other.total], |p| p.input(0) + p.input(1) * weight);
        self.terms.extend(other.terms);
        Self { total, terms: self.terms }
    }
}

/// The state that a loss keeps between epochs, as small named vectors, for checkpoints and logs.
pub type State = Vec<(String, Vec<f64>)>;

/// What training minimises: a listed loss, a weighted sum of listed losses ([`Objective`]), or your own loss, which
/// only needs to implement [`Criterion::value`].
pub trait Criterion {
    /// Computes the value on a batch.
    fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B>;

    /// Number of views of a batch that are compared. If it is two, the training loop draws
    /// [`TwoViews`](crate::bwcr::TwoViews) and passes the second with [`Batch::with_second`].
    fn views(&self) -> usize {
        1
    }

    /// Checks that the parameters fit the number of classes.
    ///
    /// # Errors
    /// They do not, for example because a list of weights has the wrong length.
    fn check(&self, classes: usize) -> Result<()> {
        let _ = classes;
        Ok(())
    }

    /// Returns the state kept between epochs; empty for most losses.
    fn state(&self) -> State {
        State::new()
    }

    /// Restores a state returned by [`Criterion::state`].
    ///
    /// # Errors
    /// The state belongs to another loss or another number of classes.
    fn restore(&mut self, state: &State) -> Result<()> {
        match state.first() {
            None => Ok(()),
            Some((name, _)) => {
                let problem = format!("this loss keeps no state, but the checkpoint holds \"{name}\"");
                Err(segcal_core::Error::new(problem).help("resume with the loss that the run was started with"))
            }
        }
    }

    /// Observes a batch of the validation pass.
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

/// A listed loss. Each has its own file; see `focal.rs` for an example.
pub trait Listed: Criterion + Sized {
    /// Name, source and parameters.
    const SPEC: Spec;

    /// Creates it from the checked parameters of its spec.
    ///
    /// # Errors
    /// The parameters are individually valid but inconsistent.
    fn new(settings: &Settings) -> Result<Self>;
}

/// A prior: a distribution over the classes at each pixel, computed from the labels around it. Each has its own file.
pub trait LabelPrior: Sized {
    /// Name, source and parameters.
    const SPEC: Spec;

    /// Creates it from the checked parameters of its spec.
    ///
    /// # Errors
    /// The parameters are individually valid but inconsistent.
    fn new(settings: &Settings) -> Result<Self>;

    /// Computes the prior `[n, classes, d, h, w]` from labels `[n, 1, d, h, w]`; image-driven priors also read the
    /// image.
    fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B>;
}

/// Defines the enum of a list and its lookup by name.
macro_rules! list {
    ($(#[$doc:meta])* $List:ident: $Trait:ident, $kind:literal, $($Type:ident $($path:ident)::+,)*) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each member's own type is documented")]
        pub enum $List {
            $($Type($($path)::+::$Type),)*
        }

        impl $List {
            /// The spec of every member, in the order of the list.
            pub const SPECS: &[Spec] = &[$(<$($path)::+::$Type as $Trait>::SPEC),*];

            /// Every name, in the order of the list.
            pub fn names() -> Vec<&'static str> {
                Self::SPECS.iter().map(|spec| spec.name).collect()
            }

            /// Looks up a spec by name.
            ///
            /// # Errors
            /// The name is unknown; the error suggests the nearest known name.
            pub fn spec(name: &str) -> Result<&'static Spec> {
                let found = Self::SPECS.iter().find(|spec| spec.name == name);
                found.ok_or_else(|| spec::unknown($kind, name, &Self::names()))
            }

            /// Creates a member by name, with named parameters.
            ///
            /// # Errors
            /// The name or a parameter is unknown, or a value is out of range.
            pub fn new(name: &str, given: &Given, convention: Convention) -> Result<Self> {
                Self::build(name, &Self::spec(name)?.settings(given, convention)?)
            }

            /// Creates a member by name, with parameters already checked by [`Spec::settings`].
            ///
            /// # Errors
            /// The name is unknown, or the parameters are inconsistent.
            pub fn build(name: &str, settings: &Settings) -> Result<Self> {
                $(if name == <$($path)::+::$Type as $Trait>::SPEC.name {
                    return <$($path)::+::$Type as $Trait>::new(settings).map(Self::$Type).map_err(|e| e.at(name));
                })*
                Err(spec::unknown($kind, name, &Self::names()))
            }

            /// Returns the spec of this member.
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
            /// Any listed loss.
            Loss: Listed, "loss", $($Type $module,)*
        }

        impl Loss {
            /// Computes the value on a batch.
            pub fn value<B: Backend>(&self, batch: &Batch<'_, B>) -> Value<B> {
                match self { $(Self::$Type(loss) => loss.value(batch),)* }
            }

            /// Checks that the parameters fit the number of classes.
            ///
            /// # Errors
            /// They do not, for example because a list of weights has the wrong length.
            pub fn check(&self, classes: usize) -> Result<()> {
                match self { $(Self::$Type(loss) => loss.check(classes),)* }
            }

            /// Returns the state kept between epochs; see [`Criterion::state`].
            pub fn state(&self) -> State {
                match self { $(Self::$Type(loss) => loss.state(),)* }
            }

            /// Restores a state; see [`Criterion::restore`].
            ///
            /// # Errors
            /// The state belongs to another loss or another number of classes.
            pub fn restore(&mut self, state: &State) -> Result<()> {
                match self { $(Self::$Type(loss) => loss.restore(state),)* }
            }

            /// Observes a batch of the validation pass; see [`Criterion::observe`].
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
        /// Label priors: distributions over the classes at each pixel, computed from the labels around it.
        pub mod priors {
            pub(crate) mod patch;
            $(pub mod $module;)*
        }

        list! {
            /// Any listed prior.
            Prior: LabelPrior, "prior", $($Type priors::$module,)*
        }

        impl Prior {
            /// Computes the prior `[n, classes, d, h, w]` from labels `[n, 1, d, h, w]`, without history.
            pub fn value<B: Backend>(&self, labels: &Tensor<B>, classes: usize, image: Option<&Tensor<B>>) -> Tensor<B> {
                match self { $(Self::$Type(prior) => prior.value(labels, classes, image),)* }
            }

            /// The prior named by a loss's settings, which also contain the prior's own parameters.
            pub(crate) fn within(settings: &Settings) -> Result<Self> {
                let name = settings.word("prior");
                Self::new(name, &settings.given_for(Self::spec(name)?), settings.convention)
            }

            /// Computes the prior of a batch.
            pub(crate) fn of_batch<B: Backend>(&self, batch: &Batch<'_, B>) -> Tensor<B> {
                self.value(&batch.labels.detach(), batch.classes(), batch.image)
            }
        }
    };
}

// The order in which `segcal list losses` prints them.
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

// The order in which `segcal list priors` prints them.
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
