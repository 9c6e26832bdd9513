"""The error classes every floor raises: each is also the built-in class that NumPy and PyTorch users catch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import prod
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class AdjitError(Exception):
    """Root of adjit's own errors."""


class ShapeError(AdjitError, RuntimeError, ValueError):
    """Operands whose shapes do not fit the operation."""


class DTypeError(AdjitError, RuntimeError, TypeError):
    """Operands whose dtypes do not fit the operation."""


class DimError(AdjitError, IndexError):
    """An axis outside the operand's rank, or an index outside its axis."""


class VerifyError(AdjitError, RuntimeError):
    """A graph that breaks a rule of the IR."""


class ParseError(AdjitError, SyntaxError):
    """IR text that cannot be read; the message names line and column."""


class TraceError(AdjitError, RuntimeError, TypeError):
    """A traced value used where only a concrete one can serve."""


class NumbersNeeded(TraceError):
    """An operation asked for the numbers of a traced tensor."""


class DifferentiationError(AdjitError, RuntimeError):
    """A program, or a part of one, that has no derivative."""


class CompileError(AdjitError, RuntimeError):
    """A graph that the native backend cannot compile."""


class NonFiniteError(AdjitError, RuntimeError, FloatingPointError):
    """A NaN or an infinity, found by `check_nan`; the attribute `origin` says where it was made."""

    origin: object = None


class IntegerDivisionError(AdjitError, ZeroDivisionError, RuntimeError):
    """An integer was divided by 0."""


class OutOfMemoryError(AdjitError, RuntimeError, MemoryError):
    """There is no memory for the numbers of a tensor."""

    @classmethod
    def of(cls, error: MemoryError) -> OutOfMemoryError:
        """NumPy's error in PyTorch's words."""
        if isinstance(error, cls) or len(error.args) != 2:
            return cls(*error.args)
        shape, dtype = error.args
        return cls(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            f"allocate {prod(shape) * dtype.itemsize} bytes. Error code 12 (Cannot allocate memory)"
        )


def asks_memory(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that makes arrays say that there is no memory as PyTorch does."""

    @wraps(function)
    def asking(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise OutOfMemoryError.of(error) from None

    return asking


class LinAlgError(AdjitError, RuntimeError):
    """A matrix for which a problem of linear algebra has no solution."""


class ModelFormatError(AdjitError, RuntimeError, ValueError):
    """A file of tensors that is damaged, or of a format that is not read."""
