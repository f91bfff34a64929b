"""Metrics of segmentations and of their confidence, from arrays in memory.

``measure`` computes every metric of one case, as ``segcal evaluate`` does: overlap and surface distances of each structure,
and calibration of each region. ``Calibration``, ``EqualMass`` and ``Overlap`` are streaming states: they merge
to the same bits in any order, across processes and machines.

Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, (8, 9))
    >>> probabilities = rng.dirichlet([1, 1, 1], (8, 9)).transpose(2, 0, 1)
    >>> figures = measure(probabilities, labels, spacing=(0.5, 0.5))
    >>> sorted(figures), sorted(figures["structures"])
    (['classes', 'ignored', 'regions', 'structures'], ['1', '2'])
    >>> state = Calibration(3)
    >>> _ = state.update(probabilities[None], labels[None])
    >>> state.compute("all")["ece"] == figures["regions"]["all"]["ece"]
    True
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from segcal import _native
from segcal._arrays import array, labels as _labels, singles

__all__ = ["METRICS", "Bin", "Calibration", "EqualMass", "Figures", "Metric", "Overlap", "measure"]


class Metric(NamedTuple):
    """One metric."""

    key: str
    """Its key in results and files."""
    unit: str
    """``1`` for a ratio, ``mm`` for a distance, ``nat`` for a log-likelihood."""
    definition: str
    """A one-line definition."""
    source: str
    """Where the definition comes from."""
    per_structure: bool
    """Whether it belongs to a structure rather than to a region."""


METRICS: dict[str, Metric] = {row[0]: Metric(*row) for row in _native.metrics()}
"""Every metric by key."""


class Figures(dict[str, Any]):
    """All metrics of one case, with the keys of summary.json: ``structures`` and ``regions``, each name -> metric -> value,
    ``classes``, and ``ignored``, the number of ignored voxels."""

    def to_frame(self) -> Any:
        """A pandas table with the columns ``kind, of, metric, value, unit``.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        rows = [
            (kind.removesuffix("s"), of, key, value, METRICS[key].unit)
            for kind in ("structures", "regions")
            for of, figures in self[kind].items()
            for key, value in figures.items()
        ]
        return pandas.DataFrame(rows, columns=["kind", "of", "metric", "value", "unit"])


def measure(
    prediction: ArrayLike,
    labels: ArrayLike,
    *,
    input: str = "probabilities",  # noqa: A002
    spacing: Sequence[float] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    bins: int = 15,
    tolerance: float = 1.0,
    band: float = 2.0,
    ignore_label: int | None = None,
    empty: str = "nan",
    backend: str = "cpu",
) -> Figures:
    """Computes every metric of one case, as ``segcal evaluate`` does.

    Args:
        prediction: Class scores ``(C, *spatial)``, the background first, or a label map ``(*spatial)``; float32 is not copied.
        labels: The reference ``(*spatial)``, two or three axes.
        input: What the prediction is: ``"probabilities"``, ``"logits"`` or ``"labels"``.
        spacing: Voxel size along each spatial axis, in the array's order; distances, tolerance and band are in its unit.
            Voxels have size 1 if None.
        regions: Additional structures that are unions of labels: names with their labels.
        bins: Number of equal-width or equal-mass bins, 1 to 1000.
        tolerance: Tolerance of ``nsd``.
        band: Half-width of the region ``boundary``.
        ignore_label: The reference label of voxels to leave out of all metrics.
        empty: How empty masks are scored: ``nan``, ``papers``, ``worst`` or ``penalise``.
        backend: Where distances are computed, ``"cpu"`` or ``"reference"``.

    Raises:
        ValueError: Shapes differ, a label has no class, or the scores do not match ``input``.
    """
    if input not in ("probabilities", "logits", "labels"):
        raise ValueError(f"input: {input!r} is not one of 'probabilities', 'logits', 'labels'")
    given = _labels("prediction", prediction) if input == "labels" else singles("prediction", prediction)
    for name, value in [("tolerance", tolerance), ("band", band)]:
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}: {value} is not a finite number of at least 0")
    if not 1 <= bins <= 1000:
        raise ValueError(f"bins: {bins} is not between 1 and 1000")
    unions = {str(name): [_label("regions", label) for label in union] for name, union in (regions or {}).items()}
    settings = (bins, float(tolerance), float(band), _ignored(ignore_label), unions, empty, backend)
    steps = None if spacing is None else [float(step) for step in spacing]
    found = _native.measure(given, input == "logits", _labels("labels", labels), steps, settings)
    return Figures(zip(("classes", "ignored", "structures", "regions"), found, strict=True))


def _label(name: str, value: int) -> int:
    if not 0 <= value <= 65535:
        raise ValueError(f"{name}: {value} is not a label (0 to 65535)")
    return int(value)


def _ignored(value: int | None) -> int | None:
    return None if value is None else _label("ignore_label", value)


class Bin(NamedTuple):
    """A bin of confidence."""

    voxels: int
    confidence: float
    """Mean confidence; NaN for an empty bin."""
    accuracy: float
    """Share of correct predictions; NaN for an empty bin."""


class _State:
    """Base class of all states. ``a + b`` and ``merge`` give the same bits in whatever order parts are added."""

    _kind: Any
    _own: Any

    def merge(self, other: Self) -> Self:
        """Adds the voxels of another state to this one and returns it.

        Raises:
            ValueError: The other state has different classes or bins.
        """
        self._own.merge(other._own)
        return self

    def __add__(self, other: Self) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self).from_bytes(self.to_bytes()).merge(other)

    def __radd__(self, other: object) -> Self:
        # `sum` starts with 0.
        return self if other == 0 else NotImplemented

    def to_bytes(self) -> bytes:
        """Serialises the state; equal states have equal bytes."""
        return bytes(self._own.to_bytes())

    @classmethod
    def from_bytes(cls, state: bytes) -> Self:
        """Restores a state from bytes.

        Raises:
            ValueError: The bytes were not written by ``to_bytes``.
        """
        found = cls.__new__(cls)
        found._own = cls._kind.from_bytes(state)
        return found

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return type(self).from_bytes, (self.to_bytes(),)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]


class Calibration(_State):
    """Calibration of any number of cases, by region: ``all``, ``foreground``, ``union``, ``boundary``, ``predicted``,
    ``structure:k``, ``predicted:k``.

    Args:
        classes: Number of classes.
        bins: Number of bins of equal width, ``(l, u]`` with 0 in the first.
    """

    _kind = _native.Calibration

    def __init__(self, classes: int, bins: int = 15) -> None:
        self._own = _native.Calibration(_size("classes", classes), _size("bins", bins))

    def update(
        self,
        probabilities: ArrayLike,
        labels: ArrayLike,
        *,
        ignore_label: int | None = None,
        boundary: ArrayLike | None = None,
    ) -> Self:
        """Adds a batch of cases, completely or not at all; float32 is not copied.

        Args:
            probabilities: ``(B, C, *spatial)``.
            labels: ``(B, *spatial)``.
            ignore_label: The label of voxels to leave out.
            boundary: ``(B, *spatial)``, True for the voxels of the region ``boundary``.

        Raises:
            ValueError: Shapes differ, a label has no class, or a value is not a probability.
        """
        mask = None if boundary is None else np.ascontiguousarray(array("boundary", boundary), dtype=np.bool_)
        p, y = singles("probabilities", probabilities), _labels("labels", labels)
        self._own.update(p, y, _ignored(ignore_label), mask)
        return self

    def compute(self, region: str = "all") -> dict[str, float]:
        """Every calibration metric of a region; NaN if it has no voxels."""
        return dict(self._own.compute(region))

    def reliability(self, region: str = "all") -> list[Bin]:
        """The bins of the confidence (the largest probability), in ascending order."""
        return [Bin(*bin_) for bin_ in self._own.reliability(region)]


class EqualMass(_State):
    """Calibration in bins of equal mass over any number of cases, for the regions that are not of a single label. Voxels whose
    probability ``p`` (or ``1 - p`` above a half) agrees to one part in 16 count as equal; ``measure`` is exact for one case.

    Args:
        classes: Number of classes.
        bins: Number of bins.
    """

    _kind = _native.EqualMass

    def __init__(self, classes: int, bins: int = 15) -> None:
        self._own = _native.EqualMass(_size("classes", classes), _size("bins", bins))

    def update(self, probabilities: ArrayLike, labels: ArrayLike, *, ignore_label: int | None = None) -> Self:
        """Adds a batch of cases, completely or not at all; arguments and errors as in ``Calibration.update``."""
        self._own.update(singles("probabilities", probabilities), _labels("labels", labels), _ignored(ignore_label))
        return self

    def compute(self, region: str = "all") -> dict[str, float]:
        """``aece`` and ``tace`` of a region; NaN if it has no voxels."""
        return dict(self._own.compute(region))


class Overlap(_State):
    """Voxel counts of pairs of reference and predicted label, over any number of cases.

    Args:
        classes: Number of labels, including the background.

    >>> Overlap(2).update([0, 1, 1, 1], [0, 0, 1, 1]).compute(1)["dsc"]
    0.8
    """

    _kind = _native.Overlap

    def __init__(self, classes: int) -> None:
        self._own = _native.Overlap(_size("classes", classes))

    def update(self, prediction: ArrayLike, labels: ArrayLike, *, ignore_label: int | None = None) -> Self:
        """Adds two label maps of the same shape.

        Raises:
            ValueError: Shapes differ, or a label is not less than the number of classes.
        """
        self._own.update(_labels("prediction", prediction), _labels("labels", labels), _ignored(ignore_label))
        return self

    def compute(self, structure: int | Sequence[int]) -> dict[str, float]:
        """Overlap metrics of a label or of a union of labels, over all cases together; NaN if a metric has no value."""
        union = [structure] if isinstance(structure, int | np.integer) else structure
        return dict(self._own.compute([_label("structure", label) for label in union]))

    def counts(self) -> list[tuple[int, int, int]]:
        """Reference label, predicted label and number of voxels of each pair that occurs, in ascending order."""
        return list(self._own.counts())


def _size(name: str, value: int) -> int:
    if not 0 < value <= 65536:
        raise ValueError(f"{name}: {value} is not between 1 and 65536")
    return int(value)
