"""Scalars of one form are computed in the lanes of vectors; whatever their forms, the results are the interpreter's."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

import adjit.ir.ops.named
import adjit.ir.ops.source  # noqa: F401
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import cast, reshape, where, window_of
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F32, F64, I64, DType, TensorType
from adjit.runtime.interpreter import run as interpret

UNARY = ("neg", "abs", "tanh", "sin", "exp", "floor", "sqrt")
BINARY = ("add", "sub", "mul", "maximum", "div")
INTEGERS = ("add", "sub", "mul", "minimum", "xor")


def op(name: str, *operands: Any) -> Any:
    return primitive_named(name)(*operands)


def step(random: Random, values: list[Expr], counts: list[Expr]) -> None:
    """One more scalar: of few kinds, so that many have the same form."""
    x, y, z = (random.choice(values[-12:]) for _ in range(3))
    kind = random.randrange(5)
    if kind == 0:
        values.append(op(random.choice(UNARY), op("tanh", x)) * random.choice([2.0, 3.0]))
    elif kind == 1:
        values.append(where(op("lt", x, y), z, random.choice([0.5, y])))
    elif kind == 2:
        a, b = (random.choice(counts) for _ in range(2))
        counts.append(op(random.choice(INTEGERS), a, b))
        values.append(op("tanh", cast(counts[-1], x.dtype)) + x)
    else:
        values.append(op(random.choice(BINARY), x, op("abs", y) + 1.0))


def program(seed: int, dtype: DType) -> Graph:
    """Scalars of an array, of arrays of one element and of integers; an array of them and single ones as results."""
    random = Random(seed)
    graph = Graph("scalars")
    builder = Builder(graph)
    array = builder.expr(builder.input(TensorType(dtype, (13,))))
    single = [builder.expr(builder.input(TensorType(dtype, ()))) for _ in range(3)]
    whole = builder.expr(builder.input(TensorType(I64, (4,))))
    values = [reshape(window_of(array, (k,), (1,), (1,)), ()) for k in range(13)] + single
    counts = [reshape(window_of(whole, (k,), (1,), (1,)), ()) for k in range(4)]
    # The same function of each, then what fits together by chance.
    values += [op("sin", x) * op("exp", op("neg", op("abs", x))) * x for x in values]
    for _ in range(60):
        step(random, values, counts)
    parts = [reshape(x, (1,)) for x in random.sample(values[16:], 21)]
    joined = primitive_named("concat")(*parts, axis=0)
    graph.outputs = (joined.value, *(x.value for x in random.sample(values, 4)), counts[-1].value)
    return graph


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_scalars_are_what_the_interpreter_gives(seed: int, dtype: DType) -> None:
    graph = program(seed, dtype)
    random = np.random.default_rng(seed)
    arrays = [np.asarray(random.standard_normal(v.dims), dtype.storage) for v in graph.inputs[:4]]
    arrays.append(random.integers(-9, 9, 4))
    expected = interpret(graph, *arrays)
    for strict in (False, True):
        found = compile_graph(graph, strict=strict).run(arrays)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5 if dtype is F32 else 1e-12, atol=1e-6)


def of_each(count: int, function: Any) -> Graph:
    """A function of each of `count` elements, as so many scalars."""
    graph = Graph("each")
    builder = Builder(graph)
    array = builder.expr(builder.input(TensorType(F64, (count,))))
    parts = [reshape(window_of(array, (k,), (1,), (1,)), ()) for k in range(count)]
    joined = primitive_named("concat")(*(reshape(function(x, k), (1,)) for k, x in enumerate(parts)), axis=0)
    graph.outputs = (joined.value,)
    return graph


def test_thirty_scalars_take_four_vectors() -> None:
    graph = of_each(30, lambda x, k: op("sin", x) * (x + float(k)))
    text = llvm_of(graph, strict=False)
    lanes = 30 if "v8f64" in text else 0
    if not lanes:
        pytest.skip("this machine has no vectors of eight float64")
    body = text.split("define internal void @k0", 1)[1].split("\n}", 1)[0]
    assert body.count("call <8 x double> @adjit.sin.v8f64") == 4
    assert "extractelement" not in body
    array = np.linspace(-2, 2, 30)
    (found,) = compile_graph(graph).run([array])
    np.testing.assert_allclose(found, np.sin(array) * (array + np.arange(30)), rtol=1e-14)
