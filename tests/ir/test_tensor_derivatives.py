"""Laws over the derivative rules of tensor ops: right to second order, on numbers and on named sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from adjit.compiler.differentiate import differentiate
from adjit.ir.analysis import substitute_attribute, substitute_type
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F64, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.ir.laws import TENSOR_OPS, assert_same, both_ways, compute, cotangent_rule, emitted, listed, named
from tests.samples import samples
from tests.sampling import Array, Sample
from tests.window_samples import conv_attributes

# The phases of eigenvectors are arbitrary, so differences of them say nothing: see tests/frontends/test_complex.py.
DIFFERENTIABLE = [
    op for op in TENSOR_OPS if (op.transpose_rule is not None or op.vjp_rule is not None) and op.name != "eig"
]


def numeric(op: Primitive) -> list[Sample]:
    """The samples on which derivative laws are checked: numbers of double precision, away from kinks."""
    return [
        sample for sample in samples(op)
        if sample.smooth and all(type.dtype.part is F64 for type in sample.types if type.dtype.is_continuous)
        and any(type.dtype.is_continuous for type in sample.types)
    ]  # fmt: skip


def cotangents_like(op: Primitive, sample: Sample, random: np.random.Generator) -> list[Array]:
    """A random cotangent of each floating or complex result."""
    return [normal(r, random) for r in compute(op, sample) if floating(r)]


def floating(x: Array) -> bool:
    return x.dtype.kind in "fc"


def normal(like: Array, random: np.random.Generator) -> Array:
    """Random numbers, complex where `like` is."""
    found = np.asarray(random.standard_normal(like.shape))
    return found + 1j * random.standard_normal(like.shape) if like.dtype.kind == "c" else found


def directional(function: Callable[..., Sequence[Array]], at: Sequence[Array], towards: Sequence[Array]) -> list[Array]:
    """The derivative of the floating results in a direction, by central differences of two steps, extrapolated."""

    def slope(step: float) -> list[Array]:
        sides = []
        for sign in (1, -1):
            moved = [x + sign * step * t if floating(x) else x for x, t in zip(at, towards, strict=True)]
            sides.append([r for r in function(*moved) if floating(np.asarray(r))])
        return [(high - low) / (2 * step) for high, low in zip(*sides, strict=True)]

    coarse, fine = slope(2e-4), slope(1e-4)
    return [(4 * f - c) / 3 for f, c in zip(fine, coarse, strict=True)]


def inner(left: Sequence[Any], right: Sequence[Any]) -> float:
    return float(sum(np.sum(np.real(np.conj(a) * b)) for a, b in zip(left, right, strict=True)))


def random_like(operands: Sequence[Array], random: np.random.Generator) -> list[Array]:
    return [normal(x, random) if floating(x) else x for x in operands]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_the_vjp_is_the_transpose_of_the_derivative(op: Primitive) -> None:
    """<g, J t> = <J' g, t>, with J t by central differences."""
    random = np.random.default_rng(7)
    assert numeric(op)
    for sample in numeric(op):
        g = cotangents_like(op, sample, random)
        found = both_ways(cotangent_rule(op, sample.attributes, len(g)), [*g, *sample.operands], sample.name)
        tangents = random_like(sample.operands, random)
        moved = directional(lambda *xs, s=sample: compute(op, s, xs), sample.operands, tangents)
        pairs = [(c, t) for c, t, x in zip(found, tangents, sample.operands, strict=True) if floating(x)]
        for cotangent, tangent in pairs:
            assert cotangent.shape == tangent.shape, sample.name
        for cotangent, x in zip(found, sample.operands, strict=True):
            assert (cotangent is not None) == floating(x), sample.name
        left, right = inner(g, moved), inner(*zip(*pairs, strict=True))
        assert left == pytest.approx(right, rel=1e-7, abs=1e-7), sample.name


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.transpose_rule is not None], ids=named)
def test_the_transpose_pairs_exactly(op: Primitive) -> None:
    """<A t, g> = <t, A' g>, in all linear operands together, or in each of a multilinear op."""
    random = np.random.default_rng(8)
    for sample in numeric(op):
        attributes = {**sample.attributes, **({"value": 0} if op.name == "pad" else {})}
        (g,) = cotangents_like(op, sample, random)
        found = listed(cotangent_rule(op, sample.attributes, 1)(g, *sample.operands))
        tangents = random_like(sample.operands, random)
        linear = [place for place, x in enumerate(sample.operands) if floating(x)]
        for chosen in [[place] for place in linear] if op.multilinear else [linear]:
            arguments = [tangents[p] if p in chosen else x for p, x in enumerate(sample.operands)]
            moved = np.asarray(op.reference(*arguments, **attributes))
            left = inner([g], [moved])
            right = inner([found[p] for p in chosen], [tangents[p] for p in chosen])
            assert left == pytest.approx(right, rel=1e-11, abs=1e-11), sample.name


# Where a zero factor meets a written rule that divides, second derivatives lack terms: its docstring says so.
NO_SECOND_ORDER = ("scatter_mul",)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_rules_can_be_differentiated(op: Primitive) -> None:
    """The program that a rule writes has a derivative, and it is right: second order."""
    random = np.random.default_rng(9)
    for sample in numeric(op):
        if op.name in NO_SECOND_ORDER and sample.name.startswith("zeros"):
            continue
        g = cotangents_like(op, sample, random)
        operands = [*g, *sample.operands]
        graph, _ = emitted(cotangent_rule(op, sample.attributes, len(g)), Sample("", tuple(operands)).types)
        derivative = differentiate(graph)
        count = len(graph.outputs)
        results = run(derivative.forward, *operands)
        seeds = [normal(results[index], random) for index in derivative.seeded]
        cotangents = run(derivative.backward, *seeds, *results[count:])
        tangents = random_like(operands, random)
        moved = directional(lambda *xs, p=graph: run(p, *xs), operands, tangents)
        left = inner(seeds, moved)
        right = inner(cotangents, [tangents[index] for index in derivative.reached])
        assert left == pytest.approx(right, rel=1e-6, abs=1e-6), sample.name


NAN = float("nan")
FIRST = {"axes": (0,)}
RUNNING = {"axis": 0, "reverse": False}


@pytest.mark.parametrize(
    ("name", "g", "operands", "attributes", "expected"),
    [
        ("reduce_max", 6, ([1.0, 3, 3],), FIRST, [[0, 3, 3]]),
        ("reduce_max", 6, ([NAN, 3.0, NAN],), FIRST, [[3, 0, 3]]),
        ("reduce_min", 6, ([0.0, -0.0, 1.0],), FIRST, [[3, 3, 0]]),
        ("reduce_prod", 1, ([0.0, 2, 3],), FIRST, [[6, 0, 0]]),
        ("reduce_prod", 1, ([0.0, 0, 3],), FIRST, [[0, 0, 0]]),
        ("cumulate_max", [1, 2, 3, 4], ([1.0, 1, 0, 2],), RUNNING, [[1, 5, 0, 4]]),
        ("cumulate_max", [1, 2, 3, 4], ([1.0, 1, 0, -1],), {"axis": 0, "reverse": True}, [[1, 2, 3, 4]]),
        ("cumulate_min", [1, 2, 3], ([1.0, NAN, 0],), RUNNING, [[1, 5, 0]]),
        ("cumulate_prod", [1, 2, 3, 4], ([2.0, 0, 3, 0],), RUNNING, [[1, 2 * 2 + 3 * 6, 0, 0]]),
        ("sort", [1, 2, 3], ([2.0, 1, 2],), {"axis": 0, "descending": True}, [[1, 3, 2]]),
        ("scatter_max", [6, 1], ([2.0, 0], [2.0, 1, 2], [0, 0, 0]), FIRST, [[2, 1], [2, 0, 2]]),
        ("scatter_mul", [6, 1], ([2.0, 5], [0.0, 3, 0], [0, 0, 1]), FIRST, [[0, 0], [36, 0, 5]]),
        ("scatter_set", [5, 7], ([1.0, 2], [3.0, 4, 5], [0, 0, 0]), FIRST, [[0, 7], [0, 0, 5]]),
    ],
)
def test_ties_nans_and_zeros(name: str, g: Any, operands: Any, attributes: dict[str, Any], expected: Any) -> None:
    found = cotangent_rule(primitive_named(name), attributes, 1)(np.array(g, float), *map(np.array, operands))
    assert [c.tolist() for c in listed(found) if c is not None] == expected


# -- named sizes -------------------------------------------------------------------------------------------------------
N, M = Dim.named("n"), Dim.named("m")


SYMBOLIC: list[tuple[str, list[tuple[Size, ...]], dict[str, Any]]] = [
    ("reshape", [(N, 2, M)], {"shape": (2 * N, M)}),
    ("reshape", [(6 * N,)], {"shape": (N, 3, 2)}),
    ("expand", [(N, 1)], {"shape": (M, N, 3)}),
    ("expand", [()], {"shape": (N, M)}),
    ("slice", [(N, M)], {"start": (N - 1, 1), "size": (N, M - 1), "step": (-1, 1)}),
    ("pad", [(N, M)], {"low": (M, 0), "high": (0, 1), "interior": (0, 2), "value": 0}),
    ("concat", [(N, 2), (M, 2)], {"axis": 0}),
    ("interleave", [(N, M), (N, M)], {"starts": ((0, 1), (0, 0)), "step": (1, 2), "shape": (N, 2 * M)}),
    ("window", [(N, M)], {"axes": (1,), "size": (2,), "stride": (2,), "dilation": (1,)}),
    ("dot", [(N, M), (M, 3)], {"contract": ((1,), (0,)), "batch": ((), ())}),
    ("dot", [(N, 2, M), (M, N, 3)], {"contract": ((2,), (0,)), "batch": ((0,), (1,))}),
    ("conv", [(N, 2, M), (3, 2, 3)], conv_attributes(1, (1, 1), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 3)], conv_attributes(2, (1, 1), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 1)], conv_attributes(2, (0, 0), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 2)], conv_attributes(3, (0, 3), 1, 2, 1)),
    ("conv", [(N, 2, 2 * M), (4, 1, 3)], conv_attributes(2, (1, 1), 1, 1, 2)),
    ("conv", [(N, 2, M), (3, 2, 3)], conv_attributes(2, (4, 2), 2, 1, 1)),
    ("conv", [(N, 2, M), (4, 1, 3)], conv_attributes(1, (1, 1), 2, 1, 2)),
    ("reduce_sum", [(N, M)], {"axes": (0,)}),
    ("reduce_prod", [(N, M, 2)], {"axes": (0, 2)}),
    ("reduce_max", [(N, M)], {"axes": (1,)}),
    ("cumulate_prod", [(N, M)], {"axis": 1, "reverse": True}),
    ("recur", [(N, M), (N, M)], {"axis": 1, "reverse": True}),
    ("cumulate_min", [(N, M)], {"axis": 0, "reverse": False}),
    ("sort", [(N, M)], {"axis": 1, "descending": True}),
]


@pytest.mark.parametrize("sizes", [{"n": 2, "m": 5}, {"n": 3, "m": 4}, {"n": 1, "m": 6}], ids=str)
@pytest.mark.parametrize(("name", "shapes", "attributes"), SYMBOLIC)
def test_rules_hold_for_named_sizes(
    name: str, shapes: list[tuple[Size, ...]], attributes: dict[str, Any], sizes: dict[str, int]
) -> None:
    """A rule written on named sizes gives each operand a cotangent of its own type, to second order, and is right."""
    op = primitive_named(name)
    types = [TensorType(F64, shape) for shape in shapes]
    results = [type for type in op.infer(types, attributes) if type.dtype.is_float]
    graph, _ = emitted(cotangent_rule(op, attributes, len(results)), [*results, *types])
    assert [value.type for value in graph.outputs] == types
    numbers = {key: substitute_attribute(value, sizes) for key, value in attributes.items()}
    random = np.random.default_rng(10)
    arrays = [random.standard_normal(substitute_type(type, sizes).dims) for type in (*results, *types)]  # type: ignore
    wanted = listed(cotangent_rule(op, numbers, len(results))(*arrays))
    for found, expected in zip(run(graph, *arrays), wanted, strict=True):
        assert_same(found, expected, False, name)
    second = differentiate(graph)
    verify(second.backward)
    given = [graph.inputs[index].type for index in second.reached]
    assert [value.type for value in second.backward.outputs] == given
