"""Special functions under their plain names: error, gamma and Bessel functions of the namespace and of `Tensor`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dispatch import apply
from adjit.dtypes import default_float
from adjit.elementwise import add, binary, clamp, emit, named, operands_of, unary
from adjit.ir.ops import special, special_bessel, special_incomplete
from adjit.ir.primitive import primitive_named
from adjit.promotion import cast_to, promote, result_dtype
from adjit.state import STATE
from adjit.tensor import Tensor

assert special and special_bessel and special_incomplete  # importing them fills the registry

erfc = unary("erfc", "Erfc", "1 - erf(input), without cancellation.")
erfinv = unary("erfinv", "Erfinv", "The y with erf(y) = input.")
lgamma = unary("lgamma", "Lgamma", "log(|gamma(input)|).")
digamma = unary("digamma", "Digamma", "The derivative of lgamma.")
i0 = unary("i0", "I0", "The modified Bessel function of the first kind, order 0.")
_logaddexp = binary("logaddexp", "Logaddexp", "log(exp(input) + exp(other)).", tensors=True)


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    operands = operands_of("logaddexp", input, other)
    if not (isinstance(operands[1], Tensor) and result_dtype(operands).is_complex):
        return _logaddexp(*operands)
    from adjit.complex_parts import logaddexp as of_complex

    return of_complex(*promote(*operands))  # type: ignore[no-any-return]


logaddexp2 = binary("logaddexp2", "Logaddexp2", "log2(2**input + 2**other).", tensors=True)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    (x,) = operands_of("polygamma", input)
    target = x._dtype if x._dtype.is_continuous else default_float()
    if n < 2:
        return emit("trigamma" if n else "digamma", "Polygamma", x, target=target, kernel="polygamma")
    return apply(primitive_named("polygamma"), (cast_to(x, target),), {"n": int(n)}, name="Polygamma")  # type: ignore[no-any-return]


def _incomplete(name: str, doc: str) -> Callable[..., Tensor]:
    function = binary(name, name.capitalize(), doc, tensors=True)

    def checked(input: Tensor, other: Tensor) -> Tensor:
        if STATE.recording and isinstance(input, Tensor) and input.requires_grad:
            raise NotImplementedError(f"the derivative for '{name}: input' is not implemented.")
        return function(input, other)

    return named(checked, name, doc)


igamma = _incomplete("igamma", "The share of gamma(input) that lies below other; differentiable with respect to other.")
igammac = _incomplete("igammac", "1 - igamma(input, other), without cancellation.")


@composite("Mvlgamma")
def _mvlgamma(input: Tensor, p: int) -> Tensor:
    total: Any = p * (p - 1) / 4 * math.log(math.pi)
    for i in range(p):
        total = add(lgamma(add(input, -0.5 * i)), total)
    return total  # type: ignore[no-any-return]


_plain_logit = unary("logit", "Logit", "log(input / (1 - input)).")


@composite("Logit")
def _clamped_logit(input: Tensor, eps: float) -> Tensor:
    return _plain_logit(clamp(input, eps, 1 - eps))


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(input / (1 - input)), of the input held in eps..1 - eps."""
    if eps is None:
        return _plain_logit(input)
    return _clamped_logit(input if input._dtype.is_continuous else cast_to(input, default_float()), eps)  # type: ignore[no-any-return]


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    return _mvlgamma(input if input._dtype.is_continuous else cast_to(input, default_float()), p)  # type: ignore[no-any-return]


_PUBLIC = (
    "digamma", "erfc", "erfinv", "i0", "igamma", "igammac", "lgamma", "logaddexp", "logaddexp2", "logit", "mvlgamma",
    "polygamma",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _PUBLIC}
METHODS["polygamma"] = lambda input, n: polygamma(n, input)
__all__ = list(_PUBLIC)
