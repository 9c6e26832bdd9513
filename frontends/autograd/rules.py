"""What a user's backward returned, checked against what went in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.ir.types import TensorType
from adjit.tensor import Tensor


def validated(name: str, returned: Any, arguments: Sequence[TensorType | None]) -> list[Tensor | None]:
    """One gradient, or None, for each argument (None in `arguments` stands for what is no tensor).

    A gradient of a shape that the argument broadcasts to is summed, and one of another dtype is cast.
    Errors: RuntimeError for a wrong number of gradients, and for shapes that do not fit.
    """
    given = list(returned) if isinstance(returned, tuple) else [returned]
    expected = len(arguments)
    while len(given) > expected and given[-1] is None:
        given.pop()
    if len(given) != expected:
        raise RuntimeError(
            f"function {name}Backward returned an incorrect number of gradients (expected {expected}, got {len(given)})"
        )
    found: list[Tensor | None] = []
    index = 0
    for position, (gradient, type) in enumerate(zip(given, arguments, strict=True)):
        if gradient is not None and not isinstance(gradient, Tensor):
            raise RuntimeError(f"expected Variable or None (got {_name_of(gradient)})")
        if type is None:
            if gradient is not None:
                raise RuntimeError(
                    f"function {name}Backward returned a gradient different than None at position {position + 1}, but "
                    "the corresponding forward input was not a Variable"
                )
            found.append(None)
            continue
        found.append(None if gradient is None else _fitted(name, gradient, type, index))
        index += 1
    return found


def _name_of(value: Any) -> str:
    return type(value).__name__


def _fitted(name: str, gradient: Tensor, type: TensorType, index: int) -> Tensor:
    dims, own = type.dims, gradient._tensor_type.dims
    if own != dims:
        extra = len(own) - len(dims)
        if extra < 0 or any(d != o and d != 1 for d, o in zip(dims, own[extra:], strict=True)):
            raise RuntimeError(
                f"Function {name}Backward returned an invalid gradient at index {index} - got {list(own)} but expected "
                f"shape compatible with {list(dims)}"
            )
        axes = [*range(extra), *(a + extra for a, d in enumerate(dims) if d == 1 and own[a + extra] != 1)]
        gradient = gradient.sum(axes).reshape(dims) if axes else gradient.reshape(dims)
    if gradient._dtype is not type.dtype:
        gradient = gradient.to(type.dtype)
    return gradient


def validated_tangents(name: str, returned: Any, results: Sequence[TensorType | None]) -> list[Tensor | None]:
    """One tangent, or None, for each result (None in `results` stands for what is no tensor).

    Errors: RuntimeError for a wrong number of tangents, for what is no tensor, and for shapes of other results.
    """
    given = list(returned) if isinstance(returned, tuple) else [returned]
    if len(given) != len(results):
        raise RuntimeError(
            "Function's jvp returned an invalid number of forward gradients (expected "
            f"{len(results)} but got {len(given)})"
        )
    found: list[Tensor | None] = []
    for place, (tangent, type) in enumerate(zip(given, results, strict=True)):
        if tangent is not None and not isinstance(tangent, Tensor):
            raise RuntimeError(f"expected Variable or None (got {_name_of(tangent)}) for grad output {place}.")
        if tangent is None or type is None or not type.dtype.is_continuous:
            found.append(None)
            continue
        if tangent._tensor_type.dims != type.dims:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(type.dims)} while the given forward gradient is of size "
                f"{list(tangent._tensor_type.dims)}."
            )
        found.append(tangent.to(type.dtype))
    return found


def zeros_of(type: TensorType) -> Tensor:
    """A tensor of zeros."""
    from adjit.creation import zeros

    found: Tensor = zeros(type.dims, dtype=type.dtype)
    return found
