"""Random tensors.

A generator gives words of 32 bits; distributions are composites over them, the same in eager and compiled code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit import surface
from adjit.composite import composite
from adjit.creation import check_device, check_tensor, checked_sizes, finished, given_sizes
from adjit.dims import numel_of, shape_of
from adjit.dispatch import apply
from adjit.dtypes import c_name, default_float, dtype_argument, title_of
from adjit.generator import (
    Generator,
    default_generator,
    fork_rng,
    generator_or_default,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from adjit.ir.primitive import PRIMITIVES, primitive_named
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I64, DType
from adjit.promotion import broadcast_shapes, cast_to, spread
from adjit.python_data import GREATEST, number_of
from adjit.state import numbers_are_known
from adjit.tensor import Tensor


def _op(name: str, *operands: Any, **attributes: Any) -> Any:
    return apply(PRIMITIVES[name], operands, attributes)


# -- distributions --------------------------------------------------------------------------------------------------
@composite("")
def _unit(words: Tensor) -> Tensor:
    """Uniform in [0, 1): 1/2 + w / 2^32 with the upper 24 bits of a signed word w.  Every step is exact."""
    top = _op("cast", _op("and", words, -0x100), dtype=F32)
    return _op("add", _op("mul", top, 2.0**-32), 0.5)  # type: ignore[no-any-return]


@composite("")
def _unit_double(high: Tensor, low: Tensor) -> Tensor:
    """Uniform in [0, 1): 1/2 + w / 2^32 with the upper 26 bits of a signed word w, and 27 bits more over 2^53."""
    first = _op("add", _op("mul", _op("cast", _op("and", high, -0x40), dtype=F64), 2.0**-32), 0.5)
    second = _op("mul", _op("cast", _op("and", low, 0x7FFFFFF), dtype=F64), 2.0**-53)
    return _op("add", first, second)  # type: ignore[no-any-return]


@composite("")
def _gauss(first: Tensor, second: Tensor) -> Tensor:
    """Standard normal, by Box and Muller: sqrt(-2 log(1 - u)) cos(2 pi v).

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    radius = _op("sqrt", _op("mul", _op("log1p", _op("neg", first)), -2.0))
    return _op("mul", radius, _op("cos", _op("mul", second, 2 * math.pi)))  # type: ignore[no-any-return]


def scaled(drawn: Tensor, *numbers: Any) -> Tensor:
    """drawn * scale + shift for these two numbers, or tensors of one; as drawn for none."""
    if not numbers:
        return drawn
    scale, shift = (cast_to(x.detach(), drawn._dtype) if isinstance(x, Tensor) else x for x in numbers)
    return _op("add", _op("mul", drawn, scale), shift)  # type: ignore[no-any-return]


def _uniform_single(word: Tensor, *numbers: Any) -> Tensor:
    return scaled(_unit(word), *numbers)


def _uniform_double(high: Tensor, low: Tensor, *numbers: Any) -> Tensor:
    return scaled(_unit_double(high, low), *numbers)


def _gauss_single(first: Tensor, second: Tensor, *numbers: Any) -> Tensor:
    return scaled(_gauss(_unit(first), _unit(second)), *numbers)


def _gauss_double(high: Tensor, low: Tensor, second_high: Tensor, second_low: Tensor, *numbers: Any) -> Tensor:
    return scaled(_gauss(_unit_double(high, low), _unit_double(second_high, second_low)), *numbers)


def uniform(shape: tuple[Any, ...], dtype: DType, generator: Generator | None, *numbers: float) -> Tensor:
    """Uniform numbers in [0, 1), times the first of two numbers, plus the second; of complex ones both parts."""
    if dtype.is_complex:
        return scaled(_of_parts(uniform((*shape, 2), dtype.part, generator)), *numbers)
    source = generator_or_default(generator, "rand")
    if not dtype.is_float:
        raise NotImplementedError(f"\"check_uniform_bounds\" not implemented for '{title_of(dtype)}'")
    if dtype is F64:
        return source.drawn(_uniform_double, 2, F64, shape, numbers)
    if dtype is F32:
        return source.drawn(_uniform_single, 1, F32, shape, numbers)
    return scaled(_below_one(source.drawn(_uniform_single, 1, F32, shape), dtype), *numbers)


def _of_parts(pairs: Tensor) -> Tensor:
    """Complex numbers, whose parts lie along the last axis."""
    return apply(primitive_named("view_as_complex"), (pairs,))  # type: ignore[no-any-return]


def _below_one(found: Tensor, dtype: DType) -> Tensor:
    """As many leading bits as the half precision holds, so that nothing rounds to 1."""
    scale = 2.0 ** {F16: 11, BF16: 8}[dtype]
    return cast_to(_op("mul", _op("floor", _op("mul", found, scale)), 1 / scale), dtype)


def gaussian(shape: tuple[Any, ...], dtype: DType, generator: Generator | None, *numbers: float) -> Tensor:
    """Standard normal numbers, times the first of two numbers, plus the second; of complex ones |x|**2 has mean 1."""
    if dtype.is_complex:
        parts = _of_parts(_op("mul", gaussian((*shape, 2), dtype.part, generator), math.sqrt(0.5)))
        return scaled(parts, *numbers)
    if not dtype.is_float:
        raise NotImplementedError(f"\"normal_kernel_cpu\" not implemented for '{title_of(dtype)}'")
    source = generator_or_default(generator, "rand")
    if dtype is F64:
        return source.drawn(_gauss_double, 4, F64, shape, numbers)
    if dtype is F32:
        return source.drawn(_gauss_single, 2, F32, shape, numbers)
    return scaled(cast_to(source.drawn(_gauss_single, 2, F32, shape), dtype), *numbers)


def _below(word: Tensor, span: Any, *low: Any) -> Tensor:
    """A word's share of a span of up to 2^31, plus a number."""
    share = _op("mul", _op("add", _op("cast", word, dtype=I64), 1 << 31), span)
    return _above(_op("div", share, 1 << 32), *low)


def _below_many(first: Tensor, second: Tensor, span: Any, *low: Any) -> Tensor:
    """63 bits modulo a longer span, plus a number."""
    return _above(_op("mod", _bits(first, second), span), *low)


def _bits(first: Tensor, second: Tensor, *low: Any) -> Tensor:
    """63 bits, plus a number."""
    lower = _op("and", _op("cast", second, dtype=I64), 0x7FFFFFFF)
    upper = _op("mul", _op("cast", first, dtype=I64), 1 << 31)
    return _above(_op("and", _op("xor", upper, lower), (1 << 63) - 1), *low)


def _above(drawn: Tensor, *low: Any) -> Tensor:
    return _op("add", drawn, low[0]) if low else drawn


def integers(low: Any, high: Any, shape: tuple[Any, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Uniform integers in [low, high), in `dtype`.

    A range of up to 2^31 is a word's share of 2^32, a longer one 63 bits modulo the range.  No number is more likely
    than another by more than range/2^32, and range/2^63.
    Errors: RuntimeError for an empty range, or one that `dtype` cannot hold.
    Source: Lemire, "Fast random integer generation in an interval", 2019, without the rejection.
    """
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    _check_bounds(low, high, dtype)
    source = generator_or_default(generator, "randint")
    span = high - low
    above = () if isinstance(low, int) and low == 0 else (low,)
    if span <= 1 << 31:
        found = source.drawn(_below, 1, I64, shape, (span, *above))
    elif isinstance(span, int) and span >= 1 << 63:
        found = source.drawn(_bits, 2, I64, shape, above)
    else:
        found = source.drawn(_below_many, 2, I64, shape, (span, *above))
    return cast_to(found, dtype)


def _check_bounds(low: Any, high: Any, dtype: DType) -> None:
    if not isinstance(low, int) or not isinstance(high, int) or (dtype.is_float and dtype is not F16):
        return
    if dtype.is_complex:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    half = 1 << (dtype.bits - 1)
    least, most = (0, 1) if dtype is BOOL else (0, 2 * half - 1) if dtype.kind == "uint" else (-half, half - 1)
    if dtype is F16:
        least, most = -int(GREATEST[F16]), int(GREATEST[F16])
    name = "int64_t" if dtype is I64 else c_name(dtype)
    if not least <= low <= most:
        raise RuntimeError(f"from is out of bounds for {name}")
    if not least <= high - 1 <= most:
        raise RuntimeError(f"to - 1 is out of bounds for {name}")


# -- new tensors ----------------------------------------------------------------------------------------------------
def _drawer(
    function: str, draw: Callable[[tuple[Any, ...], DType, Generator | None], Tensor], doc: str
) -> Callable[..., Tensor]:
    def make(
        *size: Any,
        generator: Generator | None = None,
        out: Tensor | None = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        **keywords: Any,
    ) -> Tensor:
        check_device(device)
        target = dtype_argument(dtype, function) or default_float()
        return finished(draw(given_sizes(size, keywords, function), target, generator), requires_grad, out)

    make.__name__ = make.__qualname__ = function
    make.__doc__ = doc
    return make


rand = _drawer("rand", uniform, "Uniform numbers in [0, 1).")
randn = _drawer("randn", gaussian, "Standard normal numbers.")


def _like(
    function: str, draw: Callable[[tuple[Any, ...], DType, Generator | None], Tensor], doc: str
) -> Callable[..., Tensor]:
    def make(
        input: Tensor,
        *,
        generator: Generator | None = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
    ) -> Tensor:
        check_device(device)
        check_tensor(input, function)
        target = dtype_argument(dtype, function) or input._dtype
        return finished(draw(tuple(shape_of(input)), target, generator), requires_grad)

    make.__name__ = make.__qualname__ = function
    make.__doc__ = doc
    return make


rand_like = _like("rand_like", uniform, "Uniform numbers in [0, 1) in another tensor's shape.")
randn_like = _like("randn_like", gaussian, "Standard normal numbers in another tensor's shape.")


def randint(
    *args: Any,
    low: Any = None,
    high: Any = None,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randint(low=0, high, size)`: uniform integers in [low, high)."""
    check_device(device)
    places = list(args)
    if places and size is None and (len(places) == 3 or high is not None or isinstance(places[-1], (tuple, list))):
        size = places.pop()
    bounds = [*places, *(bound for bound in (low, high) if bound is not None)]
    if size is None and len(bounds) == 2:
        kind = type(bounds[1]).__name__
        raise TypeError(f"randint(): argument 'size' (position 2) must be tuple of ints, not {kind}")
    if size is None or not 1 <= len(bounds) <= 2:
        got = ", ".join(type(argument).__name__ for argument in args)
        raise TypeError(
            f"randint() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (int high, tuple of ints size)\n * (int low, int high, tuple of ints size)"
        )
    first, last = (0, bounds[0]) if len(bounds) == 1 else bounds
    target = dtype_argument(dtype, "randint") or I64
    sizes = checked_sizes((size,), "randint")
    return finished(integers(first, last, sizes, target, generator), requires_grad, out)


def randint_like(
    input: Tensor,
    low: Any = None,
    high: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Uniform integers in [low, high), or from 0 if one bound is given, in another tensor's shape."""
    check_device(device)
    check_tensor(input, "randint_like")
    if low is None and high is None:
        raise TypeError("randint_like() missing 1 required positional arguments: \"high\"")
    first, last = (0, low if high is None else high) if low is None or high is None else (low, high)
    target = dtype_argument(dtype, "randint_like") or input._dtype
    return finished(integers(first, last, tuple(shape_of(input)), target, generator), requires_grad)


def randperm(
    n: Any,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """The integers below n in random order: the order that sorts n random keys."""
    check_device(device)
    target = dtype_argument(dtype, "randperm") or I64
    (n,) = checked_sizes(((n,),), "randperm")
    if isinstance(n, int) and n > 0:
        number_of(n - 1, target)  # the greatest result must fit
    keys = integers(0, 1 << 63, (n,), I64, generator)
    order = _op("sort", keys, axis=0, descending=False)[1]
    return finished(cast_to(order, target), requires_grad, out)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """mean + std * N(0, 1), with numbers and a size, or with tensors.  RuntimeError for a negative std."""
    check_device(device)
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not tensors and size is None:
        raise TypeError(
            f"normal() received an invalid combination of arguments - got ({type(mean).__name__}, "
            f"{type(std).__name__}), but expected one of:"
        )
    check_std(std)
    shape = broadcast_shapes(*(shape_of(x) for x in tensors)) if tensors else checked_sizes((size,), "normal")
    target = dtype_argument(dtype, "normal") or (tensors[0]._dtype if tensors else default_float())
    if not tensors:
        return finished(gaussian(tuple(shape), target, generator, std, mean), requires_grad, out)
    drawn = gaussian(tuple(shape), target, generator)
    parts = [spread(cast_to(x.detach(), target), shape) if isinstance(x, Tensor) else x for x in (mean, std)]
    return finished(_op("add", _op("mul", drawn, parts[1]), parts[0]), requires_grad, out)


def check_std(std: Any) -> None:
    """RuntimeError for a negative standard deviation."""
    if not isinstance(std, Tensor) and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None, out: Tensor | None = None) -> Tensor:
    """1 with the probability that each element says (or p), else 0."""
    check_tensor(input, "bernoulli")
    if p is not None:
        return finished(trials(input, p, generator), False, out)
    if not input._dtype.is_float:
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{title_of(input._dtype)}'")
    _check_probabilities(input)
    return finished(trials(input, input, generator), False, out)


def trials(like: Tensor, p: Any, generator: Generator | None) -> Tensor:
    """1 with probability p, else 0, in the shape and dtype of `like`."""
    if isinstance(p, Tensor):
        wide = F64 if p._dtype is F64 else F32
        p = spread(cast_to(p.detach(), wide), shape_of(like))
    else:
        wide = F32
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    return cast_to(_op("lt", uniform(tuple(shape_of(like)), wide, generator), p), like._dtype)


def _check_probabilities(input: Tensor) -> None:
    """RuntimeError for a number outside [0, 1]; in a trace, where there are none, nothing is checked."""
    if numbers_are_known() and not bool(((input >= 0) & (input <= 1)).all()):
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  If "
            "so, please report an enhancement request to PyTorch.)"
        )


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices drawn with the probabilities that each row is proportional to.

    Without replacement: the greatest log(p) - log(-log(u)), whose order is that of successive draws (Gumbel); with it:
    the first index whose cumulated probability exceeds u.
    Shapes: [n] -> i64[num_samples]; [m, n] -> i64[m, num_samples].
    Errors: RuntimeError for rows that are no distribution, or fewer than num_samples entries without replacement.
    """
    check_tensor(input, "multinomial")
    ndim, shape = input._tensor_type.ndim, tuple(shape_of(input))
    if ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input._dtype.is_float:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {title_of(input._dtype)}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    _check_distribution(input, replacement and num_samples > 1)
    return draws(input, num_samples, replacement, generator)


def draws(input: Tensor, num_samples: int, replacement: bool, generator: Generator | None) -> Tensor:
    """What `multinomial` gives for rows that are distributions."""
    ndim, shape = input._tensor_type.ndim, tuple(shape_of(input))
    wide = cast_to(input.detach(), F64)
    if not replacement:
        u = uniform(shape, F64, generator)
        noise = _op("neg", _op("log", _op("neg", _op("log1p", _op("neg", u)))))
        keys = _op("add", _op("log", wide), noise)
        return _op("sort", keys, axis=ndim - 1, descending=True, first=0, count=num_samples)[1]  # type: ignore[no-any-return]
    return _first_above(wide, uniform((*shape[:-1], num_samples), F64, generator))  # type: ignore[no-any-return]


@composite("", "multinomial")
def _first_above(weights: Tensor, u: Tensor) -> Tensor:
    """For each u: how many cumulated weights are not above u times their total."""
    *lead, n = shape = tuple(shape_of(weights))
    samples = shape_of(u)[-1]
    cumulated = _op("cumulate_sum", weights, axis=len(lead), reverse=False)
    start = (*(0 for _ in lead), n - 1)
    total = _op("slice", cumulated, start=start, size=(*lead, 1), step=(1,) * len(shape))
    goal = _op("mul", u, _op("expand", total, shape=(*lead, samples)))
    goals = _op("expand", _op("reshape", goal, shape=(*lead, samples, 1)), shape=(*lead, samples, n))
    sums = _op("expand", _op("reshape", cumulated, shape=(*lead, 1, n)), shape=(*lead, samples, n))
    below = _op("cast", _op("le", sums, goals), dtype=I64)
    return _op("reduce_sum", below, axes=(len(shape),))  # type: ignore[no-any-return]


def _check_distribution(input: Tensor, in_order: bool) -> None:
    """RuntimeError for rows that are no distribution; in a trace, where there are no numbers, nothing is checked.

    PyTorch's text depends on whether it draws the samples one after the other.
    """
    if not numbers_are_known() or numel_of(shape_of(input)) == 0:
        return
    if not bool(((input >= 0) & (input < math.inf)).all()):
        if in_order:
            what = "entry < 0" if bool((input < 0).any()) else "entry = infinity or NaN"
            raise RuntimeError(f"invalid multinomial distribution (encountering probability {what})")
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not bool((input.sum(-1) > 0).all()):
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


# What remains of functions that look at numbers first: perhaps native entries.
globals().update({name: surface.serve(f"random.{name}", globals()[name], method=False) for name in ("draws", "trials")})
METHODS: dict[str, Callable[..., Any]] = {"bernoulli": bernoulli, "multinomial": multinomial}
__all__ = [
    "Generator", "bernoulli", "default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed",
    "multinomial", "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "seed",
    "set_rng_state",
]  # fmt: skip
