"""Complex tensors and their parts; real tensors are their own conjugates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import default_float, title_of
from adjit.elementwise import atan2, cos, div, emit, exp, hypot, log1p, mul, sin, sub, where
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F32, F64, I64
from adjit.logic import isinf, isnan, logical_and
from adjit.promotion import broadcast_shapes, cast_to, spread
from adjit.tensor import Tensor
from adjit.views import strides, view


# -- made of parts --------------------------------------------------------------------------------------------------
def complex(real: Tensor, imag: Tensor) -> Tensor:
    """real + i*imag."""
    return apply(primitive_named("complex"), _parts(real, imag), name="Complex")  # type: ignore[no-any-return]


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs*(cos(angle) + i*sin(angle))."""
    return _polar(*_parts(abs, angle))  # type: ignore[no-any-return]


@composite("Polar")
def _polar(abs: Tensor, angle: Tensor) -> Tensor:
    return apply(primitive_named("complex"), (mul(abs, cos(angle)), mul(abs, sin(angle))))  # type: ignore[no-any-return]


def _parts(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two real tensors of one dtype, broadcast together."""
    if any(x._dtype not in (F32, F64) for x in (first, second)):
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{title_of(first._dtype)} and {title_of(second._dtype)}"
        )
    if first._dtype is not second._dtype:
        raise RuntimeError(
            f"Expected object of scalar type {title_of(first._dtype)} but got scalar type {title_of(second._dtype)} "
            "for second argument"
        )
    shape = broadcast_shapes(shape_of(first), shape_of(second))
    return spread(first, shape), spread(second, shape)


# -- parts ----------------------------------------------------------------------------------------------------------
def real(input: Tensor) -> Tensor:
    """The real part, on the same memory; a real tensor itself."""
    return view(primitive_named("real"), input, {}, "Real") if input._dtype.is_complex else input


def imag(input: Tensor) -> Tensor:
    """The imaginary part, on the same memory.  RuntimeError for a real tensor."""
    if not input._dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return view(primitive_named("imag"), input, {}, "Imag")


def view_as_real(input: Tensor) -> Tensor:
    """The same memory as real numbers: [*dims] -> [*dims, 2]."""
    if not input._dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return view(primitive_named("view_as_real"), input, {}, "ViewAsReal")


def view_as_complex(input: Tensor) -> Tensor:
    """The same memory as complex numbers: [*dims, 2] -> [*dims]."""
    if input._dtype not in (F32, F64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{title_of(input._dtype)}"
        )
    shape = shape_of(input)
    if not shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    steps = strides(input)
    if steps[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(isinstance(step, int) and step % 2 for step in steps[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return view(primitive_named("view_as_complex"), input, {}, "ViewAsComplex")


def isreal(input: Tensor) -> Tensor:
    """Whether an element has no imaginary part."""
    if input._dtype.is_complex:
        return imag(input) == 0
    return emit("or", "", cast_to(input, BOOL), True)


# -- conjugates -----------------------------------------------------------------------------------------------------
def conj(input: Tensor) -> Tensor:
    """The conjugate, in memory of its own; a real tensor itself."""
    return apply(primitive_named("conj"), (input,), name="Conj") if input._dtype.is_complex else input


def conj_physical(input: Tensor) -> Tensor:
    """The conjugate; a real tensor itself."""
    return apply(primitive_named("conj"), (input,), name="ConjPhysical") if input._dtype.is_complex else input


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor: no conjugation waits to be carried out."""
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor: no negation waits to be carried out."""
    return input


def is_conj(input: Tensor) -> bool:
    """Whether a conjugation waits to be carried out; never."""
    return False


def is_neg(input: Tensor) -> bool:
    """Whether a negation waits to be carried out; never."""
    return False


# -- size and direction ---------------------------------------------------------------------------------------------
@composite("Abs")
def modulus(input: Tensor) -> Tensor:
    """sqrt(re**2 + im**2), the derivative at 0 being 0."""
    return _modulus(input)


def _modulus(input: Tensor) -> Tensor:
    return hypot(*_both(input))


def _both(input: Tensor) -> tuple[Tensor, Tensor]:
    re, im = (apply(primitive_named(part), (input,)) for part in ("real", "imag"))
    return re, im


@composite("Sgn")
def direction(input: Tensor) -> Tensor:
    """input/|input|, and 0 at 0."""
    size = _modulus(input)
    nothing = size == 0
    unit = div(input, cast_to(where(nothing, 1.0, size), input._dtype))
    return where(nothing, 0.0, unit)  # type: ignore[no-any-return]


@composite("Angle")
def _angle(input: Tensor) -> Tensor:
    if input._dtype.is_complex:
        re, im = _both(input)
        return atan2(im, re)
    flat = where(emit("lt", "", input, 0), math.pi, mul(where(isnan(input), input, 0.0), 0.0))
    return where(emit("eq", "", input, input), flat.detach(), input.detach())  # type: ignore[no-any-return]


def angle(input: Tensor) -> Tensor:
    """The argument, in -pi..pi; of a real number pi where it is negative, else 0, and NaN for NaN."""
    if not input._dtype.is_continuous:
        return where(emit("lt", "", cast_to(input, I64), 0), math.pi, 0.0).to(default_float())  # type: ignore[no-any-return]
    return _angle(input)  # type: ignore[no-any-return]


def each_part(function: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """A real function of each part."""
    return complex(*map(function, _both(input)))


@composite("Logaddexp")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """high + log(1 + exp(low - high)), where `high` has the greater real part."""
    (first, _), (second, _) = _both(input), _both(other)
    greater = emit("le", "", second, first)
    high, low = where(greater, input, other), where(greater, other, input)
    same = logical_and(isinf(first), emit("eq", "", first, second))  # their difference is NaN
    return high + log1p(exp(where(same, 0.0, sub(low, high))))  # type: ignore[no-any-return]


def squared_size(input: Tensor) -> Tensor:
    """re**2 + im**2."""
    re, im = _both(input)
    return mul(re, re) + mul(im, im)


def _set(part: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Any], None]:
    def assign(self: Tensor, value: Any) -> None:
        part(self).copy_(value if isinstance(value, Tensor) else self.new_tensor(value, dtype=part(self).dtype))

    return assign


_PUBLIC: tuple[Callable[..., Any], ...] = (
    angle, conj, conj_physical, is_conj, is_neg, isreal, resolve_conj, resolve_neg,
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _PUBLIC}
PROPERTIES = {"imag": property(imag, _set(imag)), "real": property(real, _set(real))}
__all__ = [
    "angle", "complex", "conj", "conj_physical", "imag", "is_conj", "is_neg", "isreal", "polar", "real",
    "resolve_conj", "resolve_neg", "view_as_complex", "view_as_real",
]  # fmt: skip
