"""What is in force in the running thread: whether gradients are recorded, and which trace collects operations."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from adjit.epoch import EPOCH
from adjit.ir.graph import UNKNOWN, Location

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from adjit.trace import Tracer


# What native entries read of the state: the number of the thread whose it is, whether that thread records, whether it
# traces.  0 for the thread makes them ask again.
MODE = array("q", (0, 0, 0))


INFERENCE, ASKED = 1, 2


class _State(threading.local):
    def __init__(self) -> None:
        self.recording = True
        self.inference = 0  # INFERENCE in inference mode, ASKED where recording was asked for in it, without effect
        self.keeps_any = False  # whether backward passes may keep inference tensors, as those of torch.func do
        self.tracer: Tracer | None = None
        self.anomaly = (False, True)  # whether anomalies are looked for, nan among them
        self.checks: Any = None  # what `check_nan` looks for (nan_checks.py)
        self.duals: Any = None  # to be called where recording ends while tensors may be dual (autograd/forward_ad.py)
        self.packing: tuple[Any, ...] = ()  # the hooks on what is saved for backward, innermost last
        self.overwritten: Any = None  # the memory of which those hooks get a copy, as it is about to be written
        self.hooks_disabled: str | None = None
        self.sweep: Any = None  # the running backward pass
        self.autocast: Any = None  # the dtype in which products are computed (autocasting.py)
        self.within = False  # whether Python serves an operation, of which this one is a part (native/operation.py)
        self.watching = False  # whether a call is made again on examples, to see what it does (native/watching.py)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        MODE[0] = 0


STATE = _State()
# The autocast that programs were last compared under, in whichever thread.
_COMPARED_UNDER: list[Any] = [None]


def epoch_here() -> int:
    """How many changes there were, as far as the running thread sees them: that it has another autocast than the thread
    that compared last is one, for all threads share what is known of programs.
    """
    autocast = STATE.autocast
    while True:
        now = EPOCH.count
        if _COMPARED_UNDER[0] is autocast:
            return now
        _COMPARED_UNDER[0] = autocast  # first: a thread that comes between sees another one than its own
        EPOCH.advance()


def numbers_are_known() -> bool:
    """Whether a function may look at its operands' numbers to check them: in a trace there are none to see."""
    tracer = STATE.tracer
    return tracer is None or bool(getattr(tracer, "numbers_are_known", False))


def is_traced() -> bool:
    """Whether what is done becomes part of a program, and is not only watched."""
    tracer = STATE.tracer
    return tracer is not None and not getattr(tracer, "is_eager", False)


_HERE = __name__.rpartition(".")[0]  # the package whose frames are not the user's
_BETWEEN = ("copy", "contextlib", "functools", "runpy")  # the standard library, when it calls back
_USERS = (f"{_HERE}.demo", f"{_HERE}.example")  # programs that come with it
# By the identity of a code object and the place in it; the code object is kept, so that no other takes its identity.
_LOCATIONS: dict[tuple[int, int], tuple[CodeType, Location]] = {}
# Code objects that are not the user's, by identity, kept likewise; no more than so many.
_OWN: dict[int, CodeType] = {}
_MOST_OWN = 1 << 14


def is_user_frame(frame: FrameType) -> bool:
    """Whether a frame runs code outside adjit."""
    name = frame.f_globals.get("__name__", "")
    if name == "__main__":  # ours when run by `python -m adjit`
        return bool(frame.f_globals.get("__package__") != _HERE)
    if name in _BETWEEN:
        return False
    return is_users_module(name)


@cache
def is_users_module(name: str) -> bool:
    """Whether a module is outside adjit, or one of the programs that come with it."""
    return (name != _HERE and not name.startswith(_HERE + ".")) or name in _USERS


def user_location() -> Location:
    """The line of the innermost caller outside adjit, and the place in it."""
    frame: FrameType | None = sys._getframe(1)
    while True:
        while frame is not None and id(frame.f_code) in _OWN:  # a step for each frame of each operation
            frame = frame.f_back
        if frame is None or is_user_frame(frame):
            break
        if len(_OWN) < _MOST_OWN:
            _OWN[id(frame.f_code)] = frame.f_code
        frame = frame.f_back
    if frame is None:
        return UNKNOWN
    key = (id(frame.f_code), frame.f_lasti)
    found = _LOCATIONS.get(key)
    if found is None:
        location = location_in(frame.f_code, frame.f_lasti, frame.f_lineno)
        found = _LOCATIONS[key] = (frame.f_code, location)
    return found[1]


def location_in(code: CodeType, offset: int, number: int) -> Location:
    """The line `number` of some code, and the place in it of the instruction at `offset`."""
    import linecache
    from itertools import islice

    path = code.co_filename
    line = linecache.getline(path, number)
    source = line.strip()
    indent = len(line) - len(line.lstrip())
    columns = (0, 0)
    first, last, start, end = next(islice(code.co_positions(), offset // 2, None), (None,) * 4)
    if first == number and last is not None and start is not None and end is not None:
        # Positions count bytes of the whole line; an operation of several lines is shown to the end of the first.
        encoded = line.encode()
        begin = len(encoded[:start].decode(errors="ignore")) - indent
        stop = len(encoded[:end].decode(errors="ignore")) - indent if last == first else len(source)
        if 0 <= begin < stop <= len(source):
            columns = (begin, stop)
    file = path.replace("\\", "/").rpartition("/")[2]
    return Location(file, number, path=path, expression=source, columns=columns, indent=indent)


@contextmanager
def outside() -> Iterator[None]:
    """Suspend the running trace: what happens inside is ordinary eager work, whose tensors the trace then captures."""
    tracer, STATE.tracer = STATE.tracer, None
    try:
        yield
    finally:
        STATE.tracer = tracer
