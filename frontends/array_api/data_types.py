"""Dtypes by the standard: `astype`, `can_cast`, `finfo`, `iinfo`, `isdtype`, `result_type`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import adjit
from adjit.array_api.operands import beside_numbers, common_dtype
from adjit.creation import check_device
from adjit.dtypes import dtype, public
from adjit.ir.types import DTYPES, DType
from adjit.tensor import Tensor

# The standard has no floats of 16 bits.
DATA_TYPES: dict[str, dtype] = {
    ir.long_name: public(ir) for ir in DTYPES.values() if not (ir.is_float and ir.bits == 16)
}
KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float",),
    "complex floating": ("complex",),
    "numeric": ("int", "uint", "float", "complex"),
}


@dataclass(frozen=True, slots=True)
class FloatLimits:
    """What `finfo` says of a floating dtype."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: dtype


@dataclass(frozen=True, slots=True)
class IntegerLimits:
    """What `iinfo` says of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: dtype


def _dtype_of(given: Any) -> dtype:
    return public(given._dtype) if isinstance(given, Tensor) else given


def astype(x: Tensor, dtype: dtype, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """x in another dtype; without `copy` x itself where it has that dtype."""
    check_device(device)
    return x.to(dtype, copy=copy)  # type: ignore[no-any-return]


def can_cast(from_: Any, to: dtype, /) -> bool:
    """Whether promotion would bring `from_` (a dtype or tensor) to `to`."""
    source = _dtype_of(from_).ir
    try:
        return common_dtype([source, to.ir]) is to.ir
    except RuntimeError:
        return False


def finfo(type: Any, /) -> FloatLimits:
    """The limits of a floating dtype, or of a tensor's; of complex numbers those of their parts."""
    known = adjit.finfo(_dtype_of(type))
    found = DATA_TYPES[known.dtype]
    return FloatLimits(known.bits, known.eps, known.max, known.min, known.smallest_normal, found)


def iinfo(type: Any, /) -> IntegerLimits:
    """The limits of an integer dtype, or of a tensor's."""
    found = _dtype_of(type)
    known = adjit.iinfo(found)
    return IntegerLimits(known.bits, known.max, known.min, found)


def isdtype(dtype: dtype, kind: Any) -> bool:
    """Whether a dtype is `kind`: a dtype, a name of a kind, or a tuple of these.  ValueError for an unknown name."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, each) for each in kind)
    if not isinstance(kind, str):
        return bool(dtype == kind)
    if kind not in KINDS:
        raise ValueError(f"unknown kind of dtype {kind!r}; there are {', '.join(KINDS)}")
    return dtype.ir.kind in KINDS[kind]


def result_type(*arrays_and_dtypes: Any) -> dtype:
    """The dtype that an operation on these tensors, dtypes and numbers has."""
    known: list[DType] = [_dtype_of(x).ir for x in arrays_and_dtypes if isinstance(x, (Tensor, dtype))]
    if not known:
        raise ValueError("result_type needs a tensor or a dtype")
    numbers = (x for x in arrays_and_dtypes if not isinstance(x, (Tensor, dtype)))
    return public(beside_numbers(common_dtype(known), numbers))
