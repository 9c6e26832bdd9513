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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

from adjit.ir.errors import TraceError
from tests.peers.agreement import FACTOR, Different
from tests.peers.bridge import Missing, Unsupported
from tests.peers.checks import Case, check_compiled, check_error, check_gradient, check_result, first_line
from tests.peers.gaps import INACCURATE
from tests.peers.most_used import MOST_USED
from tests.peers.report import Row, conclude, report, table

# Their results are random or uninitialised memory: only dtype and shape can be compared.
RANDOM = re.compile(
    r"(bernoulli|cauchy|exponential|geometric|log_normal|normal|uniform|rand|multinomial|empty|dropout|rrelu|resize|"
    r"gumbel_softmax|multi_head_attention|fractional_max_pool|new_empty|lowrank)"
)
SECONDS = 120


class Late(Exception):
    """The operator took too long."""


@contextlib.contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise Late in the block after this time of the processor's."""

    def ring(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


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
            row.messages.append(f"[refused in a trace] {what} {about}: {first_line(reason)}")
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
    parser.add_argument("--most-used", action="store_true", help="the 150 most used, in place of --ops")
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
    for op in chosen(list(MOST_USED) if options.most_used else options.ops.split(",")):
        row = examine(op, options)
        rows.append(row)
        report(row, options.verbose)
    conclude(rows)
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=1))
    if options.markdown:
        options.markdown.write_text(table(rows))
    return 0 if all(row.right or row.state == "missing" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
