"""Small programs over all families of ops, in symbolic sizes: what the compiler's passes must not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import adjit.ir.ops.control
import adjit.ir.ops.named
import adjit.ir.ops.source  # noqa: F401
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph, Guard, Region
from adjit.ir.halfs import round_bf16
from adjit.ir.ops import contraction, indexing, reduction, structure, windows
from adjit.ir.ops.arrays import cast, full, permute, reshape, spread, where
from adjit.ir.parser import parse
from adjit.ir.primitive import primitive_named, source
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I32, I64, DType, TensorType

N, M = Dim.named("n"), Dim.named("m")
Function = Callable[..., Any]


def operands_of_text(text: str, below: int) -> list[np.ndarray]:
    """Operands for a program's text; integers are drawn from 1 to `below` - 1."""
    random = np.random.default_rng(0)
    found = []
    for value in parse(text).inputs:
        dims = tuple(map(int, value.dims))  # type: ignore[arg-type]
        whole = value.dtype.is_integer
        found.append(np.asarray(random.integers(1, below, dims) if whole else random.standard_normal(dims)))
    return found


def graph_of(function: Function, types: Sequence[TensorType], guards: Sequence[Guard] = ()) -> Graph:
    """A function over expressions as a graph of operands x0, x1, ... of these types."""
    graph = Graph("program", guards=guards)
    builder = Builder(graph)
    results = function(*[builder.expr(builder.input(type, f"x{i}")) for i, type in enumerate(types)])
    graph.outputs = tuple(x.value for x in (results if isinstance(results, tuple) else (results,)))
    return graph


@dataclass(frozen=True)
class Program:
    """A function over expressions and its operand types; integers are drawn below `integers`."""

    function: Function
    types: tuple[TensorType, ...]
    least: int = 0
    integers: int = 4

    def graph(self, sizes: dict[str, int] | None = None) -> Graph:
        """The program, in named sizes or with these numbers for them."""
        names = sorted(frozenset().union(*(type.names for type in self.types)))
        guards = [Guard(Dim.named(name), ">=", self.least) for name in names if self.least and sizes is None]
        types = [type.with_dims(shape_of(type, sizes)) if sizes else type for type in self.types]
        return graph_of(self.function, types, guards)

    def arrays(self, sizes: dict[str, int], seed: int = 0) -> list[Any]:
        """Operands."""
        generator = np.random.default_rng(seed)
        return [self._array(generator, type.dtype, shape_of(type, sizes)) for type in self.types]

    def _array(self, generator: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Any:
        if dtype.kind == "bool":
            return np.asarray(generator.integers(0, 2, shape), bool)
        if dtype.is_integer:
            return np.asarray(generator.integers(0, self.integers, shape), dtype.storage)
        values = np.asarray(generator.standard_normal(shape))
        return np.asarray(round_bf16(values)) if dtype is BF16 else values.astype(dtype.storage)


def shape_of(type: TensorType, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(dim.evaluate(sizes) if isinstance(dim, Dim) else dim for dim in type.dims)


def f32(*dims: Size) -> TensorType:
    return TensorType(F32, dims)


def i64(*dims: Size) -> TensorType:
    return TensorType(I64, dims)


def scalar(name: str) -> Any:
    return primitive_named(name)


def softmax(x: Expr) -> Expr:
    top = spread(reduction.reduce_max(x, axes=(1,)), x.shape, (1,))
    powers = scalar("exp")(x - top)
    return powers / spread(reduction.reduce_sum(powers, axes=(1,)), x.shape, (1,))


def normalized(x: Expr, scale: Expr) -> tuple[Expr, ...]:
    def mean(y: Expr) -> Expr:
        return reduction.reduce_sum(y, axes=(1,)) / full(x, x.shape[1], (), F32)

    away = x - spread(mean(x), x.shape, (1,))
    deviation = scalar("sqrt")(mean(away * away) + 1e-5)
    return away / spread(deviation, x.shape, (1,)) * structure.expand(scale, shape=x.shape), deviation


def linear(x: Expr, w: Expr, b: Expr) -> Expr:
    found = contraction.dot(x, w, contract=((1,), (0,)), batch=((), ()))
    return scalar("relu")(found + structure.expand(b, shape=found.shape))


def batched(x: Expr, y: Expr) -> Expr:
    """Of attention: scores over the last axes, batched over the first two."""
    return contraction.dot(x, y, contract=((3,), (3,)), batch=((0, 1), (0, 1)))


def heads(x: Expr, w: Expr) -> Expr:
    """Of attention: a projection, its last axis split and moved."""
    found = contraction.dot(x, w, contract=((2,), (0,)), batch=((), ()))
    return permute(reshape(found, (*found.shape[:2], 2, 3)), (0, 2, 1, 3))


def convolution(stride: Any, padding: Any, spread_: Any, gap: Any, groups: int) -> Function:
    attributes = {"stride": stride, "padding": padding, "input_dilation": spread_, "kernel_dilation": gap}
    return lambda x, w: contraction.conv(x, w, **attributes, groups=groups)


def pooled(x: Expr) -> Expr:
    found = windows.window(x, axes=(1,), size=(3,), stride=(2,), dilation=(1,))
    return reduction.reduce_max(found, axes=(2,))


def folded(x: Expr) -> Expr:
    shape = (x.shape[0], x.shape[1] + 2)
    windows_of = windows.window(structure.pad(x, low=(0, 1), high=(0, 1), interior=(0, 0), value=0.5),
                                axes=(1,), size=(2,), stride=(1,), dilation=(2,))  # fmt: skip
    return windows.fold(windows_of, axes=(1,), size=(2,), stride=(1,), dilation=(2,), shape=shape)


def rolled(x: Expr) -> Expr:
    """Reversed, joined with itself, padded inside and out, in another shape."""
    flipped = structure.slice_(x, start=(x.shape[0] - 1, 2), size=x.shape, step=(-1, -1))
    joined = structure.concat(x, flipped, axis=1)
    wide = structure.pad(joined, low=(1, 0), high=(0, 2), interior=(1, 1), value=-1.5)
    return reshape(permute(wide, (1, 0)), (wide.shape[0] * wide.shape[1],))


def halved(x: Expr, y: Expr) -> tuple[Expr, ...]:
    z = scalar("sigmoid")(x) * y + 1.0
    product = contraction.dot(z, y, contract=((1,), (1,)), batch=((), ()))
    return z, reduction.reduce_sum(z, axes=(0,)), product, reduction.sort(x, axis=0, descending=True)[0]


def guarded_division(x: Expr, y: Expr) -> Expr:
    """A quotient outside of which zeros stand: where it is not wanted, it must not fault."""
    return structure.pad(x / (y + 1), low=(2,), high=(1,), interior=(1,), value=7)


def masked_rows(x: Expr, index: Expr) -> Expr:
    """Padding of what is read at computed places."""
    rows = indexing.gather(scalar("sin")(x), index, axes=(0,))
    return structure.pad(rows, low=(0, 1), high=(2, 0), interior=(0, 0), value=0)


def scattered(x: Expr, updates: Expr, index: Expr) -> tuple[Expr, ...]:
    kinds = ("scatter_set", "scatter_add", "scatter_mul", "scatter_max", "scatter_min")
    return tuple(scalar(kind)(x * 2.0, updates, index, axes=(0,)) for kind in kinds)


def running(x: Expr) -> tuple[Expr, ...]:
    kinds = ("cumulate_sum", "cumulate_prod", "cumulate_max", "cumulate_min")
    calls = [(kind, axis, reverse) for kind in kinds for axis, reverse in ((0, False), (1, True))]
    return tuple(scalar(kind)(scalar("tanh")(x), axis=axis, reverse=reverse) for kind, axis, reverse in calls)


def extremes(x: Expr) -> tuple[Expr, ...]:
    return (*(scalar(name)(x, axis=axis) for name in ("argmax", "argmin") for axis in (0, 1)),
            *reduction.sort(x, axis=0, descending=False))  # fmt: skip


def counting(x: Expr) -> tuple[Expr, ...]:
    count = source(x, primitive_named("iota"), shape=x.shape, axis=1, dtype=I64)
    flags = scalar("lt")(count, full(x, 2, (), I64))
    every = reduction.reduce_all(flags, axes=(0, 1)), reduction.reduce_any(flags, axes=(1,))
    return (where(flags, x, 0.0), reduction.reduce_sum(cast(flags, I32), axes=(1,)), *every,
            reduction.reduce_prod(count + 1, axes=(0,)))  # fmt: skip


def bits(key: Expr) -> Expr:
    return scalar("random_bits")(key, shape=(3, 5))


def losses(x: Expr, y: Expr) -> tuple[Expr, ...]:
    """Several results of one loop, and results of whole arrays."""
    error = x - y
    square = error * error
    return reduction.reduce_sum(square, axes=(0, 1)) / full(x, x.shape[0], (), F32), scalar("abs")(error), square


def outer(x: Expr, y: Expr) -> Expr:
    return contraction.dot(x, y, contract=((), ()), batch=((), ()))


def vectors(x: Expr, y: Expr, z: Expr) -> tuple[Expr, ...]:
    """Products with a vector, on either side, and of two."""
    return (contraction.dot(x, y, contract=((1,), (0,)), batch=((), ())),
            contraction.dot(z, x, contract=((0,), (0,)), batch=((), ())),
            contraction.dot(y, y, contract=((0,), (0,)), batch=((), ())))  # fmt: skip


def controlled(x: Expr, flag: Expr) -> tuple[Expr, ...]:
    """A branch, a loop with a bound, and a scan, each with fused code inside."""
    builder = x.emitter
    taken, other = _region([x.type], lambda y: scalar("exp")(y) * 2.0), _region([x.type], lambda y: y - 1.0)
    branch = builder.emit(primitive_named("cond"), [flag.value, x.value], {}, [taken, other])
    types = [i64(), x.type]
    test = _region(types, lambda i, y: scalar("lt")(i, 3))
    body = _region(types, lambda i, y: (i + 1, scalar("tanh")(y + 1.0)))
    start = builder.constant(0, I64)
    loop = builder.emit(primitive_named("while"), [start, branch.output], {"invariants": 0}, [test, body])
    row = x.type.with_dims(x.shape[1:])
    step = _region([row, row], lambda total, r: (total + r, total * r))
    first = reduction.reduce_sum(x, axes=(0,))
    attributes = {"invariants": 0, "carries": 1, "length": x.shape[0], "reverse": True}
    found = builder.emit(primitive_named("scan"), [first.value, loop.outputs[1]], attributes, [step])
    return builder.exprs((*loop.outputs, *found.outputs))


def _region(types: Sequence[TensorType], function: Function) -> Region:
    region = Region()
    builder = Builder(region)
    results = function(*[builder.expr(builder.input(type)) for type in types])
    region.outputs = tuple(x.value for x in (results if isinstance(results, tuple) else (results,)))
    return region


PROGRAMS: dict[str, Program] = {
    "elementwise": Program(lambda x, y: scalar("exp")(x) * y + 1.0, (f32(N, 3), f32())),
    "broadcast": Program(lambda x, y: x * structure.expand(y, shape=x.shape), (f32(N, 3, M), f32(3, 1))),
    "double": Program(lambda x: scalar("gelu")(x) - x, (TensorType(F64, (N, M)),)),
    "sum": Program(lambda x: reduction.reduce_sum(x * x, axes=(0, 2)), (f32(N, 3, M),)),
    "sum_all": Program(lambda x: reduction.reduce_sum(x, axes=(0, 1)), (f32(N, M),)),
    "sum_twice": Program(
        lambda x: reduction.reduce_sum(reduction.reduce_max(x, axes=(2,)), axes=(0,)), (f32(N, 2, M),), least=1
    ),
    "losses": Program(losses, (f32(N, 3), f32(N, 3)), least=1),
    "softmax": Program(softmax, (f32(N, M),), least=1),
    "normalized": Program(normalized, (f32(N, M), f32(M)), least=1),
    "linear": Program(linear, (f32(N, M), f32(M, 5), f32(5))),
    "batched": Program(batched, (f32(N, 2, M, 3), f32(N, 2, 4, 3))),
    "heads": Program(heads, (f32(N, M, 5), f32(5, 6))),
    "outer": Program(outer, (f32(N), f32(M, 2))),
    "vectors": Program(vectors, (f32(N, M), f32(M), f32(N))),
    "integers": Program(lambda x, y: scalar("mod")(outer(x, y), 5) * 3, (i64(N), i64(M))),
    "conv": Program(convolution((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1), (f32(N, 3, 5, M), f32(4, 3, 3, 3)), 1),
    "conv_groups": Program(
        convolution((2, 1), ((1, 0), (1, 1)), (1, 2), (2, 1), 2), (f32(N, 4, 6, M), f32(4, 2, 3, 3)), 2
    ),
    "conv_points": Program(convolution((1,), ((0, 0),), (1,), (1,), 1), (f32(N, 3, M), f32(4, 3, 1)), least=1),
    "pooled": Program(pooled, (f32(N, M),), least=3),
    "folded": Program(folded, (f32(N, M),), least=1),
    "rolled": Program(rolled, (f32(N, 3),), least=1),
    "guarded_division": Program(guarded_division, (i64(N), i64(N)), least=1),
    "gather": Program(lambda x, i: indexing.gather(x, i, axes=(1,)), (f32(N, 4, M), i64(2, 3))),
    "masked_rows": Program(masked_rows, (f32(4, M), i64(N))),
    "scattered": Program(scattered, (f32(4, M), f32(N, M), i64(N))),
    "running": Program(running, (f32(N, M),)),
    "extremes": Program(extremes, (f32(N, M),), least=1),
    "counting": Program(counting, (f32(N, M),)),
    "bits": Program(bits, (i64(2),)),
    "half": Program(halved, (TensorType(F16, (N, M)), TensorType(F16, (N, M)))),
    "brain": Program(halved, (TensorType(BF16, (N, M)), TensorType(BF16, (N, M)))),
    "controlled": Program(controlled, (f32(N, 3), TensorType(BOOL, ())), least=1),
}
