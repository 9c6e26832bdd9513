"""Linear systems of complex matrices as systems of parts: [[re, -im], [im, re]] @ [x.re; x.im] = [b.re; b.im]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.complex_parts import complex as of_parts
from adjit.dims import shape_of
from adjit.joining import cat
from adjit.tensor import Tensor


def block_of(a: Tensor) -> Tensor:
    """[[re, -im], [im, re]], which multiplies parts as `a` multiplies numbers."""
    return cat([cat([a.real, -a.imag], -1), cat([a.imag, a.real], -1)], -2)


def number_of(parts: Tensor, count: Any) -> Tensor:
    """The complex matrix whose parts are the first and the second `count` rows."""
    return of_parts(parts[..., :count, :], parts[..., count : 2 * count, :])


def solved(solve: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The complex solution and the info of a real solver of matrices."""
    found, info = solve(block_of(a), cat([b.real, b.imag], -2))
    return number_of(found, shape_of(a)[-1]), info


def inverted(inverse: Callable[[Tensor], tuple[Tensor, Tensor]], a: Tensor) -> tuple[Tensor, Tensor]:
    """The complex inverse and the info of a real one."""
    count = shape_of(a)[-1]
    found, info = inverse(block_of(a))
    return number_of(found[..., :count], count), info
