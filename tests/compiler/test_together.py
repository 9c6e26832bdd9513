"""Loops over a row that run together, and rows two at a time: the same bits as one after another."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler import tile_sums
from adjit.compiler.llvm import emit_pairs, emit_together
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand, reshape, window_of
from adjit.ir.ops.reduction import reduce_max, reduce_sum
from adjit.ir.primitive import primitive_named
from adjit.ir.types import F32, F64, DType, TensorType

exp, log = primitive_named("exp"), primitive_named("log")
Program = Callable[..., tuple[Expr, ...]]


def _spread(value: Expr, like: Expr) -> Expr:
    return expand(reshape(value, (*value.shape, 1)), like.shape)


def _reversed(x: Expr) -> Expr:
    return window_of(x, (0, x.shape[1] - 1), x.shape, (1, -1))


def moments(x: Expr, y: Expr) -> tuple[Expr, ...]:
    """Two sums that need the mean, a row that needs both, sums down the columns and over all."""
    centred = x - _spread(reduce_sum(x, axes=(1,)) / float(x.shape[1]), x)
    square, product = reduce_sum(centred * centred, axes=(1,)), reduce_sum(centred * y, axes=(1,))
    row = centred * _spread(square, x) + y * _spread(product, x)
    shifted = row + _spread(reduce_sum(row, axes=(1,)), x)
    return shifted, reduce_sum(row * y, axes=(0,)), reduce_sum(y, axes=(0,)), reduce_sum(row * x, axes=(0, 1))


def backwards(x: Expr, y: Expr) -> tuple[Expr, ...]:
    """Rows that are read back from their other end, which no loop may do while it writes them."""
    weights = exp(x - _spread(reduce_max(x, axes=(1,)), x))
    total = reduce_sum(weights, axes=(1,))
    return weights * _reversed(weights) / _spread(total, x), reduce_sum(_reversed(weights) * y, axes=(1,))


def softmax(x: Expr, y: Expr) -> tuple[Expr, ...]:
    """Shares of the rows of x, and a sum for each, whose folds wait for one another."""
    weights = exp(x - _spread(reduce_max(x, axes=(1,)), x))
    total = reduce_sum(weights, axes=(1,))
    return weights / _spread(total, x), log(total)


def results(program: Program, shape: tuple[int, int], dtype: DType, **options: Any) -> tuple[list[bytes], str]:
    """The bytes of a program's results, and its LLVM text."""
    graph = Graph("program")
    builder = Builder(graph)
    operands = [builder.expr(builder.input(TensorType(dtype, shape))) for _ in range(2)]
    graph.outputs = tuple(value.value for value in program(*operands))
    random = np.random.default_rng(shape[1])
    arrays = [random.standard_normal(shape).astype(dtype.storage) for _ in operands]
    found = compile_graph(graph, **options).run(arrays)
    return [array.tobytes() for array in found], llvm_of(graph)


@pytest.mark.parametrize("shape", [(64, 1024), (33, 1000), (47, 17), (16, 20000)], ids=str)
@pytest.mark.parametrize("program", [moments, backwards, softmax])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_bits_are_those_of_loops_in_turn(
    program: Program, shape: tuple[int, int], dtype: DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_sums, "LEAST", 1)
    together, text = results(program, shape, dtype, threads=2)
    monkeypatch.setattr(emit_together, "_MOST", 0)
    monkeypatch.setattr(emit_pairs, "_MOST", 0)
    alone, longer = results(program, shape, dtype, threads=1)
    assert together == alone
    if program is moments and shape[1] > 64:
        assert text.count("phi i64") < longer.count("phi i64")
    if program is softmax and shape[1] < 20000 and host_target().has_avx512:
        assert text.count("call <") > longer.count("call <")


def test_a_loop_may_store_over_what_another_read() -> None:
    def normalised(x: Any, weight: Any, bias: Any) -> Any:
        return torch.nn.functional.layer_norm(x, (48,), weight, bias)

    def program(x: Any, *weights: Any) -> Any:
        first, second = normalised(x, *weights[:2]), normalised(x, *weights[2:])
        outputs = first, second, torch.cat([x, torch.tanh(second)])
        return outputs, torch.autograd.grad(sum(output.sin().sum() for output in outputs), (x, *weights))

    torch.manual_seed(0)
    given = [torch.randn(*shape, requires_grad=True) for shape in ((130, 48), *4 * [(48,)])]
    for group, expected in zip(torch.compile(program)(*given), program(*given), strict=True):
        for found, exact in zip(group, expected, strict=True):
            torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [5, 6, 7])
def test_rows_that_are_filled_in_a_loop_of_their_own(rows: int) -> None:
    def program(x: Any) -> Any:
        return torch.softmax(x @ x.transpose(1, 2) * 0.3, -1) @ x

    torch.manual_seed(0)
    x = torch.randn(4, rows, 12)
    torch.testing.assert_close(torch.compile(program)(x), program(x))


@pytest.mark.parametrize("terms", [0, 1])
@pytest.mark.parametrize("columns", [1, 3])
def test_rows_of_one_term_or_none(terms: int, columns: int) -> None:
    x, y = torch.ones(2, 5, terms), torch.ones(2, terms, columns)
    torch.testing.assert_close(torch.compile(torch.matmul)(x, y), torch.full((2, 5, columns), float(terms)))


@pytest.mark.parametrize(
    "function", [operator.matmul, lambda x, v: (x - v).logsumexp(1), lambda x, v: (x - v).softmax(1)]
)
@pytest.mark.parametrize(("rows", "columns"), [(501, 999), (331, 13001), (16411, 257)])
def test_rows_of_a_large_matrix_and_of_a_part_have_the_same_bits(
    rows: int, columns: int, function: Callable[..., torch.Tensor]
) -> None:
    """Those of a matrix beyond the second cache go together far apart, and the last of them more than once."""
    torch.manual_seed(0)
    x, v = torch.randn(rows, columns), torch.randn(columns)
    found = torch.compile(function)(x, v)
    torch.testing.assert_close(found, function(x.double(), v.double()).float(), rtol=1e-4, atol=1e-3)
    for start, count in ((0, 100), (rows // 2, 7), (rows - 99, 99), (rows - 1, 1)):
        part = torch.compile(lambda x, v: function(x, v))(x[start : start + count].clone(), v)
        assert torch.equal(part, found[start : start + count])


@pytest.mark.parametrize("columns", [17, 33, 513, 1025])
def test_rows_of_halves_that_end_in_a_vector_of_one_element_keep_to_themselves(columns: int) -> None:
    """LLVM would store four bytes for the last element, over the first of the next row, which is computed beside it."""
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.linspace(-3, 3, 41 * columns).reshape(41, columns).to(dtype)
        found = torch.compile(lambda x: x.softmax(1), dynamic=False)(x)
        torch.testing.assert_close(found, x.double().softmax(1).to(dtype))
