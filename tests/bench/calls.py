"""What a call costs, beside PyTorch where it is installed: `python -m tests.bench.calls [--rounds N] [--only TEXT]`.

Compiled calls, eager operations (recording and not), backward, steps of training, import; with `--only symbolic`,
functions of floats made from SymPy, beside SymPy's own.  In each round every contender runs once, in turn, on one
thread; a figure is the median over the rounds, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.warm import warm_up

Case = tuple[str, Callable[[Any], Callable[[], object]]]
SIZES = (10, 1000)
OPS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "add number": lambda x, y: x + 1.5,
    "relu": lambda x, y: x.relu(),
    "exp": lambda x, y: x.exp(),
    "sum": lambda x, y: x.sum(),
    "mean": lambda x, y: x.mean(),
    "less": lambda x, y: x < y,
    "element": lambda x, y: x[3],
    "slice": lambda x, y: x[2:5],
    "view": lambda x, y: x.view(-1, 5),
    "remainder": lambda x, y: x % y,
}
# Of the namespace, and of lists.
FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sin": lambda library, x, y: library.sin(x),
    "where": lambda library, x, y: library.where(x < y, x, y),
    "cat": lambda library, x, y: library.cat([x, y]),
    "zeros": lambda library, x, y: library.zeros(10),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds of one call: ours, theirs, and the median of theirs / ours."""

    name: str
    adjit: float
    torch: float | None
    ratio: float | None


def eager_cases() -> Iterator[Case]:
    """One operation on tensors of 10 and 1000 elements, recording and not."""
    for recording in (False, True):
        mode = "recording" if recording else "plain"
        for name, function in OPS.items():
            for size in SIZES:
                yield f"eager {name}, {size} elements, {mode}", _operation(function, (size,), recording)
        for name, called in FUNCTIONS.items():
            yield f"eager {name}, 10 elements, {mode}", _of_namespace(called, recording)
        for size in (10, 32):
            yield f"eager matmul, {size}x{size}, {mode}", _operation(lambda x, y: x @ y, (size, size), recording)


def _operation(
    function: Callable[[Any, Any], Any], shape: tuple[int, ...], recording: bool
) -> Callable[[Any], Callable[[], object]]:
    def case(library: Any) -> Callable[[], object]:
        x, y = (library.rand(*shape, requires_grad=recording) for _ in range(2))
        return lambda: function(x, y)

    return case


def _of_namespace(called: Callable[[Any, Any, Any], Any], recording: bool) -> Callable[[Any], Callable[[], object]]:
    def case(library: Any) -> Callable[[], object]:
        x, y = (library.rand(10, requires_grad=recording) for _ in range(2))
        return lambda: called(library, x, y)

    return case


def _chain(library: Any, x: Any) -> Any:
    z = x
    for _ in range(5):
        z = (z * x).tanh()
    return z.sum()


def backward_cases() -> Iterator[Case]:
    """A chain of ten operations and a sum: forward alone, and with backward."""

    def forward(library: Any) -> Callable[[], object]:
        x = library.rand(10, requires_grad=True)
        return lambda: _chain(library, x)

    def both(library: Any) -> Callable[[], object]:
        x = library.rand(10, requires_grad=True)

        def step() -> None:
            x.grad = None
            _chain(library, x).backward()

        return step

    yield "eager chain of 10, forward, recording", forward
    yield "eager chain of 10, forward and backward", both


def compiled_cases() -> Iterator[Case]:
    """A compiled function (in PyTorch: the function as it is, since its compiler needs one of its own)."""
    functions: dict[int, Callable[..., Any]] = {
        1: lambda a: a * a + 3 * a,
        3: lambda a, b, c: a * b + c,
        10: lambda a, b, c, d, e, f, g, h, i, j: a + b + c + d + e + f + g + h + i + j,
    }

    def on_tensors(count: int, grad: bool = False) -> Callable[[Any], Callable[[], object]]:
        def case(library: Any) -> Callable[[], object]:
            function = _compiled(library, functions[count])
            tensors = [library.rand(10, requires_grad=grad) for _ in range(count)]
            return lambda: function(*tensors)

        return case

    def on_arrays(library: Any) -> Callable[[], object]:
        function = _compiled(library, functions[1])
        array = library.rand(10).numpy()
        return (lambda: function(array)) if _is_ours(library) else (lambda: function(library.from_numpy(array)).numpy())

    def with_number(library: Any) -> Callable[[], object]:
        function = _compiled(library, lambda a, k: a * k)
        x = library.rand(10)
        return lambda: function(x, 3.0)

    def on_dict(library: Any) -> Callable[[], object]:
        function = _compiled(library, lambda d: {"s": d["a"] + d["b"], "p": d["a"] * d["b"]})
        x = {"a": library.rand(10), "b": library.rand(10)}
        return lambda: function(x)

    for count in functions:
        yield f"compiled call, {count} tensors", on_tensors(count)
    yield "compiled call, 3 tensors, recording", on_tensors(3, grad=True)
    yield "compiled call, NumPy array", on_arrays
    yield "compiled call, tensor and number", with_number
    yield "compiled call, dict of tensors", on_dict


def training_cases() -> Iterator[Case]:
    """A step of a small model's training: eager, with the model compiled and the rest eager, and compiled whole."""
    sizes = {"8-16-4 batch 1": ((8, 16, 4), 1), "64-64-10 batch 32": ((64, 64, 10), 32)}

    def step_of(sizes: tuple[int, ...], batch: int, kind: str, optimizer: str) -> Callable[[Any], Callable[[], object]]:
        def case(library: Any) -> Callable[[], object]:
            nn = library.nn
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            model = nn.Sequential(*(item for layer in layers for item in (layer, nn.ReLU())))
            adjusting = getattr(library.optim, optimizer)(model.parameters(), lr=1e-3)
            x, labels = library.rand(batch, sizes[0]), library.zeros(batch, dtype=library.int64)
            called = _compiled(library, model) if kind == "model compiled" else model

            def step() -> object:
                adjusting.zero_grad()
                loss = nn.functional.cross_entropy(called(x), labels)
                loss.backward()
                adjusting.step()
                return loss

            return _compiled(library, step) if kind == "compiled" else step

        return case

    for name, (layers, batch) in sizes.items():
        for kind in ("eager", "model compiled", "compiled"):
            for optimizer in ("SGD", "Adam"):
                yield f"training step, {kind}, {name}, {optimizer}", step_of(layers, batch, kind, optimizer)


def symbolic_cases() -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Functions of floats made from SymPy: by `from_sympy`, and by SymPy's `lambdify` with its defaults and CSE."""
    import sympy

    import adjit

    x, y = sympy.symbols("x y")
    many = sympy.symbols("x0:30")
    total = sum(sympy.sin(v) * sympy.exp(v) * v**2 for v in many)
    gradient = [total.diff(v) for v in many]
    cases: tuple[tuple[str, Any, Sequence[Any]], ...] = (
        ("one float: x**2 + 1", x**2 + 1, [x]),
        ("two floats: exp, cos and sqrt", sympy.exp(-(x**2) / 2) * sympy.cos(3 * x) + sympy.sqrt(1 + y**2), [x, y]),
        ("one float: two pieces", sympy.Piecewise((sympy.sin(x), x > 0), (x**2, True)), [x]),
        ("30 floats: sum of sin*exp*x**2", total, many),
        ("30 floats: its gradient, a list", gradient, many),
        ("30 floats: its gradient, a matrix", sympy.Matrix(gradient), many),
    )
    for name, expression, symbols in cases:
        numbers = [0.1 + 0.05 * place for place in range(len(symbols))]
        ours, theirs = adjit.from_sympy(expression, symbols), sympy.lambdify(symbols, expression, cse=True)
        yield f"symbolic, {name}", lambda f=ours, n=numbers: f(*n), lambda f=theirs, n=numbers: f(*n)  # type: ignore[misc]


def _is_ours(library: Any) -> bool:
    return bool(library.__name__ == "adjit")


def _compiled(library: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    return library.compile(function) if _is_ours(library) else function  # type: ignore[no-any-return]


def import_seconds(module: str) -> float:
    """The time of `import module` in a fresh process, less that of an empty one."""

    def elapsed(program: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - start

    return max(1e-6, elapsed(f"import {module}") - elapsed("pass"))


def measure(call: Callable[[], object], seconds: float) -> float:
    """Seconds of one call, over a run of about `seconds`."""
    start = time.perf_counter()
    call()
    count = max(1, int(seconds / max(1e-7, time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def compare(name: str, contenders: list[Callable[[], float]], rounds: int) -> Figure:
    """Medians over interleaved rounds, after some that are not counted, with all compiled that they asked for."""
    warm_up(*contenders, times=1)
    times = [[contender() for contender in contenders] for _ in range(rounds)]
    ours = statistics.median(row[0] for row in times)
    if len(contenders) == 1:
        return Figure(name, ours, None, None)
    theirs = statistics.median(row[1] for row in times)
    return Figure(name, ours, theirs, statistics.median(row[1] / row[0] for row in times))


def run(rounds: int, only: str, seconds: float) -> list[Figure]:
    """All figures whose name has `only` in it."""
    import adjit
    from adjit.runtime.threads import set_num_threads

    set_num_threads(1)
    libraries: list[Any] = [adjit]
    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(1)
        libraries.append(torch)
    figures = []
    for name, case in (*compiled_cases(), *eager_cases(), *backward_cases(), *training_cases()):
        if only in name:
            calls = [case(library) for library in libraries]
            for call in calls:
                for _ in range(300):  # programs compiled, caches filled
                    call()
            contenders: list[Callable[[], float]] = [lambda call=call: measure(call, seconds) for call in calls]  # type: ignore[misc]
            figures.append(compare(name, contenders, rounds))
    if only.startswith("symbolic"):
        return [_symbolic(*case, rounds, seconds) for case in symbolic_cases() if only in case[0]]
    if only in "import":
        modules = [library.__name__ for library in libraries]
        figures.append(compare("import", [lambda m=m: import_seconds(m) for m in modules], max(1, rounds // 3)))  # type: ignore[misc]
    return figures


def _symbolic(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, seconds: float
) -> Figure:
    for _ in range(40):  # until the native entry, which a thread compiles in a fresh cache, is there
        for _ in range(10):
            ours()
        time.sleep(0.02)
    return compare(name, [lambda: measure(ours, seconds), lambda: measure(theirs, seconds)], rounds)


def table(figures: list[Figure], peer: str) -> str:
    """The figures as a Markdown table, in microseconds."""
    lines = [f"| call | adjit, us | {peer}, us | {peer} / adjit |", "|---|---|---|---|"]
    for figure in figures:
        theirs = "-" if figure.torch is None else f"{figure.torch * 1e6:.2f}"
        ratio = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
        lines.append(f"| {figure.name} | {figure.adjit * 1e6:.2f} | {theirs} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="of one measurement")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = parser.parse_args()
    figures = run(chosen.rounds, chosen.only, chosen.seconds)
    print(table(figures, "lambdify" if chosen.only.startswith("symbolic") else "torch"))
    if chosen.json is not None:
        rows = [{"name": f.name, "adjit": f.adjit, "torch": f.torch, "ratio": f.ratio} for f in figures]
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
