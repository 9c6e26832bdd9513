"""The host's functions for Fourier transforms, which are NumPy's, by the names that programs call them by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adjit.ir.primitive import Primitive, primitive_named
from adjit.runtime.host import HostFunction


def host_name(op: Primitive, attributes: Mapping[str, Any]) -> str:
    """The name of the host's function for a transform: `fourier.fft.inverse.0.2`, `fourier.irfft.1`."""
    axes = attributes["axes"] if op.name == "fft" else (attributes["axis"],)
    way = ("inverse",) if attributes.get("inverse") else ()
    return ".".join(("fourier", op.name, *way, *map(str, axes)))


def host_function(name: str) -> HostFunction:
    """The function with such a name; that of `irfft` takes the number of points as a second operand."""
    _, op, *rest = name.split(".")
    inverse = rest[:1] == ["inverse"]
    axes = tuple(int(word) for word in rest[inverse:])
    reference = primitive_named(op).reference
    match op:
        case "fft":
            return lambda x: (reference(x, axes=axes, inverse=inverse),)
        case "rfft":
            return lambda x: (reference(x, axis=axes[0]),)
    return lambda x, size: (reference(x, axis=axes[0], size=int(size)),)
