"""From tensors to Python, NumPy and other dtypes; what a tensor says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from adjit.device import CPU
from adjit.device import device as as_device
from adjit.dims import numel_of, shape_of
from adjit.dtypes import dtype as public_dtype
from adjit.dtypes import public, to_ir
from adjit.errors import explained
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, DType
from adjit.promotion import cast_to
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import is_contiguous as lies_in_order
from adjit.views import strides


def concrete(input: Tensor, what: str) -> np.ndarray:
    """The tensor's array; TraceError naming the user's line where it has none."""
    if input._array is None:
        tracer = STATE.tracer
        if tracer is None or input._tracer is not tracer:
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


# -- to Python ------------------------------------------------------------------------------------------------------
def item(input: Tensor) -> Any:
    """The only element, as a Python number."""
    array = _numbers(input, "item()")
    if array.size != 1:
        raise RuntimeError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    return array.reshape(())[()].item()


def tolist(input: Tensor) -> Any:
    """The elements as nested lists, or a number."""
    return _numbers(input, "tolist()").tolist()


def numpy(input: Tensor, *, force: bool = False) -> np.ndarray:
    """The elements as an array on the same memory."""
    if force:
        input = input.detach()
    if input.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
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
    count = numel_of(shape_of(input))
    if count == 0:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
    if count != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(_numbers(input, "a branch (if, while, and, or, not)").reshape(())[()])


def _as_float(input: Tensor) -> float:
    return float(item(input))


def _as_int(input: Tensor) -> int:
    return int(item(input))


def _as_index(input: Tensor) -> int:
    if not (input._dtype.is_integer or input._dtype is BOOL) or numel_of(shape_of(input)) != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(item(input))


def _as_complex(input: Tensor) -> complex:
    return complex(item(input))


def length(input: Tensor) -> Any:
    """The size of the first axis."""
    shape = shape_of(input)
    if not shape:
        raise TypeError("len() of a 0-d tensor")
    extent = shape[0]
    return extent if isinstance(extent, int) else extent.__index__()


def iterate(input: Tensor) -> Iterator[Tensor]:
    """The entries of the first axis."""
    from adjit.shaping import unbind

    if not shape_of(input):
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(input, 0))


def contains(input: Tensor, element: Any) -> bool:
    """Whether an element equals a number or tensor."""
    return bool((input == element).any())


def universal(input: Tensor, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's functions on tensors give tensors."""
    from adjit.creation import as_tensor, from_numpy

    if method != "__call__":
        return NotImplemented
    name = {"true_divide": "div", "multiply": "mul", "subtract": "sub", "power": "pow", "negative": "neg"}.get(
        ufunc.__name__, ufunc.__name__
    )
    own = getattr(Tensor, name, None)
    if own is not None and not kwargs:
        return own(*(as_tensor(x) if isinstance(x, np.ndarray) else x for x in inputs))
    plain = [numpy(x) if isinstance(x, Tensor) else x for x in inputs]
    result = getattr(ufunc, method)(*plain, **kwargs)
    return from_numpy(result) if isinstance(result, np.ndarray) else result


# -- to other dtypes ------------------------------------------------------------------------------------------------
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype (or the dtype of another tensor); itself if nothing changes."""
    copy = kwargs.pop("copy", False)
    target: DType | None = None
    for given in (*args, kwargs.get("dtype"), kwargs.get("other"), kwargs.get("device")):
        if isinstance(given, Tensor):
            target = given._dtype
        elif isinstance(given, (str, as_device)) and not isinstance(given, public_dtype):
            as_device(given).require()
        elif isinstance(given, (public_dtype, DType)) or (isinstance(given, type) and given in (bool, int, float)):
            target = to_ir(given)
    found = input if target is None else _cast(input, target)
    return found.clone() if copy and found is input else found


def _cast(input: Tensor, target: DType) -> Tensor:
    from adjit.dispatch import rename

    return input if input._dtype is target else rename(cast_to(input, target), "ToCopy")


def _caster(target: DType) -> Callable[[Tensor], Tensor]:
    def method(input: Tensor, memory_format: Any = None) -> Tensor:
        return _cast(input, target)

    method.__doc__ = f"The tensor as {target.long_name}."
    return method


def type_(input: Tensor, dtype: Any = None) -> Any:
    """The legacy name of the tensor's type, or the tensor in another dtype."""
    if dtype is None:
        return f"torch.{_LEGACY[input._dtype]}"
    if isinstance(dtype, str):
        names = {f"torch.{name}": ir for ir, name in _LEGACY.items()}
        return _cast(input, names[dtype])
    if callable(dtype) and not isinstance(dtype, (type, public_dtype)):
        names = {name: ir for ir, name in _LEGACY.items()}
        return _cast(input, names[dtype.__name__])
    return _cast(input, to_ir(dtype))


_LEGACY = {
    BOOL: "BoolTensor", U8: "ByteTensor", I8: "CharTensor", I16: "ShortTensor", I32: "IntTensor", I64: "LongTensor",
    F16: "HalfTensor", BF16: "BFloat16Tensor", F32: "FloatTensor", F64: "DoubleTensor",
}  # fmt: skip


def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor, which stands on the CPU."""
    return input


def cuda(input: Tensor, device: Any = None) -> Tensor:
    """There is no CUDA device here."""
    raise explained(AssertionError, "Torch not compiled with CUDA enabled", "cuda", {"input": input})


# -- what it says of itself -----------------------------------------------------------------------------------------
def size(input: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one axis."""
    from adjit.dims import wrap_dim

    shape = shape_of(input)
    return shape if dim is None else shape[wrap_dim(dim, len(shape))]


def stride(input: Tensor, dim: int | None = None) -> Any:
    """Strides in elements."""
    found = tuple(strides(input))
    return found if dim is None else found[dim]


def dim(input: Tensor) -> int:
    """The number of axes."""
    return len(shape_of(input))


def numel(input: Tensor) -> Any:
    """The number of elements."""
    return numel_of(shape_of(input))


def is_contiguous(input: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order."""
    return lies_in_order(input)


def element_size(input: Tensor) -> int:
    """Bytes per element."""
    return input._dtype.itemsize


def data_ptr(input: Tensor) -> int:
    """The address of the first element."""
    return int(concrete(input, "data_ptr()").__array_interface__["data"][0])


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating one."""
    return input._dtype.is_float


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex; it never is."""
    return False


def get_device(input: Tensor) -> int:
    """-1: the CPU."""
    return -1


# -- copies ---------------------------------------------------------------------------------------------------------
def deep_copy(input: Tensor, memo: dict[int, Any]) -> Tensor:
    """A leaf's copy with its data and gradient."""
    import copy

    if id(input) in memo:
        return memo[id(input)]  # type: ignore[no-any-return]
    if not input.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If "
            "you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    made = Tensor._wrap(np.array(concrete(input, "deepcopy"), order="C"), input._dtype, cls=type(input))
    memo[id(input)] = made
    made._requires_grad = input.requires_grad
    made._grad = None if input._grad is None else copy.deepcopy(input._grad, memo)
    made.__dict__.update(copy.deepcopy(input.__dict__, memo))
    return made


def reduce_(input: Tensor, protocol: int = 2) -> Any:
    """What pickling keeps: data, dtype, whether it requires grad."""
    array = np.array(concrete(input, "pickling"), order="C")
    return _rebuilt, (type(input), array, input._dtype.name, input.requires_grad)


def _rebuilt(cls: type[Tensor], array: np.ndarray, name: str, requires_grad: bool) -> Tensor:
    from adjit.ir.types import dtype_named

    made = Tensor._wrap(array, dtype_named(name), cls=cls)
    made._requires_grad = requires_grad
    return made


def text(input: Tensor) -> str:
    """The tensor as PyTorch prints it."""
    from adjit.printing import format_tensor

    return format_tensor(input)


def formatted(input: Tensor, spec: str) -> str:
    """`f"{tensor:.3f}"`, for one element."""
    return format(item(input), spec) if spec and not shape_of(input) else str(input)


METHODS: dict[str, Callable[..., Any]] = {
    "__array__": array_of,
    "__array_ufunc__": universal,
    "__bool__": truth,
    "__complex__": _as_complex,
    "__contains__": contains,
    "__deepcopy__": deep_copy,
    "__float__": _as_float,
    "__format__": formatted,
    "__index__": _as_index,
    "__int__": _as_int,
    "__iter__": iterate,
    "__len__": length,
    "__reduce_ex__": reduce_,
    "__repr__": text,
    "bfloat16": _caster(BF16),
    "bool": _caster(BOOL),
    "byte": _caster(U8),
    "char": _caster(I8),
    "cpu": cpu,
    "cuda": cuda,
    "data_ptr": data_ptr,
    "dim": dim,
    "double": _caster(F64),
    "element_size": element_size,
    "float": _caster(F32),
    "get_device": get_device,
    "half": _caster(F16),
    "int": _caster(I32),
    "is_complex": is_complex,
    "is_contiguous": is_contiguous,
    "is_floating_point": is_floating_point,
    "item": item,
    "long": _caster(I64),
    "ndimension": dim,
    "nelement": numel,
    "numel": numel,
    "numpy": numpy,
    "short": _caster(I16),
    "size": size,
    "stride": stride,
    "to": to,
    "tolist": tolist,
    "type": type_,
    "type_as": lambda input, other: _cast(input, other._dtype),
}
PROPERTIES: dict[str, property] = {
    "device": property(lambda self: CPU),
    "dtype": property(lambda self: public(self._dtype)),
    "is_cuda": property(lambda self: False),
    "itemsize": property(element_size),
    "ndim": property(dim),
    "shape": property(shape_of),
}
__all__ = ["is_complex", "is_floating_point", "numel"]
