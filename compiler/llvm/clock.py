"""The time of each kernel, taken by the program itself: nanoseconds added to a table in the loaded code."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.objects import Library
from adjit.compiler.llvm.text import Module
from adjit.ir.errors import CompileError

TIMES = "adjit_times"
_CLOCK = "clock_gettime"


class Clock:
    """Emits the calls that take the time, and reads the table afterwards; one clock serves one program.

    `imports` gives the addresses of what the program calls.
    """

    def __init__(self) -> None:
        try:
            function = getattr(ctypes.CDLL(None), _CLOCK)
        except (AttributeError, OSError, TypeError) as error:  # Windows
            raise CompileError(f"this platform has no {_CLOCK}: kernels cannot be timed") from error
        self.imports = {_CLOCK: ctypes.cast(function, ctypes.c_void_p).value or 0}
        self._library: Library | None = None
        self._count = 0

    # -- emission -----------------------------------------------------------------------------------------------------
    def declare(self, module: Module, count: int) -> None:
        """The table of the times of `count` kernels, and the place where the last start stands."""
        self._count = count
        # Each module that the text is dealt out to has them, and the linker keeps one.
        module.declare(f"@{TIMES} = weak_odr global [{max(1, count)} x i64] zeroinitializer, align 64")
        module.declare("@adjit_begin = weak_odr global i64 0, align 8")
        module.declare(f"declare i32 @{_CLOCK}(i32, ptr)")

    def begin(self) -> Callable[[Writer], None]:
        """The step before a kernel."""

        def step(w: Writer) -> None:
            w.f.line(f"store i64 {_now(w)}, ptr @adjit_begin, align 8")

        return step

    def end(self, kernel: int) -> Callable[[Writer], None]:
        """The step after kernel number `kernel`."""

        def step(w: Writer) -> None:
            f = w.f
            begun = f.let("load i64, ptr @adjit_begin, align 8")
            spent = f.let(f"sub i64 {_now(w)}, {begun}")
            place = f.let(f"getelementptr i64, ptr @{TIMES}, i64 {kernel}")
            total = f.let(f"add i64 {f.let(f'load i64, ptr {place}, align 8')}, {spent}")
            f.line(f"store i64 {total}, ptr {place}, align 8")

        return step

    # -- reading ------------------------------------------------------------------------------------------------------
    def attach(self, library: Library) -> None:
        """Take the table of loaded code."""
        self._library = library

    def seconds(self) -> list[float]:
        """The seconds spent in each kernel since the last `reset`."""
        return [number * 1e-9 for number in self._table()]

    def reset(self) -> None:
        """Begin at zero."""
        table = self._table()
        ctypes.memset(table, 0, ctypes.sizeof(table))

    def _table(self) -> ctypes.Array[ctypes.c_int64]:
        if self._library is None:
            raise RuntimeError("the clock's program was not built")
        return (ctypes.c_int64 * self._count).from_address(self._library.address(TIMES))


def _now(w: Writer) -> str:
    """Nanoseconds of a clock that only goes forward."""
    f = w.f
    place = f.let("alloca [2 x i64], align 8")
    f.let(f"call i32 @{_CLOCK}(i32 {time.CLOCK_MONOTONIC}, ptr {place})")
    seconds = f.let(f"load i64, ptr {place}, align 8")
    fraction = f.let(f"load i64, ptr {f.let(f'getelementptr i64, ptr {place}, i64 1')}, align 8")
    return f.let(f"add i64 {f.let(f'mul i64 {seconds}, 1000000000')}, {fraction}")
