"""Making tensors: from data, and of one value.

In a trace a made tensor is part of the program: a constant, or a copy of captured data, never the data itself.  So the
program may write it, and finds it as it was made at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.captured import note_array
from adjit.dims import shape_of
from adjit.dispatch import apply, literal
from adjit.dtypes import default_complex, default_float, dtype_argument
from adjit.errors import explained
from adjit.ir.errors import OutOfMemoryError
from adjit.ir.halfs import cast_array
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BF16, BOOL, F32, I64, DType
from adjit.promotion import cast_to, result_dtype
from adjit.python_data import array_of, check_numbers, check_strides, dtype_of_array, number_of
from adjit.state import STATE
from adjit.symbolic_size import SymbolicSize, as_dim
from adjit.tensor import Tensor
from adjit.warning import warn

_COPY_CONSTRUCT = (
    "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
    "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor)."
)


# -- arguments that many functions share ----------------------------------------------------------------------------
_SIZES = "sizes are 0 or more; only reshape and view take -1, for the size that the others leave"


def check_device(device: Any) -> None:
    """The error of a device that does not serve."""
    if device is not None:
        from adjit.device import device as as_device

        as_device(device).require()


def check_tensor(input: Any, function: str, name: str = "input") -> None:
    """TypeError for an argument that is no tensor."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{function}(): argument '{name}' (position 1) must be Tensor, not {type(input).__name__}")


def checked_sizes(sizes: Sequence[Any], function: str) -> tuple[Any, ...]:
    """Sizes given one by one, or as one sequence.  TypeError for what is no size, RuntimeError for a negative one."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    elif len(sizes) == 1 and not _is_size(sizes[0]):
        kind = type(sizes[0]).__name__
        raise explained(
            TypeError,
            f"{function}(): argument 'size' (position 1) must be tuple of ints, not {kind}",
            hint="sizes are whole numbers: torch.zeros(2, 3), or torch.zeros(*sizes)",
        )
    if all(type(size) is int and size >= 0 for size in sizes):
        return tuple(sizes)
    found: list[Any] = []
    for place, size in enumerate(sizes):
        if not _is_size(size):
            raise TypeError(
                f"{function}(): argument 'size' failed to unpack the object at pos {place + 1} with error \"type must "
                f'be tuple of ints,but got {type(size).__name__}"'
            )
        found.append(size if isinstance(size, SymbolicSize) else size.__index__())
    if any(isinstance(size, int) and size < 0 for size in found):
        if function == "zeros":
            raise explained(RuntimeError, f"{function}: Dimension size must be non-negative.", hint=_SIZES)
        least = next(size for size in found if isinstance(size, int) and size < 0)
        raise explained(RuntimeError, f"Trying to create tensor with negative dimension {least}: {found}", hint=_SIZES)
    return tuple(found)


def _is_size(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value._dtype.is_integer and value._tensor_type.ndim == 0
    return isinstance(value, SymbolicSize) or hasattr(value, "__index__")


def given_sizes(size: tuple[Any, ...], keywords: dict[str, Any], function: str) -> tuple[Any, ...]:
    """The sizes of `function(2, 3)`, `function((2, 3))` and `function(size=(2, 3))`."""
    if "size" in keywords:
        size = (keywords.pop("size"),)
    elif not size:
        raise TypeError(f'{function}() missing 1 required positional arguments: "size"')
    if keywords:
        raise TypeError(f"{function}() got an unexpected keyword argument '{next(iter(keywords))}'")
    return checked_sizes(size, function)


def finished(made: Tensor, requires_grad: bool, out: Tensor | None = None) -> Tensor:
    """The made tensor as a leaf that requires grad, or written to `out`."""
    if out is not None:
        from adjit.out import store_in

        return store_in(out, made, quietly=True)
    if requires_grad:
        if not made._dtype.is_continuous:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        made._requires_grad = True
    return made


_SHARED_BYTES = 4096  # of literals that a trace looks up by their numbers


# -- from data ------------------------------------------------------------------------------------------------------
def of_array(array: np.ndarray, dtype: DType) -> Tensor:
    """A tensor on a new array that holds `dtype`; in a trace, a constant or a copy of the captured array.

    Small arrays of the same numbers are one input of the trace, so that the turns of a loop that writes them are alike.
    """
    made = Tensor._wrap(array, dtype)
    tracer = STATE.tracer
    if tracer is None:
        return made
    if array.ndim == 0:
        number = cast_array(array, dtype, F32) if dtype is BF16 else array
        traced = literal(number.item(), dtype)
    else:
        if array.nbytes <= _SHARED_BYTES:
            made = tracer.literals.setdefault((dtype, array.shape, array.tobytes()), made)
        traced = apply(PRIMITIVES["reshape"], (made,), {"shape": array.shape})
    # Its numbers are known until it is written: `item()` and `bool()` need no error.
    traced.__dict__["_known"] = array
    return traced


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested sequences, an array.

    Floats become the default dtype, ints int64.
    Errors: ValueError for sequences of unequal lengths, RuntimeError for numbers that `dtype` cannot hold.

    >>> tensor([1.0, 2.5])
    tensor([1.0000, 2.5000])
    """
    check_device(device)
    target = dtype_argument(dtype, "tensor")
    if STATE.tracer is not None and _has_traced(data):
        return finished(_traced(data, target), requires_grad)
    if isinstance(data, Tensor):
        from adjit.shaping import clone

        warn(_COPY_CONSTRUCT, UserWarning, stacklevel=2)
        return finished(clone(cast_to(data.detach(), target or data._dtype)), requires_grad)
    return finished(of_array(*array_of(data, target)), requires_grad)


def _has_traced(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(_has_traced(item) for item in data)
    return isinstance(data, SymbolicSize) or (isinstance(data, Tensor) and data._tracer is not None)


def _traced(data: Any, target: DType | None) -> Tensor:
    """Data with traced tensors and open sizes in it, as a computed tensor."""
    from adjit.joining import stack
    from adjit.shaping import clone

    if isinstance(data, Tensor):
        return clone(cast_to(data.detach(), target or result_dtype((data,))))
    if isinstance(data, SymbolicSize):
        return literal(as_dim(data), I64 if target is None else target)
    if isinstance(data, (list, tuple)):
        parts = [_scalar(item) if isinstance(item, Tensor) else _traced(item, target) for item in data]
        kinds = [item if getattr(item, "_is_number", False) else part for item, part in zip(data, parts, strict=True)]
        common = result_dtype(kinds) if target is None else target
        return stack([cast_to(part, common) for part in parts])
    return tensor(data, dtype=target)


def _scalar(input: Tensor) -> Tensor:
    from adjit.shaping import reshape

    if input._tensor_type.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return reshape(input.detach())


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without copying where it can be shared."""
    check_device(device)
    if isinstance(data, Tensor) and not data._is_number:
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        found = from_numpy(data)
        return found if dtype is None else found.to(dtype)
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool | None = None
) -> Tensor:
    """`obj` as a tensor, shared or copied as `copy` says; without its history if `requires_grad` is False.

    Errors: ValueError where it cannot be shared and must be.
    """
    shareable = isinstance(obj, (Tensor, np.ndarray))
    found = as_tensor(obj, dtype, device)
    shared = found is obj or (isinstance(obj, np.ndarray) and found._array is not None and found._array.base is obj)
    if copy is False and not (shareable and shared):
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    if copy and shared:
        found = found.clone()
    if requires_grad:
        return finished(found.detach() if found is not obj else found, True)
    return found.detach() if requires_grad is False and found.requires_grad else found


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor on the array's own memory."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {_full_name(ndarray)})")
    dtype = dtype_of_array(ndarray)
    check_strides(ndarray)
    if STATE.tracer is not None:
        note_array(STATE.tracer, ndarray)
    # A view of its own: an in-place change of the tensor's shape must not reach the array.
    return Tensor._wrap(ndarray.view(dtype.storage), dtype)


def _full_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A number as a 0-d tensor of the default dtype."""
    check_device(device)
    target = dtype_argument(dtype, "scalar_tensor") or default_float()
    return finished(constant((), s, target), requires_grad)


# -- of one value ---------------------------------------------------------------------------------------------------
def constant(size: Sequence[Any], value: Any, target: DType) -> Tensor:
    """`value` everywhere."""
    if isinstance(value, (Tensor, SymbolicSize)):
        number = value.detach() if isinstance(value, Tensor) else literal(as_dim(value), I64)
        check_numbers(target, value)
        return apply(PRIMITIVES["expand"], (cast_to(number, target),), {"shape": tuple(size)})  # type: ignore[no-any-return]
    if STATE.tracer is None and type(value) is int and value in (0, 1) and target is not BF16:
        array = _zeros(tuple(size), target.storage)
        if value:
            array.fill(1)
        return Tensor._wrap(array, target)
    held = number_of(value, target)
    if STATE.tracer is None:
        return Tensor._wrap(_filled_array(tuple(size), held), target)
    return apply(PRIMITIVES["expand"], (of_array(held, target),), {"shape": tuple(size)})  # type: ignore[no-any-return]


def _filled_array(size: tuple[int, ...], held: np.ndarray) -> np.ndarray:
    if not any(held.tobytes()):
        return _zeros(size, held.dtype)
    try:
        return np.full(size, held)
    except ValueError:
        raise too_large(size) from None
    except MemoryError as error:
        raise OutOfMemoryError.of(error) from None


def _zeros(size: tuple[int, ...], storage: np.dtype[Any]) -> np.ndarray:
    """Zeroed memory, which comes from the system without being touched."""
    try:
        return np.zeros(size, storage)
    except ValueError:
        raise too_large(size) from None
    except MemoryError as error:
        raise OutOfMemoryError.of(error) from None


def too_large(size: tuple[int, ...]) -> RuntimeError:
    """The error for sizes of which no memory can be."""
    return RuntimeError(f"Storage size calculation overflowed with sizes={list(size)}")


def full(
    size: Any,
    fill_value: Any,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor of one value, of the value's dtype unless one is given."""
    check_device(device)
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"full(): argument 'size' (position 1) must be tuple of ints, not {type(size).__name__}")
    target = dtype_argument(dtype, "full") or _dtype_of_number(fill_value)
    return finished(constant(checked_sizes((size,), "full"), _number(fill_value), target), requires_grad, out)


def _dtype_of_number(value: Any) -> DType:
    if isinstance(value, Tensor):
        return result_dtype((value,))
    if isinstance(value, (bool, np.bool_)):
        return BOOL
    if isinstance(value, (float, np.floating)):
        return default_float()
    if isinstance(value, (complex, np.complexfloating)):
        return default_complex()
    return I64


def _number(value: Any) -> Any:
    """A fill value as a Python number; one that a trace computes stays a tensor."""
    if isinstance(value, Tensor) and value._is_number:
        return value
    if isinstance(value, Tensor):
        if value._tensor_type.size != 1:
            raise RuntimeError(f"a Tensor with {value._tensor_type.size} elements cannot be converted to Scalar")
        if STATE.tracer is not None:
            from adjit.shaping import reshape

            return reshape(value)
        return value.item()
    if not isinstance(value, (int, float, complex, np.generic, SymbolicSize)):
        text = f"full(): argument 'fill_value' (position 2) must be Number, not {type(value).__name__}"
        raise TypeError(text)
    return value.item() if isinstance(value, np.generic) else value


def _filled(function: str, value: int, doc: str) -> Callable[..., Tensor]:
    def make(
        *size: Any,
        out: Tensor | None = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        memory_format: Any = None,
        **keywords: Any,
    ) -> Tensor:
        check_device(device)
        sizes = given_sizes(size, keywords, function)
        target = dtype_argument(dtype, function) or (default_float() if out is None else out._dtype)
        return finished(constant(sizes, value, target), requires_grad, out)

    make.__name__ = make.__qualname__ = function
    make.__doc__ = doc
    return make


zeros = _filled("zeros", 0, "A tensor of zeros.")
ones = _filled("ones", 1, "A tensor of ones.")
empty = _filled("empty", 0, "A tensor of unstated values (zeros here).")


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One value in another tensor's shape and dtype."""
    check_device(device)
    check_tensor(input, "full_like")
    target = dtype_argument(dtype, "full_like") or input._dtype
    return finished(constant(shape_of(input), _number(fill_value), target), requires_grad)


def _like(function: str, value: int, doc: str) -> Callable[..., Tensor]:
    def make(
        input: Tensor,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
        pin_memory: bool = False,
    ) -> Tensor:
        check_device(device)
        check_tensor(input, function)
        target = dtype_argument(dtype, function) or input._dtype
        return finished(constant(shape_of(input), value, target), requires_grad)

    make.__name__ = make.__qualname__ = function
    make.__doc__ = doc
    return make


zeros_like = _like("zeros_like", 0, "Zeros in another tensor's shape and dtype.")
ones_like = _like("ones_like", 1, "Ones in another tensor's shape and dtype.")
empty_like = _like("empty_like", 0, "Unstated values (zeros here) in another tensor's shape and dtype.")


def eye(
    n: Any,
    m: Any = None,
    *,
    out: Tensor | None = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the diagonal, 0 elsewhere: out[i, j] = (i == j)."""
    check_device(device)
    m = n if m is None else m
    for place, (name, extent) in enumerate((("n", n), ("m", m)), start=1):
        if not _is_size(extent):
            raise TypeError(f"eye(): argument '{name}' (position {place}) must be int, not {type(extent).__name__}")
        if isinstance(extent, int) and extent < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {extent}")
    target = dtype_argument(dtype, "eye") or default_float()
    if STATE.tracer is None:
        held = _zeros((n, m), target.storage)
        if held.size:
            np.fill_diagonal(held, number_of(1, target))
        return finished(Tensor._wrap(held, target), requires_grad, out)
    row, column = (apply(PRIMITIVES["iota"], (), {"shape": (n, m), "axis": axis, "dtype": I64}) for axis in (0, 1))
    return finished(cast_to(apply(PRIMITIVES["eq"], (row, column)), target), requires_grad, out)


# -- legacy ---------------------------------------------------------------------------------------------------------
def legacy_tensor(*args: Any, dtype: DType | None = None, device: Any = None, size: Any = None) -> Tensor:
    """`Tensor(2, 3)`: unstated values of a shape; `Tensor([1, 2])`: data in the class's dtype."""
    check_device(device)
    target = default_float() if dtype is None else dtype
    if size is not None:
        return constant(checked_sizes((size,), "new"), 0, target)
    if not args:
        return constant((0,), 0, target)
    data = args[0]
    if len(args) == 1 and isinstance(data, Tensor) and data._tensor_type.ndim:
        if dtype is not None and data._dtype is not dtype:
            raise TypeError(f"expected a tensor of dtype {dtype.long_name} (got {data._dtype.long_name})")
        return data.detach()
    if len(args) == 1 and type(data).__name__ != "Size" and (isinstance(data, np.ndarray) or not _is_size(data)):
        if isinstance(data, float) or data is None:
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        return of_array(*array_of(data, target))
    return constant(checked_sizes(args, "new"), 0, target)


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


def _new(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, dtype: Any = None, **options: Any) -> Tensor:
        return function(*args, dtype=self._dtype if dtype is None else dtype, **options)

    method.__doc__ = function.__doc__
    return method


def new(input: Tensor, *args: Any, **keywords: Any) -> Tensor:
    """`Tensor(...)` in the tensor's own dtype."""
    return legacy_tensor(*args, dtype=input._dtype, **keywords)


METHODS: dict[str, Callable[..., Any]] = {
    "new": new,
    "new_empty": _new(empty),
    "new_full": _new(full),
    "new_ones": _new(ones),
    "new_tensor": _new(tensor),
    "new_zeros": _new(zeros),
}
__all__ = [
    "as_tensor", "asarray", "empty", "empty_like", "eye", "from_numpy", "full", "full_like", "is_tensor", "ones",
    "ones_like", "scalar_tensor", "tensor", "zeros", "zeros_like",
]  # fmt: skip
