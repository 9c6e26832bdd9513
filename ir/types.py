"""Types: a dtype and dims, written `f32[n, 3]`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adjit.ir.frozen import frozen
from adjit.ir.shape import Dim, Size, format_shape, product, size_names


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """An element type.  There is one object per dtype, so `is` compares them.

    `name` is the IR's name (`f32`), `long_name` PyTorch's (`float32`), `kind` one of bool, uint, int, float, complex,
    `bits` its width, `storage` the NumPy dtype that holds it (bfloat16 is held as its 16 bits in a uint16).
    """

    name: str
    long_name: str
    kind: str
    bits: int
    storage: np.dtype[np.generic]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.storage.itemsize

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_complex(self) -> bool:
        return self.kind == "complex"

    @property
    def is_continuous(self) -> bool:
        """Whether numbers vary continuously, so that derivatives are taken of them: floats and complex numbers."""
        return self.kind in ("float", "complex")

    @property
    def part(self) -> DType:
        """The dtype of a complex number's real and imaginary parts; a real dtype is its own."""
        return _PARTS.get(self, self)

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    def wrapped(self, value: int) -> int:
        """The number of this integer dtype that equals `value` modulo 2**bits."""
        reduced = value % (1 << self.bits)
        return reduced - (1 << self.bits) if self.kind == "int" and reduced >> (self.bits - 1) else reduced

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"DType({self.name})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return dtype_named, (self.name,)


BOOL = DType("bool", "bool", "bool", 8, np.dtype(np.bool_))
U8 = DType("u8", "uint8", "uint", 8, np.dtype(np.uint8))
# NumPy has one dtype of 16 unsigned bits and two of ours are held so: the metadata tells them apart.
U16 = DType("u16", "uint16", "uint", 16, np.dtype(np.uint16, metadata={"dtype": "u16"}))
U32 = DType("u32", "uint32", "uint", 32, np.dtype(np.uint32))
U64 = DType("u64", "uint64", "uint", 64, np.dtype(np.uint64))
I8 = DType("i8", "int8", "int", 8, np.dtype(np.int8))
I16 = DType("i16", "int16", "int", 16, np.dtype(np.int16))
I32 = DType("i32", "int32", "int", 32, np.dtype(np.int32))
I64 = DType("i64", "int64", "int", 64, np.dtype(np.int64))
F16 = DType("f16", "float16", "float", 16, np.dtype(np.float16))
BF16 = DType("bf16", "bfloat16", "float", 16, np.dtype(np.uint16))
HALVES = (F16, BF16)
F32 = DType("f32", "float32", "float", 32, np.dtype(np.float32))
F64 = DType("f64", "float64", "float", 64, np.dtype(np.float64))
C64 = DType("c64", "complex64", "complex", 64, np.dtype(np.complex64))
C128 = DType("c128", "complex128", "complex", 128, np.dtype(np.complex128))

DTYPES: dict[str, DType] = {
    d.name: d for d in (BOOL, U8, U16, U32, U64, I8, I16, I32, I64, F16, BF16, F32, F64, C64, C128)
}
_PARTS = {C64: F32, C128: F64}
_BY_STORAGE = {d.storage: d for d in DTYPES.values() if d is not BF16}


def dtype_named(name: str) -> DType:
    """The dtype with the IR name `name`; KeyError if there is none."""
    return DTYPES[name]


def complex_of(part: DType) -> DType:
    """The complex dtype whose parts hold numbers of `part`: those of float64 for float64, else of float32."""
    return C128 if part in (F64, C128) else C64


def dtype_of_storage(storage: np.dtype[np.generic]) -> DType | None:
    """The dtype that a user's NumPy array has, or None where no dtype is held so; bfloat16 is none of NumPy's."""
    return _BY_STORAGE.get(storage)


# Types that were made, up to so many: a program has few, in many places.
_TYPES: dict[tuple[type, DType, tuple[Size, ...]], TensorType] = {}
_MOST = 1 << 14


class _Shared(type):
    """Gives the object of a class, dtype and dims that there is: equal types are one, compared at once."""

    def __call__(cls, dtype: DType, dims: tuple[Size, ...]) -> TensorType:
        found = _TYPES.get((cls, dtype, dims))
        if found is None:
            if len(_TYPES) >= _MOST:
                _TYPES.clear()
            own = tuple([dim if isinstance(dim, Dim) else int(dim) for dim in dims])
            found = _TYPES[cls, dtype, own] = super().__call__(dtype, own)
        return found


@frozen
class TensorType(metaclass=_Shared):
    """The type of a value: `dtype[dims]`.

    >>> str(TensorType(F32, (Dim.named("n"), 3)))
    'f32[n, 3]'
    """

    dtype: DType
    dims: tuple[Size, ...]

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def size(self) -> Size:
        """The number of elements."""
        return product(self.dims)

    @property
    def names(self) -> frozenset[str]:
        """The named sizes in the dims."""
        return frozenset().union(*(size_names(d) for d in self.dims))

    @property
    def is_static(self) -> bool:
        return not any(isinstance(d, Dim) for d in self.dims)

    def with_dims(self, dims: tuple[Size, ...]) -> TensorType:
        return TensorType(self.dtype, dims)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(dtype, self.dims)

    def __str__(self) -> str:
        return f"{self.dtype}{format_shape(self.dims)}"
