//! What operations keep of their inputs for the gradient: the values, or a recipe to recompute them.

use std::sync::Arc;

use crate::{Backend, Tensor};

/// Recomputes the values of a tensor, to the same bits.
pub(crate) type Recipe<B> = Arc<dyn Fn() -> Tensor<B> + Send + Sync>;

/// An input, as an operation keeps it for its gradient.
pub(crate) enum Saved<B: Backend> {
    Numbers(Tensor<B>),
    Recipe(Recipe<B>),
}

impl<B: Backend> Saved<B> {
    /// The values, without history.
    pub(crate) fn numbers(&self) -> Tensor<B> {
        match self {
            Self::Numbers(tensor) => tensor.clone(),
            Self::Recipe(make) => make(),
        }
    }
}

impl<B: Backend> Tensor<B> {
    /// Attaches a recipe that recomputes the values of this tensor, to the same bits. Operations that need the values
    /// for their gradient then keep the recipe and what it captures instead of the values. Has no effect on a tensor
    /// that is not tracked.
    ///
    /// This pays off if the recipe is one cheap pass over tensors that are kept anyway;
    /// [`ops::concat`](crate::ops::concat) and [`ops::upsample`](crate::ops::upsample) attach their own recipes.
    #[must_use]
    pub fn with_recipe(mut self, make: impl Fn() -> Self + Send + Sync + 'static) -> Self {
        self.recipe = self.is_tracked().then(|| Arc::new(make) as Recipe<B>);
        self
    }

    /// What an operation should keep of this input.
    pub(crate) fn saved(&self) -> Saved<B> {
        match &self.recipe {
            Some(make) => Saved::Recipe(make.clone()),
            None => Saved::Numbers(self.detach()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::{Geometry, Interpolation, Reference, Rng, Shape, Tensor, axis, ops};

    fn random(shape: Shape, stream: u64) -> Tensor<Reference> {
        let rng = Rng::new(3).stream(stream);
        Tensor::new(&Reference, shape, (0..shape.len() as u64).map(|i| rng.normal(i)).collect())
    }

    /// A convolution keeps the recipe of its input, recomputes the values once, and returns the same gradients.
    #[test]
    fn gradients_through_a_recipe_are_those_of_the_numbers() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let (x, w) = (random(Shape::new(1, 2, 1, 4, 4), 0), random(Shape::new(3, 2, 1, 3, 3), 1));
        let gradients = |recipe: bool| {
            let (x, w) = (x.tracked(), w.tracked());
            let mut doubled = ops::map(&[&x], |p| p.input(0) * 2.0);
            if recipe {
                let source = x.detach();
                doubled = doubled.with_recipe(move || {
                    MADE.fetch_add(1, Ordering::Relaxed);
                    ops::map(&[&source], |p| p.input(0) * 2.0)
                });
            }
            let y = ops::conv(&doubled, &w, &Geometry::same([1, 3, 3]));
            drop(doubled);
            let gradients = ops::sum_all(&[&y], |p| p.input(0).square()).backward();
            [&x, &w].map(|leaf| gradients.of(leaf).unwrap().to_vec().unwrap())
        };
        assert_eq!(gradients(true), gradients(false));
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
    }

    /// Nested recipes: an enlarged tensor is concatenated with another one.
    #[test]
    fn enlarging_and_joining_have_recipes_that_give_the_same_bits() {
        let (low, skip) = (random(Shape::new(2, 2, 1, 2, 3), 0), random(Shape::new(2, 1, 1, 4, 6), 1));
        let joined = ops::concat(&[&ops::upsample(&low, [1, 2, 2], Interpolation::Nearest), &skip], axis::C);
        let (low, skip) = (low.tracked(), skip.tracked());
        let tracked = ops::concat(&[&ops::upsample(&low, [1, 2, 2], Interpolation::Nearest), &skip], axis::C);
        let make = tracked.recipe.as_ref().expect("a recipe");
        assert_eq!(make().to_vec().unwrap(), joined.to_vec().unwrap());
        assert!(joined.recipe.is_none(), "nothing is kept where nothing is tracked");
        assert!(tracked.detach().recipe.is_none());
    }
}
