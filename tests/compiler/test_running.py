"""Running folds along rows give what adding up element after element gives, in every shape and direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.reduction import cumulate_max, cumulate_min, cumulate_prod, cumulate_sum
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, F64, I8, I32, I64, U8, DType, TensorType
from tests.compiler.guarded import guarded

FOLDS = {
    "sum": (cumulate_sum, np.add), "prod": (cumulate_prod, np.multiply), "max": (cumulate_max, np.maximum),
    "min": (cumulate_min, np.minimum),
}  # fmt: skip


def program(shape: tuple[Size, ...], kind: str, axis: int, reverse: bool, dtype: DType) -> Graph:
    """A running fold of twice x."""
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, shape)))
    graph.outputs = (FOLDS[kind][0](x * 2, axis=axis, reverse=reverse).value,)
    return graph


def expected(x: Any, kind: str, axis: int, reverse: bool) -> Any:
    turned = np.flip(2 * x, axis) if reverse else 2 * x
    found = FOLDS[kind][1].accumulate(turned, axis=axis)
    return np.flip(found, axis) if reverse else found


@pytest.mark.parametrize("kind", FOLDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(5, 70), (4, 1), (9,), (3, 5, 33), (1, 40)], ids=str)
def test_running_folds_go_element_by_element(kind: str, reverse: bool, shape: tuple[int, ...]) -> None:
    for dtype in (F32, F64, I64):
        x = np.random.default_rng(3).integers(-3, 4, shape).astype(dtype.storage)
        if dtype.is_float:
            x += np.random.default_rng(4).standard_normal(shape).astype(dtype.storage)
        wanted = expected(x, kind, len(shape) - 1, reverse)
        with guarded([x], at_end=not reverse) as operands:
            (found,) = compile_graph(program(shape, kind, len(shape) - 1, reverse, dtype), threads=2).run(operands)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(6, 50), (3, 0), (0, 7), (2, 1)], ids=str)
def test_sizes_may_be_open(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    graph = program((Dim.named("n"), Dim.named("m")), "sum", 1, False, F32)
    np.testing.assert_array_equal(compile_graph(graph).run([x])[0], expected(x, "sum", 1, False))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_running_value_stays_in_a_register(reverse: bool) -> None:
    text = llvm_of(program((64, 512), "sum", 1, reverse, F32))
    assert "gather" not in text and "scatter" not in text


@pytest.mark.parametrize("length", [31, 32, 33, 47, 64, 129], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_scans_by_vectors_know_nan_infinities_and_the_signs_of_zeros(kind: str, reverse: bool, length: int) -> None:
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45])
    random = np.random.default_rng(length)
    for dtype in (F32, F64):
        x = special[random.integers(2 - 2 * (length % 2), 10, (5, length))].astype(dtype.storage)
        x[1] = -0.0
        x[2, : length // 2] = -np.inf if kind == "max" else np.inf
        x[3] = random.permutation(np.where(np.arange(length) % 2, 0.0, -0.0))
        graph = program(x.shape, kind, 1, reverse, dtype)
        with guarded([x], at_end=not reverse) as operands:
            (found,) = compile_graph(graph, threads=1).run(operands)
        wanted = expected(x, kind, 1, reverse)
        np.testing.assert_array_equal(found, wanted)
        # -0 is below +0 where both come.
        turned, other = (np.flip(a, 1) if reverse else a for a in (x, found))
        minus = np.signbit(turned) & (turned == 0)
        plus = ~np.signbit(turned) & (turned == 0)
        decided = np.logical_or.accumulate(plus if kind == "max" else minus, 1)
        zero = other == 0
        assert np.array_equal(np.signbit(other)[zero], (~decided if kind == "max" else decided)[zero])


@pytest.mark.parametrize("dtype", [U8, I8, I32, I64], ids=str)
@pytest.mark.parametrize("kind", ["max", "min", "sum"])
def test_scans_of_integers_reach_the_ends_of_their_range(kind: str, dtype: DType) -> None:
    limits = np.iinfo(dtype.storage)
    for length in (150, 256, 300):
        x = np.random.default_rng(length).integers(limits.min, limits.max, (3, length), dtype.storage, endpoint=True)
        x[0, ::7], x[1, ::5] = limits.min, limits.max
        graph = Graph("program")
        builder = Builder(graph)
        given = builder.expr(builder.input(TensorType(dtype, x.shape)))
        graph.outputs = (FOLDS[kind][0](given, axis=1, reverse=False).value,)
        with guarded([x], at_end=True) as operands:
            (found,) = compile_graph(graph, threads=1).run(operands)
        np.testing.assert_array_equal(found, FOLDS[kind][1].accumulate(x, axis=1, dtype=dtype.storage))


def test_extremes_so_far_go_by_vectors() -> None:
    assert "shufflevector" in llvm_of(program((64, 512), "max", 1, False, F32))
    assert "shufflevector" not in llvm_of(program((64, 512), "sum", 1, False, F32))  # whose order is told
