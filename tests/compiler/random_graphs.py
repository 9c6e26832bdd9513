"""Random programs over all families of ops, for laws that hold for every graph."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

import adjit.ir.ops.control
import adjit.ir.ops.named
import adjit.ir.ops.source  # noqa: F401
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph
from adjit.ir.ops import contraction, indexing, reduction, structure, windows
from adjit.ir.ops.arrays import cast, full
from adjit.ir.primitive import primitive_named, source
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, I64, TensorType

N, M = Dim.named("n"), Dim.named("m")
UNARY = ("neg", "abs", "tanh", "sin", "exp", "sigmoid", "relu", "floor")
BINARY = ("add", "sub", "mul", "maximum", "minimum")
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min")
SCATTERS = ("scatter_set", "scatter_add", "scatter_max")


def random_graph(seed: int, length: int = 14) -> Graph:
    """A graph of f32 inputs in the sizes n, m >= 1, of `length` random steps; its values stay moderate."""
    random = Random(seed)
    graph = Graph("random")
    builder = Builder(graph)
    shapes: list[tuple[Size, ...]] = [(N, 3), (N, 3), (3, M), (N, M), (M,), (), (2, 3, 4)]
    values = [builder.expr(builder.input(TensorType(F32, dims), f"x{i}")) for i, dims in enumerate(shapes)]
    for _ in range(length):
        step = random.choice(STEPS)
        made = step(random, values, random.choice(values[-6:] if random.random() < 0.7 else values))
        if made is not None and made.ndim <= 5:
            # Products of products would leave the range of f32.
            values.append(primitive_named("tanh")(made) if random.random() < 0.3 else made)
    outputs = random.sample(values[len(shapes) :], min(3, len(values) - len(shapes)))
    graph.outputs = tuple(value.value for value in outputs)
    return graph


def random_arrays(graph: Graph, seed: int, n: int, m: int) -> list[Any]:
    """Inputs for `random_graph`."""
    generator = np.random.default_rng(seed)
    sizes = {"n": n, "m": m}
    shapes = [[d.evaluate(sizes) if isinstance(d, Dim) else d for d in value.dims] for value in graph.inputs]
    return [np.asarray(generator.standard_normal(shape), np.float32) for shape in shapes]


def _unary(random: Random, values: list[Expr], x: Expr) -> Expr:
    return primitive_named(random.choice(UNARY))(primitive_named("tanh")(x))


def _binary(random: Random, values: list[Expr], x: Expr) -> Expr:
    fitting = [y for y in values if y.shape in (x.shape, ())]
    op = primitive_named(random.choice(BINARY))
    # Sums and products of what came before would leave the range in which f32 tells differences.
    x = primitive_named("tanh")(x)
    if random.random() < 0.2:
        return op(x, random.choice([0.0, 1.0, -0.0, 2.0, -1.0]))
    return op(x, random.choice(fitting))


def _where(random: Random, values: list[Expr], x: Expr) -> Expr:
    y = random.choice([y for y in values if y.shape in (x.shape, ())])
    return primitive_named("where")(x < y, x, y)


def _reduce(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    axes = tuple(axis for axis in range(x.ndim) if random.random() < 0.5)
    return primitive_named(random.choice(REDUCTIONS))(x, axes=axes) if axes else None


def _argmax(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return None
    # Where values come close, rounding decides.
    rounded = primitive_named("floor")(x * 8.0)
    return cast(reduction.argmax(rounded, axis=random.randrange(x.ndim)), F32)


def _cumulate(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return None
    op = random.choice([reduction.cumulate_sum, reduction.cumulate_max])
    return op(primitive_named("tanh")(x), axis=random.randrange(x.ndim), reverse=random.random() < 0.5)


def _sort(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    return reduction.sort(x, axis=random.randrange(x.ndim), descending=random.random() < 0.5)[0] if x.ndim else None


def _permute(random: Random, values: list[Expr], x: Expr) -> Expr:
    return structure.permute(x, perm=tuple(random.sample(range(x.ndim), x.ndim)))


def _reshape(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return structure.reshape(x, shape=(1,))
    place = random.randrange(x.ndim)
    if random.random() < 0.3:
        return structure.reshape(x, shape=(*x.shape[:place], 1, *x.shape[place:]))
    if x.ndim > 1:
        place = min(place, x.ndim - 2)
        merged = x.shape[place] * x.shape[place + 1]
        return structure.reshape(x, shape=(*x.shape[:place], merged, *x.shape[place + 2 :]))
    return structure.reshape(x, shape=(2, 2)) if x.shape == (4,) else None


def _expand(random: Random, values: list[Expr], x: Expr) -> Expr:
    shape = tuple(2 if dim == 1 and random.random() < 0.7 else dim for dim in x.shape)
    return structure.expand(x, shape=(*((random.choice([1, 2, N]),) if random.random() < 0.4 else ()), *shape))


def _slice(random: Random, values: list[Expr], x: Expr) -> Expr:
    start: list[Size] = []
    step: list[int] = []
    size: list[Size] = []
    for dim in x.shape:
        kind = random.choice(["all", "flip", "even"])
        if kind == "even" and isinstance(dim, int) and dim > 1:
            start.append(1), size.append(dim // 2), step.append(2 if dim > 2 else 1)  # type: ignore[func-returns-value]
        elif kind == "flip":
            start.append(dim - 1), size.append(dim), step.append(-1)  # type: ignore[func-returns-value]
        else:
            start.append(0), size.append(dim), step.append(1)  # type: ignore[func-returns-value]
    return structure.slice_(x, start=tuple(start), size=tuple(size), step=tuple(step))


def _pad(random: Random, values: list[Expr], x: Expr) -> Expr:
    low, high, interior = (tuple(random.choice([0, 0, 1]) for _ in x.shape) for _ in range(3))
    return structure.pad(x, low=low, high=high, interior=interior, value=random.choice([0, 0, -1.5]))


def _concat(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return None
    y = random.choice([y for y in values if y.shape == x.shape])
    return structure.concat(x, y, axis=random.randrange(x.ndim))


def _window(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    axes = [axis for axis, dim in enumerate(x.shape) if isinstance(dim, int) and dim >= 3]
    if not axes:
        return None
    axis = random.choice(axes)
    found = windows.window(x, axes=(axis,), size=(2,), stride=(random.choice([1, 2]),), dilation=(1,))
    if random.random() < 0.5:
        return found
    geometry = {"axes": (axis,), "size": (2,), "stride": (1,), "dilation": (1,)}
    return windows.fold(windows.window(x, **geometry), **geometry, shape=x.shape)


def _dot(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    pairs = [
        (y, i, j) for y in values for i, a in enumerate(x.shape) for j, b in enumerate(y.shape) if a == b and a != 1
    ]
    if not pairs:
        return None
    y, i, j = random.choice(pairs)
    tanh = primitive_named("tanh")
    batches = [(a, b) for y_, a, b in pairs if y_ is y and a != i and b != j]
    batch: Any = ((), ())
    if batches and random.random() < 0.5:
        (a, b) = random.choice(batches)
        batch = ((a,), (b,))
    return contraction.dot(tanh(x), y, contract=((i,), (j,)), batch=batch)


def _indices(random: Random, x: Expr, axis: int) -> Expr:
    """Positions in an axis, of a shape of their own, some of them equal."""
    count = source(x, primitive_named("iota"), shape=(4, 2), axis=random.randrange(2), dtype=I64)
    extent = full(x, x.shape[axis], (4, 2), I64)
    return primitive_named("mod")(count * 3, extent)


def _gather(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return None
    axis = random.randrange(x.ndim)
    return indexing.gather(x, _indices(random, x, axis), axes=(axis,))


def _scatter(random: Random, values: list[Expr], x: Expr) -> Expr | None:
    if not x.ndim:
        return None
    axis = random.randrange(x.ndim)
    indices = _indices(random, x, axis)
    updates = indexing.gather(primitive_named("sin")(x), indices, axes=(axis,))
    return primitive_named(random.choice(SCATTERS))(x, updates, indices, axes=(axis,))


STEPS = (
    _unary, _unary, _binary, _binary, _binary, _where, _reduce, _reduce, _argmax, _cumulate, _sort, _permute, _reshape,
    _reshape, _expand, _expand, _slice, _pad, _concat, _window, _dot, _dot, _gather, _scatter,
)  # fmt: skip
