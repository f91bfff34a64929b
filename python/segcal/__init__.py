"""Calibrated image segmentation: losses, metrics, post-hoc calibration, and the program ``segcal``.

Arrays are numpy's, or anything that ``numpy.asarray`` takes without a copy: batches of logits or probabilities are
``(B, C, *spatial)``, their labels ``(B, *spatial)``; spatial axes are ``(H, W)`` or ``(D, H, W)``.

Submodules are imported when they are first used.

>>> import segcal
>>> sorted(segcal.__all__)
['losses']
"""

from importlib import import_module
from types import ModuleType

from segcal._native import __version__

__all__ = ["losses"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__ or name in ("torch", "nnunet"):
        return import_module(f"segcal.{name}")
    raise AttributeError(f"module 'segcal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
