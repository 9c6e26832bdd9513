"""Products of few rows and of small matrices read where they stand: in bounds, the same bits for any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import llvm_text
from adjit.compiler.pipeline import compile_graph, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.arrays import expand, permute
from adjit.ir.ops.contraction import dot
from adjit.ir.ops.named import relu
from adjit.ir.types import F32, F64, DType, TensorType
from tests.compiler.guarded import guarded

SHAPES = [(1, 3, 17, 100), (1, 10, 700, 33), (1, 12, 130, 64), (3, 16, 16, 16), (5, 33, 17, 29), (2, 60, 64, 16)]


def product(dtype: DType, batch: int, m: int, k: int, n: int, turned: bool) -> Graph:
    """x @ y of each of a batch, with x stored the other way round if `turned`."""
    graph = Graph("product")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (batch, k, m) if turned else (batch, m, k))))
    y = builder.expr(builder.input(TensorType(dtype, (batch, k, n))))
    x = permute(x, (0, 2, 1)) if turned else x
    graph.outputs = (dot(x, y, contract=((2,), (1,)), batch=((0,), (0,))).value,)
    return graph


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_in_place(shape: tuple[int, int, int, int], dtype: DType, turned: bool) -> None:
    graph = product(dtype, *shape, turned)
    random = np.random.default_rng(shape[1])
    arrays: list[Any] = [random.standard_normal(x.dims).astype(dtype.storage) for x in graph.inputs]
    left, right = (x.astype(np.float64) for x in arrays)
    exact = (left.swapaxes(1, 2) if turned else left) @ right
    programs = [compile_graph(graph, threads=threads) for threads in (1, 3)]
    for at_end in (False, True):
        with guarded(arrays, at_end) as copies:
            found = [program.run(copies)[0] for program in programs]
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0], exact, rtol=0, atol=shape[2] * np.finfo(dtype.storage).eps * 16)


def test_sums_along_what_is_contiguous_are_not_gathered() -> None:
    graph = product(F32, 100, 16, 16, 1, turned=False)
    assert "masked.gather" not in llvm_text(lowered(graph), strict=False)


@pytest.mark.parametrize("threads", (1, 3))
@pytest.mark.parametrize("shape", ((1, 200, 530), (3, 129, 70), (1, 333, 0), (2, 257, 1030)), ids=str)
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
def test_a_product_with_its_own_transpose_has_the_bits_of_any_other(
    dtype: DType, shape: tuple[int, int, int], threads: int
) -> None:
    batch, rows, terms = shape
    own, other = Graph("own"), Graph("other")
    for graph in (own, other):
        builder = Builder(graph)
        x = builder.expr(builder.input(TensorType(dtype, (batch, terms, rows))))
        y = x if graph is own else builder.expr(builder.input(TensorType(dtype, (batch, terms, rows))))
        graph.outputs = (dot(permute(x, (0, 2, 1)), y, contract=((2,), (1,)), batch=((0,), (0,))).value,)
    assert [".symmetric" in llvm_text(lowered(graph)) for graph in (own, other)] == [terms > 0, False]
    array: list[Any] = [np.random.default_rng(rows).standard_normal((batch, terms, rows)).astype(dtype.storage)]
    with guarded(array, at_end=True) as given:
        (found,) = compile_graph(own, threads=threads).run(given)
    (expected,) = compile_graph(other).run([*array, array[0].copy()])
    np.testing.assert_array_equal(found, expected)


def linear(dtype: DType, m: int, k: int, n: int) -> Graph:
    """x w^T + b, both operands contiguous along the summed axis."""
    graph = Graph("linear")
    builder = Builder(graph)
    x, w, b = (builder.expr(builder.input(TensorType(dtype, dims))) for dims in ((m, k), (n, k), (1, n)))
    graph.outputs = ((dot(x, w, contract=((1,), (1,)), batch=((), ())) + expand(b, (m, n))).value,)
    return graph


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("shape", [(3, 3030, 333), (4, 1513, 700), (2, 170, 5000)], ids=str)
def test_what_follows_a_product_of_few_rows_by_a_large_matrix(shape: tuple[int, int, int], dtype: DType) -> None:
    """The sums that stand in the first cache are taken up there, those of several runs too."""
    m, k, n = shape
    graph = Graph("layer")
    builder = Builder(graph)
    x, w, b = (builder.expr(builder.input(TensorType(dtype, dims))) for dims in ((m, k), (k, n), (1, n)))
    graph.outputs = (relu(dot(x, w, contract=((1,), (0,)), batch=((), ())) + expand(b, (m, n))).value,)
    assert ".wide" in llvm_text(lowered(graph), strict=False)
    arrays: list[Any] = [np.random.default_rng(k).standard_normal(x.dims).astype(dtype.storage) for x in graph.inputs]
    left, right, bias = (x.astype(np.float64) for x in arrays)
    programs = [compile_graph(graph, threads=threads) for threads in (1, 3)]
    with guarded(arrays, True) as copies:
        found = [program.run(copies)[0] for program in programs]
    np.testing.assert_array_equal(*found)
    exact = np.maximum(left @ right + bias, 0)
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=k * np.finfo(dtype.storage).eps * 16)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("shape", [(2, 4100, 3), (5, 4096, 4), (4, 65, 17), (63, 200, 4), (3, 1030, 1), (129, 4097, 1)])
def test_few_sums_of_long_rows(shape: tuple[int, int, int], dtype: DType, strict: bool) -> None:
    """In bounds, one result for any number of threads, and NaN and infinities where they belong."""
    m, k, n = shape
    random = np.random.default_rng(k)
    x, w, b = (random.standard_normal(dims).astype(dtype.storage) for dims in ((m, k), (n, k), (1, n)))
    programs = [compile_graph(linear(dtype, *shape), strict=strict, threads=threads) for threads in (1, 3)]
    for special in (0.0, np.nan, np.inf):
        x[1, k // 2] = special
        exact = x.astype(np.float64) @ w.T.astype(np.float64) + b
        for at_end in (False, True):
            with guarded([x, w, b], at_end) as copies:
                found = [program.run(copies)[0] for program in programs]
            np.testing.assert_array_equal(*found)
            np.testing.assert_allclose(found[0], exact, rtol=0, atol=8 * k * np.finfo(dtype.storage).eps)


def test_few_sums_of_few_rows_go_along_the_rows() -> None:
    """Of a product of this form, panels would be packed for three multiply-adds an element."""
    assert "pack" not in llvm_text(lowered(linear(F32, 5, 4096, 3)), strict=False)
    assert "pack" in llvm_text(lowered(linear(F32, 5, 4096, 3), strict=True), strict=True)  # whose order is told
