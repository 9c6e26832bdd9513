"""Evenly spaced numbers, grids, and the indices of triangles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjit.creation import check_device, finished, of_array
from adjit.dims import numel_of, shape_of
from adjit.dispatch import apply
from adjit.dtypes import default_complex, default_float, dtype_argument, public, require_order
from adjit.ir.errors import asks_memory
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL, C128, F32, F64, I64, DType
from adjit.promotion import cast_to
from adjit.python_data import stored
from adjit.shaping import reshape
from adjit.state import STATE, is_traced
from adjit.symbolic_size import SymbolicSize
from adjit.tensor import Tensor
from adjit.warning import warn


def _finished(points: Tensor, requires_grad: bool, out: Tensor | None) -> Tensor:
    """The points as a leaf that may require grad; or in `out`, which keeps its shape where it has as many elements."""
    if out is not None and numel_of(shape_of(out)) == numel_of(shape_of(points)):
        points = reshape(points, *shape_of(out))
    return finished(points, requires_grad, out)


def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """start + i*step for i = 0, 1, ... while below end (above it, for a negative step).

    Errors: RuntimeError for a step of 0, or one that leads away from `end`.
    """
    check_device(device)
    if end is None:
        if start is None:
            raise TypeError("arange() received an invalid combination of arguments - got (), but expected one of:")
        start, end = 0, start
    parts = [_bound(x, name) for x, name in ((0 if start is None else start, "start"), (end, "end"), (step, "step"))]
    target = dtype_argument(dtype, "arange") or (None if out is None else out._dtype)
    if target is None:
        target = default_float() if any(isinstance(x, float) for x in parts) else I64
    if target is BOOL:
        raise NotImplementedError("\"arange_cpu\" not implemented for 'Bool'")
    if STATE.tracer is not None and not any(isinstance(x, float) for x in parts):
        return _finished(_counted(parts[0], parts[1], parts[2], target), requires_grad, out)
    first, last, by = map(_plain, parts)
    if target in (F32, F64) and _is_watched():
        _check_direction(first, last, by)
        points = _line(math.ceil((last - first) / by), first, by)
        return _finished(cast_to(points, target), requires_grad, out)
    return _finished(of_array(*_spaced(first, last, by, target)), requires_grad, out)


def range(
    start: Any, end: Any, step: Any = 1, *, out: Tensor | None = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start + i*step for i = 0, 1, ... up to end, which is included; deprecated in PyTorch, for `arange`.

    Errors: RuntimeError for a step of 0, or one that leads away from `end`.
    """
    warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).",
        UserWarning,
        stacklevel=2,
    )
    check_device(device)
    first, last, by = (_plain(_bound(x, name)) for x, name in ((start, "start"), (end, "end"), (step, "step")))
    target = dtype_argument(dtype, "range") or (default_float() if out is None else out._dtype)
    _check_direction(first, last, by)
    points = first + np.arange(math.floor((last - first) / by) + 1, dtype=np.float64) * by
    return _finished(of_array(stored(points, F64, target), target), requires_grad, out)


def _bound(value: Any, name: str) -> Any:
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (int, float, SymbolicSize)):
        raise TypeError(f"arange(): argument '{name}' must be Number, not {type(value).__name__}")
    return int(value) if isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, SymbolicSize) else value


def _check_direction(start: Any, end: Any, step: Any) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not all(isinstance(x, SymbolicSize) or math.isfinite(x) for x in (start, end)):
        raise RuntimeError(f"unsupported range: {start:g} -> {end:g}")
    if (start > end) if step > 0 else (start < end):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


def _is_watched() -> bool:
    """Whether the native entry looks at what is done, so as to do it itself."""
    return STATE.tracer is not None and not is_traced()


def _line(count: int, start: float, step: float) -> Tensor:
    """start + step * i for i below `count`, in float64."""
    place = apply(PRIMITIVES["iota"], (), {"shape": (count,), "axis": 0, "dtype": F64})
    return apply(PRIMITIVES["add"], (apply(PRIMITIVES["mul"], (place, step)), start))  # type: ignore[no-any-return]


@asks_memory
def _spaced(start: Any, end: Any, step: Any, target: DType) -> tuple[np.ndarray, DType]:
    require_order(target, "arange_cpu")
    _check_direction(start, end, step)
    # PyTorch counts the elements of int64 ranges in integers, those of all others in float64.
    if target is I64:
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError("step must be nonzero")
        count = -((start - end) // step)
    else:
        count = math.ceil((end - start) / step)
    if target.is_integer:
        wide = int(start) + np.arange(count, dtype=np.int64) * int(step)
        return stored(wide, I64, target), target
    return stored(start + np.arange(count, dtype=np.float64) * step, F64, target), target


def _counted(start: Any, end: Any, step: Any, target: DType) -> Tensor:
    """The range as a program, for integers and open sizes."""
    _check_direction(start, end, step)
    size = -((start - end) // step)
    counted = apply(PRIMITIVES["iota"], (), {"shape": (size,), "axis": 0, "dtype": target})
    if isinstance(step, SymbolicSize) or step != 1:
        counted = apply(PRIMITIVES["mul"], (counted, step))
    if isinstance(start, SymbolicSize) or start != 0:
        counted = apply(PRIMITIVES["add"], (counted, start))
    return counted  # type: ignore[no-any-return]


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` points from start to end, both included: start + i*(end - start)/(steps - 1)."""
    check_device(device)
    _check_ends("linspace", start, end)
    ends_complex = _are_complex(start, end)
    target = dtype_argument(dtype, "linspace") or (default_complex() if ends_complex else default_float())
    if target.is_complex:
        return _finished(_complex_points(start, end, steps, target), requires_grad, out)
    first, last = _ends("linspace", start, end, target)
    if target in (F32, F64) and _is_watched() and type(steps) is int and steps > 1:
        return _finished(cast_to(_both_ways(first, last, steps, target), target), requires_grad, out)
    return _finished(of_array(stored(_points(first, last, steps, target), F64, target), target), requires_grad, out)


def _are_complex(start: Any, end: Any) -> bool:
    """Whether an end is a complex number."""
    return any(isinstance(x.item() if isinstance(x, Tensor) else x, complex) for x in (start, end))


def _complex_points(start: Any, end: Any, steps: int, target: DType) -> Tensor:
    """The points between complex numbers: both parts run evenly."""
    first, last = (complex(x.item() if isinstance(x, Tensor) else x) for x in (start, end))
    re, im = (
        _points(start, end, steps, target.part)
        for start, end in ((first.real, last.real), (first.imag, last.imag))
    )
    return of_array(stored(re + 1j * im, C128, target), target)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """base ** x for x in linspace(start, end, steps)."""
    check_device(device)
    ends_complex = _are_complex(start, end)
    target = dtype_argument(dtype, "logspace") or (default_complex() if ends_complex else default_float())
    if ends_complex:
        found = complex(base) ** _complex_points(start, end, steps, C128)
        return _finished(found.to(public(target)), requires_grad, out)
    first, last = _ends("logspace", start, end, target)
    exponents = _points(first, last, steps, target)
    if target.is_float:
        exponents = stored(stored(exponents, F64, target), target, F64)
    with np.errstate(all="ignore"):
        powers = np.power(float(base), exponents)
    return _finished(of_array(stored(powers, F64, target), target), requires_grad, out)


def _ends(name: str, start: Any, end: Any, target: DType) -> tuple[float, float]:
    """Start and end as `target` holds them."""
    _check_ends(name, start, end)
    first, last = (float(x.item() if isinstance(x, Tensor) else x) for x in (start, end))
    return _rounded(first, target), _rounded(last, target)


def _check_ends(name: str, start: Any, end: Any) -> None:
    """RuntimeError for ends that have dimensions."""
    ndims = {part: len(shape_of(x)) for part, x in (("start", start), ("end", end)) if isinstance(x, Tensor)}
    if any(ndims.values()):
        told = " and ".join(f"{part} with {ndim} dimension(s)" for part, ndim in ndims.items())
        raise RuntimeError(f"{name} only supports 0-dimensional start and end tensors, but got {told}.")


def _rounded(value: float, target: DType) -> float:
    """The number that `target` holds for `value`."""
    return float(stored(stored(np.asarray(value), F64, target), target, F64))


@asks_memory
def _points(start: float, end: float, steps: Any, target: DType) -> np.ndarray:
    """The points in float64: counted from `start` in the first half, from `end` in the second, so both are exact.

    The step is rounded to the target first; with one rounding at the end that equals PyTorch's fused arithmetic.
    """
    if not hasattr(steps, "__index__"):
        raise TypeError(f"linspace(): argument 'steps' (position 3) must be int, not {type(steps).__name__}")
    steps = steps.__index__()
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if steps < 2:
        return np.full(steps, start)
    step = _step(start, end, steps, target)
    place = np.arange(steps, dtype=np.float64)
    return np.asarray(np.where(place < steps // 2, start + step * place, end - step * (steps - 1 - place)))


def _step(start: float, end: float, steps: int, target: DType) -> float:
    """The distance of two points, rounded to the target."""
    if not target.is_float:
        return (end - start) / (steps - 1)
    return _rounded(_rounded(end - start, target) / (steps - 1), target)


def _both_ways(start: float, end: float, steps: int, target: DType) -> Tensor:
    """`_points` as a program."""
    step = _step(start, end, steps, target)
    place = apply(PRIMITIVES["iota"], (), {"shape": (steps,), "axis": 0, "dtype": F64})
    back = apply(PRIMITIVES["mul"], (apply(PRIMITIVES["sub"], (steps - 1, place)), step))
    is_first = apply(PRIMITIVES["lt"], (place, steps // 2))
    points = _line(steps, start, step), apply(PRIMITIVES["sub"], (end, back))
    return apply(PRIMITIVES["where"], (is_first, *points))  # type: ignore[no-any-return]


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Vectors expanded to the grid that they span: out[k][i, j, ...] = tensors[k][index k].

    Shapes: [n], [m], ... -> [n, m, ...] each; [m, n, ...] for indexing="xy".
    """
    from adjit.shaping import expand, reshape, transpose

    if indexing is None:
        warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.",
            UserWarning,
            stacklevel=2,
        )
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    if not vectors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for vector in vectors:
        if vector._tensor_type.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {vector!r}")
        if vector._dtype is not vectors[0]._dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    sizes = [numel_of(shape_of(vector)) for vector in vectors]
    grids = []
    for place, vector in enumerate(vectors):
        shape: list[Any] = [1] * len(vectors)
        shape[place] = sizes[place]
        grid = expand(reshape(vector, *shape), *sizes)
        grids.append(transpose(grid, 0, 1) if indexing == "xy" and len(vectors) > 1 else grid)
    return tuple(grids)


def _triangle(numpy_function: Callable[..., Any], name: str, doc: str) -> Callable[..., Tensor]:
    def indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
        check_device(device)
        for label, extent in (("row", row), ("col", col)):
            if extent < 0:
                raise RuntimeError(f"{label} must be non-negative, got{extent}")
        found = np.stack(asks_memory(numpy_function)(row, offset, col))
        target = dtype_argument(dtype, name) or I64
        return of_array(stored(found.astype(np.int64), I64, target), target)

    indices.__name__ = indices.__qualname__ = name
    indices.__doc__ = doc
    return indices


tril_indices = _triangle(np.tril_indices, "tril_indices", "Rows and columns of the lower triangle, row by row.")
triu_indices = _triangle(np.triu_indices, "triu_indices", "Rows and columns of the upper triangle, row by row.")

METHODS: dict[str, Callable[..., Any]] = {}
__all__ = ["arange", "linspace", "logspace", "meshgrid", "range", "tril_indices", "triu_indices"]
