"""Python and NumPy data as arrays: the dtype that PyTorch infers, and its errors for data that make no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from adjit.dtypes import default_complex, default_float
from adjit.errors import explained
from adjit.execute import number_array
from adjit.heard_numbers import is_heard
from adjit.ir.halfs import cast_array, marked
from adjit.ir.types import BF16, BOOL, C128, F16, F32, F64, I64, U64, DType, dtype_of_storage
from adjit.promotion import promote_types_ir
from adjit.tensor import Tensor

_SUPPORTED = (
    "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and "
    "bool"
)
_NUMBERS = frozenset((bool, int, float, complex))


def dtype_of_array(array: np.ndarray) -> DType:
    """The dtype of a NumPy array.  TypeError where no tensor has it."""
    found = dtype_of_storage(array.dtype)
    if found is None:
        if not array.dtype.isnative:
            raise ValueError(
                "given numpy array has byte order different from the native byte order. Conversion between byte orders "
                "is currently not supported."
            )
        name = array.dtype.type.__name__
        raise TypeError(f"can't convert np.ndarray of type numpy.{name}. The only supported types are: {_SUPPORTED}.")
    return found


def check_strides(array: np.ndarray) -> None:
    """ValueError for an array that runs backwards."""
    if array.ndim and min(array.strides) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array  with array.copy()."
            ") "
        )


def stored(array: np.ndarray, source: DType, target: DType) -> np.ndarray:
    """A new array in row-major order: the numbers held as `source`, in the storage of `target`."""
    return marked(np.array(cast_array(array, source, target), order="C"), target)


def array_of(data: Any, dtype: DType | None) -> tuple[np.ndarray, DType]:
    """A new array of `data` (numbers, nested sequences, arrays, and tensors of one element), with its dtype.

    Errors: ValueError and TypeError for ragged data, TypeError and RuntimeError for what is no number, RuntimeError
    for a number that an integer `dtype` cannot hold.
    """
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        known = dtype_of_array(array)
        check_strides(array)
        target = known if dtype is None else dtype
        return stored(array, known, target), target
    try:
        kinds = _leaf_types(data)
    except RecursionError:
        raise TypeError("new(): self-referential lists are incompatible") from None
    if not kinds <= _NUMBERS:
        data, known = _plain(data)
    elif complex in kinds:
        known = default_complex()
    elif float in kinds:
        known = default_float()
    else:
        known = I64 if int in kinds else BOOL if kinds else default_float()
    target = known if dtype is None else dtype
    return _converted(data, target), target


def _leaf_types(data: Any) -> set[type]:
    if not isinstance(data, (list, tuple, range)):
        return {type(data)}
    kinds = set(map(type, data))
    if any(issubclass(kind, (list, tuple, range)) for kind in kinds):
        return set(chain.from_iterable(_leaf_types(item) for item in data))
    return kinds


def _plain(data: Any) -> tuple[Any, DType]:
    """Data with NumPy scalars, arrays and tensors in them, as numbers; and the dtype that holds them all."""
    if isinstance(data, Tensor):
        if data._tensor_type.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return data.item(), data._dtype
    if isinstance(data, (np.ndarray, np.generic)):
        return data.tolist(), dtype_of_array(np.asarray(data))
    if isinstance(data, (list, tuple, range)):
        if data and isinstance(data[0], str):
            raise ValueError("too many dimensions 'str'")
        pairs = [_plain(item) for item in data]
        known = pairs[0][1] if pairs else default_float()
        for _, other in pairs[1:]:
            known = promote_types_ir(known, other)
        return [value for value, _ in pairs], known
    if isinstance(data, bool):
        return data, BOOL
    if isinstance(data, float):
        return data, default_float()
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _plain(list(data))
    if hasattr(data, "__index__"):
        return data.__index__(), I64
    if isinstance(data, complex):
        return data, default_complex()
    if isinstance(data, str):
        raise explained(
            TypeError,
            "new(): invalid data type 'str'",
            hint="a tensor holds numbers: give each text one, {{word: number for number, word in enumerate(words)}}",
        )
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _converted(data: Any, target: DType) -> np.ndarray:
    """Plain nested numbers in the storage of `target`."""
    if type(data) is float and target is F32 and (data == 0 or 1e-30 < abs(data) < 1e38):
        return np.array(data, np.float32)  # nothing is lost of which NumPy would warn
    try:
        array = np.array(data)
    except ValueError:
        _explain_ragged(data, _sizes(data), target)
    if target is U64 and array.dtype.kind == "f" and array.size and _leaf_types(data) == {int}:
        return np.array(data, np.uint64)  # NumPy takes integers on both sides of 2**63 for floats
    if array.dtype == np.bool_:
        return stored(array, BOOL, target)
    if array.size == 0:
        return np.zeros(array.shape, target.storage)
    if array.dtype.kind == "c":
        if target is BOOL:
            return np.asarray(array != 0)
        if target.is_integer:
            raise TypeError("'complex' object cannot be interpreted as an integer")
        if not target.is_complex:
            raise TypeError("must be real number, not complex")
        return stored(array, C128, target)
    if array.dtype.kind == "f":
        if target.is_integer:
            _check_range(array, target)
        return stored(array, F64, target)
    # Integers beyond 64 bits come as Python objects, or unsigned.
    if array.dtype != np.int64:
        if target is U64 and array.dtype == np.uint64:
            return array
        if target.is_integer:
            raise ValueError("Overflow when unpacking long long")
        return stored(array.astype(np.float64), F64, target)
    if target.is_integer and target is not I64:
        _check_range(array, target)
    return stored(array, I64, target)


def _check_range(array: np.ndarray, target: DType) -> None:
    """RuntimeError for numbers that an integer dtype cannot hold; unsigned ones take negative integers modulo range."""
    limits = np.iinfo(target.storage)  # type: ignore[type-var]
    if array.dtype.kind == "f":
        fits = bool(np.all((array >= float(limits.min)) & (array <= float(limits.max))))
    else:
        low = -limits.max if target.kind == "uint" else limits.min
        fits = bool(array.min() >= low and array.max() <= limits.max)
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {target.long_name} without overflow")


def _sizes(data: Any) -> list[int]:
    """The sizes that the first element at each depth has."""
    sizes: list[int] = []
    while isinstance(data, (list, tuple, range)):
        sizes.append(len(data))
        if not data:
            break
        data = data[0]
    return sizes


def _explain_ragged(data: Any, sizes: Sequence[int], target: DType, depth: int = 0) -> NoReturn:
    """Raise the error for the first place where nested sequences disagree with `sizes`."""
    found = _ragged(data, sizes, target, depth)
    assert found is not None, "NumPy refuses data whose sizes agree"
    raise found


def _ragged(data: Any, sizes: Sequence[int], target: DType, depth: int) -> Exception | None:
    is_sequence = isinstance(data, (list, tuple, range))
    if depth == len(sizes):
        if not is_sequence:
            return None
        if target.is_float:
            return TypeError(f"must be real number, not {type(data).__name__}")
        return TypeError(f"'{type(data).__name__}' object cannot be interpreted as an integer")
    if not is_sequence:
        return TypeError("not a sequence")
    if len(data) != sizes[depth]:
        return explained(
            ValueError,
            f"expected sequence of length {sizes[depth]} at dim {depth} (got {len(data)})",
            hint="rows of one length make a tensor; pad the others, or keep a list of tensors",
        )
    errors = (_ragged(item, sizes, target, depth + 1) for item in data)
    return next((error for error in errors if error is not None), None)


_C_NAMES = {
    "u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "i8": "int8_t", "i16": "int16_t",
    "i32": "int", "i64": "int64_t", "f16": "c10::Half", "bf16": "c10::BFloat16", "f32": "float", "f64": "double",
    "c64": "c10::complex<float>", "c128": "c10::complex<double>",
}  # fmt: skip
GREATEST = {F16: 65504.0, BF16: 3.3895313892515355e38, F32: 3.4028234663852886e38, F64: 1.7976931348623157e308}
_NUMBER_KINDS = {np.dtype(np.bool_): BOOL, np.dtype(np.int64): I64, np.dtype(np.uint64): U64}


def number_of(value: int | float | complex | bool, dtype: DType) -> np.ndarray:
    """A number as a 0-d array.  RuntimeError where `dtype` cannot hold it."""
    if isinstance(value, float) and _is_plainly_held(value, dtype):
        return number_array(value, dtype)
    if isinstance(value, complex):
        if dtype.is_complex:
            return stored(np.asarray(value), C128, dtype)
        if dtype is BOOL:
            return np.asarray(bool(value))
        if value.imag:
            raise _overflow(dtype)
        value = value.real
    array = np.asarray(value)
    source = _NUMBER_KINDS.get(array.dtype, F64)
    wide = array.astype(np.float64) if source is F64 else array
    if dtype.is_integer and source is not BOOL:
        try:
            _check_range(wide, dtype)
        except RuntimeError:
            raise _overflow(dtype) from None
    with np.errstate(all="ignore"):
        found = stored(wide, source, dtype)
    if dtype.is_float and GREATEST[dtype] < abs(value) < np.inf:
        raise _overflow(dtype)
    return found


def check_numbers(dtype: DType, *operands: Any) -> None:
    """RuntimeError where a dtype cannot hold one of the numbers among the operands.

    Arithmetic takes numbers modulo an integer dtype's range; choices between numbers do not.
    """
    if dtype is BOOL or (dtype.bits > 32 and dtype.is_continuous):
        return
    most = min(GREATEST.get(dtype, 3e38), 3e38)
    for operand in operands:
        if isinstance(operand, (int, float)):
            number_of(operand, dtype)
        elif isinstance(operand, Tensor) and operand._answers and not -most <= operand <= most:
            raise TypeError("a number that may be beyond the range of its dtype is a constant")


def check_wide_numbers(dtype: DType, *operands: Any) -> None:
    """The same for composites of floats: beside 16 bits, PyTorch computes with numbers of 32.

    Numbers that are watched are asked, since their programs take them as float64.
    """
    if dtype.is_float and dtype is not F64:
        check_numbers(F32, *(each for each in operands if not is_heard(each) or not -3e38 <= each <= 3e38))


def _is_plainly_held(number: float, dtype: DType) -> bool:
    """Whether a float is well within the range of a dtype of floats; others may be, too.

    That is no question to a number that is watched: the native entry leaves those beyond float32 to Python.
    """
    return dtype is F64 or (dtype is F32 and -3e38 <= float.__float__(number) <= 3e38)


def held_or_infinite(number: Any, dtype: DType) -> Any:
    """A number, infinite where a dtype of floats would have to hold one beyond its range."""
    if not isinstance(number, (int, float)) or dtype.bits > 32:
        return number
    if isinstance(number, float) and _is_plainly_held(number, dtype):
        return number
    if not GREATEST[dtype] < abs(number) < np.inf:
        return number
    with np.errstate(all="ignore"):  # a little beyond the greatest number, it is that one
        return cast_array(stored(np.asarray(float(number)), F64, dtype), dtype, F64).item()


def _overflow(dtype: DType) -> RuntimeError:
    return RuntimeError(f"value cannot be converted to type {_C_NAMES[dtype.name]} without overflow")
