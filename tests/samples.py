"""One generator of samples for each primitive: operands and attributes over dtypes, ranks, empty axes, ties and NaNs.

`samples(op)` is what every law over the registry runs on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tests.complex_samples
import tests.matrix_samples
import tests.window_samples  # noqa: F401  (they enter their generators)
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph, Region
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim
from adjit.ir.types import BOOL, C64, C128, F32, F64, I8, I32, I64, U8, DType, TensorType
from tests.sampling import ALL, NUMBERS, SAMPLES, Draw, Generator, Sample, samples_of, scalar_samples


def samples(op: Primitive) -> list[Sample]:
    """The samples of `op`; KeyError for an op that has no generator."""
    make = scalar_samples(op) if op.family == "scalar" else SAMPLES[op.name]
    return list(make(Draw(op.name)))


# -- structure ---------------------------------------------------------------------------------------------------------
@samples_of("reshape")
def _(draw: Draw) -> Iterator[Sample]:
    pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
        ((2, 3), (6,)), ((6,), (2, 3)), ((2, 3, 4), (6, 4)), ((6, 4), (2, 3, 4)), ((4, 3), (6, 2)), ((2, 6), (4, 3)),
        ((), (1, 1)), ((1,), ()), ((1, 3, 1, 2), (3, 2)), ((3, 2), (3, 1, 2, 1)), ((0, 3), (3, 0, 2)), ((2, 3), (2, 3)),
        ((2, 3, 2), (2, 2, 3)), ((2, 2, 3, 2), (4, 6)),
    )  # fmt: skip
    for old, new in pairs:
        yield Sample(f"{old} to {new}", (draw.array(old),), {"shape": new})
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((2, 3), dtype),), {"shape": (3, 2)})


@samples_of("permute")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, perm in (((), ()), ((3,), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 1, 3, 2), (3, 1, 0, 2))):
        yield Sample(f"{shape} {perm}", (draw.array(shape),), {"perm": perm})
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((0, 2) if dtype is F32 else (2, 3), dtype),), {"perm": (1, 0)})


@samples_of("expand")
def _(draw: Draw) -> Iterator[Sample]:
    pairs: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
        ((), ()), ((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 3), (4, 2, 3)), ((1,), (0,)), ((2, 3), (2, 3)),
        ((1, 1), (1, 2)), ((2, 1, 3, 1), (2, 2, 3, 2)), ((0, 1), (2, 0, 3)),
    )  # fmt: skip
    for old, new in pairs:
        yield Sample(f"{old} to {new}", (draw.array(old),), {"shape": new})
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((2, 1), dtype),), {"shape": (2, 3)})


@samples_of("slice")
def _(draw: Draw) -> Iterator[Sample]:
    cuts: tuple[tuple[tuple[int, ...], ...], ...] = (
        ((), (), (), ()), ((5,), (1,), (3,), (1,)), ((5,), (4,), (5,), (-1,)), ((7,), (5,), (3,), (-2,)),
        ((7,), (0,), (4,), (2,)), ((7,), (1,), (2,), (3,)), ((4, 6), (0, 4), (2, 2), (3, -3)),
        ((3, 2), (3, 0), (0, 2), (1, 1)),
        ((3,), (0,), (0,), (-1,)), ((1,), (0,), (1,), (-4,)), ((2, 3, 4), (1, 0, 3), (1, 3, 2), (1, 1, -2)),
        ((2, 0), (0, 0), (2, 0), (1, 1)),
    )  # fmt: skip
    for shape, start, size, step in cuts:
        attributes = {"start": start, "size": size, "step": step}
        yield Sample(f"{shape} {start} {size} {step}", (draw.array(shape),), attributes)
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((5,), dtype),), {"start": (3,), "size": (2,), "step": (-2,)})


@samples_of("pad")
def _(draw: Draw) -> Iterator[Sample]:
    pads: tuple[tuple[tuple[int, ...], ...], ...] = (
        ((), (), (), ()), ((3,), (0,), (0,), (0,)), ((3,), (1,), (2,), (0,)), ((3,), (0,), (1,), (2,)),
        ((2, 3), (0, 2), (1, 0), (1, 0)), ((1, 2), (1, 0), (0, 0), (3, 1)), ((0, 2), (1, 0), (1, 1), (2, 0)),
        ((2, 1, 2), (0, 1, 0), (0, 0, 1), (0, 0, 1)), ((0,), (0,), (0,), (1,)),
    )  # fmt: skip
    for value in (0, 1.5, -math.inf):
        for shape, low, high, interior in pads:
            attributes = {"low": low, "high": high, "interior": interior, "value": value}
            smooth = math.isfinite(value)
            yield Sample(f"{shape} {low} {high} {interior} {value}", (draw.array(shape),), attributes, smooth=smooth)
    for dtype in (*ALL, C128):
        attributes = {"low": (1,), "high": (1,), "interior": (1,), "value": dtype is BOOL or 2}
        yield Sample(f"{dtype}", (draw.array((3,), dtype),), attributes)


@samples_of("concat")
def _(draw: Draw) -> Iterator[Sample]:
    rows: tuple[tuple[list[tuple[int, ...]], int], ...] = (
        ([(3,)], 0), ([(2,), (3,)], 0), ([(2, 3), (2, 1), (2, 2)], 1), ([(1, 2), (0, 2), (2, 2)], 0),
        ([(2, 1, 2), (2, 3, 2)], 1),
    )  # fmt: skip
    for shapes, axis in rows:
        yield Sample(f"{shapes} {axis}", tuple(map(draw.array, shapes)), {"axis": axis})
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((2, 2), dtype), draw.array((1, 2), dtype)), {"axis": 0})


@samples_of("detach")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((), (3,), (0, 2), (2, 3, 1, 2)):
        yield Sample(f"{shape}", (draw.array(shape),))
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((2, 2), dtype),))


@samples_of("as_strided")
def _(draw: Draw) -> Iterator[Sample]:
    rows: tuple[tuple[Any, ...], ...] = (  # shape of x, shape, strides, offset
        ((6,), (2, 3), (3, 1), 0), ((6,), (3, 2), (1, 3), 0), ((6,), (2, 2), (2, 1), 1), ((2, 3), (3,), (2,), 1),
        ((4,), (3, 2), (1, 1), 0), ((3,), (2, 3), (0, 1), 0), ((2, 2, 3), (2, 2), (6, 2), 1), ((3,), (), (), 2),
        ((3,), (0, 2), (1, 1), 0), ((0,), (0,), (1,), 0), ((), (2,), (0,), 0), ((3, 3), (3,), (4,), 0),
    )  # fmt: skip
    for shape, view, strides, offset in rows:
        attributes = {"shape": view, "strides": strides, "offset": offset}
        yield Sample(f"{shape} {view} {strides} {offset}", (draw.array(shape),), attributes)
    for dtype in ALL:
        attributes = {"shape": (2, 2), "strides": (1, 2), "offset": 1}
        yield Sample(f"{dtype}", (draw.array((5,), dtype),), attributes)


# -- contraction -------------------------------------------------------------------------------------------------------
@samples_of("dot")
def _(draw: Draw) -> Iterator[Sample]:
    none: tuple[int, ...] = ()
    matrix = ((1,), (0,))
    cases: tuple[tuple[tuple[int, ...], tuple[int, ...], Any, Any], ...] = (
        ((2, 3), (3, 4), matrix, (none, none)), ((3,), (3,), ((0,), (0,)), (none, none)),
        ((2, 3), (3,), matrix, (none, none)), ((3,), (3, 2), ((0,), (0,)), (none, none)),
        ((2,), (3,), (none, none), (none, none)), ((), (2, 2), (none, none), (none, none)),
        ((2, 3), (4, 3), ((1,), (1,)), (none, none)), ((3, 2), (3, 4), ((0,), (0,)), (none, none)),
        ((2, 3, 2), (2, 2, 4), ((2,), (1,)), ((0,), (0,))), ((3, 2, 2), (2, 4, 3), ((1,), (0,)), ((0,), (2,))),
        ((2, 3, 4), (4, 2, 3), ((0, 2), (1, 0)), (none, none)),
        ((2, 3, 4), (3, 5, 4, 2), ((2, 0), (2, 3)), ((1,), (0,))),
        ((2, 2, 3), (2, 2, 3), ((2,), (2,)), ((1, 0), (0, 1))), ((2, 3), (2, 3), (none, none), ((0, 1), (0, 1))),
        ((2, 0), (0, 3), matrix, (none, none)), ((0, 2), (2, 3), matrix, (none, none)),
        ((2, 2, 1, 3), (2, 2, 3, 2), ((3,), (2,)), ((0, 1), (0, 1))),
    )  # fmt: skip
    for left, right, contract, batch in cases:
        attributes = {"contract": contract, "batch": batch}
        yield Sample(f"{left} {right} {contract} {batch}", (draw.array(left), draw.array(right)), attributes)
    for dtype in (*NUMBERS, C64, C128):
        operands = (draw.array((2, 3), dtype), draw.array((3, 2), dtype))
        yield Sample(f"{dtype}", operands, {"contract": matrix, "batch": (none, none)})
    spoiled = draw.array((2, 3), F32)
    spoiled[0, 1] = np.nan
    spoiled[1, 0] = np.inf
    attributes = {"contract": matrix, "batch": (none, none)}
    yield Sample("NaN and inf", (spoiled, draw.array((3, 2), F32)), attributes, smooth=False)


# -- reduction ---------------------------------------------------------------------------------------------------------
REDUCED: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((4,), (0,)), ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (1, 0)), ((2, 3), ()), ((2, 3, 2, 2), (1, 3)),
    ((3, 1), (1,)), ((0, 3), (1,)),
)  # fmt: skip
EMPTY: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (((0,), (0,)), ((2, 0), (1,)), ((0, 3), (0,)))


@samples_of("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axes in REDUCED:
        yield Sample(f"{shape} {axes}", (draw.array(shape),), {"axes": axes})
    for dtype in NUMBERS:
        yield Sample(f"{dtype}", (draw.array((2, 3), dtype),), {"axes": (1,)})
    special = np.array([[1, np.nan, 2], [np.inf, -np.inf, 0.0], [-0.0, 0.0, -0.0]], np.float32)
    yield Sample("special values", (special,), {"axes": (1,)}, smooth=False)
    yield Sample("ties", (np.array([[1.0, 2, 2], [3, 3, 3]]),), {"axes": (1,)}, smooth=False)


def with_empty(make: Generator) -> Generator:
    """The samples of `make`, and reductions over nothing."""

    def extended(draw: Draw) -> Iterator[Sample]:
        yield from make(draw)
        for shape, axes in EMPTY:
            yield Sample(f"{shape} {axes}", (draw.array(shape),), {"axes": axes})

    return extended


def with_zeros(make: Generator, *uses: dict[str, Any]) -> Generator:
    """The samples of `make`, and rows with no, one and two zeros: products are smooth there."""

    def extended(draw: Draw) -> Iterator[Sample]:
        yield from make(draw)
        rows = draw.array((4, 4))
        rows[1, 2] = rows[2, 0] = rows[2, 3] = rows[3, 1] = rows[3, 2] = 0
        for attributes in uses:
            yield Sample(f"zeros {attributes}", (rows,), attributes)

    return extended


def with_complex(make: Generator, *uses: dict[str, Any]) -> Generator:
    """The samples of `make`, and complex numbers."""

    def extended(draw: Draw) -> Iterator[Sample]:
        yield from make(draw)
        for attributes in uses:
            yield Sample(f"c128 {attributes}", (draw.array((2, 3), C128),), attributes)

    return extended


SAMPLES["reduce_sum"] = with_complex(with_empty(SAMPLES["reduce_sum"]), {"axes": (1,)}, {"axes": ()})
SAMPLES["reduce_prod"] = with_complex(
    with_empty(with_zeros(SAMPLES["reduce_prod"], {"axes": (1,)}, {"axes": (1, 0)})), {"axes": (1,)}, {"axes": (0, 1)}
)


@samples_of("reduce_any", "reduce_all")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axes in (*REDUCED, *EMPTY):
        yield Sample(f"{shape} {axes}", (draw.array(shape, BOOL),), {"axes": axes})


@samples_of("argmax", "argmin")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((4,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 1, 3, 2), 2), ((0, 3), 1)):
        yield Sample(f"{shape} {axis}", (draw.array(shape),), {"axis": axis})
    for dtype in ALL:
        yield Sample(f"{dtype}", (draw.array((2, 4), dtype),), {"axis": 1})
    special = np.array([[1, np.nan, np.nan, 2], [np.inf, -np.inf, np.inf, 0], [-0.0, 0.0, -0.0, 0.0]], np.float32)
    yield Sample("special values", (special,), {"axis": 1})


@samples_of("cumulate_sum", "cumulate_prod", "cumulate_max", "cumulate_min")
def _(draw: Draw) -> Iterator[Sample]:
    for reverse in (False, True):
        for shape, axis in (((4,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 1, 3, 2), 2), ((0, 3), 1), ((2, 0), 1)):
            yield Sample(f"{shape} {axis} {reverse}", (draw.array(shape),), {"axis": axis, "reverse": reverse})
        special = np.array([[1, np.nan, 2, 0], [np.inf, 1, -np.inf, 0], [-0.0, 0.0, -0.0, 3]], np.float32)
        yield Sample(f"special values {reverse}", (special,), {"axis": 1, "reverse": reverse}, smooth=False)
    for dtype in NUMBERS:
        yield Sample(f"{dtype}", (draw.array((2, 4), dtype),), {"axis": 1, "reverse": False})


RUNNING = ({"axis": 1, "reverse": False}, {"axis": 0, "reverse": True})
SAMPLES["cumulate_sum"] = with_complex(SAMPLES["cumulate_sum"], *RUNNING)
SAMPLES["cumulate_prod"] = with_complex(
    with_zeros(SAMPLES["cumulate_prod"], {"axis": 1, "reverse": False}, {"axis": 1, "reverse": True}), *RUNNING
)


@samples_of("recur")
def _(draw: Draw) -> Iterator[Sample]:
    for reverse in (False, True):
        for shape, axis in (((4,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 1, 3, 2), 2), ((0, 3), 1), ((2, 0), 1)):
            attributes = {"axis": axis, "reverse": reverse}
            yield Sample(f"{shape} {attributes}", (draw.array(shape), draw.array(shape)), attributes)
        yield Sample(f"c128 {reverse}", (draw.array((2, 3), C128), draw.array((2, 3), C128)), {**attributes, "axis": 0})
    for dtype in NUMBERS:
        yield Sample(f"{dtype}", (draw.array((2, 4), dtype), draw.array((2, 4), dtype)), {"axis": 1, "reverse": False})


@samples_of("sort")
def _(draw: Draw) -> Iterator[Sample]:
    for descending in (False, True):
        for shape, axis in (((5,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 1, 3, 2), 2), ((0, 3), 1), ((2, 0), 1)):
            yield Sample(f"{shape} {axis} {descending}", (draw.array(shape),), {"axis": axis, "descending": descending})
        for first, count in ((0, 2), (1, 3), (4, 0)):
            window = {"axis": 0, "descending": descending, "first": first, "count": count}
            yield Sample(f"window {first} {count} {descending}", (draw.array((4, 3)),), window)
        special = np.array([[1, np.nan, 2, 1, np.nan, -np.inf], [np.inf, 1, 1, 1, 0.0, -0.0]], np.float32)
        yield Sample(f"special values {descending}", (special,), {"axis": 1, "descending": descending}, smooth=False)
        for dtype in ALL:
            yield Sample(f"{dtype} {descending}", (draw.array((2, 5), dtype),), {"axis": 1, "descending": descending})


# -- indexing ----------------------------------------------------------------------------------------------------------
INDEXED: tuple[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (  # x, axes, shape of the indices
    ((5,), (0,), (3,)), ((5,), (0,), ()), ((4, 3), (0,), (6,)), ((3, 4), (1,), (2, 2)), ((3, 4), (0, 1), (5,)),
    ((3, 4, 2), (2, 0), (3,)), ((2, 3, 2), (1,), (0,)), ((2, 1, 3, 2), (3, 1), (2,)), ((3, 0), (0,), (2,)),
)  # fmt: skip


@samples_of("gather")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axes, places in INDEXED:
        indices = [draw.indices(shape[axis], places) for axis in axes]
        yield Sample(f"{shape} {axes} {places}", (draw.array(shape), *indices), {"axes": axes})
    for dtype in (*ALL, C128):
        yield Sample(f"{dtype}", (draw.array((4, 2), dtype), draw.indices(4, (3,))), {"axes": (0,)})
    for dtype in (U8, I8, I32):
        yield Sample(f"index {dtype}", (draw.array((4, 2)), draw.indices(4, (3,), dtype)), {"axes": (0,)})


@samples_of("scatter_set", "scatter_add", "scatter_max", "scatter_min", "scatter_mul")
def _(draw: Draw) -> Iterator[Sample]:
    def sample(name: str, shape: Sequence[int], axes: tuple[int, ...], places: Sequence[int], dtype: DType) -> Sample:
        indices = [draw.indices(shape[axis], places) for axis in axes]
        rest = [dim for axis, dim in enumerate(shape) if axis not in axes]
        updates = draw.array((*places, *rest), dtype)
        if dtype.is_float:
            updates = (updates + 0.03).astype(dtype.storage)  # no tie with an element of x
        return Sample(name, (draw.array(shape, dtype), updates, *indices), {"axes": axes})

    for shape, axes, places in INDEXED:
        yield sample(f"{shape} {axes} {places}", shape, axes, places, F64)
    for dtype in (*NUMBERS, C128) if draw.name in ("scatter_add", "scatter_set") else NUMBERS:
        yield sample(f"{dtype}", (4, 2), (0,), (6,), dtype)
    x, updates = np.array([1, np.nan, 0, 2], np.float32), np.array([np.nan, 3, -0.0, 5, 2], np.float32)
    yield Sample("special values", (x, updates, np.array([0, 1, 2, 3, 3])), {"axes": (0,)}, smooth=False)


def scatter_zeros(draw: Draw) -> Iterator[Sample]:
    yield from PLAIN_SCATTER(draw)
    x, updates = np.array([0.0, 2, 0, 3, 4]), np.array([3.0, 0, 5, 0, 0, 7, 2])
    yield Sample("zeros", (x, updates, np.array([0, 1, 1, 2, 3, 3, 4])), {"axes": (0,)})


PLAIN_SCATTER = SAMPLES["scatter_mul"]
SAMPLES["scatter_mul"] = scatter_zeros


# -- source ------------------------------------------------------------------------------------------------------------
@samples_of("const")
def _(draw: Draw) -> Iterator[Sample]:
    for value, dtype in ((1.5, F32), (-0.0, F64), (math.nan, F64), (math.inf, F32), (7, I64), (200, U8), (True, BOOL)):
        yield Sample(f"{value} {dtype}", (), {"value": value, "dtype": dtype})


@samples_of("iota")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((4,), 0), ((2, 3), 0), ((2, 3), 1), ((0, 2), 1), ((2, 1, 2, 3), 3)):
        for dtype in (I64, I32, F32):
            yield Sample(f"{shape} {axis} {dtype}", (), {"shape": shape, "axis": axis, "dtype": dtype})


@samples_of("table")
def _(draw: Draw) -> Iterator[Sample]:
    for values, dtype in (
        ((1.5, -0.0, math.nan, math.inf), F32), ((0.1,) * 3, F64), ((7, -(2**40)), I64), (tuple(range(100)), I32),
        ((200, 3, 0), U8), ((True, False), BOOL), ((), F32),
    ):  # fmt: skip
        yield Sample(f"{values} {dtype}", (), {"values": values, "dtype": dtype})


@samples_of("random_bits")
def _(draw: Draw) -> Iterator[Sample]:
    for key in ((0, 0), (42, 7), (-1, -1), (2**62 + 5, -(2**61) - 3)):
        for shape in ((), (5,), (2, 3), (0, 2)):
            yield Sample(f"{key} {shape}", (np.array(key, np.int64),), {"shape": shape})


# -- control -----------------------------------------------------------------------------------------------------------
VECTOR, COUNT, FLAG = TensorType(F64, (3,)), TensorType(I64, ()), TensorType(BOOL, ())


def region(types: Sequence[TensorType], body: Callable[..., Sequence[Any]]) -> Region:
    """The region on inputs of `types` that `body` writes, over expressions."""
    built = Region()
    builder = Builder(built)
    inputs = builder.exprs([builder.input(type) for type in types])
    built.outputs = tuple(result.value for result in body(*inputs))
    return built


def function(name: str, types: Sequence[TensorType], body: Callable[..., Sequence[Any]]) -> Graph:
    """The same as a graph."""
    built = region(types, body)
    return Graph(name, built.inputs, built.nodes, built.outputs)


@samples_of("call")
def _(draw: Draw) -> Iterator[Sample]:
    n = Dim.named("n")
    fixed = function("double", (VECTOR,), lambda x: (x + x, x * 3.0))
    named = function("sum", (TensorType(F64, (n,)), TensorType(F64, (n,))), lambda x, y: (x * y,))
    yield Sample("two results", (draw.array((3,)),), {"callee": fixed})
    yield Sample("named sizes", (draw.array((4,)), draw.array((4,))), {"callee": named})


@samples_of("cond")
def _(draw: Draw) -> Iterator[Sample]:
    branches = (region((VECTOR,), lambda x: (x * 2.0,)), region((VECTOR,), lambda x: (x * x,)))
    for chosen in (True, False):
        yield Sample(f"{chosen}", (np.array(chosen), draw.array((3,))), {}, branches)


@samples_of("while")
def _(draw: Draw) -> Iterator[Sample]:
    types = (VECTOR, COUNT, VECTOR)
    loop = (region(types, lambda w, i, x: (i < 3,)), region(types, lambda w, i, x: (i + 1, x * w)))
    for start in (0, 3):
        operands = (draw.array((3,)), np.array(start), draw.array((3,)))
        yield Sample(f"from {start}", operands, {"invariants": 1}, loop)


@samples_of("scan")
def _(draw: Draw) -> Iterator[Sample]:
    body = region((VECTOR, VECTOR, VECTOR), lambda w, c, x: (c * w + x, c * x))
    for reverse in (False, True):
        for length in (4, 1):
            attributes = {"invariants": 1, "carries": 1, "length": length, "reverse": reverse}
            operands = (draw.array((3,)), draw.array((3,)), draw.array((length, 3)))
            yield Sample(f"{length} {reverse}", operands, attributes, (body,))


@samples_of("linear_solve")
def _(draw: Draw) -> Iterator[Sample]:
    square = TensorType(F64, (3, 3))
    turned = partial(primitive_named("permute"), perm=(1, 0))
    bodies: list[Callable[..., Any]] = [
        lambda w, x: (w * turned(x),), lambda w, b: (turned(b / w),), lambda w, b: (turned(b) / w,)
    ]  # fmt: skip
    regions = tuple(region((square, square), body) for body in bodies)
    operands = (draw.array((3, 3)) + 3.0, draw.array((3, 3)))
    yield Sample("scaled transpose", operands, {"invariants": 1}, regions)


@samples_of("host_call")
def _(draw: Draw) -> Iterator[Sample]:
    attributes = {"function": "tests.cumulative_sum", "types": (VECTOR,)}
    yield Sample("one result", (draw.array((3,)),), attributes)
