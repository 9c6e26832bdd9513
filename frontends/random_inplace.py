"""Filling tensors with random numbers, in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.generator import Generator
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, BOOL, F16, F32, F64, DType
from adjit.promotion import cast_to
from adjit.random import check_std, gaussian, integers, scaled, trials, uniform
from adjit.tensor import Tensor
from adjit.views import check_writable, write


def _op(name: str, *operands: Any) -> Any:
    return apply(PRIMITIVES[name], operands)


def uniform_(input: Tensor, *args: float, generator: Generator | None = None, **bounds: float) -> Tensor:
    """Fill with uniform numbers: `uniform_(from=0, to=1)`, in [from, to)."""
    low = args[0] if args else bounds.get("from", bounds.get("a", 0.0))
    high = args[1] if len(args) > 1 else bounds.get("to", bounds.get("b", 1.0))
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    check_writable(input)
    return write(input, uniform(tuple(shape_of(input)), input._dtype, generator, high - low, low))


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with mean + std * N(0, 1)."""
    check_std(std)
    check_writable(input)
    return write(input, gaussian(tuple(shape_of(input)), input._dtype, generator, std, mean))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 at probability p, else 0."""
    check_writable(input)
    return write(input, trials(input, p, generator))


# The greatest integer whose predecessors are all exact, by dtype: 2^24 for float32.
_EXACT = {F16: 1 << 11, BF16: 1 << 8, F32: 1 << 24, F64: 1 << 53}


def random_(input: Tensor, *args: Any, generator: Generator | None = None, **bounds: Any) -> Tensor:
    """Fill with uniform integers: `random_()` over the dtype's range, `random_(to)`, `random_(from, to)`."""
    low = bounds.get("from", 0)
    high = bounds.get("to")
    if len(args) == 1:
        low, high = (args[0], high) if high is not None else (low, args[0])
    elif len(args) == 2:
        low, high = args
    if high is None:
        high = _whole_range(input._dtype)
    check_writable(input)
    return write(input, integers(low, high, tuple(shape_of(input)), input._dtype, generator))


def _whole_range(dtype: DType) -> int:
    if dtype.is_float:
        return _EXACT[dtype] + 1
    return 2 if dtype is BOOL else 1 << (dtype.bits - (dtype.kind == "int"))


def exponential_(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with -log(1 - u) / lambd."""
    if not input._dtype.is_float:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {title_of(input._dtype)}"
        )
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    check_writable(input)
    u = uniform(tuple(shape_of(input)), input._dtype, generator)
    return write(input, _op("div", _op("log1p", _op("neg", u)), -lambd))


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success: ceil(log(1 - u) / log(1 - p)), at least 1."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    check_writable(input)
    wide = F64 if input._dtype is F64 else F32
    u = uniform(tuple(shape_of(input)), wide, generator)
    quotient = _op("div", _op("log1p", _op("neg", u)), math.log1p(-p))
    return write(input, cast_to(_op("add", _op("floor", quotient), 1.0), input._dtype))


def cauchy_(input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with median + sigma * tan(pi (u - 1/2))."""
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    check_writable(input)
    u = uniform(tuple(shape_of(input)), input._dtype, generator)
    angle = _op("mul", _op("sub", u, 0.5), math.pi)
    return write(input, scaled(_op("div", _op("sin", angle), _op("cos", angle)), sigma, median))


def log_normal_(input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exp(mean + std * N(0, 1))."""
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    check_writable(input)
    return write(input, _op("exp", gaussian(tuple(shape_of(input)), input._dtype, generator, std, mean)))


METHODS: dict[str, Callable[..., Any]] = {
    "bernoulli_": bernoulli_,
    "cauchy_": cauchy_,
    "exponential_": exponential_,
    "geometric_": geometric_,
    "log_normal_": log_normal_,
    "normal_": normal_,
    "random_": random_,
    "uniform_": uniform_,
}
__all__: list[str] = []
