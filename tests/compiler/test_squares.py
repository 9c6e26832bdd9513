"""Strict products by vectors: in bounds, and with the bits of packed products, whatever the layout and the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph, llvm_of
from adjit.compiler.single import run_single
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.ir.ops.contraction import dot
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import F32, F64, I32, DType, TensorType
from tests.compiler.guarded import guarded

SHAPES = [(0, 5), (5, 0), (1, 1), (3, 700), (17, 4), (16, 512), (65, 513), (130, 31), (200, 1030)]


def drawn(dtype: DType, *shape: int) -> Any:
    """Numbers of a dtype, NaN and infinity among them."""
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape) * 4
    if dtype.is_float and numbers.size > 200:
        numbers.flat[[7, 70]] = np.nan, np.inf
    return numbers.astype(dtype.storage)


def single(left: Any, right: Any, contract: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    """The product of two arrays as eager mode computes it."""
    return run_single(PRIMITIVES["dot"], [left, right], {"contract": contract, "batch": ((), ())})[0]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [F32, F64, I32], ids=str)
def test_a_matrix_by_a_vector_has_the_bits_of_a_packed_product(dtype: DType, shape: tuple[int, int]) -> None:
    x, v = drawn(dtype, *shape), drawn(dtype, shape[1])
    found = single(x, v, ((1,), (0,)))
    packed = single(x, np.stack([v] * 20, 1), ((1,), (0,)))
    np.testing.assert_array_equal(found, packed[:, 3])
    np.testing.assert_array_equal(found, single(np.asfortranarray(x), v, ((1,), (0,))))
    np.testing.assert_array_equal(found[:, None], single(x, v[:, None], ((1,), (0,))))
    np.testing.assert_array_equal(found[None], single(v[None], x, ((1,), (1,))))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_nothing_beyond_the_rows_is_read(dtype: DType, shape: tuple[int, int]) -> None:
    graph = Graph("product")
    builder = Builder(graph)
    x, v = (builder.expr(builder.input(TensorType(dtype, dims))) for dims in (shape, shape[1:]))
    graph.outputs = (dot(x, v, contract=((1,), (0,)), batch=((), ())).value,)
    arrays = [drawn(dtype, *shape), drawn(dtype, shape[1])]
    programs = [compile_graph(graph, strict=True, threads=threads) for threads in (1, 3)]
    for at_end in (False, True):
        with guarded(arrays, at_end) as copies:
            found = [program.run(copies)[0] for program in programs]
        np.testing.assert_array_equal(*found)
        np.testing.assert_array_equal(found[0], single(*arrays, ((1,), (0,))))
    if min(shape) > 3:
        assert "masked.gather" not in llvm_of(graph, strict=True)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_rows_may_begin_anywhere_in_a_cache_line(dtype: DType) -> None:
    """Squares end at lines that rows have alike, so that the first one is short."""
    for rows, terms in ((40, 64), (65, 1024), (3, 16)):
        v, memory = drawn(dtype, terms), np.zeros(rows * terms + 16, dtype.storage)
        wanted = single(drawn(dtype, rows, terms), v, ((1,), (0,)))
        for begin in (0, 1, 5, 15):
            x = memory[begin : begin + rows * terms].reshape(rows, terms)
            x[...] = drawn(dtype, rows, terms)
            np.testing.assert_array_equal(single(x, v, ((1,), (0,))), wanted)


@pytest.mark.parametrize("length", (0, 1, 15, 1000, 5000))
def test_a_product_of_two_vectors_is_the_same_wherever_it_stands(length: int) -> None:
    x, y = drawn(F32, length), drawn(F32, length + 1)[1:]
    graph = Graph("product")
    builder = Builder(graph)
    left, right = (builder.expr(builder.input(TensorType(F32, (length,)))) for _ in range(2))
    graph.outputs = (dot(left, right, contract=((0,), (0,)), batch=((), ())).value,)
    inside = compile_graph(graph, strict=True).run([x, y])[0]
    np.testing.assert_array_equal(single(x, y, ((0,), (0,))), inside)


@pytest.mark.parametrize("rows", (1, 70))
def test_large_products_of_bfloat16_agree_with_float32(rows: int) -> None:
    random = np.random.default_rng(0)
    x, y = (round_bf16(random.integers(-8, 8, shape).astype(np.float32)) for shape in ((rows, 96), (96, 50)))
    wanted = widen_bf16(x) @ widen_bf16(y)
    for left, right in ((x, y), (np.asfortranarray(x), y), (x, np.asfortranarray(y))):
        np.testing.assert_allclose(widen_bf16(single(left, right, ((1,), (0,)))), wanted, rtol=2**-8)


def permuted(array: Any, order: tuple[int, ...]) -> Any:
    """The same array, its axes in memory in this order."""
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_operands_are_read_as_they_stand(order: tuple[int, ...]) -> None:
    x, y = drawn(F64, 5, 7, 4), drawn(F64, 5, 4, 6)
    attributes = {"contract": ((2,), (1,)), "batch": ((0,), (0,))}
    (wanted,) = run_single(PRIMITIVES["dot"], [x, y], attributes)
    (found,) = run_single(PRIMITIVES["dot"], [permuted(x, order), permuted(y, order[::-1])], attributes)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(wanted, x @ y, rtol=1e-12, atol=1e-12)
    whole = run_single(PRIMITIVES["dot"], [permuted(x, order), y[0]], {"contract": ((2,), (0,)), "batch": ((), ())})
    np.testing.assert_allclose(whole[0], x @ y[0], rtol=1e-12, atol=1e-12)
