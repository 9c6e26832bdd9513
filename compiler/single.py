"""Kernels of single ops, for eager mode: one compiled program per op and dtype, open in its sizes.

They come from the same pipeline as whole programs, strictly compiled.  Sums keep their order whatever is known of the
sizes, so an op alone and the same op inside a strictly compiled program give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from itertools import count as numbers
from math import prod
from string import ascii_lowercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.halfs import storage_dtype
from adjit.ir.literals import literal_key
from adjit.ir.primitive import Primitive
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BF16, DType, TensorType
from adjit.runtime.executable import Executable
from adjit.runtime.fork_locks import ForkLock

# Matrices of so many rows and columns, in arrays of so many elements, are worth programs for their sizes.
_SMALL, _MANY = 16, 1 << 12
# Attributes may be others at every call, as sizes are: of so many programs, those in use are kept by who uses them.
_MOST_PROGRAMS = 1 << 12
_programs: dict[Any, Executable] = {}
_lock = ForkLock()


def run_single(op: Primitive, arrays: Sequence[NDArray[Any]], attributes: Mapping[str, Any]) -> list[NDArray[Any]]:
    """The results of one op on arrays, by its native kernel."""
    if op.family == "scalar":
        return _run_scalar(op, arrays, attributes)
    arrays, attributes = as_they_stand(op, arrays, attributes)
    dtypes = tuple(storage_dtype(array) for array in arrays)
    types = _open_types(op, arrays, dtypes, attributes)
    return _program(op, types, attributes).run(arrays)


def _run_scalar(op: Primitive, arrays: Sequence[NDArray[Any]], attributes: Mapping[str, Any]) -> list[NDArray[Any]]:
    """A scalar op sees its operands flat; only those of rank 0 stand apart."""
    shape = max((array.shape for array in arrays), key=len)
    flat = [a if a.ndim == 0 else np.ascontiguousarray(a).reshape(-1) for a in arrays]
    results = _program(op, _flat_types(arrays), attributes).run(flat)
    return [result.reshape(shape) for result in results]


def as_they_stand(
    op: Primitive, arrays: Sequence[NDArray[Any]], attributes: Mapping[str, Any]
) -> tuple[Sequence[NDArray[Any]], Mapping[str, Any]]:
    """The same product of arrays in order whose axes were permuted: the axes as memory has them, and attributes so."""
    if op.name != "dot" or all(array.flags.c_contiguous for array in arrays):
        return arrays, attributes
    found: list[NDArray[Any]] = []
    sides: dict[str, list[tuple[int, ...]]] = {"contract": [], "batch": []}
    for side, array in enumerate(arrays):
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        bound = {*attributes["contract"][side], *attributes["batch"][side]}
        free = [axis for axis in order if axis not in bound]
        if array.flags.c_contiguous or free != sorted(free) or not array.transpose(order).flags.c_contiguous:
            order = [*range(array.ndim)]
        found.append(array.transpose(order))
        for kind, axes in sides.items():
            axes.append(tuple(order.index(axis) for axis in attributes[kind][side]))
    return found, {**attributes, **{kind: tuple(axes) for kind, axes in sides.items()}}


def _flat_types(arrays: Sequence[NDArray[Any]]) -> tuple[TensorType, ...]:
    """The types in which a scalar op's kernel sees its operands."""
    return tuple(_flat_type(storage_dtype(array), array.ndim == 0) for array in arrays)


@cache
def _flat_type(dtype: DType, is_number: bool) -> TensorType:
    return TensorType(dtype, () if is_number else (Dim.named("n"),))


def _open_types(
    op: Primitive, arrays: Sequence[NDArray[Any]], dtypes: Sequence[DType], attributes: Mapping[str, Any]
) -> tuple[TensorType, ...]:
    """The operands' types with sizes left open, where the op's attributes do not fix them."""
    dims: list[list[Size]] = [list(array.shape) for array in arrays]
    names = chain(ascii_lowercase, (f"d{number}" for number in numbers()))
    if op.name in ("reduce_sum", "reduce_prod", "sort"):
        dims = [[Dim.named(next(names)) for _ in own] for own in dims]
    elif op.name.startswith("scatter_"):
        x, updates, *indices = dims
        count = len(indices[0])
        places, rest = ([Dim.named(next(names)) for _ in range(rank)] for rank in (count, len(updates) - count))
        updates[:] = places + rest
        for index in indices:
            index[:] = places
        others = iter(rest)
        x[:] = [Dim.named(next(names)) if axis in attributes["axes"] else next(others) for axis in range(len(x))]
    elif op.name == "dot":
        dims = _sizes_of_product([array.shape for array in arrays], dtypes[0], attributes)
    elif op.family == "linalg":  # matrices of a size, any number of them
        for axis in range(arrays[0].ndim - 2):
            name = Dim.named(next(names))
            for own in dims:
                own[axis] = name
    elif op.family == "fourier":  # transforms of a length, any number of them
        fixed = attributes["axes"] if "axes" in attributes else (attributes["axis"],)
        dims = [[size if axis in fixed else Dim.named(next(names)) for axis, size in enumerate(own)] for own in dims]
    elif op.name == "conv":
        dims[0][0] = Dim.named(next(names))
    return tuple(TensorType(dtype, tuple(own)) for dtype, own in zip(dtypes, dims, strict=True))


def open_product(dims: Sequence[Sequence[Size]], attributes: Mapping[str, Any]) -> list[list[Size]]:
    """The sizes of a product's operands as names: those that must be equal have one."""
    names = map(Dim.named, "abcdefghijklmnopqrstuvwxyz")
    left, right = found = [list(own) for own in dims]
    for kind in ("batch", "contract"):
        for i, j in zip(*attributes[kind], strict=True):
            left[i] = right[j] = next(names)
    for own in found:
        own[:] = [next(names) if isinstance(extent, int) else extent for extent in own]
    return found


def _sizes_of_product(
    dims: Sequence[Sequence[int]], dtype: DType, attributes: Mapping[str, Any]
) -> list[list[Size]]:
    """The sizes of a product's operands, left open but for small ones.

    Of two large matrices of bfloat16 those must be known that tell where pairs of terms lie: all but the count of rows.
    Batches of them multiply no pairs: their sizes change from call to call, as lengths of texts do.
    """
    batch, contract = attributes["batch"], attributes["contract"]
    is_large = sum(map(prod, dims)) >= _MANY
    most = _SMALL if is_large else 1  # one row or column is not packed
    in_pairs = is_large and dtype is BF16 and not batch[0]

    def is_known(side: int, axis: int, size: int) -> bool:
        if in_pairs:
            return side + axis > 0 or axis in contract[side]
        return size <= most and axis not in batch[side]

    names = open_product(dims, attributes)
    return [
        [size if is_known(side, axis, size) else names[side][axis] for axis, size in enumerate(own)]
        for side, own in enumerate(dims)
    ]


def _program(op: Primitive, types: tuple[TensorType, ...], attributes: Mapping[str, Any]) -> Executable:
    key = (op, types, tuple([(name, literal_key(value)) for name, value in attributes.items()]))
    found = _programs.get(key)
    if found is None:
        with _lock:
            found = _programs.get(key)
            if found is None:
                from adjit.compiler.compile import compile_graph

                if len(_programs) >= _MOST_PROGRAMS:
                    _programs.clear()
                graph = Graph(op.name)
                builder = Builder(graph)
                graph.outputs = builder.emit(op, [builder.input(t) for t in types], dict(attributes)).outputs
                found = _programs[key] = compile_graph(graph, strict=True, patient=True)
    return found


def program_of(
    op: Primitive, arrays: Sequence[NDArray[Any]], attributes: Mapping[str, Any]
) -> tuple[Executable, tuple[tuple[int, ...], ...]]:
    """The kernel that serves one op on such arrays, and the shapes in which it sees them."""
    if op.family != "scalar":
        types = _open_types(op, arrays, tuple(storage_dtype(array) for array in arrays), attributes)
        return _program(op, types, attributes), tuple(array.shape for array in arrays)
    return _program(op, _flat_types(arrays), attributes), tuple(() if a.ndim == 0 else (a.size,) for a in arrays)
