"""Faults: what native code reports in a program's status word, and the errors they become."""

from __future__ import annotations

from adjit.ir.errors import IntegerDivisionError


class Fault:
    """Flags of the status word; several may be set by one call.

    Plain numbers: an enumeration takes as long to define as this module does to load.
    """

    OK = 0
    DIVISION_BY_ZERO = 1
    INDEX = 2
    NOT_FINITE = 4
    CHECK = 8  # the flags from `FIRST_CHECK` on say which of the host's checks is to tell what is wrong


# The lowest bit of a failed check's number in the status word.
FIRST_CHECK = 8


class NotFinite(ArithmeticError):
    """A checked program stored a NaN or, where that is looked for, an infinity."""


def raise_fault(status: int) -> None:
    """Raise what the flags say; PyTorch's class and text.

    Errors: IndexError, IntegerDivisionError, NotFinite.  Nothing for OK.
    """
    if status & Fault.INDEX:
        raise IndexError("index out of range in self")
    if status & Fault.DIVISION_BY_ZERO:
        raise IntegerDivisionError("ZeroDivisionError")
    if status & Fault.NOT_FINITE:
        raise NotFinite
