"""In-place operations: the functional result, written to the tensor's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.indexing import METHODS as INDEXING
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, DType
from adjit.shaping import expand
from adjit.tensor import Tensor
from adjit.views import check_writable, write

_TYPE_NAMES = {
    "bool": "Bool", "u8": "Byte", "i8": "Char", "i16": "Short", "i32": "Int", "i64": "Long", "f16": "Half",
    "bf16": "BFloat16", "f32": "Float", "f64": "Double",
}  # fmt: skip


def store(target: Tensor, result: Tensor, op: str) -> Tensor:
    """Write a functional result of `op` to `target`, in the target's dtype.

    Errors: RuntimeError where the shape grew, or the dtype's category would be lost.
    """
    own, shape = tuple(shape_of(target)), tuple(shape_of(result))
    if own != shape:
        raise explained(
            RuntimeError,
            f"output with shape {list(own)} doesn't match the broadcast shape {list(shape)}",
            op,
            {"self": target},
            "an in-place operation cannot change the shape: assign the result to a new name",
        )
    if result._dtype is not target._dtype:
        if _rank(result._dtype) > _rank(target._dtype):
            raise explained(
                RuntimeError,
                f"result type {_TYPE_NAMES[result._dtype.name]} can't be cast to the desired output type "
                f"{_TYPE_NAMES[target._dtype.name]}",
                op,
                {"self": target},
            )
        result = apply(primitive_named("cast"), (result,), {"dtype": target._dtype})
    return write(target, result)


def _rank(dtype: DType) -> int:
    return 2 if dtype.is_float else 0 if dtype is BOOL else 1


def in_place(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """The in-place form of a function whose first argument is the tensor."""

    @wraps(function)
    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(input)
        return store(input, function(input, *args, **kwargs), name)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name.rstrip('_')}`."
    return method


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Make `input` hold the elements of `src`, cast and broadcast."""
    check_writable(input)
    if not isinstance(src, Tensor):
        from adjit.indexing import _value_like

        src = _value_like(src, input)
    if src._dtype is not input._dtype:
        src = apply(primitive_named("cast"), (src,), {"dtype": input._dtype}, name="ToCopy")
    wide = expand(src, *shape_of(input))
    return write(input, apply(reshape_op, (wide,), {"shape": tuple(shape_of(input))}, name="Copy"))


def fill_(input: Tensor, value: Any) -> Tensor:
    """Set every element to `value`."""
    from adjit.indexing import _value_like

    check_writable(input)
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {len(shape_of(value))} dimensions."
        )
    return write(
        input,
        apply(primitive_named("expand"), (_value_like(value, input),), {"shape": tuple(shape_of(input))}, name="Fill"),
    )


def zero_(input: Tensor) -> Tensor:
    """Set every element to 0."""
    return fill_(input, 0)


def set_(input: Tensor, source: Tensor) -> Tensor:
    """Make `input` stand on the memory of `source`."""
    input.data = source
    return input


def transpose_(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two axes of the tensor itself."""
    from adjit.shaping import transpose

    return _become(input, transpose(input, dim0, dim1))


def t_(input: Tensor) -> Tensor:
    """Transpose the matrix itself."""
    from adjit.shaping import t

    return _become(input, t(input))


def unsqueeze_(input: Tensor, dim: int) -> Tensor:
    """Give the tensor itself an axis of size 1."""
    from adjit.shaping import unsqueeze

    return _become(input, unsqueeze(input, dim))


def squeeze_(input: Tensor, dim: Any = None) -> Tensor:
    """Take axes of size 1 from the tensor itself."""
    from adjit.shaping import squeeze

    return _become(input, squeeze(input, dim))


def _become(input: Tensor, view: Tensor) -> Tensor:
    """Make a tensor what a view of it is."""
    check_writable(input)
    for slot in ("_array", "_chain", "_strides", "_type", "_value", "_epoch", "_requires_grad", "_leaf"):
        setattr(input, slot, getattr(view, slot))
    return input


masked_fill_ = in_place(INDEXING["masked_fill"], "masked_fill_")

# Functions with an in-place form of the same name and an underscore.
IN_PLACE = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "cos", "cosh", "cumprod", "cumsum", "deg2rad", "div",
    "divide", "eq", "erf", "exp", "exp2", "expm1", "fix", "float_power", "floor", "floor_divide", "fmod", "frac", "ge",
    "greater", "greater_equal", "gt", "heaviside", "hypot", "index_add", "index_copy", "index_fill", "index_put", "le",
    "lerp", "less", "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logit", "lt", "mul", "multiply", "nan_to_num", "ne", "neg", "negative", "not_equal", "pow",
    "rad2deg", "reciprocal", "relu", "remainder", "round", "rsqrt", "scatter", "scatter_add", "scatter_reduce", "sgn",
    "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh", "tril", "triu",
    "true_divide", "trunc", "xlogy",
)  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    "copy_": copy_,
    "fill_": fill_,
    "masked_fill_": masked_fill_,
    "set_": set_,
    "squeeze_": squeeze_,
    "t_": t_,
    "transpose_": transpose_,
    "unsqueeze_": unsqueeze_,
    "zero_": zero_,
}
PROPERTIES: dict[str, property] = {}


def derive(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The in-place forms of those methods that have one."""
    return {f"{name}_": in_place(methods[name], f"{name}_") for name in IN_PLACE if name in methods}
