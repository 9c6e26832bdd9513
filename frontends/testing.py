"""`adjit.testing`: values compared within tolerances, with PyTorch's messages, and tensors to test with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from adjit.complex_parts import view_as_complex
from adjit.conversion import concrete
from adjit.creation import check_device as _check_device
from adjit.creation import empty, from_numpy
from adjit.dtypes import bfloat16, complex64, complex128, dtype, float16, float32, float64, public
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.numeric_limits import finfo, iinfo
from adjit.tensor import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

# Relative and absolute tolerance.
_TOLERANCES = {float16: (0.001, 1e-5), bfloat16: (0.016, 1e-5), float32: (1.3e-6, 1e-5), float64: (1e-7, 1e-7)}
_TOLERANCES |= {complex64: _TOLERANCES[float32], complex128: _TOLERANCES[float64]}
Message = str | Callable[[str], str] | None


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: Message = None,
) -> None:  # fmt: skip
    """AssertionError unless |actual - expected| <= atol + rtol*|expected| for all elements.

    Takes tensors, arrays and numbers, and sequences and mappings of them.  The tolerances' defaults follow the dtypes.
    `msg` replaces the message, or makes it from the one that there would be.
    """
    if (rtol is None) != (atol is None):
        missing = "atol" if atol is None else "rtol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    options = _Options(rtol, atol, equal_nan, check_dtype, check_stride, allow_subclasses)
    try:
        _compare(actual, expected, options, ())
    except AssertionError as error:
        if msg is None:
            raise
        raise AssertionError(msg(str(error)) if callable(msg) else msg) from None


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
    msg: str = "",
) -> None:  # fmt: skip
    """`assert_close` for what `as_tensor` takes, whatever the dtypes."""
    a, b = (x if isinstance(x, Tensor) else from_numpy(np.array(x)) for x in (actual, expected))
    assert_close(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


class _Options:
    __slots__ = ("atol", "check_dtype", "check_stride", "equal_nan", "rtol", "subclasses")

    def __init__(
        self, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool, check_stride: bool,
        subclasses: bool,
    ) -> None:  # fmt: skip
        self.rtol = rtol
        self.atol = atol
        self.equal_nan = equal_nan
        self.check_dtype = check_dtype
        self.check_stride = check_stride
        self.subclasses = subclasses

    def tolerances(self, *dtypes: dtype) -> tuple[float, float]:
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        known = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in dtypes]
        return max(relative for relative, _ in known), max(absolute for _, absolute in known)


def _fail(message: str, path: Sequence[Any]) -> None:
    place = "".join(f"[{key!r}]" for key in path)
    raise AssertionError(message + (f"\n\nThe failure occurred for item {place}" if path else ""))


def _compare(actual: Any, expected: Any, options: _Options, path: tuple[Any, ...]) -> None:
    numbers = (int, float, complex, np.number)
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        _compare_mappings(actual, expected, options, path)
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            _fail(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", path)
        for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _compare(a, b, options, (*path, index))
    elif actual is None or expected is None:
        if actual is not expected:
            _fail(f"None mismatch: {actual} is not {expected}", path)
    elif isinstance(actual, (bool, np.bool_)) and isinstance(expected, (bool, np.bool_)):
        if bool(actual) is not bool(expected):
            _fail(f"Booleans mismatch: {actual} is not {expected}", path)
    elif isinstance(actual, numbers) and isinstance(expected, numbers):
        _compare_numbers(actual, expected, options, path)
    elif isinstance(actual, Tensor) and isinstance(expected, Tensor):
        _compare_tensors(actual, expected, options, path)
    elif isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
        _compare_tensors(from_numpy(actual), from_numpy(expected), options, path)
    else:
        place = f" at {''.join(f'[{key!r}]' for key in path)}" if path else ""
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}{place}."
        )


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _compare_mappings(
    actual: Mapping[Any, Any], expected: Mapping[Any, Any], options: _Options, path: tuple[Any, ...]
) -> None:
    missing, more = set(expected) - set(actual), set(actual) - set(expected)
    if missing or more:
        _fail(
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {sorted(missing)}\n"
            f"Additional keys in the actual mapping: {sorted(more)}",
            path,
        )
    for key, value in actual.items():
        _compare(value, expected[key], options, (*path, key))


def _compare_numbers(actual: Any, expected: Any, options: _Options, path: tuple[Any, ...]) -> None:
    if options.check_dtype and type(actual) is not type(expected):
        _fail(f"The (d)types do not match: {type(actual)} != {type(expected)}.", path)
    kinds = [float64 for value in (actual, expected) if isinstance(value, (float, np.floating))]
    rtol, atol = options.tolerances(*kinds) if kinds or options.rtol is not None else (0.0, 0.0)
    _check_scalar(actual, expected, rtol, atol, options, path)


def _check_scalar(
    actual: Any, expected: Any, rtol: float, atol: float, options: _Options, path: tuple[Any, ...]
) -> None:
    if actual == expected or (options.equal_nan and actual != actual and expected != expected):
        return
    difference = abs(actual - expected)
    if difference <= atol + rtol * abs(expected) and difference != float("inf"):
        return
    relative = difference / abs(expected) if expected != 0 else float("inf")
    close = bool(rtol or atol)
    up_to = [f" (up to {bound} allowed)" if close else "" for bound in (atol, rtol)]
    _fail(
        f"Scalars are not {'close' if close else 'equal'}!\n\nExpected {expected} but got {actual}.\n"
        f"Absolute difference: {difference}{up_to[0]}\nRelative difference: {relative}{up_to[1]}",
        path,
    )


def _compare_tensors(actual: Tensor, expected: Tensor, options: _Options, path: tuple[Any, ...]) -> None:
    if not options.subclasses and type(actual) is not type(expected):
        raise TypeError(f"types {type(actual)} and {type(expected)} are not directly related")
    if actual.shape != expected.shape:
        _fail(f"The values for attribute 'shape' do not match: {actual.shape} != {expected.shape}.", path)
    if options.check_stride and actual.stride() != expected.stride():
        _fail(f"The values for attribute 'stride()' do not match: {actual.stride()} != {expected.stride()}.", path)
    if options.check_dtype and actual.dtype != expected.dtype:
        _fail(f"The values for attribute 'dtype' do not match: {actual.dtype} != {expected.dtype}.", path)
    rtol, atol = options.tolerances(actual.dtype, expected.dtype)
    a, b = _numbers(actual), _numbers(expected)
    common = np.result_type(a, b)
    a, b = a.astype(common), b.astype(common)
    with np.errstate(all="ignore"):
        difference = np.abs(a - b)
        allowed = atol + rtol * np.abs(b)
        matches = (a == b) | (np.isfinite(difference) & (difference <= allowed))
        if options.equal_nan:
            matches |= np.isnan(a) & np.isnan(b)
        if matches.all():
            return
        if a.ndim == 0:
            _check_scalar(a.item(), b.item(), rtol, atol, options, path)
        floats = difference.dtype if common.kind in "fc" else np.dtype(np.float32)
        relative = np.where(difference == 0, 0, difference.astype(floats) / np.abs(b).astype(floats))
        if actual.dtype is bfloat16:
            difference, relative = widen_bf16(round_bf16(difference)), widen_bf16(round_bf16(relative))
    wrong = int(matches.size - np.count_nonzero(matches))
    close = bool(rtol or atol)
    _fail(
        f"Tensor-likes are not {'close' if close else 'equal'}!\n\n"
        f"Mismatched elements: {wrong} / {matches.size} ({wrong / matches.size:.1%})\n"
        + _greatest("absolute", difference, matches, atol if close else None)
        + "\n"
        + _greatest("relative", relative, matches, rtol if close else None),
        path,
    )


def _numbers(tensor: Tensor) -> np.ndarray:
    array = concrete(tensor, "assert_close()")
    if tensor.dtype is bfloat16:
        return widen_bf16(array)
    return array if array.dtype.kind in "fc" else array.astype(np.int64)


def _greatest(kind: str, values: np.ndarray, matches: np.ndarray, bound: float | None) -> str:
    """The line that names the greatest difference among the elements that do not match."""
    found = np.where(matches, 0, values)
    place = np.unravel_index(int(np.argmax(found)), found.shape)
    index = tuple(int(i) for i in place)
    up_to = "" if bound is None else f" (up to {bound} allowed)"
    return f"Greatest {kind} difference: {found[place].item()} at index {index}{up_to}"


def make_tensor(
    *shape: Any, dtype: dtype, device: Any = None, low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of numbers drawn evenly from [low, high): by default [-9, 9) for floats, single digits for integers.

    `noncontiguous`: every second element of a larger one.  `exclude_zero`: zeros become 1, or the least normal number.
    """
    _check_device(device)
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    is_bool = str(dtype) == "torch.bool"
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    if noncontiguous and memory_format is not None:
        raise ValueError(
            f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got {noncontiguous=} and "
            f"{memory_format=}"
        )
    continuous = dtype.is_floating_point or dtype.is_complex
    default = (-9, 9) if continuous else (0, 2) if is_bool else (0 if not dtype.is_signed else -9, 10)
    low, high = (default[i] if value is None else value for i, value in enumerate((low, high)))
    if low != low or high != high:
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low >= high and not continuous:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    wide = (*sizes[:-1], sizes[-1] * 2) if noncontiguous and sizes else sizes
    if dtype.is_complex:
        parts = (*wide, 2)
        made = view_as_complex(make_tensor(parts, dtype=public(dtype.ir.part), low=low, high=high))
    elif dtype.is_floating_point:
        limits = finfo(dtype)
        low, high = max(low, limits.min), min(high, limits.max)
        made = empty(wide, dtype=float32 if dtype in (float16, bfloat16) else dtype)
        made = made.uniform_(low / 2, high / 2).mul_(2).to(dtype)
    else:
        limit = 2 if is_bool else int(iinfo(dtype).max) + 1
        made = _integers(wide, int(np.ceil(low)), min(int(np.ceil(high)), limit)).to(dtype)
    if exclude_zero:
        made[made == 0] = finfo(dtype).tiny if continuous else 1
    if noncontiguous and sizes:
        made = made[..., ::2]
    found: Tensor = made.requires_grad_() if requires_grad else made
    return found


def _integers(sizes: Sequence[int], low: int, high: int) -> Tensor:
    from adjit.random import randint

    found: Tensor = randint(low, high, tuple(sizes))
    return found
