"""Kernels of Fourier transforms: the results of NumPy's in float64, for every kind of length, axis and memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import prod
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from adjit.compiler.compile import compile_graph
from adjit.compiler.llvm.fourier_plan import factors_of
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops import fourier
from adjit.ir.types import C64, C128, F32, F64, DType, TensorType
from adjit.runtime import fourier as tables
from adjit.runtime.executable import Executable
from adjit.runtime.fourier import table
from tests.compiler.guarded import guarded

# Powers of two, lengths with odd factors only, with both, with one stage, with runs shorter than vectors; with large
# prime factors, one of them or two, first and last ones; with larger ones, which make convolutions where short.
LENGTHS = (1, 2, 6, 8, 13, 15, 34, 16, 40, 63, 64, 128, 175, 1000, 1024, 23, 31, 232, 1073, 4232, 2231, 2510,
           43, 97, 251, 257, 365, 509, 2042, 2039)  # fmt: skip


def program(op: Any, dtype: DType, shape: tuple[int, ...], **attributes: Any) -> Executable:
    graph = Graph("transform")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, shape)))
    graph.outputs = (op(x, **attributes).value,)
    return compile_graph(graph, threads=2)


def numbers(dtype: DType, *shape: int) -> Any:
    random = np.random.default_rng(sum(shape))
    x = random.standard_normal(shape)
    return (x + 1j * random.standard_normal(shape) if dtype.is_complex else x).astype(dtype.storage)


def check(executable: Executable, x: Any, wanted: Any) -> None:
    """The results for an operand at the end of its memory and at its start, in memory of both kinds."""
    assert not executable.layout.host_calls
    size = np.abs(wanted).max(initial=0)
    unit = np.finfo(x.dtype).eps
    for at_end in (False, True):
        with guarded([x, np.empty(wanted.shape, executable.graph.outputs[0].dtype.storage)], at_end) as (own, out):
            executable.run([own], [out])
            assert np.abs(out - wanted).max(initial=0) <= unit * size * (1 + 0.5 * np.log2(max(2, x.size)))


@pytest.mark.parametrize("n", LENGTHS)
def test_transforms_are_numpys(n: int) -> None:
    for number, part in ((C64, F32), (C128, F64))[: 1 + (n % 8 == 0)]:
        x = numbers(number, 3, n)
        wide = x.astype(np.complex128)
        for inverse in (False, True):
            wanted = np.fft.ifft(wide, norm="forward") if inverse else np.fft.fft(wide)
            check(program(fourier.fft, number, x.shape, axes=(1,), inverse=inverse), x, wanted)
        check(program(fourier.rfft, part, x.shape, axis=1), x.real.copy(), np.fft.rfft(wide.real))
        half = x[:, : n // 2 + 1].copy()
        wanted = np.fft.irfft(half.astype(np.complex128), n, norm="forward")
        check(program(fourier.irfft, number, half.shape, axis=1, size=n), half, wanted)


@pytest.mark.parametrize(
    "shape", [(8, 3), (2, 14, 16), (2, 13, 39), (5, 1), (23, 3), (2, 74, 17), (23 * 29, 2), (2, 47, 3), (263, 43)],
    ids=str,
)
def test_columns_are_transformed_by_vectors(shape: tuple[int, ...]) -> None:
    axis = len(shape) - 2
    for dtype in (C64, C128):
        x = numbers(dtype, *shape)
        check(program(fourier.fft, dtype, shape, axes=(axis,), inverse=False), x, np.fft.fft(x, axis=axis))
        every = tuple(range(len(shape)))
        wanted = np.fft.ifftn(x, norm="forward")
        check(program(fourier.fft, dtype, shape, axes=every, inverse=True), x, wanted)
    x = numbers(F32, *shape)
    check(program(fourier.rfft, F32, shape, axis=axis), x, np.fft.rfft(x.astype(np.float64), axis=axis))
    check(program(fourier.irfft, C64, shape, axis=axis, size=2 * shape[axis] - 1), numbers(C64, *shape),
          np.fft.irfft(numbers(C64, *shape), 2 * shape[axis] - 1, axis=axis, norm="forward"))  # fmt: skip


@pytest.mark.parametrize("n", [8192, 3**8])
def test_long_transforms_use_memory_beside_the_stack(n: int) -> None:
    x = numbers(C128, 4, n)
    check(program(fourier.fft, C128, x.shape, axes=(1,), inverse=False), x, np.fft.fft(x))
    real = x.real.copy()
    check(program(fourier.rfft, F64, x.shape, axis=1), real, np.fft.rfft(real))


def test_long_large_prime_lengths_are_the_hosts() -> None:
    for axes in ((1,), (0, 1)):
        executable = program(fourier.fft, C64, (12, 2 * 1031), axes=axes, inverse=False)
        assert executable.layout.host_calls and bool(executable.layout.outside) == (len(axes) == 2)
        x = numbers(C64, 12, 2 * 1031)
        np.testing.assert_allclose(executable.run([x])[0], np.fft.fftn(x, axes=axes), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_convolutions_keep_to_their_rows(number: float) -> None:
    """What is not finite reaches all of its own row, and no other."""
    x = numbers(C64, 3, 509)
    x[1, 7] = number
    found = program(fourier.fft, C64, x.shape, axes=(1,), inverse=False).run([x])[0]
    assert not np.isfinite(found[1]).any()
    np.testing.assert_allclose(found[::2], np.fft.fft(x[::2]), rtol=1e-4, atol=1e-3)


def test_factors_multiply_to_the_length() -> None:
    assert factors_of(0) is None and factors_of(257) is None
    for n in (1, 2, 8, 16, 360, 19 * 1024, 23 * 24, 251 * 251 * 38):
        found = factors_of(n)
        assert found is not None and prod(found) == n


def test_tables_are_powers_of_roots_of_one_rounded_once() -> None:
    found = table("fourier.f64.b4_6_2.h24")
    angles = 2 * np.pi * np.arange(6) / 24
    np.testing.assert_allclose(found[:12], np.repeat(np.cos(angles), 2), rtol=1e-15, atol=2e-16)
    np.testing.assert_allclose(found[60:72], np.repeat(-np.sin(3 * angles), 2), rtol=1e-15, atol=2e-16)
    np.testing.assert_allclose(found[80:92], np.cos(2 * np.pi * np.arange(12) / 24), rtol=1e-15, atol=2e-16)


def test_threads_that_make_a_table_at_once_are_given_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made, together = tables._made, Barrier(2)

    def slowly(name: str) -> Any:
        together.wait(10)  # both have found that there is none
        return made(name)

    monkeypatch.setattr(tables, "_tables", {})
    monkeypatch.setattr(tables, "_made", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(table, ["fourier.f64.h34"] * 2)
    assert first is second is table("fourier.f64.h34")
