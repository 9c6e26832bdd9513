"""Axes and sizes as arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from adjit.errors import explained
from adjit.ir.shape import Size as IRSize
from adjit.size import Size
from adjit.state import STATE
from adjit.symbolic_size import SymbolicSize, as_size
from adjit.tensor import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def numpy_names(function: Function) -> Function:
    """The function also taking `axis` for `dim` and `keepdims` for `keepdim`."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if "axis" in kwargs:
            kwargs["dim"] = kwargs.pop("axis")
        if "keepdims" in kwargs:
            kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def operands_renamed(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Keywords of a call that failed with operands by other names (`A`, `x`, `a`, `x1`; `x2`) as the function has them.

    None where that is not why it failed.
    """
    names = list(signature(function).parameters)
    other = "other" if "other" in names else names[1] if len(names) > 1 else names[0]
    stands = {**dict.fromkeys(("input", "A", "x", "a", "x1"), "input" if "input" in names else names[0]), "x2": other}
    found = {name if name in names else stands.get(name, name): value for name, value in kwargs.items()}
    given = {*names[: len(args)], *(name for name in kwargs if name in names)}
    taken = [name for name in found if name not in kwargs]
    if not taken or given.intersection(taken) or len(found) != len(kwargs) or not set(names).issuperset(found):
        return None
    return found


def named_rest(name: str) -> Callable[[Function], Function]:
    """The function of `*rest` also taking that by this name, as in `x.reshape(shape=(2, 3))`."""

    def decorated(function: Function) -> Function:
        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if name in kwargs and len(args) + ("input" in kwargs) == 1:
                args = (*(args or (kwargs.pop("input"),)), kwargs.pop(name))
            return function(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    return decorated


def shape_of(tensor: Tensor) -> Size:
    """The tensor's shape as the user sees it; open sizes of a trace note how they are used."""
    dims = tensor._tensor_type.dims
    if tensor._tracer is None:
        return Size(dims)  # type: ignore[arg-type]  # an eager tensor has numbers only
    return Size(as_size(dim, STATE.tracer or tensor._tracer) for dim in dims)  # type: ignore[misc]  # open sizes


def wrap_dim(dim: int, ndim: int) -> int:
    """`dim` counted from 0.  IndexError outside [-ndim, ndim-1]; a 0-d tensor takes 0 and -1."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    dim = int(dim)
    extent = max(ndim, 1)
    if not -extent <= dim < extent:
        raise explained(
            IndexError,
            f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim})",
            hint="the last axis is -1, whatever the number of axes",
        )
    return dim % extent


def wrap_dims(dims: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The axes in `dims`, counted from 0; all for None.  RuntimeError for an axis named twice."""
    if dims is None:
        return tuple(range(ndim))
    found = tuple(wrap_dim(dim, ndim) for dim in ((dims,) if isinstance(dims, (int, Tensor)) else dims))
    for dim in found:
        if found.count(dim) > 1:
            raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    return tuple(dim for dim in found if dim < ndim)


def sizes_argument(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """`f(2, 3)` and `f((2, 3))` alike."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return tuple(_integer(size) for size in sizes)


def whole(number: Any) -> Any:
    """A number as it is, and that of a tensor of rank 0, which stands for an int wherever one is wanted."""
    return int(number) if isinstance(number, Tensor) else number


def _integer(size: Any) -> Any:
    if isinstance(size, SymbolicSize):
        return size
    if isinstance(size, Tensor):
        return int(size)
    if isinstance(size, float):
        raise TypeError(f"sizes must be ints, not float ({size})")
    return size.__index__()


def numel_of(sizes: Sequence[Any]) -> Any:
    """The product of sizes."""
    total: Any = 1
    for size in sizes:
        total = total * size
    return total


def raw(sizes: Sequence[Any]) -> tuple[IRSize, ...]:
    """Sizes as the IR writes them."""
    from adjit.symbolic_size import as_dim

    return tuple(as_dim(size) for size in sizes)
