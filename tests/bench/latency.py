"""What comes before steady speed, beside the peers: `python -m tests.bench.latency [--only TEXT] [--rounds N]`.

The first call of programs (tests/bench/latency_cases.py), each in a process of its own after its imports, with an empty
disk cache and with a warm one; the second call, and the time from its start until the best code is there, which it
begins to make beside the program; the import; the installed size; the greatest memory of a process of training steps.
In each round every contender runs once, in turn; a figure is the least over the rounds, since other work on the machine
only ever adds.  Python keeps bytecode in a folder of the run's own, as an installed package has it.

`--counted` counts the lines of LLVM text of each case instead, which no load of the machine changes; they decide what
LLVM's part of a first call takes, and depend on the processor's vectors alone (tests/bench/counts.json: AVX-512).
`python -m tests.bench.regression tests/bench/counts.json NEW.json` compares.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.bench.latency_cases import CASES, Case

NEEDS = ("numpy", "llvmlite", "sympy", "mpmath", "optree", "typing_extensions", "platformdirs", "safetensors", "tqdm")
IMPORT_BAR, SIZE_BAR = 0.150, 320e6
_STEPS = 10
_COUNTED = "adjit, counted"


@dataclass(frozen=True, slots=True)
class Figure:
    """One contender's figure and, for adjit, its bar; `unit` is `s`, `bytes` or `lines`."""

    name: str
    contender: str
    value: float
    unit: str = "s"
    bar: float | None = None


# -- in a process of its own ------------------------------------------------------------------------------------------
def child(name: str, contender: str) -> None:
    """Print the seconds of the first call, of the second, and until the best code is there, and the greatest memory.

    What the first call imports is in its time, so nothing of the compiler is imported before, unless lines are counted.
    """
    counted = contender == _COUNTED
    lines = _count_lines() if counted else []
    contender = "adjit" if counted else contender
    case = next(case for case in CASES if case.name == name)
    if contender == "jax":
        assert case.make_jax is not None
        call = case.make_jax()
    else:
        library: Any = __import__(contender)
        __import__(f"{contender}.nn")
        call = case.make(library)
    start = time.perf_counter()
    call()
    first = time.perf_counter()
    call()
    second = time.perf_counter()
    if contender == "adjit":
        from adjit.compiler.later import settle

        settle()
    best = time.perf_counter()
    for _ in range(_STEPS):
        call()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = {"first": first - start, "second": second - first, "best": best - first}
    print(json.dumps({**times, "memory": memory, "lines": sum(lines)}))


def _count_lines() -> list[int]:
    """A list that gets the number of lines of each program that LLVM is given from here on."""
    from adjit.compiler import build

    lines: list[int] = []
    original = build.emit_program

    def counted(*given: Any, **options: Any) -> build.Emitted:
        emitted = original(*given, **options)
        lines.append(emitted.text.count("\n"))
        return emitted

    build.emit_program = counted
    return lines


def _spawn(case: Case, contender: str, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.latency", "--child", case.name, contender]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    numbers: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return numbers


# -- figures ----------------------------------------------------------------------------------------------------------
def first_calls(only: str, rounds: int, scratch: Path) -> Iterator[Figure]:
    """First calls of the cases whose name has `only` in it, cold and warm, and the peers' first calls."""
    kept = _environment(scratch)
    for case in CASES:
        if only not in case.name:
            continue
        cold, second, best, warm, memory = [], [], [], [], []
        jax, torch = [], []
        for turn in range(rounds):
            own = {**kept, "ADJIT_CACHE_DIR": str(scratch / f"{case.name}{turn}")}
            found = _spawn(case, "adjit", own)
            cold.append(found["first"])
            second.append(found["second"])
            best.append(found["best"])
            memory.append(found["memory"])
            warm.append(_spawn(case, "adjit", own)["first"])
            if case.make_jax is not None and find_spec("jax"):
                jax.append(_spawn(case, "jax", kept)["first"])
            if case.with_torch and find_spec("torch"):
                torch.append(_spawn(case, "torch", kept)["memory"])
        yield Figure(case.name, "adjit, cold", min(cold), bar=case.bar)
        yield Figure(case.name, "adjit, cold, second call", min(second))
        yield Figure(case.name, "adjit, cold, second call to best code", min(best))
        yield Figure(case.name, "adjit, warm cache", min(warm), bar=case.warm_bar)
        if jax:
            yield Figure(case.name, "jax", min(jax))
        if torch:
            yield Figure(f"{case.name}: memory", "adjit", min(memory), "bytes", min(torch))
            yield Figure(f"{case.name}: memory", "torch", min(torch), "bytes")


def counts(only: str, scratch: Path) -> Iterator[Figure]:
    """The lines of LLVM text of the cases whose name has `only` in it, for one thread."""
    kept = {**_environment(scratch), "ADJIT_CACHE": "0", "ADJIT_NUM_THREADS": "1"}
    for case in CASES:
        if only in case.name:
            yield Figure(f"{case.name}: LLVM text", "adjit", _spawn(case, _COUNTED, kept)["lines"], "lines")


def _environment(scratch: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("ADJIT_CACHE", None)
    return environment


def imports(rounds: int, scratch: Path) -> Iterator[Figure]:
    """Imports, less an empty process; adjit's also where Python keeps no bytecode."""
    kept = _environment(scratch)
    bare = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    bare.pop("PYTHONPYCACHEPREFIX", None)
    wanted = [("adjit", "adjit", kept), ("adjit", "adjit, without bytecode", bare)]
    wanted += [(name, name, kept) for name in ("torch", "jax") if find_spec(name)]
    for module, _, environment in wanted:
        _run(f"import {module}", environment)
    times: dict[str, list[float]] = {contender: [] for _, contender, _ in wanted}
    for _ in range(rounds):
        for module, contender, environment in wanted:
            times[contender].append(_run(f"import {module}", environment) - _run("pass", environment))
    for contender, taken in times.items():
        yield Figure("import", contender, min(taken), bar=IMPORT_BAR if contender.startswith("adjit") else None)


def _run(program: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return time.perf_counter() - start


def installed_size() -> Iterator[Figure]:
    """Bytes of the package and of what it needs."""
    root = Path(__file__).resolve().parents[2]
    own = sum(
        path.stat().st_size
        for folder in ("frontends", "ir", "runtime", "compiler")
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    yield Figure("installed", "adjit with its needs", own + sum(map(_size, NEEDS)), "bytes", SIZE_BAR)


def _size(name: str) -> int:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    places = [Path(str(file.locate())) for file in files]
    return sum(place.stat().st_size for place in places if place.is_file() and place.suffix != ".pyc")


# -- the program ------------------------------------------------------------------------------------------------------
def text_of(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == "lines":
        return f"{value:.0f} lines"
    if unit == "bytes":
        return f"{value / 1e6:.0f} MB"
    return f"{1e3 * value:.0f} ms" if value < 10 else f"{value:.1f} s"


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| what | contender | figure | bar |", "|---|---|---|---|"]
    for figure in figures:
        bar = "-" if figure.bar is None else text_of(figure.bar, figure.unit)
        lines.append(f"| {figure.name} | {figure.contender} | {text_of(figure.value, figure.unit)} | {bar} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--counted", action="store_true", help="count lines of LLVM text, and time nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(*chosen.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        if chosen.counted:
            figures = list(counts(chosen.only, Path(folder)))
        else:
            figures = list(first_calls(chosen.only, chosen.rounds, Path(folder)))
        if chosen.only in "import" and not chosen.counted:
            figures += [*imports(chosen.rounds, Path(folder)), *installed_size()]
    print(table(figures))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
