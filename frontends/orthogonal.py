"""Orthogonal polynomials of a degree that is a number or varies by element.

Each follows its three-term recurrence p[k+1] = (a x + b) p[k] - c p[k-1].  A degree below 0 gives 0.  As in PyTorch
they are not differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.control import while_loop
from adjit.dispatch import literal
from adjit.dtypes import default_float
from adjit.elementwise import add, emit, mul, named, operands_of, sub, trunc, where
from adjit.ir.types import I64
from adjit.promotion import cast_to, promote, result_dtype
from adjit.tensor import Tensor

# name -> (what it is, p[1] from x, p[k+1] from x, k, p[k], p[k-1]); p[0] is 1.
Start = Callable[[Any], Any]
Next = Callable[[Any, Any, Any, Any], Any]


def _chebyshev(start: Start) -> tuple[Start, Next]:
    return start, lambda x, k, p, q: sub(mul(mul(x, 2), p), q)


def _shifted(start: Start) -> tuple[Start, Next]:
    first, following = _chebyshev(start)
    return lambda x: first(_moved(x)), lambda x, k, p, q: following(_moved(x), k, p, q)


def _moved(x: Any) -> Any:
    """0..1 to -1..1."""
    return sub(mul(x, 2), 1)


def _ratio(numerator: Any, k: Any) -> Any:
    return emit("div", "", numerator, add(k, 1))


_RULES: dict[str, tuple[Start, Next]] = {
    "chebyshev_polynomial_t": _chebyshev(lambda x: x),
    "chebyshev_polynomial_u": _chebyshev(lambda x: mul(x, 2)),
    "chebyshev_polynomial_v": _chebyshev(lambda x: sub(mul(x, 2), 1)),
    "chebyshev_polynomial_w": _chebyshev(lambda x: add(mul(x, 2), 1)),
    "shifted_chebyshev_polynomial_t": _shifted(lambda x: x),
    "shifted_chebyshev_polynomial_u": _shifted(lambda x: mul(x, 2)),
    "shifted_chebyshev_polynomial_v": _shifted(lambda x: sub(mul(x, 2), 1)),
    "shifted_chebyshev_polynomial_w": _shifted(lambda x: add(mul(x, 2), 1)),
    "hermite_polynomial_h": (
        lambda x: mul(x, 2),
        lambda x, k, p, q: sub(mul(mul(x, 2), p), mul(mul(k, 2), q)),
    ),
    "hermite_polynomial_he": (lambda x: x, lambda x, k, p, q: sub(mul(x, p), mul(k, q))),
    "laguerre_polynomial_l": (
        lambda x: sub(1, x),
        lambda x, k, p, q: _ratio(sub(mul(sub(add(mul(k, 2), 1), x), p), mul(k, q)), k),
    ),
    "legendre_polynomial_p": (
        lambda x: x,
        lambda x, k, p, q: _ratio(sub(mul(mul(add(mul(k, 2), 1), x), p), mul(k, q)), k),
    ),
}


def _polynomial(name: str) -> Callable[..., Tensor]:
    first, following = _RULES[name]

    def polynomial(input: Tensor, degree: Tensor) -> Tensor:
        x, n = input.detach(), degree.detach()
        one = _constant(1.0, x)
        most = n.reshape(-1).max()

        def step(k: Any, p: Any, q: Any, result: Any) -> Any:
            after = following(x, k, p, q)
            k = add(k, 1)
            return k, after, p, where(emit("eq", "", n, k), after, result)

        start = where(emit("eq", "", n, 0), one, where(emit("eq", "", n, 1), first(x), 0.0))
        carried = (_constant(1.0, most), first(x), one, start)
        return while_loop(lambda k, *_: emit("lt", "", k, most), step, carried)[-1]  # type: ignore[no-any-return]

    polynomial.__name__ = name
    computed = composite("".join(part.capitalize() for part in name.split("_")))(polynomial)

    def function(input: Any, n: Any) -> Tensor:
        operands = operands_of(name, input, n)
        dtype = result_dtype(operands)
        target = dtype if dtype.is_float else default_float()
        parts = [_tensor(part, target) for part in operands]
        x, degree = promote(*parts, target=target, op=name)
        shape = x.shape or degree.shape
        x, degree = (part if part.shape or not shape else part.expand(shape) for part in (x, degree))
        if 0 in tuple(shape):
            return x.detach().clone()  # type: ignore[no-any-return]
        degree = cast_to(cast_to(trunc(degree), I64), target)
        return computed(x.detach(), degree.detach())  # type: ignore[no-any-return]

    return named(function, name, f"The {name.replace('_', ' ')}, of degree n.")


def _constant(value: float, like: Tensor) -> Tensor:
    """A number in the shape of a tensor."""
    made = literal(value, like._dtype)
    return made.expand(like.shape) if like.shape else made


def _tensor(value: Any, dtype: Any) -> Tensor:
    return value if isinstance(value, Tensor) else literal(value, dtype)


POLYNOMIALS = {name: _polynomial(name) for name in _RULES}
