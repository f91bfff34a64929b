"""Losses and label priors as calculators: value, terms, and the gradient with respect to the logits.

Arithmetic is in 64 bits on ``backend="reference"`` (the default: slow, and the definition of each formula) or in 32 bits on
``backend="cpu"``. Logits are ``(B, C, *spatial)``, any finite numbers; labels ``(B, *spatial)``, class numbers from 0 (or
``ignore_index``); images ``(B, 1, *spatial)``. Parameters have the papers' names; ``lambda`` is a Python keyword, so
write ``lambda_``. For training in PyTorch see ``segcal.torch``.

>>> import numpy as np
>>> from segcal.losses import Loss
>>> logits = np.zeros((1, 2, 4, 4)); labels = np.zeros((1, 4, 4), dtype=int)
>>> round(Loss("ce").value(logits, labels).total, 6)
0.693147
"""

import keyword
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segcal import _native
from segcal._arrays import floats, optional_floats

__all__ = ["LOSSES", "PRIORS", "Loss", "Parameter", "Prior", "Property", "Spec", "Value", "verify"]


class Parameter(NamedTuple):
    """One parameter of a loss or a prior."""

    name: str
    default: str
    range: str
    doc: str


class Spec(NamedTuple):
    """Description of a loss or a prior; ``source`` names paper and equation."""

    name: str
    title: str
    source: str
    needs_image: bool
    parameters: tuple[Parameter, ...]


def _specs(kind: str) -> dict[str, Spec]:
    return {
        name: Spec(name, title, source, image, tuple(Parameter(*parameter) for parameter in parameters))
        for name, title, source, image, parameters in _native.specs(kind)
    }


LOSSES: dict[str, Spec] = _specs("loss")
"""Every loss by name."""

PRIORS: dict[str, Spec] = _specs("prior")
"""Every label prior by name."""


class Value(NamedTuple):
    """The value of a loss on a batch."""

    total: float
    """The loss."""
    terms: dict[str, float]
    """Its terms, before weighting."""
    gradient: NDArray[np.float64] | None
    """d total / d logits in the shape of the logits; None unless requested."""


def _papers_names(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name.removesuffix("_"): value for name, value in parameters.items()}


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


class Loss:
    """A loss by name.

    Args:
        name: One of ``LOSSES``, such as ``"nacl"``.
        convention: ``"authors"``: what the authors' public code computes; ``"paper"``: the formula as printed.
        backend: ``"reference"`` (64 bits), ``"cpu"`` or ``"gpu"`` (32 bits).
        parameters: Parameters by the papers' names, such as ``margin=10`` or ``lambda_=0.1``; ``LOSSES[name].parameters`` lists
            them with their defaults.

    Raises:
        ValueError: The loss, convention, backend or parameter is unknown, or a value is out of range.

    >>> import numpy as np
    >>> loss = Loss("focal", gamma=2)
    >>> value = loss.value(np.array([[[[2.0]], [[0.0]]]]), np.array([[[1]]]), gradient=True)
    >>> round(value.total, 4), value.gradient.shape
    (1.6501, (1, 2, 1, 1))
    """

    def __init__(self, name: str, *, convention: str = "authors", backend: str = "reference", **parameters: Any) -> None:
        self.name = name
        self.convention = convention
        self.backend = backend
        self._native = _native.Loss(name, convention, backend, _papers_names(parameters))

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters with their values."""
        return self._native.parameters

    def value(
        self,
        logits: ArrayLike,
        labels: ArrayLike,
        *,
        image: ArrayLike | None = None,
        second: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        gradient: bool = False,
    ) -> Value:
        """Computes the loss of a batch.

        Args:
            logits: ``(B, C, *spatial)``.
            labels: ``(B, *spatial)``.
            image: ``(B, 1, *spatial)``, for the image-driven priors.
            second: ``(B, C, *spatial)``, logits of a second view, mapped to the frame of the first, for ``bwcr``.
            mask: ``(B, *spatial)``, 1 where both views contain a pixel; 1 everywhere if None.
            gradient: Whether to compute ``d total / d logits``.

        Raises:
            ValueError: An array has the wrong shape or contains NaN or infinities, or a label is not a class.
        """
        batch = (
            floats("logits", logits),
            floats("labels", labels),
            optional_floats("image", image),
            optional_floats("second", second),
            optional_floats("mask", mask),
        )
        return Value(*self._native.value(batch, gradient))

    def observe(self, logits: ArrayLike, labels: ArrayLike) -> None:
        """Passes a validation batch to an adaptive loss (``crac``, ``cals``); other losses ignore it."""
        self._native.observe((floats("logits", logits), floats("labels", labels), None, None, None))

    def end_epoch(self) -> None:
        """Updates the state of the loss from the batches observed since the last epoch."""
        self._native.end_epoch()

    @property
    def state(self) -> dict[str, list[float]]:
        """State kept between epochs: multipliers and penalty parameters; empty for most losses."""
        return dict(self._native.state())

    @state.setter
    def state(self, state: dict[str, list[float]]) -> None:
        self._native.restore(list(state.items()))

    def __getstate__(self) -> dict[str, Any]:
        own = {"name": self.name, "convention": self.convention, "backend": self.backend}
        return own | {"parameters": self.parameters, "state": self.state}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        settings = {key: stored[key] for key in ("convention", "backend")}
        self.__init__(stored["name"], **settings, **stored["parameters"])  # type: ignore[misc]
        self.state = stored["state"]

    def __repr__(self) -> str:
        given = "".join(f", {_python_name(name)}={value!r}" for name, value in self.parameters.items())
        return f"Loss({self.name!r}, convention={self.convention!r}, backend={self.backend!r}{given})"


class Prior:
    """A label prior by name: a distribution over the classes at each pixel, computed from the labels around it.

    >>> import numpy as np
    >>> Prior("mean").value(np.array([[[0, 0, 1], [0, 0, 1], [0, 0, 1]]]), classes=2)[0, 1, 1, 1].round(4)
    np.float64(0.3333)
    """

    def __init__(self, name: str, *, convention: str = "authors", backend: str = "reference", **parameters: Any) -> None:
        self.name = name
        self.convention = convention
        self.backend = backend
        self._given = _papers_names(parameters)

    def value(self, labels: ArrayLike, classes: int, *, image: ArrayLike | None = None) -> NDArray[np.float64]:
        """Computes the prior ``(B, classes, *spatial)`` of labels ``(B, *spatial)``; image-driven priors need an image
        ``(B, 1, *spatial)``.

        Raises:
            ValueError: The prior or a parameter is unknown, an array has the wrong shape, or a label is not a class.
        """
        if not 1 <= classes <= 65535:
            raise ValueError(f"classes: {classes} is not between 1 and 65535")
        which = (self.name, self.convention, self.backend)
        return _native.prior(which, self._given, floats("labels", labels), classes, optional_floats("image", image))


class Property(NamedTuple):
    """A theorem, limit or gradient of a loss, and the largest deviation from it on random problems."""

    name: str
    statement: str
    source: str
    cases: int
    worst: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the worst deviation is within the bound."""
        return self.worst <= self.bound


def verify(*, backend: str = "reference", cases: int = 20, seed: int = 0) -> list[Property]:
    """Checks the papers' theorems, limits and gradients on random problems, as ``segcal verify`` does.

    >>> all(found.holds for found in verify(cases=1))
    True
    """
    if cases < 1:
        raise ValueError(f"cases: {cases} is below 1")
    return [Property(*row) for row in _native.verify(backend, cases, seed)]
