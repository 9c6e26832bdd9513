"""What inference rules check: ranks, axes, dtypes and extents.  Each check raises with the op's name first."""

from __future__ import annotations

from collections.abc import Sequence

from adjit.ir.errors import DimError, DTypeError, ShapeError
from adjit.ir.shape import Size
from adjit.ir.types import DType, TensorType


def require(condition: bool, message: str) -> None:
    """Raise ShapeError with `message` unless `condition` holds."""
    if not condition:
        raise ShapeError(message)


def require_axes(op: str, axes: Sequence[int], ndim: int) -> None:
    """Every axis lies in 0..ndim-1 and none is named twice."""
    for axis in axes:
        if not 0 <= axis < ndim:
            raise DimError(f"{op}: axis {axis} is outside an operand of {ndim} axes")
    if len(set(axes)) != len(axes):
        raise DimError(f"{op}: an axis is named twice in {list(axes)}")


def require_one_each(op: str, axes: int, **attributes: Sequence[object]) -> None:
    """Every attribute lists one entry for each of `axes` axes."""
    for name, values in attributes.items():
        require(len(values) == axes, f"{op}: {name} has {len(values)} entries for {axes} axes")


def require_extents(op: str, name: str, sizes: Sequence[Size], least: int = 0) -> None:
    """No size is known to be less than `least`; a size with names in it is taken to be large enough."""
    for size in sizes:
        require(not (isinstance(size, int) and size < least), f"{op}: {name} {size} is less than {least}")


def require_kind(op: str, type: TensorType, *kinds: str) -> None:
    """The operand's dtype is of one of `kinds` (bool, uint, int, float, complex)."""
    if type.dtype.kind not in kinds:
        raise DTypeError(f"{op}: an operand is {type}; it takes {', '.join(kinds)}")


def require_numbers(op: str, *types: TensorType) -> None:
    """No operand is bool."""
    for type in types:
        require_kind(op, type, "uint", "int", "float", "complex")


def require_integers(op: str, *types: TensorType) -> None:
    """Every operand is of an integer dtype."""
    for type in types:
        require_kind(op, type, "uint", "int")


def require_one_dtype(op: str, types: Sequence[TensorType]) -> DType:
    """The dtype that all operands have."""
    first = types[0].dtype
    for type in types[1:]:
        if type.dtype is not first:
            raise DTypeError(f"{op}: operands of {first} and {type.dtype}")
    return first


def require_same_size(op: str, left: Size, right: Size, what: str) -> None:
    """The sizes are equal: as numbers, or as polynomials in the same names."""
    require(left == right, f"{op}: {what}: {left} and {right} differ")


def without(dims: Sequence[Size], axes: Sequence[int]) -> tuple[Size, ...]:
    """`dims` without those at `axes`."""
    return tuple(dim for axis, dim in enumerate(dims) if axis not in axes)


def window_count(op: str, extent: Size, size: Size, stride: int, dilation: int) -> Size:
    """The number of windows: (extent - (size - 1)*dilation - 1) // stride + 1."""
    room = extent - (size - 1) * dilation - 1
    if isinstance(room, int) and room < 0:
        raise ShapeError(f"{op}: a window over {(size - 1) * dilation + 1} elements does not fit the extent {extent}")
    return room // stride + 1


def dilated_extent(extent: Size, dilation: int) -> Size:
    """The extent with `dilation - 1` elements put between neighbours; a named extent is taken to be at least 1."""
    return 0 if extent == 0 else (extent - 1) * dilation + 1
