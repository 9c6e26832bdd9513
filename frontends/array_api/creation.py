"""The standard's functions that make tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import adjit
from adjit.dtypes import dtype
from adjit.tensor import Tensor


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """start, start + step, ... before `stop`; of one argument 0, 1, ... before it; empty where nothing lies between."""
    if stop is None:
        start, stop = 0, start
    if dtype is None and any(isinstance(number, float) for number in (start, stop, step)):
        dtype = adjit.get_default_dtype()
    if (step > 0 and stop < start) or (step < 0 and stop > start):
        stop = start
    return adjit.arange(start, stop, step, dtype=dtype, device=device)  # type: ignore[no-any-return]


def asarray(obj: Any, /, *, dtype: dtype | None = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of numbers, nested sequences, or another array; on its memory where `copy` is false or it can be.

    Errors: ValueError where only a copy can be given and `copy` is False.
    """
    found: Tensor = adjit.asarray(obj, dtype=dtype, device=device, copy=copy)
    return found


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: dtype | None = None, device: Any = None
) -> Tensor:
    """1 on the k-th diagonal, 0 elsewhere."""
    columns = n_rows if n_cols is None else n_cols
    k = max(-n_rows, min(k, columns))  # a diagonal farther away is as empty as these
    rows = adjit.arange(n_rows, device=device).unsqueeze(1)
    on_diagonal = rows + k == adjit.arange(columns, device=device)
    return on_diagonal.to(adjit.get_default_dtype() if dtype is None else dtype)  # type: ignore[no-any-return]


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array."""
    return adjit.from_dlpack(x, device=device, copy=copy)  # type: ignore[no-any-return]


def full(shape: Any, fill_value: Any, *, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """`fill_value` everywhere."""
    return adjit.full(_sizes(shape), fill_value, dtype=dtype, device=device)  # type: ignore[no-any-return]


def full_like(x: Tensor, /, fill_value: Any, *, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """`fill_value` in the shape of x."""
    return adjit.full_like(x, fill_value, dtype=dtype, device=device)  # type: ignore[no-any-return]


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: dtype | None = None, device: Any = None, endpoint: bool = True
) -> Tensor:
    """`num` numbers from start to stop at equal distances, stop itself left out without `endpoint`."""
    if endpoint:
        return adjit.linspace(start, stop, num, dtype=dtype, device=device)  # type: ignore[no-any-return]
    return adjit.linspace(start, stop, num + 1, dtype=dtype, device=device)[:num]  # type: ignore[no-any-return]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Grids of the coordinates in vectors, the first two dims exchanged for "xy"."""
    if len(arrays) < 2:
        return [array.clone() for array in arrays]
    return list(adjit.meshgrid(*arrays, indexing=indexing))


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The matrices' elements on the k-th diagonal and below, 0 above."""
    return adjit.tril(x, k)  # type: ignore[no-any-return]


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The matrices' elements on the k-th diagonal and above, 0 below."""
    return adjit.triu(x, k)  # type: ignore[no-any-return]


def _sizes(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def _of_shape(name: str) -> Callable[..., Tensor]:
    of = getattr(adjit, name)

    def make(shape: Any, *, dtype: dtype | None = None, device: Any = None) -> Tensor:
        return of(_sizes(shape), dtype=dtype, device=device)  # type: ignore[no-any-return]

    make.__name__ = make.__qualname__ = name
    make.__doc__ = of.__doc__
    return make


def _like(name: str) -> Callable[..., Tensor]:
    of = getattr(adjit, name)

    def make(x: Tensor, /, *, dtype: dtype | None = None, device: Any = None) -> Tensor:
        return of(x, dtype=dtype, device=device)  # type: ignore[no-any-return]

    make.__name__ = make.__qualname__ = name
    make.__doc__ = of.__doc__
    return make


empty, ones, zeros = _of_shape("empty"), _of_shape("ones"), _of_shape("zeros")
empty_like, ones_like, zeros_like = _like("empty_like"), _like("ones_like"), _like("zeros_like")
