"""Failures as users of the command line see them: their own lines, the message, and a code that scripts can use."""

from __future__ import annotations

import sys
import traceback

from adjit.command.terminal import paint
from adjit.state import is_user_frame

OK, FAILED, USAGE = 0, 1, 2  # 1: the user's program failed; 2: the command was given what it cannot use


class UsageError(Exception):
    """What was asked for cannot be: no such file, function, stage or argument."""


class ScriptEnded(Exception):
    """A script called `sys.exit` while it was imported."""


def complain(message: str) -> None:
    """Say on the error stream what is wrong."""
    print(paint("error: ", "error", sys.stderr) + message, file=sys.stderr)


def report(error: BaseException) -> None:
    """Print an error of the user's program with the lines of it that led there, none of adjit's own.

    An error without such a line is adjit's, and keeps all of them.
    """
    found = traceback.TracebackException.from_exception(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    users = [is_user_frame(frame) and not frame.f_globals["__name__"].startswith("importlib") for frame in frames]
    own = [summary for summary, users_own in zip(found.stack, users, strict=True) if users_own]
    if own or isinstance(error, SyntaxError):
        found.stack = traceback.StackSummary.from_list(own)
        found.__cause__ = found.__context__ = None
    *lines, last = found.format()
    print("".join(lines) + paint(last.rstrip("\n"), "error", sys.stderr), file=sys.stderr)
