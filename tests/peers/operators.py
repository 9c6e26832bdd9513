"""adjit against torch's operator database: `python -m tests.peers.operators [--ops add,linalg.*] [--dtypes float32]`.

Every sample of every operator runs in both libraries.  Compared are: results (values, dtype, shape), gradients for a
random cotangent, gradients of gradients (--second, in double precision), the compiled function (--compiled), and the
class and first line of the errors of the database's bad inputs (--errors).  Printed is a line per operator and the
totals; -v shows what failed; --json and --markdown write the table.  Operators that adjit does not have are listed,
with the reason where one is written down in `gaps.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import re
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import adjit
from adjit.ir.errors import TraceError
from tests.peers.agreement import FACTOR, Different, as_numpy, compare
from tests.peers.bridge import Missing, Stand, Unsupported, call, exchanged, tensors_in
from tests.peers.bridge import ours as ours_of
from tests.peers.common import COMMON
from tests.peers.gaps import DIFFERENT, GAPS, INACCURATE

# Their results are random or uninitialised memory: only dtype and shape can be compared.
RANDOM = re.compile(
    r"(bernoulli|cauchy|exponential|geometric|log_normal|normal|uniform|rand|multinomial|empty|dropout|rrelu|resize|"
    r"gumbel_softmax|multi_head_attention|fractional_max_pool|new_empty|lowrank)"
)
SECONDS = 120


@dataclass
class Row:
    """What is known of one operator."""

    name: str
    state: str = "exists"
    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether all that ran passed, and something ran."""
        return self.state == "exists" and not self.failed and bool(self.passed)


# -- the checks ------------------------------------------------------------------------------------------------------
@dataclass
class Case:
    """A sample in both libraries."""

    op: Any
    sample: Any
    dtype: torch.dtype
    random: bool

    def __post_init__(self) -> None:
        known: dict[int, Stand] = {}
        self.args = exchanged((self.sample.input, *self.sample.args), known)
        self.kwargs = exchanged(self.sample.kwargs, known)
        self.theirs = tensors_in([self.sample.input, self.sample.args, self.sample.kwargs], torch.Tensor)
        self.theirs = list({id(tensor): tensor for tensor in self.theirs}.values())
        self.stands = [known[id(tensor)] for tensor in self.theirs]

    def run_torch(self) -> Any:
        """Torch's result."""
        torch.manual_seed(0)
        found = self.op.op(self.sample.input, *self.sample.args, **self.sample.kwargs)
        return found

    def run_ours(self, args: Any = None, kwargs: Any = None) -> Any:
        """adjit's result."""
        adjit.manual_seed(0)
        return call(self.op.op, self.args if args is None else args, self.kwargs if kwargs is None else kwargs)

    def exact(self) -> Case | None:
        """The sample in float64; None where it is in float64 already or random."""
        if self.random or self.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            return None

        def wide(value: Any) -> Any:
            if isinstance(value, torch.dtype):
                return torch.float64 if value == self.dtype else value
            if value.dtype != self.dtype:
                return value
            return value.detach().double().requires_grad_(value.requires_grad)

        return Case(self.op, self.sample.transform(wide), torch.float64, False)

    def gradients(self, cotangents: list[torch.Tensor]) -> list[torch.Tensor | None]:
        """Torch's gradients."""
        outputs = tensors_in(self.process(self.run_torch()), torch.Tensor)
        wanted = [outputs[i] for i in _differentiable(outputs)]
        leaves = [tensor for tensor in self.theirs if tensor.requires_grad]
        given = [cotangent.to(output.dtype) for cotangent, output in zip(cotangents, wanted, strict=True)]
        return list(torch.autograd.grad(wanted, leaves, given, allow_unused=True))

    def process(self, value: Any) -> Any:
        """What of the result is differentiated."""
        return self.sample.output_process_fn_grad(value)


# Which of equal elements torch takes depends on its kernel: indices agree if they lead to the same values.  With the
# place of the argument `dim` behind the input.
ANY_OF_EQUALS = {"argsort": 0, "kthvalue": 1, "sort": 0, "topk": 1}


def check_result(case: Case) -> None:
    """Results agree."""
    agree(case, case.run_ours(), case.run_torch(), "result")


def agree(case: Case, ours: Any, theirs: Any, where: str) -> None:
    """Raise Different unless the results agree; in narrow floats ours may be as far from the truth as torch's."""
    try:
        _agree(case, ours, theirs, where)
    except Different:
        exact = case.exact()
        if exact is None:
            raise
        _agree(case, ours, theirs, where, exact.run_torch())


def _agree(case: Case, ours: Any, theirs: Any, where: str, truth: Any = None) -> None:
    place = ANY_OF_EQUALS.get(case.op.name)
    if place is not None and case.sample.input.dim():
        given = case.sample.args[place : place + 1]
        dim = case.sample.kwargs.get("dim", given[0] if given else -1)
        ours, theirs = _led_to(ours, case.stands[0].tensor, dim), _led_to(theirs, case.sample.input, dim)
    if case.op.name == "linalg.eigh":
        ours, theirs, truth = _projectors(ours), _projectors(theirs), truth and _projectors(truth)
    compare(ours, theirs, case.random, where, truth)


def _projectors(result: Any) -> Any:
    """Eigenvalues, and in place of each eigenvector v, whose sign is free, the products v[i]*v[j]."""
    values, vectors = result
    v = vectors.tensor if isinstance(vectors, Stand) else vectors
    found = v.detach().unsqueeze(-2) * v.detach().unsqueeze(-3)
    return values, Stand(found) if isinstance(vectors, Stand) else found


def _led_to(result: Any, input: Any, dim: int) -> Any:
    """The result with the elements that its indices lead to in their place."""
    if isinstance(result, (tuple, list)):
        return (*result[:-1], _led_to(result[-1], input, dim))
    index = result.tensor if isinstance(result, Stand) else result
    index = index.unsqueeze(dim) if index.dim() < input.dim() else index
    found = input.detach().gather(dim, index)
    return Stand(found) if isinstance(result, Stand) else found


def _cotangents(outputs: list[torch.Tensor]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    wide = [torch.complex128 if o.is_complex() else torch.float64 for o in outputs]
    return [
        torch.randn(o.shape, generator=generator, dtype=d).to(o.dtype) for o, d in zip(outputs, wide, strict=True)
    ]


def _leaves(case: Case) -> list[tuple[Any, torch.Tensor]]:
    return [(o.tensor, t) for o, t in zip(case.stands, case.theirs, strict=True) if t.requires_grad]


def _differentiable(outputs: list[torch.Tensor]) -> list[int]:
    return [i for i, o in enumerate(outputs) if o.requires_grad and (o.is_floating_point() or o.is_complex())]


def check_gradient(case: Case, run: Callable[[], Any] | None = None, second: bool = False) -> bool:
    """Gradients (with `second` gradients of gradients too) agree; False if there is nothing to differentiate."""
    leaves = _leaves(case)
    if not leaves:
        return False
    theirs = tensors_in(case.process(case.run_torch()), torch.Tensor)
    wanted = _differentiable(theirs)
    if not wanted:
        return False
    ours = tensors_in(case.process((run or case.run_ours)()), Stand)
    cotangents = _cotangents([theirs[i] for i in wanted])
    right = torch.autograd.grad(
        [theirs[i] for i in wanted], [t for _, t in leaves], cotangents, allow_unused=True, create_graph=second
    )
    left = adjit.autograd.grad(
        [ours[i].tensor for i in wanted],
        [o for o, _ in leaves],
        [ours_of(c) for c in cotangents],
        allow_unused=True,
        create_graph=second,
    )
    try:
        _compare_gradients(left, right, "gradient")
    except Different:
        exact = case.exact()
        if exact is None:
            raise
        _compare_gradients(left, right, "gradient", exact.gradients(cotangents))
    if second:
        _check_second(left, right, leaves)
    return True


def _check_second(left: Any, right: Any, leaves: list[tuple[Any, torch.Tensor]]) -> None:
    wanted = [i for i, g in enumerate(right) if g is not None and g.requires_grad]
    if not wanted:
        return
    cotangents = _cotangents([right[i] for i in wanted])
    again = torch.autograd.grad([right[i] for i in wanted], [t for _, t in leaves], cotangents, allow_unused=True)
    given = [(left[i], c) for i, c in zip(wanted, cotangents, strict=True) if left[i] is not None]
    given = [(g, c) for g, c in given if g.requires_grad]
    mine = [None] * len(leaves)
    if given:
        mine = adjit.autograd.grad(
            [g for g, _ in given],
            [o for o, _ in leaves],
            [adjit.from_numpy(c.numpy()) for _, c in given],
            allow_unused=True,
        )
    _compare_gradients(mine, again, "second gradient")


def _compare_gradients(left: Any, right: Any, where: str, truth: Any = None) -> None:
    """None and zeros are one: which of them is given depends on how a formula was written."""
    for index, (mine, theirs) in enumerate(zip(left, right, strict=True)):
        if mine is None and theirs is None:
            continue
        theirs = torch.zeros(tuple(mine.shape), dtype=_torch_dtype(mine)) if theirs is None else theirs
        mine = adjit.from_numpy(np.zeros_like(as_numpy(theirs))) if mine is None else mine
        if theirs.dtype is torch.bfloat16:
            mine = mine.to(adjit.bfloat16)
        compare(Stand(mine), theirs, False, f"{where} {index}", None if truth is None else truth[index])


def _torch_dtype(tensor: Any) -> torch.dtype:
    found = getattr(torch, str(tensor.dtype).removeprefix("torch."))
    assert isinstance(found, torch.dtype)
    return found


def check_compiled(case: Case) -> None:
    """The compiled function gives what eager gives, and its gradients torch's."""
    shape: list[Any] = []

    def traced(*tensors: Any) -> Any:
        places = {id(old): Stand(new) for old, new in zip(case.stands, tensors, strict=True)}
        result = case.run_ours(_replaced(case.args, places), _replaced(case.kwargs, places))
        shape[:] = [result]
        return [stand.tensor for stand in tensors_in(result, Stand)]

    compiled = adjit.compile(traced)
    tensors = [stand.tensor for stand in case.stands]
    found = compiled(*tensors)
    agree(case, [Stand(t) for t in found], tensors_in(case.run_torch(), torch.Tensor), "compiled")

    def run() -> Any:
        results = iter([Stand(t) for t in compiled(*tensors)])
        return _filled(shape[0], results)

    if not case.random and case.op.supports_autograd:
        check_gradient(case, run)


def _replaced(value: Any, places: dict[int, Stand]) -> Any:
    if isinstance(value, Stand):
        return places.get(id(value), value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_replaced(item, places) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, places) for item in value)
    if isinstance(value, dict):
        return {key: _replaced(item, places) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_replaced(item, places) for item in (value.start, value.stop, value.step)))
    return value


def _filled(value: Any, results: Iterator[Stand]) -> Any:
    if isinstance(value, Stand):
        return next(results)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_filled(item, results) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_filled(item, results) for item in value)
    return value


def check_error(op: Any, bad: Any) -> None:
    """A bad input raises torch's class with torch's text."""
    sample = bad.sample_input
    known: dict[int, Stand] = {}
    args = exchanged((sample.input, *sample.args), known)
    kwargs = exchanged(sample.kwargs, known)
    try:
        op.op(sample.input, *sample.args, **sample.kwargs)
    except Exception as error:
        expected = error
    else:
        return  # the database's note is out of date
    try:
        call(op.op, args, kwargs)
    except (Missing, Unsupported):
        raise
    except Exception as error:
        if not isinstance(error, type(expected)) and not isinstance(error, bad.error_type):
            raise Different(f"error: {type(error).__name__}: {error}; torch: {expected!r}") from error
        if not re.search(bad.error_regex, str(error)) and _first(expected) not in str(error):
            raise Different(f"error text: {_first(error)!r}; torch: {_first(expected)!r}") from error
    else:
        raise Different(f"no error; torch: {type(expected).__name__}: {_first(expected)}")


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


# -- the run ---------------------------------------------------------------------------------------------------------
class Late(Exception):
    """The operator took too long."""


@contextlib.contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise Late in the block after this time."""

    def ring(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(row: Row, what: str, check: Callable[[], Any], about: str) -> bool:
    """Count one check; whether it passed."""
    try:
        result = check()
    except Missing as missing:
        row.state = "missing"
        row.messages.append(f"missing {missing}")
        return False
    except (Unsupported, TraceError) as reason:
        row.skipped[what] += 1
        if isinstance(reason, TraceError):
            row.messages.append(f"[refused in a trace] {what} {about}: {_first(reason)}")
        return False
    except Late:
        raise
    except Exception as error:
        row.failed[what] += 1
        text = str(error) if isinstance(error, Different) else "".join(traceback.format_exception(error)[-4:])
        row.messages.append(f"{what} {about}: {text}")
        return False
    if result is not False:
        row.passed[what] += 1
    return True


def examine(op: Any, options: argparse.Namespace) -> Row:
    """Run one operator's samples."""
    row = Row(full_name(op))
    random = bool(RANDOM.search(op.name))
    FACTOR[0] = max((n for name, n in INACCURATE.items() if fnmatch.fnmatchcase(op.name, name)), default=1.0)
    try:
        with limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for dtype in options.dtypes:
                if dtype in op.supported_dtypes("cpu"):
                    _samples(row, op, dtype, random, options)
                if row.state == "missing":
                    return row
            if options.errors and op.error_inputs_func is not None:
                for number, bad in enumerate(op.error_inputs("cpu")):
                    attempt(row, "error", lambda bad=bad: check_error(op, bad), f"#{number}")  # type: ignore[misc]
    except Late:
        row.failed["time"] += 1
        row.messages.append(f"took over {SECONDS} s")
    return row


def _samples(row: Row, op: Any, dtype: torch.dtype, random: bool, options: argparse.Namespace) -> None:
    differentiable = op.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
    torch.manual_seed(7)
    np.random.seed(7)
    for number, sample in enumerate(op.sample_inputs("cpu", dtype, requires_grad=differentiable)):
        if options.limit is not None and number >= options.limit:
            break
        try:
            case = Case(op, sample, dtype, random or sample.kwargs.get("dropout_p", 0) > 0)
        except (Unsupported, Missing):
            row.skipped["result"] += 1
            continue
        about = f"{str(dtype)[6:]} #{number} {_shown(sample)}"
        try:
            case.run_torch()
        except Exception:
            continue  # torch has no result to compare with
        if not attempt(row, "result", lambda case=case: check_result(case), about):  # type: ignore[misc]
            if row.state == "missing":
                return
            continue
        if differentiable and not case.random:
            twice = options.second and dtype in (torch.float64, torch.complex128) and op.supports_gradgrad
            twice = twice and "ctc" not in op.name
            attempt(row, "gradient", lambda case=case: check_gradient(case), about)  # type: ignore[misc]
            if twice:
                attempt(row, "second", lambda case=case: check_gradient(case, second=True), about)  # type: ignore[misc]
        if options.compiled and number < options.compiled:
            attempt(row, "compiled", lambda case=case: check_compiled(case), about)  # type: ignore[misc]


def _shown(sample: Any) -> str:
    def show(value: Any) -> str:
        if isinstance(value, torch.Tensor):
            strides = "" if value.is_contiguous() else f" strides {tuple(value.stride())}"
            return f"{str(value.dtype)[6:]}{list(value.shape)}{strides}"
        if isinstance(value, (tuple, list)):
            return "(" + ", ".join(map(show, value)) + ")"
        return f"{value!r:.40}"

    parts = [show(sample.input), *map(show, sample.args), *(f"{k}={show(v)}" for k, v in sample.kwargs.items())]
    return "(" + ", ".join(parts) + ")"


def chosen(patterns: list[str]) -> list[Any]:
    """The database's operators whose names, with or without that of their variant, match one of the patterns."""
    return [
        op for op in op_db if any(fnmatch.fnmatchcase(name, p) for p in patterns for name in (op.name, full_name(op)))
    ]


def full_name(op: Any) -> str:
    """The operator's name with that of its variant."""
    return str(op.name + (f".{op.variant_test_name}" if op.variant_test_name else ""))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ops", default="*", help="names or patterns, separated by commas")
    parser.add_argument("--common", action="store_true", help="the 150 most used, in place of --ops")
    parser.add_argument("--dtypes", default="float32,float64,int64,bool", help="torch's dtype names")
    parser.add_argument("--limit", type=int, help="at most this many samples of an operator and dtype")
    parser.add_argument("--second", action="store_true", help="gradients of gradients, in float64")
    parser.add_argument("--compiled", type=int, default=0, metavar="N", help="compile the first N samples of a dtype")
    parser.add_argument("--errors", action="store_true", help="the bad inputs")
    parser.add_argument("-v", "--verbose", action="store_true", help="every message")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    options.dtypes = [getattr(torch, name) for name in options.dtypes.split(",")]
    rows = []
    for op in chosen(list(COMMON) if options.common else options.ops.split(",")):
        row = examine(op, options)
        rows.append(row)
        report(row, options.verbose)
    conclude(rows)
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
    if options.markdown:
        options.markdown.write_text(table(rows))
    return 0 if all(row.right or row.state == "missing" for row in rows) else 1


def report(row: Row, verbose: bool) -> None:
    """Print an operator's line, and its first failures."""
    if row.state == "missing":
        print(f"{row.name:40} missing  {GAPS.get(row.name, '')}", flush=True)
        return
    word = "ok" if row.right else "FAILED" if row.failed else "nothing ran"
    counts = " ".join(f"{what} {row.passed[what]}/{row.passed[what] + row.failed[what]}"
                      for what in sorted({*row.passed, *row.failed}))  # fmt: skip
    skipped = " ".join(f"skipped {what} {count}" for what, count in row.skipped.items())
    reason = f"  ({DIFFERENT[row.name]})" if row.failed and row.name in DIFFERENT else ""
    print(f"{row.name:40} {word:8} {counts} {skipped}{reason}", flush=True)
    for message in row.messages if verbose else [m for m in row.messages if not m.startswith("[")][:2]:
        print("    " + message.replace("\n", "\n    ")[: 4000 if verbose else 400])


def conclude(rows: list[Row]) -> None:
    """Print the totals."""
    there = [row for row in rows if row.state != "missing"]
    right = [row for row in there if row.right]
    print(f"\n{len(rows)} operators: {len(there)} exist, {len(right)} of them pass all that ran")
    failing = [row.name for row in there if not row.right]
    if failing:
        print("not passing: " + " ".join(failing))
    absent = [row.name for row in rows if row.state == "missing"]
    if absent:
        print("missing: " + " ".join(absent))


def table(rows: list[Row]) -> str:
    """A Markdown table of all rows."""
    kinds = ["result", "gradient", "second", "compiled", "error"]
    lines = ["| operator | " + " | ".join(kinds) + " | |", "|---" * (len(kinds) + 2) + "|"]
    for row in rows:
        cells = [
            f"{row.passed[k]}/{row.passed[k] + row.failed[k]}" if row.passed[k] + row.failed[k] else "" for k in kinds
        ]
        note = GAPS.get(row.name, "missing") if row.state == "missing" else DIFFERENT.get(row.name, "")
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
