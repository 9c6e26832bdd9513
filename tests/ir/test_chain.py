"""The chain rule of scalar ops: transposes, masked branches, second derivatives, and how few nodes are emitted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp

import adjit.ir.ops.named
import adjit.ir.ops.reduction
import adjit.ir.ops.source
import adjit.ir.ops.structure  # noqa: F401
from adjit.ir.builder import Builder, Expr
from adjit.ir.derive import differentiable
from adjit.ir.graph import Graph
from adjit.ir.ops.chain import scalar_jvp, scalar_vjp
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.types import F32, F64, TensorType
from tests.ir.oracles import ORACLES, slope
from tests.special import SPECIAL

OPS = differentiable()
INF = float("inf")


# -- the chain rule ----------------------------------------------------------------------------------------------------
SMALL = [
    op for op in PRIMITIVES.values()
    if op.family == "scalar" and not op.constant_result and op.name not in {"cast", *SPECIAL}
]  # fmt: skip


def samples(op: Primitive, ranks: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    operands = [np.asarray(random.uniform(0.1, 0.9, (2, 3)[:rank])) for rank in ranks]
    if op.name == "where":
        operands[0] = operands[0] > 0.5
    if op.name in ("imag", "real"):
        return [x + 1j * random.uniform(0.1, 0.9, x.shape) for x in operands]
    return [x + 1.5 for x in operands] if op.name == "acosh" else operands


def inner(x: Any, y: Any) -> float:
    """The sum of products of parts: the inner product of complex numbers as pairs of reals."""
    return float(np.sum(np.real(np.conj(x) * y)))


@pytest.mark.parametrize("op", SMALL, ids=lambda op: op.name)
def test_forward_and_reverse_are_transposes(op: Primitive) -> None:
    """<jvp t, g> = <t, vjp g>, with operands of rank 0 in every place, and each tangent left out in turn."""
    random = np.random.default_rng(9)
    for ranks in itertools.product((0, 2), repeat=len(op.operands)):
        operands = samples(op, ranks)
        out = op(*operands)
        g = random.normal(size=out.shape).astype(out.dtype)
        cotangents = scalar_vjp(op, np.asarray(g), out, *operands)
        assert len(cotangents) == len(operands)
        assert all(
            c is None or (c.shape == x.shape and c.dtype == x.dtype) for c, x in zip(cotangents, operands, strict=True)
        )
        tangents: list[Any] = [None if x.dtype == bool else np.asarray(random.normal(size=x.shape)) for x in operands]
        for left_out in (None, *range(len(operands))):
            kept = [None if i == left_out else t for i, t in enumerate(tangents)]
            tangent = scalar_jvp(op, kept, out, *operands)
            assert tangent is None or np.shape(tangent) == out.shape
            forward = 0.0 if tangent is None else inner(tangent, g)
            pairs = zip(cotangents, kept, strict=True)
            reverse = sum(inner(c, t) for c, t in pairs if c is not None and t is not None)
            assert forward == pytest.approx(reverse, rel=1e-12, abs=1e-12)


def test_cast_passes_floats_only() -> None:
    cast, g = primitive_named("cast"), np.ones(2, np.float32)
    (back,) = scalar_vjp(cast, g, None, np.ones(2), dtype=F32)
    assert back.dtype == np.float64
    assert scalar_vjp(cast, g, None, np.ones(2, np.int64), dtype=F32) == (None,)


MASKED = [
    ("sqrt", 0.0), ("log", 0.0), ("log1p", -1.0), ("rsqrt", 0.0), ("reciprocal", 0.0), ("asin", 1.0), ("acos", -1.0),
    ("acosh", 1.0), ("atanh", 1.0), ("log2", 0.0), ("log10", 0.0), ("logit", 0.0), ("exp", 1000.0), ("expm1", 1000.0),
    ("exp2", 5000.0), ("sinh", 1000.0), ("cosh", 1000.0), ("sqrt", -1.0), ("asin", 2.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "point"), MASKED)
def test_a_masked_branch_gives_zero(name: str, point: float) -> None:
    """where(false, f(x), 0) has the gradient 0 where f' is infinite or NaN; PyTorch gives NaN."""
    op, where = primitive_named(name), primitive_named("where")
    x = np.array([point, 0.5 if name != "acosh" else 1.5])
    inner = op(x)
    _, masked, _ = scalar_vjp(where, np.ones(2), None, np.array([False, True]), inner, np.zeros(2))
    (gradient,) = scalar_vjp(op, masked, inner, x)
    assert gradient[0] == 0 and np.isfinite(gradient[1]) and gradient[1] != 0


@pytest.mark.parametrize(("x", "y"), [(1.0, 0.0), (0.0, 0.0)])
def test_a_masked_division_gives_zero(x: float, y: float) -> None:
    div = primitive_named("div")
    out = div(np.float64(x), np.float64(y))
    assert scalar_vjp(div, np.zeros(()), out, np.float64(x), np.float64(y)) == (0.0, 0.0)


def test_singularities_that_are_reached_stay() -> None:
    sqrt, x = primitive_named("sqrt"), np.zeros(1)
    assert scalar_vjp(sqrt, np.ones(1), sqrt(x), x)[0] == INF


# -- on the IR: what is emitted, and second derivatives ----------------------------------------------------------------
def build(rule: Callable[..., Any], *types: TensorType) -> Graph:
    graph = Graph("f")
    builder = Builder(graph)
    found = rule(*(builder.expr(builder.input(type)) for type in types))
    graph.outputs = tuple(x.value for x in (found if isinstance(found, tuple) else (found,)) if x is not None)
    return graph


def names_in(graph: Graph) -> str:
    return " ".join(node.op.name for node in graph.nodes if node.op.name != "const")


VECTOR, SCALAR = TensorType(F32, (4,)), TensorType(F32, ())


def vjp_of(name: str, *literals: float) -> Callable[..., Any]:
    def rule(g: Expr, out: Expr, *operands: Expr) -> Any:
        given = [g.emitter.expr(g.emitter.constant(value, F32)) for value in literals]
        return scalar_vjp(primitive_named(name), g, out, *operands, *given)

    return rule


@pytest.mark.parametrize(
    ("rule", "types", "expected"),
    [
        (vjp_of("add"), (VECTOR, VECTOR), ""),
        (vjp_of("sub"), (VECTOR, VECTOR), "neg"),
        (vjp_of("mul"), (VECTOR, SCALAR), "mul mul reduce_sum"),
        (vjp_of("mul", 2.0), (VECTOR,), "mul"),
        (vjp_of("div", 3.0), (VECTOR,), "div"),
        (vjp_of("div"), (VECTOR, VECTOR), "safe_div safe_mul neg"),
        (vjp_of("pow", 2.0), (VECTOR,), "mul mul"),
        (vjp_of("pow", 1.0), (VECTOR,), ""),
        (vjp_of("pow", 0.0), (VECTOR,), ""),
        (vjp_of("pow", -1.5), (VECTOR,), "mul pow safe_mul"),
        (vjp_of("relu"), (VECTOR,), "le where"),
        (vjp_of("sqrt"), (VECTOR,), "safe_div mul"),
        (vjp_of("exp"), (VECTOR,), "safe_mul"),
        (vjp_of("sigmoid"), (VECTOR,), "sub mul mul"),
        (vjp_of("clamp", 0.0, 1.0), (VECTOR,), "le le and where"),
        (vjp_of("sign"), (VECTOR,), ""),
    ],
)
def test_few_nodes_are_emitted(rule: Callable[..., Any], types: tuple[TensorType, ...], expected: str) -> None:
    assert names_in(build(rule, VECTOR, VECTOR, *types)) == expected


def pull_back(builder: Builder, graph: Graph, x: Expr, target: Expr) -> Expr:
    """d target/d x through the scalar ops of a graph of 0-d values."""
    cotangents = {target.value: builder.expr(builder.constant(1.0, F64))}
    for node in reversed(list(graph.nodes)):
        g = cotangents.get(node.outputs[0])
        if g is None or node.op.name == "const":
            continue
        found = scalar_vjp(node.op, g, builder.expr(node.output), *builder.exprs(node.inputs), **node.attributes)
        for value, part in zip(node.inputs, found, strict=True):
            if part is not None:
                cotangents[value] = cotangents[value] + part if value in cotangents else part
    return cotangents.get(x.value, builder.expr(builder.constant(0.0, F64)))


def derivatives(function: Callable[[Expr], Expr], orders: int) -> Callable[[float], list[float]]:
    """The function that gives the value and the derivatives of `function` up to an order."""
    graph = Graph("f")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(F64, ())))
    results = [function(x)]
    for _ in range(orders):
        results.append(pull_back(builder, graph, x, results[-1]))

    def at(point: float) -> list[float]:
        known: dict[Any, Any] = {x.value: np.asarray(point)}
        for node in graph.nodes:
            known[node.output] = node.op.reference(*(known[v] for v in node.inputs), **node.attributes)
        return [float(known[result.value]) for result in results]

    return at


SECOND = [op for op in OPS if op.name in ORACLES and len(op.operands) == 1]


@pytest.mark.parametrize("op", SECOND, ids=lambda op: op.name)
def test_second_derivatives(op: Primitive) -> None:
    """By the rules applied to what they emitted, against differences in many digits."""
    at = derivatives(op, 2)
    compared = 0
    for point in (-5.5, -2.5, -0.7, -0.3, 0.2, 0.6, 0.9, 1.7, 3.3, 20.0):
        exact = slope(op.name, 0, (point,), order=2)
        if mp.isnan(exact) or mp.isnan(ORACLES[op.name](mp.mpf(point))):
            continue
        assert at(point)[2] == pytest.approx(float(exact), rel=1e-9, abs=1e-12), point
        compared += 1
    assert compared >= 3


def test_second_derivatives_where_the_cotangent_is_zero() -> None:
    """The zero that a safe product lets win is not flat: (f(x) - f(1))**2 has the second derivative 2*f'(1)**2 at 1."""
    for name, value, first in (("sqrt", 1.0, 0.5), ("log", 0.0, 1.0), ("reciprocal", 1.0, -1.0)):
        op = primitive_named(name)

        def loss(x: Expr, op: Primitive = op, value: float = value) -> Expr:
            rest = op(x) - value
            return rest * rest

        assert derivatives(loss, 2)(1.0) == pytest.approx([0.0, 0.0, 2 * first**2])


def test_second_derivative_of_a_masked_branch() -> None:
    where, sqrt = primitive_named("where"), primitive_named("sqrt")
    at = derivatives(lambda x: where(x > 0, sqrt(x), 0.0), 2)
    assert at(0.0) == [0.0, 0.0, 0.0]
    assert at(4.0) == pytest.approx([2.0, 0.25, -1 / 32])
    for name in ("log", "reciprocal", "rsqrt", "log1p", "asin", "acosh", "logit"):
        op, edge = primitive_named(name), {"log1p": -1.0, "asin": 1.0, "acosh": 1.0}.get(name, 0.0)
        at = derivatives(lambda x, op=op, edge=edge: where(x < edge - 9, op(x), 0.0), 3)
        assert at(edge) == [0.0, 0.0, 0.0, 0.0], name
    for masked in (
        lambda x: 1.0 / x,
        lambda x: x / x,
        lambda x: x ** (x - 0.5),
        lambda x: primitive_named("atan2")(x, x),
    ):
        at = derivatives(lambda x, masked=masked: where(x > 0, masked(x), 0.0), 3)
        assert at(0.0) == [0.0, 0.0, 0.0, 0.0]
    elu = primitive_named("elu")
    assert derivatives(lambda x: elu(x, 1.0), 3)(1000.0) == [1000.0, 1.0, 0.0, 0.0]
