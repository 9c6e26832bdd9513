"""What PyTorch asks of tensors that may be complex, answered for real ones: they are their own conjugates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from adjit.tensor import Tensor


def conj(input: Tensor) -> Tensor:
    """The tensor: numbers are real."""
    return input


def conj_physical(input: Tensor) -> Tensor:
    """The tensor: numbers are real."""
    return input


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor: no conjugation waits to be carried out."""
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor: no negation waits to be carried out."""
    return input


def real(input: Tensor) -> Tensor:
    """The tensor: numbers are real."""
    return input


def imag(input: Tensor) -> NoReturn:
    """RuntimeError: numbers are real."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


def is_conj(input: Tensor) -> bool:
    """Whether a conjugation waits to be carried out; never."""
    return False


def is_neg(input: Tensor) -> bool:
    """Whether a negation waits to be carried out; never."""
    return False


_PUBLIC: tuple[Callable[..., Any], ...] = (conj, conj_physical, is_conj, is_neg, resolve_conj, resolve_neg)
METHODS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _PUBLIC}
PROPERTIES = {"imag": property(imag), "real": property(real)}
__all__ = ["conj", "conj_physical", "imag", "is_conj", "is_neg", "real", "resolve_conj", "resolve_neg"]
