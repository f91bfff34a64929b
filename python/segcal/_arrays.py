"""Arrays at the border: what becomes a contiguous numpy array, and errors that name the argument."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def array(name: str, value: Any) -> NDArray[Any]:
    """Anything that numpy sees without a copy; torch tensors on the CPU and JAX arrays among it."""
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
    """float32 and float64 as they are, anything else converted; contiguous, in native byte order."""
    found = array(name, value)
    if found.dtype.kind != "f":
        found = found.astype(np.float64)
    elif found.dtype.itemsize == 2:
        found = found.astype(np.float32)
    # `ascontiguousarray` also turns scalars into arrays of one axis, whose shape is then refused by name.
    return np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("="))


def optional_floats(name: str, value: Any) -> NDArray[Any] | None:
    """The same for an argument that may be None."""
    return None if value is None else floats(name, value)


def singles(name: str, value: Any) -> NDArray[np.float32]:
    """float32 as it is, anything else converted."""
    return np.ascontiguousarray(floats(name, value), dtype=np.float32)


def labels(name: str, value: Any) -> NDArray[np.uint16]:
    """Class numbers as the libraries hold them; uint16 as it is."""
    found = array(name, value)
    if found.dtype == np.uint16:
        return np.ascontiguousarray(found)
    if found.size:
        whole = found.dtype.kind != "f" or bool((np.floor(found) == found).all())
        if not whole:
            raise ValueError(f"{name}: the labels are not whole numbers")
        smallest, largest = found.min(), found.max()
        if smallest < 0 or largest > 65535:
            raise ValueError(f"{name}: the labels hold {smallest if smallest < 0 else largest}, classes are 0 to 65535")
    return np.ascontiguousarray(found, dtype=np.uint16)
