"""Making tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.dims import shape_of, sizes_argument
from adjit.dispatch import apply, literal
from adjit.dtypes import default_float, to_ir
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType, dtype_of_storage
from adjit.state import STATE
from adjit.tensor import Tensor


def from_storage(array: np.ndarray, dtype: DType, requires_grad: bool = False) -> Tensor:
    """A tensor on an array that holds `dtype`."""
    made = Tensor._wrap(array, dtype)
    if requires_grad:
        made.requires_grad = True
    return made


def stored(array: np.ndarray, dtype: DType) -> np.ndarray:
    """A new array of the numbers in `array`, as `dtype` is stored."""
    if dtype is BF16:
        from adjit.ir.halfs import round_bf16

        return round_bf16(array.astype(np.float32))
    with np.errstate(all="ignore"):
        return np.array(array, dtype.storage, order="C")


def _check_device(device: Any) -> None:
    if device is not None:
        from adjit.device import device as as_device

        as_device(device).require()


def _dtype_of(data: Any, array: np.ndarray) -> DType:
    """The dtype of Python data: floats have the default dtype, ints int64."""
    if isinstance(data, (np.ndarray, np.generic)):
        found = dtype_of_storage(array.dtype)
        if found is None:
            raise TypeError(
                f"can't convert np.ndarray of type numpy.{array.dtype}. The only supported types are: float64, float32, "
                "float16, int64, int32, int16, int8, uint8, and bool."
            )
        return found
    if array.dtype == np.bool_:
        return BOOL
    if array.dtype.kind in "iu":
        return I64
    if array.dtype.kind == "f":
        return default_float()
    if array.dtype.kind == "c":
        raise TypeError("complex tensors are not supported")
    raise TypeError(f"new(): invalid data type '{type(_first(data)).__name__}'")


def _first(data: Any) -> Any:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return data


def _plain(data: Any) -> Any:
    """Nested lists with tensors in them, as numbers."""
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    return data


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences, or an array.

    Floats become the default dtype, ints int64.  ValueError for sequences of unequal lengths.

    >>> tensor([1.0, 2.5])
    tensor([1.0000, 2.5000])
    """
    _check_device(device)
    if isinstance(data, Tensor):
        if data._array is None:
            from adjit.shaping import clone

            return clone(data.detach())
        source, known = data._array, data._dtype
        if known is BF16 and dtype is not None:
            return tensor(data.float().numpy(), dtype=dtype, requires_grad=requires_grad)
        target = known if dtype is None else to_ir(dtype)
        made = source.copy("C") if target is known else stored(source, target)
        return from_storage(made, target, requires_grad)
    try:
        array = np.asarray(data if isinstance(data, (np.ndarray, np.generic)) else _plain(data))
    except ValueError as error:
        raise ValueError(f"expected sequence of equal lengths: {error}") from None
    if array.size == 0 and not isinstance(data, (np.ndarray, np.generic)):
        array = array.astype(default_float().storage)
    target = to_ir(dtype) if dtype is not None else _dtype_of(data, array)
    return from_storage(stored(array, target), target, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without copying where it can be shared."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        found = from_numpy(data)
        return found if dtype is None else found.to(dtype)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor on the array's own memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if any(stride < 0 for stride in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently "
            "supported. (You can probably work around this by making a copy of your array  with array.copy().) "
        )
    if not ndarray.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order.")
    return Tensor._wrap(ndarray, _dtype_of(ndarray, ndarray))


# -- constants ------------------------------------------------------------------------------------------------------
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    memory_format: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one value."""
    _check_device(device)
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if dtype is not None:
        target = to_ir(dtype)
    elif isinstance(fill_value, bool):
        target = BOOL
    else:
        target = I64 if isinstance(fill_value, int) else default_float()
    return _constant(
        sizes_argument((size,)) if isinstance(size, int) else tuple(size), fill_value, target, requires_grad
    )


def _constant(size: Sequence[Any], value: Any, target: DType, requires_grad: bool) -> Tensor:
    if any(isinstance(extent, int) and extent < 0 for extent in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    if STATE.tracer is None:
        array = np.empty(tuple(size), target.storage)
        array.fill(stored(np.asarray(value), target)[()])
        return from_storage(array, target, requires_grad)
    made = apply(PRIMITIVES["expand"], (literal(value, target),), {"shape": tuple(size)})
    assert isinstance(made, Tensor)
    if requires_grad:
        made.requires_grad = True
    return made


def _filled(value: float, doc: str) -> Callable[..., Tensor]:
    def function(
        *size: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        layout: Any = None,
        memory_format: Any = None,
        pin_memory: bool = False,
        out: Tensor | None = None,
    ) -> Tensor:
        _check_device(device)
        target = default_float() if dtype is None else to_ir(dtype)
        return _constant(sizes_argument(size), value, target, requires_grad)

    function.__doc__ = doc
    return function


zeros = _filled(0, "A tensor of zeros.")
ones = _filled(1, "A tensor of ones.")
empty = _filled(0, "A tensor of unstated values (zeros here).")


def _like(value: float, doc: str) -> Callable[..., Tensor]:
    def function(
        input: Tensor,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        layout: Any = None,
        memory_format: Any = None,
    ) -> Tensor:
        _check_device(device)
        return _constant(shape_of(input), value, input._dtype if dtype is None else to_ir(dtype), requires_grad)

    function.__doc__ = doc
    return function


zeros_like = _like(0, "Zeros of another tensor's shape and dtype.")
ones_like = _like(1, "Ones of another tensor's shape and dtype.")
empty_like = _like(0, "Unstated values (zeros here) of another tensor's shape and dtype.")


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """One value in another tensor's shape and dtype."""
    return _constant(shape_of(input), fill_value, input._dtype if dtype is None else to_ir(dtype), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    target = default_float() if dtype is None else to_ir(dtype)
    return from_storage(stored(np.eye(n, n if m is None else m), target), target, requires_grad)


# -- ranges ---------------------------------------------------------------------------------------------------------
def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below end."""
    _check_device(device)
    if end is None:
        start, end = 0, start
    parts = [x.item() if isinstance(x, Tensor) else x for x in (start, end, step)]
    if parts[2] == 0:
        raise RuntimeError("step must be nonzero")
    plain = all(isinstance(x, (int, float)) for x in parts)
    if dtype is not None:
        target = to_ir(dtype)
    else:
        target = default_float() if any(isinstance(x, float) for x in parts) else I64
    if plain:
        if (parts[1] - parts[0]) * parts[2] < 0:
            raise RuntimeError("upper bound and lower bound inconsistent with step sign")
        wide = np.arange(*parts, dtype=np.float64 if target.is_float else np.int64)
        return from_storage(stored(wide, target), target, requires_grad)
    size = (parts[1] - parts[0] + parts[2] - 1) // parts[2]
    counted = apply(PRIMITIVES["iota"], (), {"shape": (size,), "axis": 0, "dtype": target})
    scaled = counted if parts[2] == 1 else counted * parts[2]
    return scaled if isinstance(parts[0], int) and parts[0] == 0 else scaled + parts[0]  # type: ignore[no-any-return]


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` points from start to end, both included, at equal distances."""
    target = default_float() if dtype is None else to_ir(dtype)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return from_storage(stored(np.linspace(start, end, steps), target), target, requires_grad)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """base ** points from start to end."""
    target = default_float() if dtype is None else to_ir(dtype)
    return from_storage(stored(np.logspace(start, end, steps, base=base), target), target, requires_grad)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors expanded to the grid that they span."""
    from adjit.shaping import expand, transpose, view

    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    sizes = [int(np.prod(shape_of(v), dtype=int)) for v in vectors]
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[0], order[1] = 1, 0
    grids = []
    for place, vector in enumerate(vectors):
        shape = [1] * len(vectors)
        shape[place] = sizes[place]
        grid = expand(view(vector, *shape), *sizes)
        grids.append(transpose(grid, 0, 1) if order[:2] == [1, 0] else grid)
    return tuple(grids)


# -- legacy ---------------------------------------------------------------------------------------------------------
def legacy_tensor(*args: Any, dtype: DType | None = None) -> Tensor:
    """`Tensor(2, 3)`: unstated values of a shape; `Tensor([1, 2])`: data in the class's dtype."""
    target = default_float() if dtype is None else dtype
    if len(args) == 1 and not isinstance(args[0], int):
        data = args[0]
        if isinstance(data, Tensor):
            return data.to(target)
        if type(data).__name__ == "Size":
            return zeros(*data, dtype=target)
        if isinstance(data, float):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        return tensor(data, dtype=target)
    return zeros(*args, dtype=target) if args else zeros(0, dtype=target)


def _legacy(name: str, target: DType) -> Callable[..., Tensor]:
    def constructor(*args: Any) -> Tensor:
        return legacy_tensor(*args, dtype=target)

    constructor.__name__ = constructor.__qualname__ = name
    constructor.__doc__ = f"A tensor of dtype {target.long_name}, from data or sizes."
    return constructor


FloatTensor, DoubleTensor = _legacy("FloatTensor", F32), _legacy("DoubleTensor", F64)
HalfTensor, BFloat16Tensor = _legacy("HalfTensor", F16), _legacy("BFloat16Tensor", BF16)
LongTensor, IntTensor = _legacy("LongTensor", I64), _legacy("IntTensor", I32)
ShortTensor, CharTensor = _legacy("ShortTensor", I16), _legacy("CharTensor", I8)
ByteTensor, BoolTensor = _legacy("ByteTensor", U8), _legacy("BoolTensor", BOOL)


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def _new(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
        return function(*args, dtype=self._dtype if dtype is None else dtype, **options)

    method.__doc__ = function.__doc__
    return method


METHODS: dict[str, Callable[..., Any]] = {
    "new_empty": _new(empty),
    "new_full": _new(full),
    "new_ones": _new(ones),
    "new_tensor": _new(tensor),
    "new_zeros": _new(zeros),
}
__all__ = [
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor",
    "LongTensor", "ShortTensor", "arange", "as_tensor", "empty", "empty_like", "eye", "from_numpy", "full", "full_like",
    "is_tensor", "linspace", "logspace", "meshgrid", "ones", "ones_like", "tensor", "zeros", "zeros_like",
]  # fmt: skip
