"""GFLOP/s of compiled matrix products beside NumPy's, on one thread: `python tests/bench/gemm.py [f32|f64]`.

NumPy is measured in subprocesses, once with the environment as it is and once without the variables that choose
OpenBLAS's core (`OPENBLAS_CORETYPE`, `OPENBLAS_L2_SIZE`); the core that OpenBLAS reports is printed for both.
Times are minima over repeated runs, every result is checked against float64.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import adjit as torch
from adjit.compiler.later import settle
from adjit.ir.types import dtype_named
from tests.bench.warm import warm_up

SECONDS = 0.15
# batch, m, n, k, and the letters of the operands that are transposed in memory
CASES = (
    *((1, size, size, size, "") for size in (8, 16, 32, 64, 128, 512, 1024)),
    *((1, 512, 512, 512, letters) for letters in ("a", "b", "ab")),
    (64, 128, 128, 64, ""),
    (64, 128, 128, 64, "b"),
    (1, 64, 512, 784, "b"),
    (1, 64, 784, 512, ""),
    (1, 512, 784, 64, "a"),
    (1, 64, 10, 256, "b"),
    (1, 1024, 512, 784, "b"),
    (1, 10, 36864, 25, ""),
    (1, 20, 36864, 250, ""),
    (1, 16, 36864, 500, ""),
    (1, 4096, 1, 4096, ""),
    (1, 1, 4096, 4096, ""),
    (1, 1, 4096, 4096, "b"),
)


def operands(case: tuple[int, int, int, int, str], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """A[batch, m, k] and B[batch, k, n] of normal numbers, in the case's memory order."""
    batch, m, n, k, transposed = case
    random = np.random.default_rng(0)
    a = random.standard_normal((batch, k, m) if "a" in transposed else (batch, m, k)).astype(dtype)
    b = random.standard_normal((batch, n, k) if "b" in transposed else (batch, k, n)).astype(dtype)
    return a.swapaxes(1, 2) if "a" in transposed else a, b.swapaxes(1, 2) if "b" in transposed else b


def fastest(run: Callable[[], object]) -> float:
    """The least time of one run, in seconds."""
    best, stop = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < stop:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def measure_own(name: str) -> list[tuple[float, float]]:
    """Seconds of a call, and of all until its best code is there, case by case."""
    torch.set_num_threads(1)
    dtype = dtype_named(name)
    results = []
    for case in CASES:
        a, b = operands(case, dtype.storage)
        product, given = torch.compile(lambda x, y: x @ y), [torch.from_numpy(array) for array in (a, b)]
        start = time.perf_counter()
        product(*given)
        product(*given)
        settle()
        compiled = time.perf_counter() - start
        warm_up(lambda: product(*given))  # noqa: B023
        c = product(*given).numpy()
        seconds = fastest(lambda: product(*given))  # noqa: B023
        exact = a.astype(np.float64) @ b.astype(np.float64)
        bound = case[3] * np.finfo(dtype.storage).eps * (abs(a).astype(np.float64) @ abs(b).astype(np.float64))
        assert (abs(c - exact) <= bound).all(), case
        results.append((seconds, compiled))
    return results


def measure_numpy(name: str) -> dict[str, object]:
    """The BLAS core that NumPy uses, and seconds case by case."""
    times = []
    for case in CASES:
        a, b = operands(case, dtype_named(name).storage)
        out = np.empty((case[0], case[1], case[2]), a.dtype)
        if case[0] == 1:
            a, b, out = a[0], b[0], out[0]
        times.append(fastest(lambda: np.matmul(a, b, out=out)))  # noqa: B023
    return {"core": _openblas_core(), "times": times}


def _openblas_core() -> str:
    for library in Path(np.__file__).parent.parent.glob("numpy.libs/libscipy_openblas*.so"):
        corename = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
        corename.restype = ctypes.c_char_p
        return str(corename().decode())
    return "unknown BLAS"


def numpy_in_subprocess(name: str, unset: bool) -> tuple[str, list[float]]:
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    if unset:
        for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(variable, None)
    command = [sys.executable, __file__, name, "--numpy"]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    report = json.loads(printed)
    return report["core"], report["times"]


def main(name: str) -> None:
    own = measure_own(name)
    core, throttled = numpy_in_subprocess(name, unset=False)
    free_core, free = numpy_in_subprocess(name, unset=True)
    chosen = os.environ.get("OPENBLAS_CORETYPE", "unset")
    print(f"{name}, one thread, GFLOP/s; NumPy as is (OPENBLAS_CORETYPE {chosen}): {core}; unset: {free_core}")
    print(
        f"{'batch x m x n x k':26}{'adjit':>8}{'as is':>8}{'unset':>8}{'adjit/unset':>13}{'us':>10}{'compile ms':>12}"
    )
    for case, (seconds, compiled), slow, fast in zip(CASES, own, throttled, free, strict=True):
        batch, m, n, k, transposed = case
        label = f"{batch} x {m} x {n} x {k} {'T:' + transposed if transposed else ''}"
        rates = [2e-9 * batch * m * n * k / value for value in (seconds, slow, fast)]
        print(
            f"{label:26}{rates[0]:8.1f}{rates[1]:8.1f}{rates[2]:8.1f}{fast / seconds:13.2f}"
            f"{1e6 * seconds:10.1f}{1e3 * compiled:12.1f}"
        )


if __name__ == "__main__":
    chosen_dtype = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "f32")
    if "--numpy" in sys.argv:
        print(json.dumps(measure_numpy(chosen_dtype)))
    else:
        main(chosen_dtype)
