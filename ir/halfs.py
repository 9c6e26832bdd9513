"""bfloat16 in NumPy, which has no such dtype, and casts between all dtypes.

A bfloat16 array is held as uint16.  The storage of uint16 itself is marked, so inside references the storage alone says
which of the two an array is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adjit.ir.types import BF16, F16, F32, U16, DType, dtype_of_storage


def half_of(storage: np.dtype[Any]) -> DType | None:
    """The dtype of 16 floating bits that a reference's operand holds; None if it holds another."""
    if storage == F16.storage:
        return F16
    return BF16 if storage == BF16.storage and storage.metadata is None else None


def marked(array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """The array with its storage marked where it holds uint16: NumPy's functions drop the mark."""
    return array.view(U16.storage) if dtype is U16 and array.dtype.metadata is None else array


def widen_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 whose upper half is `bits`: exact.

    >>> float(widen_bf16(np.array(0x3FC0, np.uint16)))
    1.5
    """
    return (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)


def round_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16, ties to even; a NaN stays a NaN.

    >>> [hex(int(round_bf16(np.float32(x)))) for x in (1.0, 1.00390625, 1.01171875)]
    ['0x3f80', '0x3f80', '0x3f82']
    """
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    # Half of the dropped part less one, plus the lowest kept bit: an exact half goes to the even neighbour.
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    quiet = ((bits >> 16) | 0x0040).astype(np.uint16)
    return np.asarray(np.where(np.isnan(values), quiet, rounded))


def storage_dtype(array: NDArray[Any]) -> DType:
    """The dtype that a reference's operand holds; KeyError if none is held so."""
    dtype = half_of(array.dtype) or dtype_of_storage(array.dtype)
    if dtype is None:
        raise KeyError(f"no dtype is held as {array.dtype}")
    return dtype


def widened(operand: Any) -> Any:
    """A float16 or bfloat16 array as float32; anything else as it is."""
    half = half_of(operand.dtype) if isinstance(operand, (np.ndarray, np.generic)) else None
    if half is None:
        return operand
    return widen_bf16(operand) if half is BF16 else operand.astype(np.float32)


def cast_array(array: NDArray[Any], source: DType, target: DType) -> NDArray[Any]:
    """The values of `array`, held as `source`, in the storage of `target`.

    float to float rounds to nearest even (to bfloat16 by way of float32); float to integer truncates, saturates, and
    takes NaN to 0; integer to integer wraps; anything to bool is `x != 0`; integer to a half goes by way of float32;
    complex to real takes the real part.
    """
    array = np.asarray(array)
    if source is target:
        return array
    if source is BF16:
        array, source = widen_bf16(array), F32
    with np.errstate(all="ignore"):
        if target.kind == "bool":
            return np.asarray(array != 0)
        if source.is_complex and not target.is_complex:
            array, source = array.real, source.part
        if target is BF16:
            return round_bf16(array.astype(np.float32))
        if target is F16 and source.is_integer:
            return array.astype(np.float32).astype(np.float16)
        if source.is_float and target.is_integer:
            return _saturated(array.astype(np.float64), target)
        return array.astype(target.storage)


def _saturated(values: NDArray[np.float64], target: DType) -> NDArray[Any]:
    signed = target.kind == "int"
    # Powers of two, so exact in float64 even where the greatest integer is not.
    above = 2.0 ** (target.bits - signed)
    below = -above if signed else 0.0
    inside = (values > below - 1) & (values < above)
    kept = np.asarray(np.where(inside, values, 0.0)).astype(target.storage)
    greatest, least = 2 ** (target.bits - signed) - 1, -(2 ** (target.bits - 1)) if signed else 0
    high = np.where(values >= above, np.array(greatest, target.storage), kept)
    return np.asarray(np.where(values <= below - 1, np.array(least, target.storage), high))
