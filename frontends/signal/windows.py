"""torch.signal.windows: weights w[n], n = 0 .. M-1, that fade a stretch of a signal in and out.

Symmetric windows end where they begin; periodic ones (`sym=False`) are the first M of the M + 1 weights of a symmetric
one, as spectral analysis wants them.  Errors of all: ValueError for a negative length and for other dtypes than
float32 and float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from adjit import elementwise
from adjit.creation import empty, ones, tensor
from adjit.device import strided
from adjit.dtypes import default_float, public, to_ir
from adjit.ir.types import F32, F64
from adjit.ranges import arange, linspace
from adjit.reductions import sum
from adjit.shaping import unsqueeze
from adjit.special_functions import i0
from adjit.tensor import Tensor

Formula = Callable[..., Tensor]


def _window(formula: Formula) -> Formula:
    """The public function of a formula (M, sym, factory, **parameters): checks, and the windows of length 0 and 1."""

    @wraps(formula)
    def window(
        M: int,
        *,
        sym: bool = True,
        dtype: Any = None,
        layout: Any = strided,
        device: Any = None,
        requires_grad: bool = False,
        **parameters: Any,
    ) -> Tensor:
        dtype = public(default_float()) if dtype is None else dtype
        _check(formula.__name__, M, dtype, layout)
        factory = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
        return formula(M, sym, factory, **parameters)

    return window


def _check(name: str, length: int, dtype: Any, layout: Any) -> None:
    if length < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={length}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if to_ir(dtype) not in (F32, F64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")


def _spaced(length: int, start: float, step: float, factory: dict[str, Any]) -> Tensor:
    """start + n*step for n < length."""
    return linspace(start, start + (length - 1) * step, length, **factory)


@_window
def exponential(
    M: int, sym: bool, factory: dict[str, Any], *, center: float | None = None, tau: float = 1.0
) -> Tensor:
    """exp(-|n - center| / tau); the centre of a symmetric window is its middle.

    Errors: ValueError unless tau > 0, and for a centre of a symmetric window.
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if M == 0:
        return empty((0,), **factory)
    middle = (M if not sym and M > 1 else M - 1) / 2 if center is None else center
    return elementwise.exp(-elementwise.abs(_spaced(M, -middle / tau, 1 / tau, factory)))


@_window
def cosine(M: int, sym: bool, factory: dict[str, Any]) -> Tensor:
    """sin(pi * (n + 1/2) / M)."""
    if M == 0:
        return empty((0,), **factory)
    step = math.pi / (M + 1 if not sym and M > 1 else M)
    return elementwise.sin(_spaced(M, step / 2, step, factory))


@_window
def gaussian(M: int, sym: bool, factory: dict[str, Any], *, std: float = 1.0) -> Tensor:
    """exp(-((n - middle) / std)**2 / 2).  Errors: ValueError unless std > 0."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    if M == 0:
        return empty((0,), **factory)
    middle = (M if not sym and M > 1 else M - 1) / 2
    scale = 1 / (std * math.sqrt(2))
    return elementwise.exp(-(_spaced(M, -middle * scale, scale, factory) ** 2))


@_window
def kaiser(M: int, sym: bool, factory: dict[str, Any], *, beta: float = 12.0) -> Tensor:
    """I0(beta * sqrt(1 - x**2)) / I0(beta), for x from -1 to 1.  Errors: ValueError for a negative beta."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if M == 0:
        return empty((0,), **factory)
    if M == 1:
        return ones((1,), **factory)
    # The last point may not exceed beta as the dtype rounds it: the root would be NaN.
    peak = tensor(beta, dtype=factory["dtype"])
    step = 2 * beta / (M if not sym else M - 1)
    last = elementwise.minimum(peak, -peak + (M - 1) * step)
    points = linspace(-peak, last, M, **factory)
    return i0(elementwise.sqrt(peak * peak - points**2)) / i0(peak)


@_window
def general_cosine(M: int, sym: bool, factory: dict[str, Any], *, a: Iterable[float]) -> Tensor:
    """The sum over i of (-1)**i * a[i] * cos(2*pi*i*n / (M - 1)).

    Errors: TypeError where the coefficients are no sequence, ValueError where there are none.
    """
    if M == 0:
        return empty((0,), **factory)
    if M == 1:
        return ones((1,), **factory)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    coefficients = list(a)
    if not coefficients:
        raise ValueError("Coefficients cannot be empty")
    angles = _spaced(M, 0, 2 * math.pi / (M if not sym else M - 1), factory)
    weights = tensor([(-1) ** i * weight for i, weight in enumerate(coefficients)], **factory)
    multiples = arange(len(coefficients), **factory)
    waves = elementwise.cos(unsqueeze(multiples, -1) * angles)
    return sum(unsqueeze(weights, -1) * waves, 0)


@_window
def bartlett(M: int, sym: bool, factory: dict[str, Any]) -> Tensor:
    """1 - |2*n / (M - 1) - 1|, a triangle."""
    if M == 0:
        return empty((0,), **factory)
    if M == 1:
        return ones((1,), **factory)
    return 1 - elementwise.abs(_spaced(M, -1, 2 / (M if not sym else M - 1), factory))


def _cosines(name: str, formula: str, coefficients: Callable[..., list[float]]) -> Formula:
    """The window of this name: a sum of cosines with these coefficients."""

    def window(M: int, sym: bool, factory: dict[str, Any], **parameters: Any) -> Tensor:
        return general_cosine(M, a=coefficients(**parameters), sym=sym, **factory)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = formula
    return _window(window)


general_hamming = _cosines(
    "general_hamming",
    "alpha - (1 - alpha) * cos(2*pi*n / (M - 1)), with alpha = 0.54 unless it is given.",
    lambda alpha=0.54: [alpha, 1.0 - alpha],
)
hamming = _cosines("hamming", "0.54 - 0.46 * cos(2*pi*n / (M - 1)).", lambda: [0.54, 1.0 - 0.54])
hann = _cosines("hann", "(1 - cos(2*pi*n / (M - 1))) / 2.", lambda: [0.5, 0.5])
blackman = _cosines(
    "blackman",
    "0.42 - 0.5 * cos(2*pi*n / (M - 1)) + 0.08 * cos(4*pi*n / (M - 1)).",
    lambda: [0.42, 0.5, 0.08],
)
nuttall = _cosines(
    "nuttall",
    "Nuttall's four cosines, whose side lobes are least.  Source: Nuttall 1981, IEEE Trans. ASSP 29(1).",
    lambda: [0.3635819, 0.4891775, 0.1365995, 0.0106411],
)

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming",
    "hann", "kaiser", "nuttall",
]  # fmt: skip
