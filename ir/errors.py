"""The error classes every floor raises: each is also the built-in class that NumPy and PyTorch users catch."""

from __future__ import annotations


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


class LinAlgError(AdjitError, RuntimeError):
    """A matrix for which a problem of linear algebra has no solution."""


class ModelFormatError(AdjitError, RuntimeError, ValueError):
    """A file of tensors that is damaged, or of a format that is not read."""
