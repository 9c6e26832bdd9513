"""Running folds along rows give what adding up element after element gives, in every shape and direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.reduction import cumulate_max, cumulate_prod, cumulate_sum
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, F64, I64, DType, TensorType
from tests.compiler.guarded import guarded

FOLDS = {"sum": (cumulate_sum, np.add), "prod": (cumulate_prod, np.multiply), "max": (cumulate_max, np.maximum)}


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
