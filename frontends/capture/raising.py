"""`assert`, and `raise` under an `if`, of what is known only when the program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adjit.capture.parts import Part, is_traced
from adjit.capture.text import when_run
from adjit.capture.truth import truth_of
from adjit.capture.values import refuse
from adjit.ir.errors import CompileError, DifferentiationError, TraceError, VerifyError

_PACKAGE = str(Path(__file__).parent.parent)


def assert_(test: Part, message: Part | None = None) -> None:
    """`assert test, message`: on a traced tensor an operation of the program."""
    if not __debug__:
        return
    value = test()
    text = () if message is None else (message,)
    if is_traced(value):
        fail_where(value, False, AssertionError(*(part() for part in text)))
    elif not value:
        raise AssertionError(*(part() for part in text))


def raise_if(
    test: Any, body: Part, get: Part, put: Callable[[Sequence[Any]], None], negated: bool, caught: bool
) -> None:
    """`if test: body`, or `if not test: body` if `negated`, where the body ends in `raise`.

    `get` and `put` are of the variables that the body assigns; `caught` says that a `try` around may catch.
    """
    if not is_traced(test):
        if bool(test) != negated:
            body()
        return
    if caught:
        refuse("whether an exception is raised depends on a traced tensor, and a `try` around may catch it",
               "compute both ways, and choose with adjit.where")  # fmt: skip
    before = get()
    try:
        body()
    except Exception as error:
        if _is_ours(error):
            raise
        fail_where(test, not negated, error)
    finally:
        put(before)


def _is_ours(error: Exception) -> bool:
    """Whether this package raised the error, and not the user's code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def is_of_calls(error: Exception) -> bool:
    """Whether eager mode would raise the error, too: no limit of traces, and nothing that a trace tells itself."""
    own = type(error).__module__.startswith("adjit.") and type(error).__base__ is Exception
    return not own and not isinstance(error, (TraceError, CompileError, VerifyError, DifferentiationError))


def fail_where(test: Any, failing: bool, error: Exception) -> None:
    """Let the program raise an error like this one where the test is `failing` in a call."""

    kind, base = type(error), _builtin(error)
    # As it was, whatever its class asks for to make one; the error itself would keep the frames of the trace.
    _, args, *state = base.__reduce__(error)

    def fail(value: Any, args: Any, state: Any) -> None:
        if bool(value) is failing:
            made = base.__new__(kind, *args)
            base.__init__(made, *args)
            for attributes in state:
                made.__setstate__(attributes)
            raise made

    when_run("raise", fail, [truth_of(test), args, state])


def _builtin(error: Exception) -> Any:
    """Python's own class that an error's class is derived from."""
    return next(base for base in type(error).__mro__ if base.__module__ == "builtins")
