"""From tensors to Python, NumPy and other dtypes; what a tensor says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from adjit.device import CPU, strided
from adjit.device import device as as_device
from adjit.dims import numel_of, shape_of, wrap_dim
from adjit.dtypes import default_float, public, to_ir
from adjit.dtypes import dtype as public_dtype
from adjit.errors import explained
from adjit.ir.errors import NumbersNeeded
from adjit.ir.types import BF16, BOOL, C64, C128, F16, F32, F64, I8, I16, I32, I64, U8, DType
from adjit.promotion import cast_to
from adjit.runtime.layout import address_of
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import is_contiguous as lies_in_order
from adjit.views import strides
from adjit.warning import warn


def concrete(input: Tensor, what: str) -> np.ndarray:
    """The tensor's array; TraceError naming the user's line where it has none."""
    if input._array is None:
        tracer = STATE.tracer
        known = input.__dict__.get("_known")
        if known is not None and tracer is not None and tracer.is_unwritten(input):
            return known  # type: ignore[no-any-return]
        around = tracer
        while around is not None and input._tracer is not around:
            around = around.parent
        if tracer is None or around is None:
            from adjit.dispatch import leaked

            raise leaked(input)
        raise tracer.concrete_needed(input, what)
    if STATE.tracer is not None:
        return STATE.tracer.known_array(input, what)
    return input._array


def _numbers(input: Tensor, what: str) -> np.ndarray:
    array = concrete(input, what)
    if input._dtype is BF16:
        from adjit.ir.halfs import widen_bf16

        return widen_bf16(array)
    return array


def _only(input: Tensor) -> np.ndarray | None:
    """The array of an eager tensor with one real element, which most questions for a number are asked of; else None."""
    array = input._array
    if array is None or array.size != 1 or array.dtype.kind == "c" or input._dtype is BF16 or STATE.tracer is not None:
        return None
    return array


# -- to Python ------------------------------------------------------------------------------------------------------
def item(input: Tensor) -> Any:
    """The only element, as a Python number; in a trace as a number whose value is known when the program runs."""
    array = _only(input)
    if array is not None:
        return array.item()
    count = numel_of(shape_of(input))
    if count != 1:
        raise explained(
            RuntimeError,
            f"a Tensor with {count} elements cannot be converted to Scalar",
            hint="{input}.tolist() gives all elements; {input}.sum().item() or {input}[0].item() one number",
        )
    from adjit.capture.numbers import asks_identity, number_of

    try:
        array = _numbers(input, "item()")
    except NumbersNeeded:
        if input._dtype.is_complex or (input._dtype is BOOL and asks_identity()):
            # No number whose value is unknown is complex; `case True` and `is True` are not asked of one before their
            # function is rewritten.
            raise
        return number_of(input)
    return array.reshape(())[()].item()


def tolist(input: Tensor) -> Any:
    """The elements as nested lists, or a number; a traced tensor's numbers are known when the program runs."""
    try:
        array = _numbers(input, "tolist()")
    except NumbersNeeded:
        shape = shape_of(input)
        if not all(isinstance(extent, int) for extent in shape) or numel_of(shape) > _MOST_UNKNOWN:
            raise
        return [tolist(row) for row in input.unbind(0)] if shape else item(input)
    return array.tolist()


_MOST_UNKNOWN = 64  # numbers that a traced tensor is taken apart into


def numpy(input: Tensor, *, force: bool = False) -> np.ndarray:
    """The elements as an array on the same memory."""
    if force:
        input = input.detach()
    if input.requires_grad and STATE.recording:
        raise explained(
            RuntimeError,
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
            hint="{input}.detach().numpy()",
        )
    if input._dtype is BF16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    return concrete(input, "numpy()")


def array_of(input: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """What `numpy.asarray` gets."""
    found = numpy(input)
    if dtype is not None and found.dtype != dtype:
        return found.astype(dtype)
    return found.copy() if copy else found


def truth(input: Tensor) -> bool:
    """`bool(tensor)`, for one element."""
    array = _only(input)
    if array is not None:
        return bool(array.item())
    count = numel_of(shape_of(input))
    if count == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    if count != 1:
        raise explained(
            RuntimeError,
            "Boolean value of Tensor with more than one value is ambiguous",
            hint="({input}).any() or ({input}).all() is one truth value; & | ~ go element by element in place of "
            "and, or, not",
        )
    return bool(_numbers(input, "a branch (if, while, and, or, not)").reshape(())[()])


def single(input: Tensor, what: str) -> Any:
    """The only element.  ValueError where there are more, or none."""
    if numel_of(shape_of(input)) != 1:
        raise explained(
            ValueError,
            "only one element tensors can be converted to Python scalars",
            hint="{input}.tolist() gives all elements, {input}[0].item() one, {input}.sum().item() their sum",
        )
    return _numbers(input, what).reshape(())[()].item()


def _real(number: Any, c_name: str) -> Any:
    """A number that has no imaginary part."""
    if not isinstance(number, complex):
        return number
    if number.imag:
        raise RuntimeError(f"value cannot be converted to type {c_name} without overflow")
    return number.real


def _as_float(input: Tensor) -> float:
    array = _only(input)
    return float(_real(single(input, "float()"), "double") if array is None else array.item())


def _as_int(input: Tensor) -> int:
    array = _only(input)
    return int(_real(single(input, "int()"), "int64_t") if array is None else array.item())


def _as_index(input: Tensor) -> int:
    if not (input._dtype.is_integer or input._dtype is BOOL) or numel_of(shape_of(input)) != 1:
        raise explained(
            TypeError,
            "only integer tensors of a single element can be converted to an index",
            hint="convert it first: int({input}) for a whole number, {input}.tolist() for several",
        )
    return int(item(input))


def _as_complex(input: Tensor) -> complex:
    return complex(single(input, "complex()"))


def length(input: Tensor) -> Any:
    """The size of the first axis."""
    shape = shape_of(input)
    if not shape:
        raise explained(
            TypeError,
            "len() of a 0-d tensor",
            hint="it holds one number: {input}.item(), or {input}.unsqueeze(0) for one axis",
        )
    extent = shape[0]
    return extent if isinstance(extent, int) else extent.__index__()


def iterate(input: Tensor) -> Iterator[Tensor]:
    """The entries of the first axis."""
    from adjit.joining import unbind

    if not shape_of(input):
        raise explained(
            TypeError,
            "iteration over a 0-d tensor",
            hint="it holds one number: {input}.item(), or {input}.unsqueeze(0) for one axis",
        )
    return iter(unbind(input, 0))


def reverse(input: Tensor) -> Tensor:
    """The entries of the first axis in opposite order."""
    from adjit.rearranging import flip

    return flip(input, 0) if shape_of(input) else input


def contains(input: Tensor, element: Any) -> bool:
    """Whether an element equals a number or tensor."""
    if not isinstance(element, (Tensor, bool, int, float, complex, np.generic)):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool((input == element).any())


def universal(input: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's functions on tensors give tensors."""
    from adjit.creation import as_tensor, from_numpy

    if method != "__call__":
        return NotImplemented
    named = {"equal": "eq", "multiply": "mul", "negative": "neg", "power": "pow", "subtract": "sub",
             "true_divide": "div"}  # fmt: skip
    name = named.get(ufunc.__name__, ufunc.__name__)
    import adjit

    own = getattr(adjit, name, None)  # a method would want a tensor first
    if own is not None and hasattr(Tensor, name) and not kwargs:
        return own(*(as_tensor(x) if isinstance(x, np.ndarray) else x for x in inputs))
    plain = [numpy(x) if isinstance(x, Tensor) else x for x in inputs]
    result = getattr(ufunc, method)(*plain, **kwargs)
    return from_numpy(result) if isinstance(result, np.ndarray) else result


# -- to other dtypes ------------------------------------------------------------------------------------------------
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`to(dtype)`, `to(device, dtype)`, `to(other)`: the tensor itself if nothing changes and `copy` is not set."""
    places = list(args)
    target: DType | None = None
    flags: list[Any] = []
    for position, given in enumerate(places):
        if isinstance(given, Tensor) and position == 0:
            target = given._dtype
        elif isinstance(given, (public_dtype, DType)) or given in (bool, int, float, complex):
            if target is not None:
                raise _no_overload(args, kwargs)
            target = to_ir(given)
        elif isinstance(given, bool):
            flags.append(given)
        elif isinstance(given, (str, as_device)) or (isinstance(given, int) and position == 0):
            as_device(given).require()
        elif given is not None:
            raise _no_overload(args, kwargs)
    copy = flags[1] if len(flags) > 1 else kwargs.get("copy", False)
    if not kwargs.keys() <= {"dtype", "device", "non_blocking", "copy", "memory_format"} or len(flags) > 2:
        raise _no_overload(args, kwargs)
    if kwargs.get("device") is not None:
        as_device(kwargs["device"]).require()
    if kwargs.get("dtype") is not None:
        given = kwargs["dtype"]
        if not isinstance(given, (public_dtype, DType)) and given not in (bool, int, float, complex):
            raise _no_overload(args, kwargs)
        target = to_ir(given)
    found = input if target is None else _cast(input, target)
    layout = kwargs.get("memory_format")
    if layout is not None:
        from adjit.shaping import contiguous

        found = contiguous(found, layout)
    return found.clone() if copy and found is input else found


def _no_overload(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    got = [type(x).__name__ for x in args] + [f"{name}={type(x).__name__}" for name, x in kwargs.items()]
    return TypeError(
        f"to() received an invalid combination of arguments - got ({', '.join(got)}, ), but expected one of:\n"
        " * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, bool copy = False)\n"
        " * (torch.dtype dtype, bool non_blocking = False, bool copy = False)\n"
        " * (Tensor tensor, bool non_blocking = False, bool copy = False)"
    )


def _cast(input: Tensor, target: DType) -> Tensor:
    from adjit.dispatch import rename

    if input._dtype.is_complex and not target.is_complex and target is not BOOL:
        warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
    return input if input._dtype is target else rename(cast_to(input, target), "ToCopy")


def _caster(target: DType) -> Callable[[Tensor], Tensor]:
    def method(input: Tensor, memory_format: Any = None) -> Tensor:
        return _cast(input, target)

    method.__doc__ = f"The tensor as {target.long_name}."
    return method


def type_(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The legacy name of the tensor's type, or the tensor in another dtype."""
    from adjit.legacy import LegacyType, dtype_named, legacy_name

    if dtype is None:
        return legacy_name(input._dtype)
    named = dtype_named(dtype) if isinstance(dtype, str) else default_float() if dtype is Tensor else None
    return _cast(input, named or (dtype.ir if isinstance(dtype, LegacyType) else to_ir(dtype)))


def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor, which stands on the CPU."""
    return input


def cuda(input: Tensor, device: Any = None) -> Tensor:
    """There is no CUDA device here."""
    raise explained(AssertionError, "Torch not compiled with CUDA enabled", "cuda", {"input": input})


# -- what it says of itself -----------------------------------------------------------------------------------------
def size(input: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one axis."""
    array = input._array
    if array is not None and type(dim) is int and -array.ndim <= dim < array.ndim:
        return array.shape[dim]
    shape = shape_of(input)
    return shape if dim is None else shape[wrap_dim(dim, len(shape))]


def stride(input: Tensor, dim: int | None = None) -> Any:
    """Strides in elements."""
    found, array = strides(input), input._array
    if array is not None and array.size:
        return found if dim is None else found[wrap_dim(dim, len(found))]
    shape = shape_of(input)
    if 0 in found and any(isinstance(extent, int) and extent == 0 for extent in shape):
        # Nothing is there to step over; PyTorch counts an empty axis as one entry.
        found = tuple(numel_of([extent or 1 for extent in shape[axis + 1 :]]) for axis in range(len(shape)))
    return found if dim is None else found[wrap_dim(dim, len(found))]


def storage_offset(input: Tensor) -> Any:
    """How many elements of the memory lie before the tensor's first."""
    from adjit.strided_views import offset_of

    return offset_of(input)


def dim(input: Tensor) -> int:
    """The number of axes."""
    array = input._array
    return len(shape_of(input)) if array is None else array.ndim


def numel(input: Tensor) -> Any:
    """The number of elements."""
    array = input._array
    return numel_of(shape_of(input)) if array is None else array.size


def is_contiguous(input: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order, or in the order of a memory format."""
    if memory_format is not None:
        from adjit.memory_layout import lies_in

        return lies_in(input, memory_format)
    return lies_in_order(input)


def element_size(input: Tensor) -> int:
    """Bytes per element."""
    return input._dtype.itemsize


def data_ptr(input: Tensor) -> int:
    """The address of the first element."""
    return address_of(concrete(input, "data_ptr()"))


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating one."""
    return input._dtype.is_float


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input._dtype.is_complex


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input._dtype.kind in ("int", "float", "complex")


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not 0."""
    return truth(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return tuple(shape_of(input)) == tuple(shape_of(other))


def never(input: Tensor) -> bool:
    """False: what the question is about does not exist here."""
    return False


# -- text ----------------------------------------------------------------------------------------------------------
METHODS: dict[str, Callable[..., Any]] = {
    "__array__": array_of,
    "__array_ufunc__": universal,
    "__bool__": truth,
    "__complex__": _as_complex,
    "__contains__": contains,
    "__float__": _as_float,
    "__index__": _as_index,
    "__int__": _as_int,
    "__iter__": iterate,
    "__len__": length,
    "__reversed__": reverse,
    "bfloat16": _caster(BF16),
    "bool": _caster(BOOL),
    "byte": _caster(U8),
    "cdouble": _caster(C128),
    "cfloat": _caster(C64),
    "char": _caster(I8),
    "cpu": cpu,
    "cuda": cuda,
    "_is_view": lambda input: input._base is not None and not input._memory.is_inference,
    "const_data_ptr": data_ptr,
    "data_ptr": data_ptr,
    "dim": dim,
    "double": _caster(F64),
    "element_size": element_size,
    "float": _caster(F32),
    "half": _caster(F16),
    "int": _caster(I32),
    "is_complex": is_complex,
    "is_contiguous": is_contiguous,
    "is_distributed": never,
    "is_inference": lambda input: input._memory.is_inference,
    "is_floating_point": is_floating_point,
    "is_nonzero": is_nonzero,
    "is_pinned": never,
    "is_same_size": is_same_size,
    "is_shared": never,
    "is_signed": is_signed,
    "item": item,
    "long": _caster(I64),
    "ndimension": dim,
    "nelement": numel,
    "numel": numel,
    "numpy": numpy,
    "short": _caster(I16),
    "size": size,
    "storage_offset": storage_offset,
    "stride": stride,
    "to": to,
    "tolist": tolist,
    "type": type_,
    "type_as": lambda input, other: _cast(input, other._dtype),
}
PROPERTIES: dict[str, property] = {
    "device": property(lambda self: CPU),
    "dtype": property(lambda self: public(self._dtype)),
    "is_cpu": property(lambda self: True),
    "is_cuda": property(never),
    "is_meta": property(never),
    "is_mps": property(never),
    "is_mkldnn": property(never),
    "is_nested": property(never),
    "is_quantized": property(never),
    "is_sparse": property(never),
    "is_sparse_csr": property(never),
    "is_xpu": property(never),
    "itemsize": property(element_size),
    "name": property(lambda self: None),
    "output_nr": property(lambda self: 0 if self._value is None or self._leaf else self._value.index),
    "layout": property(lambda self: strided),
    "nbytes": property(lambda self: numel(self) * element_size(self)),
    "ndim": property(dim),
    "shape": property(shape_of),
}
__all__ = ["is_complex", "is_floating_point", "is_nonzero", "is_same_size", "is_signed", "numel"]
