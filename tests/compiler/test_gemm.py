"""Matrix products: right within rounding at every size, layout and target; same bits however cut; no stray access."""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import platform
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adjit.compiler.llvm import gemm_plan, jit
from adjit.compiler.llvm.gemm import (
    GemmPlan,
    plan_gemm,
    task_count,
    workspace_bytes,
)
from adjit.compiler.llvm.gemm_plan import Right, reading_of
from adjit.compiler.llvm.target import Target, host_target, make_target
from adjit.compiler.llvm.text import Module
from adjit.ir.errors import CompileError
from adjit.ir.frozen import changed
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from tests.compiler.products import MATMUL_SIZES, emit_product

Array = np.ndarray[Any, Any]
SIZES = (0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 257)
DTYPES = (F32, F64, I8, U8, I16, I32, I64)
LIBC = ctypes.CDLL(None, use_errno=True)


def guarded(shape: tuple[int, ...], dtype: DType, at_end: bool, axes: tuple[int, ...] | None = None) -> Array:
    """Uninitialised memory that touches an unreadable page at its end, or at its start; `axes` is its memory order."""
    order = axes or tuple(range(len(shape)))
    size = int(np.prod(shape)) * dtype.itemsize
    page = mmap.PAGESIZE
    inner = -(-max(size, 1) // page) * page
    memory = mmap.mmap(-1, inner + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for place in (address, address + page + inner):
        assert LIBC.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(page), 0) == 0
    first = page + (inner - size if at_end else 0)
    flat = np.frombuffer(memory, dtype.storage, int(np.prod(shape)), first)
    return flat.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def fill(array: Array, seed: int) -> Array:
    """`array` with normal numbers, or with integers of the whole range."""
    random = np.random.default_rng(seed)
    if array.dtype.kind == "f":
        array[...] = random.standard_normal(array.shape)
    else:
        limits = np.iinfo(array.dtype)
        array[...] = random.integers(limits.min, limits.max, array.shape, array.dtype, endpoint=True)
    return array


class Product:
    """A compiled product with its plan."""

    def __init__(self, plan: GemmPlan, known: tuple[int | None, ...]) -> None:
        module = Module()
        emit_product(module, "product", plan, known)
        self.plan = plan
        self.library = jit.compile_library(str(module), ("product", "product.tasks"), target=plan.target)
        tables = [ctypes.c_void_p] * 2
        self.run = ctypes.CFUNCTYPE(None, *tables, *[ctypes.c_int64] * 2)(self.library.address("product"))
        self.tasks = ctypes.CFUNCTYPE(ctypes.c_int64, *tables)(self.library.address("product.tasks"))

    def __call__(self, a: Array, b: Array, c: Array, cuts: Callable[[int], list[int]] | None = None) -> Array:
        """c = a @ b, each [batch, rows, columns]; `cuts(tasks)` gives the boundaries of the calls, last call first."""
        workspace = guarded((workspace_bytes(self.plan),), U8, at_end=True)
        buffers = np.array([array.ctypes.data for array in (a, b, c, workspace)], np.uint64)
        sizes = np.array(size_table(a, b, c), np.int64)
        tables = buffers.ctypes.data, sizes.ctypes.data
        tasks = self.tasks(*tables)
        assert tasks == task_count(self.plan, *c.shape, a.shape[2])
        bounds = [0, tasks] if cuts is None else cuts(tasks)
        for begin, end in reversed(list(itertools.pairwise(bounds))):
            self.run(*tables, begin, end)
        return c


def size_table(a: Array, b: Array, c: Array) -> list[int]:
    strides = [stride // array.itemsize for array in (a, b, c) for stride in array.strides]
    return [a.shape[1], b.shape[2], a.shape[2], a.shape[0], *strides]


@functools.cache
def any_size(dtype: DType, target: Target, tasks: int = 1) -> Product:
    """The product that reads all its sizes at run time."""
    return Product(plan_gemm(dtype, target, None, None, None, tasks), (None,) * len(MATMUL_SIZES))


def own_size(
    a: Array, b: Array, c: Array, dtype: DType, tasks: int = 1, target: Target | None = None, right: Right | None = None
) -> Product:
    """The product compiled for these sizes and strides alone, which reads B as the compiler would, or as told."""
    table, target = size_table(a, b, c), target or host_target()
    m, n, k, batch = table[:4]
    if right is None:
        right = reading_of(dtype, target, m, n, k) if table[MATMUL_SIZES.index("b_column_stride")] == 1 else "packed"
    return Product(plan_gemm(dtype, target, m, n, k, tasks, batch, right=right), tuple(table))


def operands(
    dtype: DType, batch: int, m: int, n: int, k: int, axes: Any = ((0, 1, 2),) * 3, at_end: bool = True
) -> tuple[Array, Array, Array]:
    """Random A and B, and a C of garbage, in guarded memory."""
    a = fill(guarded((batch, m, k), dtype, at_end, axes[0]), 1)
    b = fill(guarded((batch, k, n), dtype, at_end, axes[1]), 2)
    return a, b, fill(guarded((batch, m, n), dtype, at_end, axes[2]), 3)


def check(a: Array, b: Array, c: Array) -> None:
    """|c - a b| <= K u |a| |b| for floats; equal modulo 2^bits for integers."""
    if a.dtype.kind != "f":
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(c, np.einsum("bik,bkj->bij", a, b, dtype=a.dtype, casting="unsafe"))
        return
    wide = np.longdouble
    exact = a.astype(wide) @ b.astype(wide)
    bound = a.shape[2] * (np.finfo(a.dtype).eps / 2) * (abs(a).astype(wide) @ abs(b).astype(wide))
    assert np.all(abs(c - exact) <= bound)


def targets() -> list[Any]:
    """The host, and the x86-64 levels below it where the host can run them."""
    found = [pytest.param(host_target(), id="host")]
    if platform.machine() == "x86_64":
        levels = ("x86-64", "x86-64-v3") if host_target().vector_bytes >= 32 else ("x86-64",)
        found += [pytest.param(make_target(host_target().triple, level), id=level) for level in levels]
    return found


ORDERS = st.permutations((0, 1, 2)).map(tuple)


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_product_of_any_size_and_layout(dtype: DType, target: Target) -> None:
    product = any_size(dtype, target)
    sizes = st.sampled_from(SIZES)

    @given(st.integers(0, 3), sizes, sizes, sizes, st.tuples(ORDERS, ORDERS, ORDERS), st.booleans())
    def law(batch: int, m: int, n: int, k: int, axes: Any, at_end: bool) -> None:
        a, b, c = operands(dtype, batch, m, n, k, axes, at_end)
        check(a, b, product(a, b, c))

    law()


@pytest.mark.parametrize("dtype", (F32, F64, I32), ids=str)
@pytest.mark.parametrize(
    "m,n,k",
    ((1, 1, 1), (1, 33, 17), (8, 4, 16), (13, 1, 300), (17, 10, 600), (64, 100, 513), (300, 40, 513), (5, 7, 0)),
)
def test_product_compiled_for_its_size(dtype: DType, m: int, n: int, k: int) -> None:
    for axes in (((0, 1, 2),) * 3, ((0, 2, 1),) * 3, ((1, 2, 0),) * 3):
        a, b, c = operands(dtype, 2, m, n, k, axes)
        check(a, b, own_size(a, b, c, dtype)(a, b, c))


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
@pytest.mark.parametrize("m,n,k", ((2, 3, 1), (15, 49, 70), (29, 100, 600), (300, 33, 513), (64, 16, 0)))
def test_rows_of_b_are_read_where_they_stand(dtype: DType, target: Target, m: int, n: int, k: int) -> None:
    if not target.has_masks:  # vectors may not end beyond an array
        n = -(-n // 16) * 16
    for at_end in (False, True):
        a, b, c = operands(dtype, 2, m, n, k, at_end=at_end)
        products = [own_size(a, b, c, dtype, 3, target, right) for right in get_args(Right)]
        runs = (product(a, b, fill(c, 9), lambda tasks: list(range(tasks + 1))).copy() for product in products)
        packed, *others = runs
        check(a, b, packed)
        for other in others:
            np.testing.assert_array_equal(other, packed)


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
@pytest.mark.parametrize("m,n,k", ((2, 810, 1030), (5, 1403, 600), (8, 272, 3100), (3, 6100, 130), (14, 803, 1001)))
def test_few_rows_take_a_large_b_as_memory_sends_it(
    dtype: DType, target: Target, m: int, n: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums in memory have the bits of those in registers, whatever the strides of A and C and the tasks."""
    monkeypatch.setattr(gemm_plan, "_MEMORY_BYTES", 3 << 20)
    if not target.has_masks:  # vectors may not end beyond an array
        n = -(-n // 16) * 16
    m = min(m, target.vector_registers // 2)
    for last, order in ((True, (0, 1, 2)), (False, (0, 2, 1))):
        a, b, c = operands(dtype, 2, m, n, k, (order, (0, 1, 2), order), at_end=last)
        wanted = own_size(a, b, c, dtype, 1, target, "packed")(a, b, c).copy()
        check(a, b, wanted)
        for tasks in (1, 3):
            product = own_size(a, b, c, dtype, tasks, target, "in place")
            assert product.plan.wide
            for cuts in (lambda count: list(range(count + 1)), lambda count: [0, count]):
                np.testing.assert_array_equal(product(a, b, fill(c, 9), cuts), wanted)


def test_blocks_beyond_the_caches() -> None:
    a, b, c = operands(F32, 1, 600, 1100, 600)
    product = any_size(F32, host_target())
    assert product.plan.mc < 600 and product.plan.nc < 1100 and product.plan.kc < 600
    check(a, b, product(a, b, c))


@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
def test_large_results_have_the_same_bits_past_the_caches(dtype: DType) -> None:
    a, b, c = operands(dtype, 2, 515, 1056, 3)
    product = own_size(a, b, c, dtype)
    target = host_target()
    assert product.plan.streams == (target.architecture == "x86_64" and target.vector_bytes == 64)
    usual = Product(changed(product.plan, streams=False), tuple(size_table(a, b, c)))
    expected = usual(a, b, c.copy())
    for first in (0, 1):  # rows at cache lines, and beside them
        place = guarded((c.size + 1,), dtype, at_end=False)[first : first + c.size].reshape(c.shape)
        np.testing.assert_array_equal(product(a, b, place), expected)
    check(a, b, expected)


@pytest.mark.parametrize("dtype", (F32, F64, I32), ids=str)
def test_reversed_repeated_and_spaced_operands(dtype: DType) -> None:
    product = any_size(dtype, host_target())
    a, b, c = operands(dtype, 2, 37, 66, 50)
    whole = fill(guarded((2, 37, 132), dtype, at_end=True), 4)
    before = whole.copy()
    repeated = np.broadcast_to(a[:, :1, :], (2, 37, 50))
    check(a[:, ::-1, ::-1], b[:, :, ::-1], product(a[:, ::-1, ::-1], b[:, :, ::-1], c))
    check(repeated, b, product(repeated, b, c))
    check(a, b, product(a, b, whole[:, :, ::2]))
    np.testing.assert_array_equal(whole[:, :, 1::2], before[:, :, 1::2])


def test_a_sum_over_nothing_is_zero() -> None:
    a, b, c = operands(F32, 2, 20, 40, 0)
    assert not any_size(F32, host_target())(a, b, c).any()


@pytest.mark.parametrize("batch,m,n,k", ((1, 257, 100, 64), (1, 40, 2000, 64), (5, 100, 64, 100), (3, 200, 31, 513)))
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
def test_bits_do_not_depend_on_the_cut_into_tasks(dtype: DType, batch: int, m: int, n: int, k: int) -> None:
    a, b, c = operands(dtype, batch, m, n, k)
    once = any_size(dtype, host_target())(a, b, c).copy()
    for tasks in (2, 7):
        for product in (any_size(dtype, host_target(), tasks), own_size(a, b, c, dtype, tasks)):
            for cuts in (lambda count: list(range(count + 1)), lambda count: [0, count // 2, count]):
                np.testing.assert_array_equal(product(a, b, fill(c, 9), cuts), once)
            assert task_count(product.plan, batch, m, n, k) > 1


def test_a_task_writes_to_its_own_slot_of_the_workspace_only() -> None:
    a, b, c = operands(F32, 1, 257, 100, 64)
    product = any_size(F32, host_target(), 4)
    workspace = np.full(workspace_bytes(product.plan), 77, np.uint8)
    buffers = np.array([array.ctypes.data for array in (a, b, c, workspace)], np.uint64)
    sizes = np.array(size_table(a, b, c), np.int64)
    tasks = product.tasks(buffers.ctypes.data, sizes.ctypes.data)
    start = -workspace.ctypes.data % 64
    for task in range(tasks):
        workspace[:] = 77
        product.run(buffers.ctypes.data, sizes.ctypes.data, task, task + 1)
        first = start + task * product.plan.slot_bytes
        touched = np.flatnonzero(workspace != 77)
        assert touched.size and first <= touched.min() and touched.max() < first + product.plan.slot_bytes


@pytest.mark.parametrize("k", (0, 1, 64, 512, 513, 784, 1100))
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
def test_bits_of_a_row_do_not_depend_on_the_product_around_it(dtype: DType, k: int) -> None:
    a, b, c = operands(dtype, 1, 61, 77, k)
    # Products of numbers near the smallest normal round to zeros of both signs.
    a[:, ::3] *= np.finfo(dtype.storage).tiny
    b[:, :, ::5] *= np.finfo(dtype.storage).eps
    product = any_size(dtype, host_target())
    whole = product(a, b, c).copy()
    bits = f"u{dtype.itemsize}"
    for rows, columns in ((slice(0, 1), slice(0, 77)), (slice(40, 61), slice(3, 4)), (slice(7, 38), slice(13, 59))):
        part_a, part_b, part_c = a[:, rows], b[:, :, columns], c[:, rows, columns]
        expected = whole[:, rows, columns].view(bits)
        by_column = guarded(part_c.shape, dtype, True, (0, 2, 1))
        for out in (part_c, by_column):
            assert (product(part_a, part_b, out).view(bits) == expected).all()
            assert (own_size(part_a, part_b, out, dtype)(part_a, part_b, out).view(bits) == expected).all()


def test_bits_do_not_depend_on_the_width_of_vectors() -> None:
    a, b, c = operands(F32, 1, 61, 77, 300)
    runs = [any_size(F32, p.values[0]) for p in targets() if p.values[0].has_fma]
    results = [run(a, b, c).copy() for run in runs]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("dtype", (BOOL, F16, BF16), ids=str)
def test_dtypes_without_a_product_are_refused(dtype: DType) -> None:
    with pytest.raises(CompileError, match=f"no matrix product in {dtype}"):
        plan_gemm(dtype, host_target(), 8, 8, 8)


def test_a_plan_of_broken_tiles_is_refused() -> None:
    plan = plan_gemm(F32, host_target(), None, None, None)
    with pytest.raises(ValueError, match="not whole tiles"):
        changed(plan, mc=plan.mr + 1)
