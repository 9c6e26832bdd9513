"""What the functions of linear algebra ask of their operands, in PyTorch's words, and small views of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.errors import LinAlgError
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, F16, I64
from adjit.promotion import broadcast_shapes
from adjit.runtime.host import call_host
from adjit.shaping import expand, transpose
from adjit.state import STATE
from adjit.tensor import Tensor


def require_matrices(name: str, a: Tensor, argument: str = "A") -> None:
    """The tensor has two axes at least."""
    if len(shape_of(a)) < 2:
        raise explained(
            RuntimeError, f"{name}: The input tensor {argument} must have at least 2 dimensions.", name, {argument: a}
        )


def require_square(name: str, a: Tensor, argument: str = "A") -> None:
    """The tensor is a batch of square matrices."""
    require_matrices(name, a, argument)
    m, n = shape_of(a)[-2:]
    if m != n:
        text = f"{name}: {argument} must be batches of square matrices, but they are {m} by {n} matrices"
        raise explained(RuntimeError, text, name, {argument: a})


def require_continuous(name: str, a: Tensor, *, kernel: str = "") -> None:
    """The tensor is of a floating or complex dtype; halves are named with the kernel that has none for them."""
    if not a._dtype.is_continuous:
        text = f"{name}: Expected a floating point or complex tensor as input. Got {title_of(a._dtype)}"
        raise explained(RuntimeError, text, name, {"A": a}, "convert it, as in A.double()")
    if a._dtype in (F16, BF16):
        if kernel:
            raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(a._dtype)}'")
        text = f"{name}: Low precision dtypes not supported. Got {title_of(a._dtype)}"
        raise explained(RuntimeError, text, name, {"A": a}, "convert it, as in A.float()")


def require_kernel(kernel: str, a: Tensor) -> None:
    """The tensor is of float32, float64 or a complex dtype."""
    if not a._dtype.is_continuous or a._dtype in (F16, BF16):
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(a._dtype)}'")


def require_regular(name: str, info: Tensor, a: Tensor) -> None:
    """PyTorch's error where `info` says that a factorization failed: now, or when the traced program runs."""
    function = f"linalg.check.{name}"
    if STATE.tracer is not None:
        apply(PRIMITIVES["host_call"], (info,), {"function": function, "types": ()})
        return
    try:
        call_host(function, info._array)  # type: ignore[arg-type]
    except LinAlgError as error:
        raise explained(LinAlgError, str(error), name, {"A": a}) from None


def mT(a: Tensor) -> Tensor:
    """The transposes of matrices."""
    return transpose(a, -2, -1)


def mH(a: Tensor) -> Tensor:
    """The conjugate transposes of matrices."""
    from adjit.complex_parts import conj_physical

    return conj_physical(mT(a))


def led(a: Tensor, lead: Sequence[Any], kept: int = 2) -> Tensor:
    """`a` with the leading axes `lead` before its last `kept` ones."""
    shape = tuple(shape_of(a))
    wanted = (*lead, *shape[len(shape) - kept :])
    return a if wanted == shape else expand(a, *wanted)


def same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches of matrices, broadcast."""
    lead = broadcast_shapes(tuple(shape_of(a))[:-2], tuple(shape_of(b))[:-2])
    return led(a, lead), led(b, lead)


def identity(like: Tensor, count: Any, lead: Sequence[Any] = ()) -> Tensor:
    """Unit matrices of the dtype of `like`."""
    return ones_on_diagonal(like, (*lead, count, count))


def ones_on_diagonal(like: Tensor, shape: Sequence[Any]) -> Tensor:
    """Matrices of this shape and the dtype of `like` with 1 on the main diagonal, 0 elsewhere."""
    from adjit.promotion import cast_to

    shape = tuple(shape)
    row, column = (
        apply(PRIMITIVES["iota"], (), {"shape": shape, "axis": len(shape) - axis, "dtype": I64}) for axis in (2, 1)
    )
    return cast_to(apply(PRIMITIVES["eq"], (row, column)), like._dtype)
