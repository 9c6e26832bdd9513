"""PyTorch's dtype objects: `adjit.float32` and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjit.epoch import EPOCH
from adjit.ir import types
from adjit.ir.types import DType, dtype_of_storage


class dtype:
    """An element type as users name it, printed as `torch.float32`; there is one object per dtype."""

    __slots__ = ("ir",)

    def __init__(self, ir: DType) -> None:
        self.ir = ir

    @property
    def is_floating_point(self) -> bool:
        return self.ir.is_float

    @property
    def is_complex(self) -> bool:
        return self.ir.is_complex

    @property
    def is_signed(self) -> bool:
        return self.ir.kind in ("int", "float", "complex")

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.ir.itemsize

    def to_real(self) -> dtype:
        """The dtype of a complex dtype's parts; another itself."""
        return public(self.ir.part)

    def to_complex(self) -> dtype:
        """The complex dtype whose parts have this one; a complex dtype itself."""
        if self.ir not in (types.F32, types.F64) and not self.ir.is_complex:
            raise RuntimeError(f"Unknown Complex ScalarType for {title_of(self.ir)}")
        return public(types.complex_of(self.ir))

    def __repr__(self) -> str:
        return f"torch.{self.ir.long_name}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _named, (self.ir.name,)


_BY_IR = {ir: dtype(ir) for ir in types.DTYPES.values()}


def _named(name: str) -> dtype:
    return _BY_IR[types.DTYPES[name]]


def public(ir: DType) -> dtype:
    """The user's object for an IR dtype."""
    return _BY_IR[ir]


bool_ = public(types.BOOL)
uint8 = public(types.U8)
uint16 = public(types.U16)
uint32 = public(types.U32)
uint64 = public(types.U64)
int8 = public(types.I8)
int16 = short = public(types.I16)
int32 = int_ = public(types.I32)
int64 = long = public(types.I64)
float16 = half = public(types.F16)
bfloat16 = public(types.BF16)
float32 = float_ = public(types.F32)
float64 = double = public(types.F64)
complex64 = cfloat = public(types.C64)
complex128 = cdouble = public(types.C128)

# The name in PyTorch's messages and legacy classes: `Float` as in FloatTensor.
_TITLES = {
    types.BOOL: "Bool", types.U8: "Byte", types.I8: "Char", types.I16: "Short", types.I32: "Int", types.I64: "Long",
    types.F16: "Half", types.BF16: "BFloat16", types.F32: "Float", types.F64: "Double",
    types.U16: "UInt16", types.U32: "UInt32", types.U64: "UInt64",
    types.C64: "ComplexFloat", types.C128: "ComplexDouble",
}  # fmt: skip


def title_of(ir: DType) -> str:
    """PyTorch's name of a dtype in its messages."""
    return _TITLES[ir]


def require_order(ir: DType, kernel: str = "", text: str = "") -> None:
    """Complex numbers have no order: PyTorch's error for a function that wants one, by its kernel or in its words."""
    if ir.is_complex and kernel:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(ir)}'")
    if ir.is_complex:
        raise RuntimeError(text)


# The C++ type's name, which some messages give.
_C_NAMES = {
    types.BOOL: "bool", types.U8: "unsigned char", types.I8: "signed char", types.I16: "short", types.I32: "int",
    types.I64: "long int", types.F16: "c10::Half", types.BF16: "c10::BFloat16", types.F32: "float",
    types.F64: "double", types.U16: "unsigned short", types.U32: "unsigned int", types.U64: "unsigned long",
    types.C64: "c10::complex<float>", types.C128: "c10::complex<double>",
}  # fmt: skip


def c_name(ir: DType) -> str:
    """The C++ type's name of a dtype."""
    return _C_NAMES[ir]


_PYTHON = {bool: types.BOOL, int: types.I64, float: types.F64, complex: types.C128}
_DEFAULT = [types.F32]


def get_default_dtype() -> dtype:
    """The dtype of new tensors made from Python floats."""
    return public(_DEFAULT[0])


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of new tensors made from Python floats.  TypeError if it is not a floating one."""
    if isinstance(d, dtype) and d.is_complex:
        raise TypeError("only floating-point types are supported as the default type")
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _DEFAULT[0] = d.ir
    EPOCH.advance()


def default_float() -> DType:
    """The IR dtype that Python floats have."""
    return _DEFAULT[0]


def default_complex() -> DType:
    """The IR dtype that Python's complex numbers have."""
    return types.complex_of(_DEFAULT[0])


def to_ir(given: Any) -> DType:
    """The IR dtype of a user's dtype, a NumPy dtype, or Python's bool, int, float and complex."""
    if isinstance(given, dtype):
        return given.ir
    if isinstance(given, DType):
        return given
    if isinstance(given, type) and given in _PYTHON:
        return _PYTHON[given]
    try:
        found = dtype_of_storage(np.dtype(given))
    except TypeError:
        found = None
    if found is None:
        raise TypeError(f"dtype must be a torch.dtype, got {given!r}")
    return found


def dtype_argument(given: Any, function: str) -> DType | None:
    """The IR dtype of a function's `dtype` argument; None for None.  TypeError for what names no dtype to PyTorch."""
    if given is None:
        return None
    if isinstance(given, (dtype, DType)) or (isinstance(given, type) and given in _PYTHON):
        return to_ir(given)
    raise TypeError(f"{function}(): argument 'dtype' must be torch.dtype, not {type(given).__name__}")
