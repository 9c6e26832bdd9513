"""The classes that name a tensor's dtype: `FloatTensor`, `LongTensor` and their kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.creation import legacy_tensor
from adjit.dtypes import set_default_dtype
from adjit.ir.types import BF16, BOOL, C64, C128, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType
from adjit.tensor import Tensor
from adjit.warning import warn


class LegacyType(type):
    """The class of these classes: calling one makes a tensor, and a tensor of its dtype is an instance."""

    ir: DType

    def __call__(cls, *args: Any, **keywords: Any) -> Tensor:
        return legacy_tensor(*args, dtype=cls.ir, **keywords)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance._dtype is cls.ir

    @property
    def dtype(cls) -> Any:
        """The public dtype."""
        from adjit.dtypes import public

        return public(cls.ir)


_NAMES = {
    BOOL: "BoolTensor", U8: "ByteTensor", I8: "CharTensor", I16: "ShortTensor", I32: "IntTensor", I64: "LongTensor",
    F16: "HalfTensor", BF16: "BFloat16Tensor", F32: "FloatTensor", F64: "DoubleTensor", U16: "UInt16Tensor",
    U32: "UInt32Tensor", U64: "UInt64Tensor", C64: "ComplexFloatTensor", C128: "ComplexDoubleTensor",
}  # fmt: skip


def _class_of(ir: DType, name: str) -> LegacyType:
    doc = f"Makes tensors of dtype {ir.long_name} from sizes or data; those tensors are its instances."
    return LegacyType(name, (), {"ir": ir, "__doc__": doc, "__module__": "adjit"})


_CLASSES = {ir: _class_of(ir, name) for ir, name in _NAMES.items()}

FloatTensor, DoubleTensor, HalfTensor = _CLASSES[F32], _CLASSES[F64], _CLASSES[F16]
BFloat16Tensor, BoolTensor, ByteTensor = _CLASSES[BF16], _CLASSES[BOOL], _CLASSES[U8]
CharTensor, ShortTensor, IntTensor, LongTensor = _CLASSES[I8], _CLASSES[I16], _CLASSES[I32], _CLASSES[I64]


def legacy_name(dtype: DType) -> str:
    """`torch.FloatTensor` for float32."""
    return f"torch.{_NAMES[dtype]}"


def dtype_named(name: str) -> DType:
    """The dtype of `torch.FloatTensor`.  ValueError for an unknown name."""
    for ir, known in _NAMES.items():
        if name == f"torch.{known}":
            return ir
    raise ValueError(f"invalid type: '{name}'")


def set_default_tensor_type(t: Any, /) -> None:
    """Make the dtype of `DoubleTensor`, or of the class with that name, the default; deprecated."""
    if isinstance(t, str):
        if t.startswith("torch.cuda."):
            raise TypeError(f"type {t} not available. Torch not compiled with CUDA enabled.")
        t = _CLASSES[dtype_named(t)]
    if not isinstance(t, LegacyType):
        raise TypeError("invalid type object: only floating-point types are supported as the default type")
    if not t.ir.is_float:
        raise TypeError("only floating-point types are supported as the default type")
    warn(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use torch.set_default_dtype() and "
        "torch.set_default_device() as alternatives.",
        UserWarning,
        stacklevel=2,
    )
    set_default_dtype(t.dtype)


METHODS: dict[str, Callable[..., Any]] = {}
__all__ = [
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor",
    "IntTensor", "LongTensor", "ShortTensor", "set_default_tensor_type",
]  # fmt: skip
