"""Sorts against NumPy's stable ones: rows short and long, windows of the order, every dtype, ties, zeros of both signs
and NaN; by vectors where the machine has AVX-512 or AVX2, and by digits.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.build import build
from adjit.compiler.llvm.jit import compile_library
from adjit.compiler.llvm.quicksort import sort_window
from adjit.compiler.llvm.target import host_target, make_target
from adjit.compiler.llvm.text import LLType, Module
from adjit.compiler.loops.lower import lower
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.reduction import sort
from adjit.ir.shape import Dim, Size, evaluate
from adjit.ir.types import BOOL, F32, F64, I8, I16, I32, I64, U8, DType, TensorType
from adjit.runtime.executable import Executable
from tests.compiler.guarded import guarded

BITS = 8 * host_target().vector_bytes
LESSER = [f"x86-64-v{level}" for level, bits in ((3, 256), (2, 128)) if host_target().has_avx2 and bits <= BITS]
# None is needed for rows of one vector, or of none.
LENGTHS = (0, 1, 5, 15, 16, 63, 64, 65, 255, 257, 1000, 9000)


def rows(dtype: DType, length: int, seed: int) -> np.ndarray[Any, Any]:
    """Three rows: numbers, few different ones with special ones, and ones that differ in their last bits."""
    random = np.random.default_rng([seed, length])
    if dtype is BOOL:
        return random.random((3, length)) < 0.5
    if dtype.is_float:
        found = random.standard_normal((3, length))
        found[1] = found[1].round(1)
        found[1, ::5], found[1, 1::7], found[1, 2::9], found[1, 3::11] = 0.0, -0.0, np.nan, -np.inf
        found[2] = 1 + found[2] * 1e-12
        found[2, ::50] = 1e30
        found = found.astype(dtype.storage)
        found[1, 4::13] = -found[1, 4::13]
        return found
    limits = np.iinfo(dtype.storage)
    found = random.integers(limits.min, limits.max, (3, length), dtype.storage, endpoint=True)
    found[1] //= limits.max // 2
    return found


@cache
def program(dtype: DType, length: Size, wanted: str, level: str = "host", **attributes: Any) -> Executable:
    graph = Graph("sort")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (3, length))))
    found = sort(x, axis=1, **attributes)
    graph.outputs = tuple(r.value for r, kind in zip(found, ("values", "indices"), strict=True) if kind in wanted)
    target = host_target() if level == "host" else make_target(host_target().triple, level)
    return build(lower(prepare(graph)), target=target)


def check(found: Any, x: np.ndarray[Any, Any], wanted: str, **attributes: Any) -> None:
    expected = sort(x, axis=1, **attributes)
    parts = [part for part, kind in zip(expected, ("values", "indices"), strict=True) if kind in wanted]
    for result, part in zip(found, parts, strict=True):
        assert result.shape == part.shape
        assert np.ascontiguousarray(result).tobytes() == np.ascontiguousarray(part).tobytes()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64, I8, U8, I16, I32, I64, BOOL], ids=str)
def test_stable_order(dtype: DType, descending: bool) -> None:
    for wanted in ("values indices", "values"):
        run = program(dtype, Dim.named("n"), wanted, descending=descending).run
        for length in LENGTHS:
            x = rows(dtype, length, 4)
            check(run([x]), x, wanted, descending=descending)


@pytest.mark.parametrize("level", ["host", *LESSER[:1]])
@pytest.mark.parametrize("dtype", [F32, F64, I16], ids=str)
def test_windows_of_the_order(dtype: DType, level: str) -> None:
    for length, first, count in ((5000, 0, 7), (300, 299, 1), (2000, 1000, 2), (64, 10, 54), (1000, 2, 3)):
        x = rows(dtype, length, 5)
        x[0].sort()  # what comes later is always among the first of a descending order
        for wanted in ("values indices", "indices", "values"):
            window = {"descending": count == 7, "first": first, "count": count}
            check(program(dtype, length, wanted, level, **window).run([x]), x, wanted, **window)


@pytest.mark.parametrize("dtype", [F32, F64, U8], ids=str)
def test_rows_that_fit_registers(dtype: DType) -> None:
    for length in (1, 7, 16, 31, 130):
        x = rows(dtype, length, 6)
        with guarded([x], at_end=True) as copies:
            check(program(dtype, length, "values", descending=False).run(copies), x, "values", descending=False)


@pytest.mark.parametrize("level", LESSER)
@pytest.mark.parametrize("dtype", [F32, F64, I64, U8], ids=str)
def test_order_on_lesser_machines(dtype: DType, level: str) -> None:
    for wanted in ("values indices", "values"):
        run = program(dtype, Dim.named("n"), wanted, level, descending=True).run
        for length in (0, 1, 7, 63, 64, 65, 130, 1000, 9000):
            x = rows(dtype, length, 7)
            with guarded([x], at_end=True) as copies:
                check(run(copies), x, wanted, descending=True)


def test_eager_and_compiled_orders_agree() -> None:
    x = torch.from_numpy(rows(F32, 5000, 8))
    for descending in (False, True):
        eager = torch.sort(x, dim=1, descending=descending)
        compiled = torch.compile(lambda x: tuple(torch.sort(x, dim=1, descending=descending)))(x)  # noqa: B023
        for left, right in zip(eager, compiled, strict=True):
            assert left.numpy().tobytes() == right.numpy().tobytes()


@pytest.mark.skipif(not host_target().has_avx2, reason="the machine has no AVX2")
def test_scratch_has_room_for_ties_where_an_index_leaves_no_room_for_the_key() -> None:
    layout = program(F32, Dim.named("n"), "values indices", descending=False).layout
    for length, words in (((1 << 32) - 1, 2), (1 << 32, 6)):
        scratch = evaluate(layout.arena, {"n": length}) + sum(evaluate(s, {"n": length}) for s in layout.workspaces)
        assert 3 * length * 8 * words <= scratch < 3 * length * 8 * words + (1 << 20)


@pytest.mark.parametrize("vector_bits", [each for each in (256, 512) if each <= BITS])
@pytest.mark.parametrize("bits", [32, 64])
def test_quicksort_ends_whatever_the_keys_are(bits: int, vector_bits: int) -> None:
    """Few different keys, all the greatest, runs in step with the sample; pivots by sample and by range."""
    module, dtype = Module(avx2=True, avx512=vector_bits == 512), I32 if bits == 32 else I64
    name = sort_window(module, LLType(dtype, vector_bits // bits))
    text = str(module).replace(f"define internal void @{name}(", f"define void @{name}(")
    library = compile_library(text, [name])
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 4)(library.address(name))
    random, unsigned = np.random.default_rng(9), np.dtype(f"u{bits // 8}")
    most = np.iinfo(unsigned).max
    for length in (0, 3, 200, 257, 600, 5000):
        steps = np.arange(length)
        for keys in (
            random.integers(0, most, length, unsigned, endpoint=True), random.integers(0, 3, length), steps % 32,
            np.full(length, most), np.where(steps % 3, most, steps.astype(unsigned)), steps[::-1] // 4,
        ):  # fmt: skip
            keys = keys.astype(unsigned)
            first, last = sorted(int(i) for i in random.integers(0, length + 1, 2))
            for depth in (0, 2, 40):
                with guarded([np.zeros_like(keys), keys], at_end=bool(depth)) as (out, other):
                    run(other.ctypes.data, out.ctypes.data, other.ctypes.data, length, first, last, depth)
                    assert np.array_equal(out[first:last], np.sort(keys)[first:last])
