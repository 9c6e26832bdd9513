"""Python's own control flow on traced tensors, captured from the source.

When a trace meets `if`, `while`, `and`, `x[mask] += 1` or an f-string on a tensor whose numbers are not known, the
function that holds the line is rewritten: each of these becomes a call that decides when it runs.  On ordinary values
it does what Python does; on a traced tensor it emits `cond` or `while`, or text that is written when the program runs.
`rewrite` changes the text, `runtime` is what the changed text calls, `source` finds functions and puts the new code in
their place; `prints` and `text` see to what is printed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from adjit.ir.errors import NumbersNeeded

if TYPE_CHECKING:
    from adjit.capture.source import Captured

T = TypeVar("T")


def capturing(trace: Callable[[], T], captured: Captured | None) -> tuple[T, Captured | None]:
    """What `trace` gives, run again with rewritten functions as long as Python's control flow meets traced tensors.

    `captured` holds the functions that were rewritten before; returned with those that joined them.
    """
    while True:
        try:
            with nullcontext() if captured is None else captured.in_place():
                return trace(), captured
        except NumbersNeeded as error:
            from adjit.capture.rewrite import NotCapturable
            from adjit.capture.source import Captured

            captured = Captured() if captured is None else captured
            try:
                if not captured.add(error):
                    raise
            except NotCapturable as reason:
                raise type(error)(f"{error}\n  note: this function's control flow is not captured: {reason}") from error
