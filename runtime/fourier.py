"""Fourier transforms at run time: the host's functions, which are NumPy's, and the tables that kernels read.

Both go by names, which say everything: programs in the disk cache find them again in another process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.primitive import Primitive, primitive_named
from adjit.runtime.host import HostFunction

# Elements that parts of a table are multiples of: a vector's, of the widest.
_UNIT = 16


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


# -- tables ------------------------------------------------------------------------------------------------------------
# Tables by name.  Programs hold their addresses: one that stands here is never replaced.
_tables: dict[str, NDArray[Any]] = {}


def table(name: str) -> NDArray[Any]:
    """The table called `fourier.<dtype>.<part>...`: always the same array, kept for as long as the process runs.

    Of w(n) = exp(-2*pi*i/n) the parts hold powers, real and imaginary ones apart:
    `b<r>_<groups>_<run>`: w(r*groups)^(p*j), for each j in 1..r-1 an array over p, `run` times each;
    `s<r>_<groups>_1`: the same, for each p all j after one another; `h<n>`: w(n)^k for k < n/2;
    `l<r>_<groups>_<row>`: for each k in 1..(r-1)/2 the cosines of all j < row, then the sines of the inverse, and where
    groups > 1 for each p the real parts of `b`'s numbers for all j in 0..r-1, then the imaginary ones.
    """
    found = _tables.get(name)
    # Of threads that make it at once the first to come here gives it: `setdefault` is one step.
    return _tables.setdefault(name, _made(name)) if found is None else found


def _made(name: str) -> NDArray[Any]:
    _, dtype, *parts = name.split(".")
    found = np.zeros(sum(map(table_size, parts)), {"f32": np.float32, "f64": np.float64}[dtype])
    place = 0
    for part in parts:
        numbers = np.concatenate([each.ravel() for each in _numbers(part)])
        found[place : place + numbers.size] = numbers
        place += table_size(part)
    return found


def table_size(part: str) -> int:
    """Elements of a part of a table."""
    if part[0] == "h":
        count = int(part[1:])
    else:
        radix, groups, run = map(int, part[1:].split("_"))
        if part[0] == "l":
            count = 2 * (radix // 2) * run + (2 * radix * groups if groups > 1 else 0)
        else:
            count = 2 * (radix - 1) * groups * run
    return -(-count // _UNIT) * _UNIT


def _numbers(part: str) -> Iterator[NDArray[Any]]:
    if part[0] == "h":
        n = int(part[1:])
        yield from powers(n, np.arange(n // 2))
        return
    radix, groups, run = map(int, part[1:].split("_"))
    p, j = np.arange(groups), np.arange(1, radix)
    if part[0] == "l":
        cosines, sines = powers(radix, np.arange(1, radix // 2 + 1)[:, None] * np.arange(run))
        yield from (cosines, -sines)
        if groups > 1:
            yield np.stack(powers(radix * groups, p[:, None] * np.arange(radix)), 1)
        return
    if part[0] == "s":
        yield np.stack(powers(radix * groups, p[:, None] * j), -1)
        return
    for each in j:
        for numbers in powers(radix * groups, p * each):
            yield np.repeat(numbers, run)


def powers(n: int, exponents: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The real and imaginary parts of exp(-2*pi*i*k/n), of angles within an eighth of a circle, in long double."""
    k = exponents % n
    quarter = (8 * k + n) // (2 * n)  # the nearest quarter of the circle
    angles = (np.longdouble(4 * k - quarter * n) / n) * (np.arctan(np.longdouble(1)) * 2)
    cosine, sine = np.cos(angles), np.sin(angles)
    turned = np.stack([cosine, -sine, -cosine, sine])  # the cosine of the angle and that many quarters
    places = np.indices(k.shape)
    real = turned[(quarter % 4, *places)]
    return real, -turned[((quarter + 3) % 4, *places)]
