//! How the network of local temperatures is fitted.

/// Temperatures that a fit may give are at least this.
pub const LEAST_TEMPERATURE: f64 = 0.25;

/// Where the weights begin, and what bounds the temperatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// Near `T = 1`, and never below [`LEAST_TEMPERATURE`].
    Bounded,
    /// That of the public code: at `T = 2`, down to 1e-8; 200 epochs at a rate of 1e-4.
    Public,
}

impl Recipe {
    /// Every recipe.
    pub const ALL: [Self; 2] = [Self::Bounded, Self::Public];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bounded => "bounded",
            Self::Public => "public",
        }
    }

    /// Its passes over the cases and its learning rate.
    pub fn training(self) -> Training {
        let (epochs, rate) = match self {
            Self::Bounded => (20, 1e-3),
            Self::Public => (200, 1e-4),
        };
        Training { recipe: self, epochs, rate, seed: 0 }
    }

    pub(super) const fn least(self) -> f64 {
        match self {
            Self::Bounded => LEAST_TEMPERATURE,
            Self::Public => 0.0,
        }
    }
}

/// How the network is fitted.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Where it begins.
    pub recipe: Recipe,
    /// Passes over the cases.
    pub epochs: usize,
    /// Learning rate of Adam.
    pub rate: f64,
    /// Seed of the weights and of the order.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Recipe::Bounded.training()
    }
}
