"""Failures as users of the command line see them: their own lines, the message, and a code that scripts can use."""

from __future__ import annotations

import sys
import traceback

from adjit.command.terminal import paint
from adjit.ir.errors import AdjitError
from adjit.state import is_user_frame

OK, FAILED, USAGE = 0, 1, 2  # 1: the user's program failed; 2: the command was given what it cannot use


class UsageError(Exception):
    """What was asked for cannot be: no such file, function, stage or argument."""


class ScriptEnded(Exception):
    """A script called `sys.exit` while it was imported."""


def complain(message: str) -> None:
    """Say on the error stream what is wrong."""
    print(paint("error: ", "error", sys.stderr) + message, file=sys.stderr)


# What a compiled program raises, whose own lines say nothing to a user; other errors without a user's line are adjit's.
_TOLD = (AdjitError, ArithmeticError, IndexError, OSError, RuntimeError, ValueError)


def report(error: BaseException, everything: bool = False) -> None:
    """Print an error of the user's program with the lines of it that led there, and of adjit's only if asked to.

    An error of adjit's own keeps all lines.
    """
    found = traceback.TracebackException.from_exception(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    users = [is_user_frame(frame) and not frame.f_globals["__name__"].startswith("importlib") for frame in frames]
    own = [summary for summary, users_own in zip(found.stack, users, strict=True) if users_own]
    if not everything and (own or isinstance(error, (SyntaxError, *_TOLD))):
        found.stack = traceback.StackSummary.from_list(own)
        found.__cause__ = found.__context__ = None
    *lines, last = found.format()
    if not found.stack and not isinstance(error, SyntaxError):
        lines = []
    print("".join(lines) + paint(last.rstrip("\n"), "error", sys.stderr), file=sys.stderr)
