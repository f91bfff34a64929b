"""Label priors in PyTorch: distributions over the classes at each pixel, computed from the labels around it.

Sums over the patch are computed by adding shifted maps, not by convolutions, which graphics cards may round to 10 bits.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segcal.torch._pixels import one_hot

PRIORS = ("mean", "gaussian", "max", "min", "median", "mode")


def patch_extents(patch: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of the patch; a single slice is filtered in its plane."""
    return tuple(1 if len(spatial) == 3 and axis == 0 and spatial[0] == 1 else patch for axis in range(len(spatial)))


def patch_size(patch: int, spatial: tuple[int, ...]) -> int:
    """Number of pixels of the patch."""
    return math.prod(patch_extents(patch, spatial))


def extend(labels: Tensor, extents: tuple[int, ...], nearest: bool) -> Tensor:
    """Pads the label map with what patches see beyond its border: the nearest pixel, or background."""
    for axis, extent in enumerate(extents, start=1):
        margin = extent // 2
        if nearest:
            place = torch.arange(-margin, labels.shape[axis] + margin, device=labels.device)
            labels = labels.index_select(axis, place.clamp(0, labels.shape[axis] - 1))
        else:
            behind = labels.dim() - 1 - axis
            labels = F.pad(labels, [0, 0] * behind + [margin, margin])
    return labels


def taps(labels: Tensor, extents: tuple[int, ...], nearest: bool) -> list[Tensor]:
    """The label map shifted to each position of the patch, in the order of the patch."""
    spatial = labels.shape[1:]
    extended = extend(labels, extents, nearest)

    found = []
    for offsets in itertools.product(*(range(extent) for extent in extents)):
        seen = extended
        for axis, offset in enumerate(offsets, start=1):
            seen = seen.narrow(axis, offset, spatial[axis - 1])
        found.append(seen)
    return found


def filtered(classes: int, weights: list[float], seen: list[Tensor], dtype: torch.dtype) -> Tensor:
    """``sum over the patch of weight * [label = k]``."""
    total = one_hot(seen[0], classes, dtype) * weights[0]
    for weight, label in zip(weights[1:], seen[1:], strict=True):
        total = total + one_hot(label, classes, dtype) * weight
    return total


def gaussian_weights(extents: tuple[int, ...], sigma: float, plain: bool) -> list[float]:
    """The patch's weights, which sum to 1. Unless ``plain``, the centre gets the total weight of its neighbours, where its own
    weight is read at index 1 of each axis, as in the public code of SVLS (Islam and Glocker 2021)."""
    places = list(itertools.product(*(range(extent) for extent in extents)))
    centre = tuple(extent // 2 for extent in extents)
    squares = [sum((at - middle) ** 2 for at, middle in zip(place, centre, strict=True)) for place in places]
    weights = _normalised([math.exp(-square / (2 * sigma * sigma)) for square in squares])
    if plain or len(weights) == 1:
        return weights
    others = 1 - weights[places.index(tuple(min(1, extent - 1) for extent in extents))] + 1e-16
    weights[len(weights) // 2] = others
    return _normalised(weights)


def _normalised(weights: list[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def mean(labels: Tensor, classes: int, patch: int, nearest: bool, dtype: torch.dtype) -> Tensor:
    """Share of each class in the patch (NACL, supplement, Eq. 1)."""
    seen = taps(labels, patch_extents(patch, tuple(labels.shape[1:])), nearest)
    return filtered(classes, [1 / len(seen)] * len(seen), seen, dtype)


def gaussian(labels: Tensor, classes: int, patch: int, sigma: float, plain: bool, dtype: torch.dtype) -> Tensor:
    """Gaussian-weighted shares of the classes in the patch (NACL, supplement, Eq. 2); pixels outside repeat the nearest one."""
    extents = patch_extents(patch, tuple(labels.shape[1:]))
    return filtered(classes, gaussian_weights(extents, sigma, plain), taps(labels, extents, True), dtype)


def ranked(labels: Tensor, classes: int, patch: int, which: str, nearest: bool, dtype: torch.dtype) -> Tensor:
    """One-hot code of the smallest, largest or median class number in the patch, or of the most frequent class; among equally
    frequent ones, the first (NACL, supplement, Eq. 3)."""
    seen = taps(labels, patch_extents(patch, tuple(labels.shape[1:])), nearest)
    if which == "mode":
        counts = filtered(classes, [1.0] * len(seen), seen, torch.float32)
        return one_hot(counts.argmax(1), classes, dtype)
    ascending = torch.stack(seen).sort(0).values
    place = {"min": 0, "max": len(seen) - 1, "median": len(seen) // 2}[which]
    return one_hot(ascending[place], classes, dtype)
