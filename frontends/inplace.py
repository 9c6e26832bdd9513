"""In-place operations: the functional result, written to the tensor's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial, reduce, wraps
from operator import and_
from typing import Any

import numpy as np

from adjit.autograd.modes import enable_grad
from adjit.autograd.record import keep_overwritten
from adjit.autograd.tape import next_sequence
from adjit.dims import shape_of
from adjit.dispatch import apply, literal
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.indexing import is_plain_number, value_like
from adjit.ir.errors import TraceError
from adjit.ir.ops.structure import reshape as reshape_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL
from adjit.memory import ask_write
from adjit.promotion import broadcast_shapes, category_of
from adjit.selecting import masked_fill, masked_scatter, placeable
from adjit.shaping import expand
from adjit.state import STATE, is_traced
from adjit.surface import native_methods
from adjit.tensor import Tensor
from adjit.views import assign, change, check_partial_overlap, check_writable, write


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
        if category_of(result._dtype) > category_of(target._dtype):
            raise explained(
                RuntimeError,
                f"result type {title_of(result._dtype)} can't be cast to the desired output type "
                f"{title_of(target._dtype)}",
                op,
                {"self": target},
                "make a new tensor, y = {self} + ..., or convert it first: {self}.float()",
            )
        result = apply(primitive_named("cast"), (result,), {"dtype": target._dtype})
    return write(target, result)


def in_place(function: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    """The in-place form of a function whose first argument is the tensor."""

    @wraps(function)
    def method(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(input)
        for operand in args:
            check_partial_overlap(input, operand)
        operands = (input, *args, *kwargs.values())
        new_value = function if STATE.tracer is not None else native_methods.get(function, function)
        if not (STATE.recording and any(isinstance(x, Tensor) and x.requires_grad for x in operands)):
            return store(input, new_value(input, *args, **kwargs), name)
        if is_traced():
            # A value of its own, which the write does not count as overwritten.
            source = apply(reshape_op, (input,), {"shape": input._tensor_type.dims})
            return store(input, function(source, *args, **kwargs), name)
        start = next_sequence()
        # What it keeps of another operand in that memory is lost to the write, and backward says so.
        alone = not any(isinstance(x, Tensor) and x._memory is input._memory for x in operands[1:])
        STATE.overwritten = input._memory if alone and STATE.packing else None
        try:
            result = new_value(input, *args, **kwargs)
        finally:
            STATE.overwritten = None
        if alone:
            keep_overwritten(result, input, start)
        return store(input, result, name)

    method.__module__, method.__name__, method.__qualname__ = "adjit", name, f"Tensor.{name}"
    method.__doc__ = f"In-place form of `{name.rstrip('_')}`."
    return method


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Make `input` hold the elements of `src`, cast and broadcast."""
    check_writable(input)
    check_partial_overlap(input, src)
    if not isinstance(src, Tensor):
        src = value_like(src, input)
    if src._dtype is not input._dtype:
        src = apply(primitive_named("cast"), (src,), {"dtype": input._dtype}, name="ToCopy")
    broadcast_shapes(shape_of(input), shape_of(src))
    return _replace(input, expand(src, *shape_of(input)), "CopyBackwards")


def fill_(input: Tensor, value: Any) -> Tensor:
    """Set every element to `value`."""
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {len(shape_of(value))} dimensions."
        )
    return _overwrite(input, value, "FillBackward2")


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of the shape and dtype of `input` that holds one value."""
    if isinstance(value, Tensor) and shape_of(value):
        raise RuntimeError(
            f"fill only supports 0-dimension value tensor but got tensor with {len(shape_of(value))} dimensions."
        )
    name = "FillBackward1" if isinstance(value, Tensor) else "Fill"
    return _filled(input, value_like(value, input), name)


def _filled(input: Tensor, new: Tensor, name: str) -> Tensor:
    """`new` everywhere; what was in `input` has a gradient of 0."""
    if STATE.recording and input.requires_grad:
        return apply(primitive_named("where"), (literal(False, BOOL), input, new), name=name)  # type: ignore[no-any-return]
    return apply(primitive_named("expand"), (new,), {"shape": tuple(shape_of(input))}, name=name)  # type: ignore[no-any-return]


def zero_(input: Tensor) -> Tensor:
    """Set every element to 0."""
    return _overwrite(input, 0, "Zero")


def _overwrite(input: Tensor, value: Any, name: str) -> Tensor:
    if is_plain_number(value, input) and assign(input, ..., value):
        return input
    check_writable(input)
    return _replace(input, value_like(value, input), name)


def _replace(input: Tensor, new: Tensor, name: str) -> Tensor:
    """Make `input` hold `new`; what was there has a gradient still, which is 0."""
    shape = tuple(shape_of(input))
    if (STATE.recording and input.requires_grad) or (not shape_of(new) and shape):
        return write(input, _filled(input, new, name))
    return write(input, apply(reshape_op, (new,), {"shape": shape}, name=name))


def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Set the main diagonal of a matrix, or of more axes of one length, to a value."""
    from adjit.selecting import iota_like

    check_writable(input)
    shape = tuple(shape_of(input))
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and any(extent != shape[0] for extent in shape):
        raise RuntimeError("all dimensions of input must be of equal length")
    if is_plain_number(fill_value, input):
        rows, columns = shape[:2]
        end = None if wrap or rows <= columns else columns * columns
        step = sum(columns**axis for axis in range(len(shape)))
        if change(input, lambda array: array.reshape(-1).__setitem__(slice(None, end, step), fill_value)):
            return input
    row = iota_like(input, 0)
    if wrap and len(shape) == 2:
        row = apply(primitive_named("mod"), (row, shape[1] + 1))
    hits = (apply(primitive_named("eq"), (row, iota_like(input, axis))) for axis in range(1, len(shape)))
    return write(input, masked_fill(input, reduce(and_, hits), fill_value))


def transpose_(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchange two axes of the tensor itself."""
    from adjit.shaping import transpose

    return become(input, partial(transpose, input, dim0, dim1))


swapaxes_ = swapdims_ = transpose_


def t_(input: Tensor) -> Tensor:
    """Transpose the matrix itself."""
    from adjit.shaping import t

    return become(input, partial(t, input))


def unsqueeze_(input: Tensor, dim: int) -> Tensor:
    """Give the tensor itself an axis of size 1."""
    from adjit.shaping import unsqueeze

    return become(input, partial(unsqueeze, input, dim))


def squeeze_(input: Tensor, dim: Any = None) -> Tensor:
    """Take axes of size 1 from the tensor itself."""
    from adjit.shaping import squeeze

    return become(input, partial(squeeze, input, dim))


def become(input: Tensor, make: Callable[[], Tensor]) -> Tensor:
    """Make a tensor what a view of it is.  What it requires, and its history, stay also where nothing is recorded."""
    check_writable(input)
    if input._memory.is_inference:
        ask_write()
    is_leaf, requires_grad = input._leaf, input.requires_grad
    with enable_grad() if requires_grad and not is_leaf else nullcontext():
        view = make()
    if view._tracer is not input._tracer:
        raise TraceError(
            "in a trace, and in an `if` or loop of one, a tensor from outside cannot be given another shape in place\n"
            "  hint: pass it as an argument, or use the function that makes a view: t() for t_()"
        )
    if requires_grad and is_leaf and STATE.tracer is not None:
        raise TraceError("in a trace, a leaf that requires grad keeps its shape, which is that of its gradient")
    for slot in ("_array", "_chain", "_strides", "_type", "_value", "_epoch", "_requires_grad", "_leaf"):
        setattr(input, slot, getattr(view, slot))
    if is_leaf:
        input._requires_grad, input._leaf = requires_grad, True
    return input


masked_fill_ = in_place(masked_fill, "masked_fill_")
_masked_scatter_ = in_place(masked_scatter, "masked_scatter_")


def masked_scatter_(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """In-place form of `masked_scatter`."""
    found = placeable(input, mask, source)
    if found is None or input._memory in (mask._memory, source._memory):
        return _masked_scatter_(input, mask, source)
    return input if change(input, lambda array: np.place(array, *found)) else _masked_scatter_(input, mask, source)

# Functions with an in-place form of the same name and an underscore.
IN_PLACE = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "conj_physical", "copysign", "cos", "cosh",
    "cumprod", "cumsum", "deg2rad", "digamma", "div", "divide", "eq", "erf", "erfc", "erfinv", "exp", "exp2",
    "expm1", "fix", "float_power", "floor", "floor_divide", "fmod", "frac", "gcd", "ge", "greater", "greater_equal",
    "gt", "heaviside", "hypot", "i0", "igamma", "igammac", "index_add", "index_copy", "index_fill", "index_put",
    "index_reduce", "lcm", "ldexp", "le", "lerp", "less", "less_equal", "lgamma", "log", "log10", "log1p", "log2",
    "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "lt", "mul", "multiply", "mvlgamma",
    "nan_to_num", "ne", "neg", "negative", "nextafter", "not_equal", "polygamma", "pow", "put", "rad2deg", "reciprocal",
    "relu", "remainder", "renorm", "round", "rsqrt", "scatter", "scatter_add", "scatter_reduce", "sgn", "sigmoid",
    "sign", "sin", "sinc", "sinh", "sqrt", "square", "sub", "subtract", "tan", "tanh", "tril", "triu", "true_divide",
    "trunc", "xlogy",
)  # fmt: skip

# Methods that PyTorch's namespace has as functions too.
FUNCTIONS = frozenset((
    "abs_", "acos_", "acosh_", "addmv_", "arccos_", "arccosh_", "arcsin_", "arcsinh_", "arctan_", "arctanh_", "asin_",
    "asinh_", "atan_", "atanh_", "ceil_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "conj_physical_", "cos_",
    "cosh_", "deg2rad_", "detach_", "erf_", "erfc_", "exp2_", "exp_", "expm1_", "fill_", "fix_", "floor_", "frac_",
    "gcd_", "i0_", "index_put_", "lcm_", "ldexp_", "log10_", "log1p_", "log2_", "log_", "logit_", "nan_to_num_", "neg_",
    "negative_", "rad2deg_", "reciprocal_", "relu_", "round_", "rsqrt_", "sigmoid_", "sin_", "sinc_", "sinh_", "sqrt_",
    "square_", "tan_", "tanh_", "trunc_", "xlogy_", "zero_",
))  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    "copy_": copy_,
    "fill_": fill_,
    "fill_diagonal_": fill_diagonal_,
    "masked_fill_": masked_fill_,
    "masked_scatter_": masked_scatter_,
    "squeeze_": squeeze_,
    "swapaxes_": swapaxes_,
    "swapdims_": swapdims_,
    "t_": t_,
    "transpose_": transpose_,
    "unsqueeze_": unsqueeze_,
    "zero_": zero_,
}
PROPERTIES: dict[str, property] = {}
__all__ = ["fill"]


def derive(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """The in-place forms of those methods that have one."""
    return {f"{name}_": in_place(methods[name], f"{name}_") for name in IN_PLACE if name in methods}
