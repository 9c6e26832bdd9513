"""Better code for a program that runs: made once, beside the program or by a thread that waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakMethod, ref

from numpy.typing import NDArray

from adjit.runtime.fork_locks import ForkLock

# Makes better code for the same layout: what keeps it loaded, and the address of its main function.
Better: TypeAlias = "Callable[[], tuple[object, int]]"
# Does work beside the program, or at once; where it is told what says whether that pays, once it does.
Later: TypeAlias = "Callable[[Callable[[], None], Callable[[], bool] | None], None]"
# Told of better code.
Take: TypeAlias = "Callable[[object, int], None]"

# Held while better code is made, so that threads that want it make it once.
_improving = ForkLock()
# Seconds in quick code that lose about what the best takes to make, whatever its calls were estimated to take: those of
# programs with open sizes are not known.
_ENOUGH = 0.05


class Improvement:
    """Code by `better` that is still to be made, by way of `later` (None: at once) or by who waits for it.

    It pays after so many calls; natively made ones are counted in words of those who keep the program's address.
    """

    __slots__ = ("_after", "_better", "_calls", "_failed", "_keepers", "_later", "_making", "_seconds")

    def __init__(self, better: Better, later: Later | None, after: int) -> None:
        self._better: Better | None = better
        self._later = later
        self._after = after
        self._calls, self._seconds = 0, 0.0  # that Python made
        self._keepers: list[tuple[ref[NDArray[Any]], int, int]] = []
        self._making = 0  # the process that makes it beside the program: a forked child has not its thread
        self._failed: Exception | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it is made beside the program, or waits for its turn."""
        return self._making == os.getpid()

    @property
    def is_patient(self) -> bool:
        """Whether it pays only after many calls."""
        return self._after > 1

    @property
    def has_paid(self) -> bool:
        """Whether so many calls were made, or took so long, that better code would have paid."""
        if self._seconds >= _ENOUGH:
            return True
        kept = [(array(), calls) for array, _, calls in self._keepers]
        return self._calls + sum(int(words[calls]) for words, calls in kept if words is not None) >= self._after

    def note_call(self, take: Take) -> None:
        """Count a call, and have better code made for one that comes after enough of them."""
        if self._calls >= self._after or self._seconds >= _ENOUGH:
            self.begin(take)
        self._calls += 1

    def note_seconds(self, seconds: float) -> None:
        """Count what a call took."""
        self._seconds += seconds

    def keep_address(self, words: NDArray[Any], place: int, calls: int) -> None:
        """Note that a word keeps the program's address, and that another one counts the calls that go there."""
        self._keepers.append((ref(words), place, calls))

    def hand_over(self, entry: int) -> None:
        """Put the address of better code where the program's is kept."""
        for array, place, _ in self._keepers:
            if (words := array()) is not None:
                words[place] = entry

    def begin_once_it_pays(self, take: Take, *, is_open: bool) -> None:
        """`begin`, which waits until enough calls were made, unless nobody knows what calls of an open program do."""
        if is_open:
            self.begin(take)
            return
        own = WeakMethod(take)
        self.begin(take, lambda: own() is None or self.has_paid)

    def finish(self, take: Take) -> None:
        """Make it, unless another thread did meanwhile."""
        with _improving:
            if self._better is not None:
                take(*self._better())
                self._better = None

    def begin(self, take: Take, pays: Callable[[], bool] | None = None) -> None:
        """Have it made, unless that is begun; once it pays, where `pays` tells that.

        `take` is a method of the program; if that goes, the work is dropped.

        Errors: what went wrong when it was begun before; the next call begins again.
        """
        if self.is_begun:
            return
        self._raise_failure()
        if self._later is None:
            self.finish(take)
            return
        self._making = os.getpid()
        try:
            self._later(partial(self._finish_beside, WeakMethod(take)), pays)
        except BaseException:  # an interrupt: the next call begins again
            self._making = 0
            raise
        self._raise_failure()  # it may have been made at once

    def _finish_beside(self, take: WeakMethod[Take]) -> None:
        try:
            if (method := take()) is not None:
                self.finish(method)
        except Exception as error:  # the next call raises it
            self._failed = error
        finally:
            self._making = 0

    def _raise_failure(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
