//! Finds the origin of a number that is not finite.

use segcal_core::{Backend, Tensor};
use segcal_models::{Gradients, Mode, Network, Parameters};

/// Reports which loss term or gradient of a step on `images` is not finite, and in which tensor this started.
pub(super) fn find<B: Backend>(
    network: &dyn Network<B>,
    parameters: &Parameters<B>,
    images: &Tensor<B>,
    terms: &[(&str, f64)],
    gradients: &Gradients<B>,
) -> String {
    let what = match terms.iter().rev().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => format!("the loss term {name} is {value}"),
        None => "a gradient is not finite".to_owned(),
    };
    match first_tensor(network, parameters, images, gradients) {
        Some(tensor) => format!("{what}, first in {tensor}"),
        None => what,
    }
}

/// The first weights that are not finite; otherwise the first layer whose output is not; otherwise, since gradients
/// flow from the last layer to the first, the last layer with a gradient that is not.
fn first_tensor<B: Backend>(
    network: &dyn Network<B>,
    parameters: &Parameters<B>,
    images: &Tensor<B>,
    gradients: &Gradients<B>,
) -> Option<String> {
    let is_bad = |tensor: &Tensor<B>| tensor.to_f64().is_ok_and(|numbers| !numbers.iter().all(|x| x.is_finite()));
    if let Some(weights) = parameters.iter().find(|parameter| is_bad(&parameter.value)) {
        return Some(format!("the weights {}", weights.name));
    }
    let watched = parameters.watched();
    network.forward(&watched, images, Mode::Train);
    let layers = watched.passed_layers();
    if let Some((layer, _)) = layers.iter().find(|(_, finite)| !finite) {
        return Some(format!("the output of {layer}"));
    }
    let numbered = parameters.iter().enumerate();
    let bad = numbered.filter(|(number, _)| gradients.get(*number).is_some_and(is_bad));
    let bad: Vec<&str> = bad.map(|(_, parameter)| parameter.name.as_str()).collect();
    let of = |layer: &str| bad.iter().find(|name| name.rsplit_once('.').is_some_and(|(owner, _)| owner == layer));
    layers.iter().rev().find_map(|(layer, _)| of(layer)).map(|name| format!("the gradient of {name}"))
}
