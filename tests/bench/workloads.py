"""The compiler's speed beside its peers': `python -m tests.bench.workloads [--only a,b] [--threads 1,2] [--peers ...]`.

Each workload (tests/bench/workload_cases.py) is compiled by every contender, its results compared with float64 first
(a wrong answer has no time), then all run in turn, a round after a round: a time is the median over the rounds, a ratio
the median of the rounds' ratios.  The first call (tracing and compilation) is timed apart.  Each thread count runs in a
process of its own, since libraries fix theirs at start.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.warm import warm_up
from tests.bench.workload_captured import CAPTURED
from tests.bench.workload_cases import WORKLOADS, Workload
from tests.bench.workload_images import IMAGES
from tests.bench.workload_loops import LOOPS
from tests.bench.workload_order import ORDER
from tests.bench.workload_products import PRODUCTS
from tests.bench.workload_science import SCIENCE
from tests.bench.workload_steps import STEPS
from tests.bench.workload_transforms import TRANSFORMS
from tests.bench.workload_wide import WIDE

PEERS = ("torch", "inductor", "jax", "numpy", "numba")
_MODULES = {"inductor": "torch"}
# With these the C library keeps freed memory, so that no contender pays for fresh pages in each call.
_KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}
Run = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one contender took: seconds of the first call and of a steady one, and its time over adjit's."""

    workload: str
    threads: int
    contender: str
    first: float
    steady: float
    ratio: float
    bound: float | None
    error: float


# -- contenders -------------------------------------------------------------------------------------------------------
def _with_gradient(library: Any, workload: Workload, function: Callable[..., Any]) -> Callable[..., Any]:
    """The value's sum and the gradients of the wanted operands; the value where none is wanted."""
    if not workload.wanted:
        return function

    def program(*operands: Any) -> Any:
        value = function(*operands).sum()
        return value.detach(), *library.autograd.grad(value, [operands[place] for place in workload.wanted])

    return program


def _tensors(library: Any, workload: Workload, operands: tuple[Any, ...], dtype: str | None = None) -> list[Any]:
    tensors = []
    for place, array in enumerate(operands):
        wide = array.astype(dtype) if dtype and array.dtype.kind == "f" else array.copy()
        tensor = library.from_numpy(wide) if wide.ndim else library.tensor(wide)
        tensors.append(tensor.requires_grad_() if place in workload.wanted else tensor)
    return tensors


def adjit_run(workload: Workload, operands: tuple[Any, ...], threads: int, **options: Any) -> Run:
    """The workload compiled by adjit, with further options of `compile`."""
    import adjit

    tensors = _tensors(adjit, workload, operands)
    plain = _with_gradient(adjit, workload, lambda *given: workload.function(adjit, *given))
    program = adjit.compile(plain, threads=threads, **options)
    if workload.wanted:
        return lambda: program(*tensors)
    return _without_record(adjit, lambda: program(*tensors))


def _without_record(library: Any, call: Run) -> Run:
    def run() -> Any:
        with library.no_grad():
            return call()

    return run if library.__name__ == "torch" else call


def torch_run(workload: Workload, operands: tuple[Any, ...], threads: int) -> Run:
    """The workload in PyTorch eager."""
    import torch

    torch.set_num_threads(threads)
    tensors = _tensors(torch, workload, operands)
    program = _with_gradient(torch, workload, lambda *given: workload.function(torch, *given))
    if workload.wanted:
        return lambda: program(*tensors)
    return _without_record(torch, lambda: program(*tensors))


def inductor_run(workload: Workload, operands: tuple[Any, ...], threads: int) -> Run:
    """The workload by torch.compile."""
    import torch

    torch.set_num_threads(threads)
    tensors = _tensors(torch, workload, operands)
    compiled = torch.compile(lambda *given: workload.function(torch, *given))
    program = _with_gradient(torch, workload, compiled)
    if workload.wanted:
        return lambda: program(*tensors)
    return _without_record(torch, lambda: program(*tensors))


def jax_run(workload: Workload, operands: tuple[Any, ...], threads: int) -> Run | None:
    """The workload by `jax.jit`, where it has a JAX form."""
    if workload.jax is None:
        return None
    import jax

    jax.config.update("jax_enable_x64", any(array.dtype == np.float64 for array in operands))
    function, wanted = workload.jax, workload.wanted

    def program(*given: Any) -> Any:
        if not wanted:
            return function(*given)
        value, gradients = jax.value_and_grad(lambda *g: function(*g).sum(), argnums=wanted)(*given)
        return value, *gradients

    compiled = jax.jit(program)
    arrays = [jax.device_put(array) for array in operands]
    return lambda: jax.block_until_ready(compiled(*arrays))


def numpy_run(workload: Workload, operands: tuple[Any, ...], threads: int) -> Run | None:
    """The workload in NumPy, where it has a NumPy form."""
    function = workload.numpy
    return None if function is None or workload.wanted else lambda: function(*operands)


def numba_run(workload: Workload, operands: tuple[Any, ...], threads: int) -> Run | None:
    """The workload as Numba compiles it, where it has such a form."""
    if workload.numba is None or workload.wanted:
        return None
    import numba

    program = workload.numba(numba.njit)
    return lambda: program(*operands)


CONTENDERS: dict[str, Callable[[Workload, tuple[Any, ...], int], Run | None]] = {
    "adjit": adjit_run, "torch": torch_run, "inductor": inductor_run, "jax": jax_run, "numpy": numpy_run,
    "numba": numba_run,
}  # fmt: skip


# -- measuring --------------------------------------------------------------------------------------------------------
def _arrays(found: Any) -> list[Any]:
    results = found if isinstance(found, tuple) else (found,)
    return [np.asarray(r.detach().numpy() if hasattr(r, "detach") else r) for r in results]


def exact(workload: Workload, operands: tuple[Any, ...]) -> list[Any]:
    """The results computed in float64 by PyTorch, or by adjit's eager mode where there is none."""
    library: Any = __import__("torch" if find_spec("torch") else "adjit")
    tensors = _tensors(library, workload, operands, "float64")
    return _arrays(_with_gradient(library, workload, lambda *g: workload.function(library, *g))(*tensors))


def _error(found: list[Any], wanted: list[Any]) -> float:
    """The largest error of a result, relative to the result's largest element."""
    scales = [max(1e-30, float(np.abs(right).max(initial=0.0))) for right in wanted]
    return max(
        float(np.abs(left - right).max(initial=0.0)) / scale if left.shape == right.shape else float("inf")
        for left, right, scale in zip(found, wanted, scales, strict=True)
    )


def _seconds(run: Run, least: float) -> float:
    """Seconds of one run, of as many as take about `least` together."""
    start = time.perf_counter()
    run()
    once = time.perf_counter() - start
    count = int(least / max(once, 1e-8))
    if count < 2:
        return once
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def measure(
    workload: Workload, peers: list[str], threads: int, rounds: int, least: float, rest: float = 0.0
) -> Iterator[Figure]:
    """The figures of all contenders for one workload, each measured `rest` seconds after the one before."""
    operands = workload.operands(np.random.default_rng(0))
    wanted = exact(workload, operands)
    runs: dict[str, Run] = {}
    first: dict[str, float] = {}
    errors: dict[str, float] = {}
    for name in ("adjit", *peers):
        start = time.perf_counter()
        run = CONTENDERS[name](workload, operands, threads)
        if run is None:
            continue
        found = _arrays(run())
        first[name] = time.perf_counter() - start
        errors[name] = _error(found, wanted)
        if errors[name] > 2e-3:
            print(f"{workload.name}: {name} is wrong by {errors[name]:.1e}: no time", file=sys.stderr)
            continue
        runs[name] = run
    warm_up(*runs.values())
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(rest)
            times[name].append(_seconds(run, least))
    ours = times.get("adjit")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, ours, strict=True)) if ours else float("nan")
        steady = statistics.median(taken)
        yield Figure(workload.name, threads, name, first[name], steady, ratio, workload.bound, errors[name])


def openblas_core() -> str:
    """The core that NumPy's OpenBLAS chose its kernels for."""
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    for library in sorted(folder.glob("*openblas*")):
        for symbol in ("scipy_openblas_get_corename64_", "openblas_get_corename64_"):
            function = getattr(ctypes.CDLL(str(library)), symbol, None)
            if function is not None:
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return "unknown"


# -- the program ------------------------------------------------------------------------------------------------------
def row(figures: list[Figure]) -> str:
    """One workload as a line of the Markdown table."""
    ours = next((figure for figure in figures if figure.contender == "adjit"), None)
    others = [figure for figure in figures if figure.contender != "adjit"]
    best = min(others, key=lambda figure: figure.steady, default=None)
    times = ", ".join(f"{figure.contender} {time_text(figure.steady)}" for figure in others)
    if ours is None:
        return f"| {figures[0].workload} | {figures[0].threads} | wrong | {times} | - | - | - |"
    against = f"{1 / best.ratio:.2f} ({best.contender})" if best else "-"
    bound = f"{ours.steady / ours.bound:.1f}" if ours.bound and ours.threads == 1 else "-"
    return (f"| {ours.workload} | {ours.threads} | {time_text(ours.steady)} | {times} | {against} | {bound} | "
            f"{ours.first:.2f} s |")  # fmt: skip


def time_text(seconds: float) -> str:
    """Seconds with a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


HEADER = "| workload | threads | adjit | peers | adjit / best peer | adjit / bound | first call |\n" + "|---" * 7 + "|"


def peers_of(wanted: str) -> tuple[list[str], list[str]]:
    """The peers among those wanted (with commas between) that are installed, and those that are missing."""
    names = list(filter(None, wanted.split(",")))
    if unknown := [name for name in names if name not in PEERS]:
        raise SystemExit(f"no such peer: {', '.join(unknown)} (there are {', '.join(PEERS)})")
    installed = [name for name in names if find_spec(_MODULES.get(name, name))]
    return installed, [name for name in names if name not in installed]


def surroundings(wanted: str) -> str:
    """What the figures depend on beside the machine: the peers with their versions, and NumPy's BLAS."""
    installed, missing = peers_of(wanted)
    modules = dict.fromkeys(_MODULES.get(name, name) for name in installed)
    found = ", ".join(f"{module} {version(module)}" for module in modules) or "none"
    lost = f"; missing: {', '.join(missing)}" if missing else ""
    setting = os.environ.get("OPENBLAS_CORETYPE", "unset")
    return f"Peers: {found}{lost}. OpenBLAS core of NumPy: {openblas_core()} (OPENBLAS_CORETYPE={setting})."


def _in_process(chosen: argparse.Namespace, threads: int) -> list[Figure]:
    peers, _ = peers_of(chosen.peers)
    names = chosen.only.split(",") if chosen.only else None
    found: list[Figure] = []
    if hasattr(os, "sched_setaffinity"):  # the one limit that JAX's threads know
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    for workload in (*WORKLOADS, *STEPS, *PRODUCTS, *SCIENCE, *LOOPS, *CAPTURED, *TRANSFORMS, *WIDE, *ORDER, *IMAGES):
        if names and not any(name in workload.name for name in names):
            continue
        figures = list(measure(workload, peers, threads, chosen.rounds, chosen.seconds, chosen.rest))
        if figures:
            print(row(figures), flush=True)
        found += figures
    return found


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="parts of workloads' names, with commas between")
    parser.add_argument("--threads", default="1", help="thread counts, with commas between")
    parser.add_argument("--peers", default="torch,jax,numpy,numba", help=f"among {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="the least time of one measurement")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds between contenders: threads spin till then")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--default-allocator", action="store_true", help="let malloc give pages back to the system")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        figures = _in_process(chosen, int(chosen.threads))
        chosen.json.write_text(json.dumps([asdict(figure) for figure in figures]), encoding="utf-8")
        return
    about = surroundings(chosen.peers)
    print(f"{about}\n\n{HEADER}", flush=True)
    rows: list[Figure] = []
    for threads in chosen.threads.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "figures.json"
            limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
            command = [sys.executable, "-m", "tests.bench.workloads", "--child", "--threads", threads, "--json",
                       str(place), "--only", chosen.only, "--peers", chosen.peers, "--rounds", str(chosen.rounds),
                       "--seconds", str(chosen.seconds), "--rest", str(chosen.rest)]  # fmt: skip
            if not chosen.default_allocator:
                limits |= _KEEPING
            subprocess.run(command, check=True, env={**os.environ, **limits})
            rows += [Figure(**entry) for entry in json.loads(place.read_text(encoding="utf-8"))]
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(figure) for figure in rows], indent=1) + "\n", encoding="utf-8")
    if chosen.markdown:
        groups = dict.fromkeys((figure.workload, figure.threads) for figure in rows)
        lines = [row([f for f in rows if (f.workload, f.threads) == group]) for group in groups]
        chosen.markdown.write_text("\n".join([about, "", HEADER, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
