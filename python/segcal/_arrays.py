"""Conversion of arguments to contiguous numpy arrays, with errors that name the argument."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array(name: str, value: Any) -> NDArray[Any]:
    """Converts anything that numpy can view without a copy, including torch tensors on the CPU and JAX arrays."""
    device = getattr(value, "device", None)
    kind = getattr(device, "type", None)
    if kind is not None and kind != "cpu":
        raise ValueError(f"{name}: the tensor is on {device} (call .detach().cpu() first)")
    if getattr(value, "requires_grad", False) is True:
        raise ValueError(f"{name}: the tensor requires a gradient (call .detach() first, or use segcal.torch)")
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: not an array of numbers: {error}") from error
    if found.dtype.kind not in "biuf" or found.dtype.itemsize > 8:
        raise ValueError(f"{name}: expected numbers, got an array of {found.dtype}")
    return found


def floats(name: str, value: Any) -> NDArray[Any]:
    """Keeps float32 and float64 and converts anything else; the result is contiguous, in native byte order."""
    found = array(name, value)
    if found.dtype.kind != "f":
        found = found.astype(np.float64)
    elif found.dtype.itemsize == 2:
        found = found.astype(np.float32)
    # `ascontiguousarray` also turns scalars into arrays of one axis, whose shape is then refused by name.
    return np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))


def optional_floats(name: str, value: Any) -> NDArray[Any] | None:
    """As ``floats``, for an argument that may be None."""
    return None if value is None else floats(name, value)


def singles(name: str, value: Any) -> NDArray[np.float32]:
    """Keeps float32 and converts anything else."""
    return np.ascontiguousarray(floats(name, value), dtype=np.float32)


def labels(name: str, value: Any) -> NDArray[np.uint16]:
    """Class numbers as uint16, the type of the libraries; uint16 is not converted."""
    found = array(name, value)
    if found.dtype == np.uint16:
        return np.ascontiguousarray(found)
    if found.size:
        whole = found.dtype.kind != "f" or bool((np.floor(found) == found).all())
        if not whole:
            raise ValueError(f"{name}: the labels are not whole numbers")
        smallest, largest = found.min(), found.max()
        if smallest < 0 or largest > 65535:
            raise ValueError(f"{name}: {smallest if smallest < 0 else largest} is not a class number (0 to 65535)")
    return np.ascontiguousarray(found, dtype=np.uint16)
