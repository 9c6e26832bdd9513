"""Random sound graphs: every kind of op family, literal, name, location, region and callee that text has to carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import UNKNOWN, Graph, Guard, Location, Region, Value
from adjit.ir.ops import contraction, control, indexing, named, reduction, scalar, source, structure
from adjit.ir.primitive import primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, F32, F64, I64, DType, TensorType

# Importing them is what registers the ops.
FAMILIES = (contraction, control, indexing, named, reduction, scalar, source, structure)
N, M = Dim.named("n"), Dim.named("m")
SIZES: tuple[Size, ...] = (N, M, 3, 2 * N + 1, N * M, (N + 3) // 2, (N - 1) % M)
FLOATS = (0.0, -0.0, 1.5, -2.0, 1e-30, 1e300, math.nan, math.inf, -math.inf, N, 2 * N + 1)
NAMES = (None, None, None, "x", "x", "x_1", "7", "0", "layers.0.weight", "weights['a']", "β", "d4")
LOCATIONS = (
    UNKNOWN,
    Location("train.py", 12),
    Location("my file.py", 3),
    Location("train.py", 13, "∂", "sigmoid' = out*(1 - out)"),
    Location("", 0, "∂∂", "sum"),
)


class Maker:
    """Draws one graph's nodes into a builder."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self.draw = draw

    def choose(self, count: int) -> int:
        return self.draw(st.integers(0, count - 1))

    def pick(self, items: Sequence[object]) -> object:
        return items[self.choose(len(items))]

    def value(self, values: list[Value]) -> Value:
        chosen = self.pick(values)
        assert isinstance(chosen, Value)
        return chosen

    def nodes(self, builder: Builder, values: list[Value], count: int, depth: int) -> None:
        """Append `count` random nodes to a region where `values` may be used; their results are added to these."""
        for _ in range(count):
            location = self.pick(LOCATIONS)
            assert isinstance(location, Location)
            builder.location = location
            x = builder.expr(self.value(values))
            kinds = [self.arithmetic, self.literals, self.reduced, self.structural, self.several]
            if depth < 2:
                kinds += [self.branch, self.called]
            made = kinds[self.choose(len(kinds))](builder, x, values, depth)
            for value in made:
                name = self.pick(NAMES)
                if value.name is None and value.constant is None:
                    value.name = name  # type: ignore[assignment]
            values.extend(made)

    def arithmetic(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        if x.dtype is BOOL:
            return [(~x).value]
        same = [v for v in values if v.type == x.type]
        y = builder.expr(self.value(same))
        return [self.pick([x + y, x * y, x < y, -x]).value]  # type: ignore[attr-defined]

    def literals(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        if x.dtype is BOOL:
            return [(x & self.pick([True, False])).value]  # type: ignore[operator]
        numbers = FLOATS if x.dtype.is_float else (0, -3, 2**40, N, N - M)
        number = self.pick(numbers)
        if self.choose(2):
            return [(x * number).value]  # type: ignore[operator]
        condition = builder.expr(builder.constant(True, BOOL))
        return [primitive_named("where")(condition, number, x).value]

    def reduced(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        if x.dtype is BOOL or x.ndim == 0:
            return [primitive_named("cast")(x, dtype=F64).value]
        return [primitive_named("reduce_sum")(x, axes=(self.choose(x.ndim),)).value]

    def structural(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        if x.ndim < 3 and self.choose(2):
            return [primitive_named("expand")(x, shape=(self.pick(SIZES), *x.shape)).value]
        return [primitive_named("permute")(x, perm=tuple(reversed(range(x.ndim)))).value]

    def several(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        if x.ndim == 0 or x.dtype is BOOL:
            return self.arithmetic(builder, x, values, depth)
        found = primitive_named("sort")(x, axis=0, descending=bool(self.choose(2)))
        return [result.value for result in found]

    def branch(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        flags = [v for v in values if v.type == TensorType(BOOL, ())]
        predicate = flags[0] if flags and self.choose(2) else builder.constant(bool(self.choose(2)), BOOL)
        regions = []
        for _ in range(2):
            region = Region()
            inner = Builder(region)
            value = inner.input(x.type, self.pick(NAMES))  # type: ignore[arg-type]
            inside = [value]
            self.nodes(inner, inside, self.choose(3), depth + 1)
            region.outputs = (self.value([v for v in inside if v.type == x.type]),)
            regions.append(region)
        return list(builder.emit(control.cond, [predicate, x.value], {}, regions).outputs)

    def called(self, builder: Builder, x: Expr, values: list[Value], depth: int) -> list[Value]:
        callee = Graph(str(self.pick(["softmax", "softmax", "f.vjp", "<lambda>"])))
        inner = Builder(callee)
        own_sizes = tuple(Dim.named(f"k{axis}") for axis in range(x.ndim))
        value = inner.input(TensorType(x.dtype, own_sizes), self.pick(NAMES))  # type: ignore[arg-type]
        inside = [value]
        for _ in range(self.choose(3)):
            y = inner.expr(inside[-1])
            kinds = [self.arithmetic] if x.dtype is BOOL or depth else [self.arithmetic, self.called]
            inside += [v for v in kinds[self.choose(len(kinds))](inner, y, inside, 2) if v.type == value.type]
        callee.outputs = (inside[-1], inside[0])
        return list(builder.emit(control.call, [x.value], {"callee": callee}).outputs)


@st.composite
def graphs(draw: Callable[..., int]) -> Graph:
    """A sound graph over inputs f32[n, m], f64[n], i64[m], bool[] with guards and, perhaps, a write."""
    maker = Maker(draw)
    graph = Graph(str(maker.pick(["loss", "f.vjp", "<lambda>"])))
    builder = Builder(graph)
    names = [("x", "y", "4", "p"), (None, None, None, None), ("a['b']", "0", "1", "a__b__")][maker.choose(3)]
    dtypes: tuple[DType, ...] = (F32, F64, I64, BOOL)
    shapes: tuple[tuple[Size, ...], ...] = ((N, M), (N,), (M,), ())
    values = [
        builder.input(TensorType(t, dims), name) for t, dims, name in zip(dtypes, shapes, names, strict=True)
    ]
    maker.nodes(builder, values, 2 + maker.choose(14), 0)
    graph.outputs = (*[maker.value(values) for _ in range(maker.choose(3))], values[0])
    graph.guards = (Guard(N, ">=", 2), Guard(N - M, "!=", 0))[: maker.choose(3)]
    graph.writes = ((0, len(graph.outputs) - 1),) if maker.choose(2) else ()
    return graph
