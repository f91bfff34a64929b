"""Calibrated image segmentation: losses, metrics, post-hoc calibration, and the program ``segcal``.

Arrays are numpy arrays, or anything that ``numpy.asarray`` takes without a copy: batches of logits or probabilities are
``(B, C, *spatial)``, their labels ``(B, *spatial)``; spatial axes are ``(H, W)`` or ``(D, H, W)``.

``segcal.losses``, ``segcal.metrics`` and ``segcal.calibrators`` need only numpy; ``segcal.torch`` needs PyTorch. Submodules are
imported on first use. ``evaluate``, ``train``, ``predict`` and ``compare`` run the program's verbs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from segcal._native import __version__

if TYPE_CHECKING:
    from segcal import calibrators, losses, metrics
    from segcal._verbs import compare, evaluate, predict, train

_VERBS = ("compare", "evaluate", "predict", "train")
_MODULES = ("calibrators", "losses", "metrics")

__all__ = ["__version__", "calibrators", "compare", "evaluate", "losses", "metrics", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(import_module("segcal._verbs"), name)
    if name in _MODULES or name in ("torch", "nnunet"):
        return import_module(f"segcal.{name}")
    raise AttributeError(f"module 'segcal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
