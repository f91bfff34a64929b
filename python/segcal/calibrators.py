"""Post-hoc calibration maps, fitted on held-out scores: the maps and files of ``segcal calibrate``.

Scores are ``(B, C, *spatial)`` logits, or probabilities with ``input="probabilities"``; labels are ``(B, *spatial)``. Without
spatial axes these are scikit-learn's ``(n_samples, n_classes)`` and ``(n_samples,)``, and the maps follow its conventions:
``get_params``, ``set_params``, ``clone``; ``fit`` returns the map.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> labels = rng.integers(0, 3, 500)
>>> logits = 3 * (rng.normal(size=(500, 3)) + np.eye(3)[labels])
>>> probabilities = Temperature().fit(logits, labels).transform(logits)
>>> probabilities.shape, probabilities.dtype
((500, 3), dtype('float32'))
"""

import json
import os
import warnings
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segcal import _native
from segcal._arrays import labels, singles

__all__ = ["ClassTemperature", "Isotonic", "Platt", "Temperature", "VectorScaling", "load"]


class Calibrator:
    """Base class of all maps.

    Args:
        input: What the scores are, ``"logits"`` or ``"probabilities"``.
    """

    _method: ClassVar[str]

    def __init__(self, input: str = "logits") -> None:  # noqa: A002
        self.input = input

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {"input": self.input}

    def set_params(self, **parameters: Any) -> Self:
        """Sets arguments of the constructor.

        Raises:
            ValueError: An argument does not exist.
        """
        for name, value in parameters.items():
            if name != "input":
                raise ValueError(f"{name}: unknown parameter of {type(self).__name__} (expected input)")
            self.input = value
        return self

    def _probabilities(self) -> bool:
        if self.input not in ("logits", "probabilities"):
            raise ValueError(f"input: {self.input!r} is neither 'logits' nor 'probabilities'")
        return bool(self.input == "probabilities")

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Fits the map on scores of cases that the model was not trained on. Deterministic.

        Args:
            X: Scores ``(B, C, *spatial)``.
            y: Labels ``(B, *spatial)``, class numbers from 0.

        Raises:
            ValueError: The shapes differ, a score is not finite, or a label is not a class.
        """
        self._map = _native.Calibrator.fit(self._method, self._probabilities(), singles("X", X), labels("y", y))
        if self._map.doubt:
            warnings.warn(self._map.doubt, stacklevel=2)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """Returns calibrated probabilities for scores ``(B, C, *spatial)``, in the same shape.

        Raises:
            ValueError: The map is not fitted, or was fitted with another number of classes.
        """
        return self._fitted().transform(self._probabilities(), singles("X", X))

    def fit_transform(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """``fit(X, y).transform(X)``."""
        return self.fit(X, y).transform(X)

    def _fitted(self) -> _native.Calibrator:
        if not hasattr(self, "_map"):
            raise ValueError(f"{type(self).__name__} is not fitted (call fit first, or load a file)")
        return self._map

    @property
    def parameters_(self) -> dict[str, Any]:
        """The fitted parameters, as in the file."""
        return dict(json.loads(self._fitted().text())["map"]["parameters"])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the map as ``segcal calibrate fit`` does, completely or not at all."""
        self._fitted().write(os.fspath(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"input": self.input, "map": self._map.text() if hasattr(self, "_map") else None}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        self.input = stored["input"]
        if stored["map"] is not None:
            self._map = _native.Calibrator.parse(stored["map"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(input={self.input!r})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_map")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )


class Temperature(Calibrator):
    """One temperature for all classes: softmax of ``l / T``. Keeps the labels (Guo et al. 2017)."""

    _method = "temperature"


class ClassTemperature(Calibrator):
    """One temperature per class: softmax of ``l_k / T_k``."""

    _method = "class-temperature"


class VectorScaling(Calibrator):
    """Scale and bias per class: softmax of ``w_k l_k + b_k`` (Guo et al. 2017)."""

    _method = "vector"


class Platt(Calibrator):
    """A sigmoid of the log-odds per class, divided by the sum over classes (Platt 1999)."""

    _method = "platt"


class Isotonic(Calibrator):
    """An increasing function of the probability per class, divided by the sum over classes (Zadrozny and Elkan 2002)."""

    _method = "isotonic"


def load(path: str | os.PathLike[str]) -> Calibrator:
    """Reads a file written by ``segcal calibrate fit`` or ``Calibrator.save``; the parameters are restored to the bit.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a calibration map.
    """
    found = _native.Calibrator.read(os.fspath(path))
    kinds = {kind._method: kind for kind in (Temperature, ClassTemperature, VectorScaling, Platt, Isotonic)}
    calibrator = kinds[found.method](json.loads(found.text())["input"])
    calibrator._map = found
    return calibrator
