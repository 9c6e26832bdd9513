"""`out=`: results written to tensors that the caller gives.

Functions of the namespace take it; methods do not.  The result is computed as without it, then copied: so `out` may
lie in an operand's memory where PyTorch allows that, and is as it was when the function fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from adjit.dims import numel_of, operands_renamed, shape_of
from adjit.dtypes import c_name, title_of
from adjit.errors import misplaced, tell
from adjit.ir.types import BOOL, I64, U8, DType
from adjit.state import STATE
from adjit.surface import native_methods
from adjit.tensor import Tensor
from adjit.views import SHARED, check_overlap, check_partial_overlap
from adjit.warning import warn

# PyTorch's functions with `out`, but for those that make tensors (they take it themselves).
_LISTED = """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr alias_copy all amax amin aminmax angle any
    arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort as_strided_copy as_strided_scatter
    asin asinh atan atan2 atanh baddbmm binary_cross_entropy_with_logits bincount binomial bitwise_and
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor block_diag bmm bucketize cat ceil celu
    chain_matmul cholesky cholesky_inverse cholesky_solve clamp clamp_max clamp_min clip column_stack complex concat
    concatenate conj_physical constant_pad_nd copysign cos cosh count_nonzero cross cummax cummin cumprod cumsum
    deg2rad detach_copy diag diag_embed diagonal_copy diagonal_scatter diff digamma dist div divide dot dstack eq
    erf erfc erfinv exp exp2 expand_copy expm1 fill fix flip float_power floor floor_divide fmax fmin fmod frac
    frexp gather gcd ge geqrf ger greater greater_equal gt hardshrink hash_tensor heaviside histc histogram
    histogramdd hstack hypot i0 igamma igammac index_add index_copy index_fill index_put index_reduce index_select
    inner inverse isin isinf isnan isneginf isposinf kron kthvalue lcm ldexp le lerp less less_equal lgamma log
    log10 log1p log2 log_softmax logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor
    logit logsumexp lt lu_solve lu_unpack masked_fill masked_scatter masked_select matmul matrix_power max maximum
    mean median min minimum mm mode msort mul multinomial multiply mv mvlgamma nan_to_num nanmean nanmedian
    nanquantile nansum narrow_copy ne neg negative nextafter nonzero nonzero_static norm not_equal
    nuclear_norm orgqr ormqr outer
    permute_copy poisson polar polygamma pow prod put qr quantile rad2deg reciprocal relu remainder renorm
    repeat_interleave roll rot90 round row_stack rsqrt rsub scatter scatter_add scatter_reduce searchsorted
    segment_reduce select_copy select_scatter sgn sigmoid sign signbit sin sinc sinh slice_copy slice_scatter
    slogdet softmax sort split_copy split_with_sizes_copy sqrt square squeeze_copy stack std sub subtract sum svd t_copy
    take take_along_dim tan tanh tensordot threshold topk trace transpose_copy triangular_solve tril triu
    true_divide trunc unbind_copy unfold_copy unique_consecutive unsafe_split unsafe_split_with_sizes unsqueeze_copy
    var vdot view_copy vstack where xlogy
"""
NAMES = frozenset(_LISTED.split())
# These want exactly the dtype of their result; the others cast where the category stays.
_EXACT = frozenset((
    "addbmm", "addmm", "addmv", "aminmax", "argmax", "argmin", "argsort", "baddbmm", "bmm", "cummax", "cummin", "dot",
    "gather", "index_add", "index_copy", "index_select", "kthvalue", "masked_select", "max", "median", "min", "mm",
    "mode", "mv", "nanmedian", "nonzero", "sort", "take", "topk", "tril", "triu", "where",
))  # fmt: skip
# So do these, whose result has the operand's dtype, in other words.
_SAME = frozenset((
    "bitwise_not", "ceil", "conj_physical", "fix", "floor", "frac", "neg", "negative", "round", "sgn", "sign", "trunc",
))  # fmt: skip
# These refuse an `out` that shares memory with an operand; elementwise functions one that overlaps in part.
_APART = frozenset((
    "cat", "concat", "concatenate", "gather", "index_select", "kthvalue", "masked_select", "nonzero", "take",
))  # fmt: skip

def public(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as the namespace has it: with `out=` where PyTorch's takes it."""
    return found_at("adjit", name, takes_out(function)) if name in NAMES else function


def found_at(home: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which is to be pickled by the name that a module has for it."""
    function.__module__, function.__qualname__ = home, name
    return function


def takes_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a keyword `out`: a tensor, or a tuple of them for several results."""

    @wraps(function)
    def wrapped(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs) if out is None else _given(function, args, kwargs, out)
        except Exception as error:
            taking = None if out is not None else _taking_over(wrapped, args, kwargs)
            named: Any = operands_renamed(function, args, kwargs) if kwargs and isinstance(error, TypeError) else None
            if taking is None and named is None:
                better = misplaced(function, args) if isinstance(error, AttributeError) else None
                if better is not None:
                    raise better from None
                tell(error, function)  # from here: it looks at the frames
                raise
        return wrapped(*args, out=out, **named) if taking is None else taking(*args, **kwargs)

    return wrapped


def _taking_over(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What takes a failed call over, where an argument that is no tensor has a `__torch_function__` met just here."""
    for value in (*args, *kwargs.values()):
        first = value[0] if isinstance(value, (tuple, list)) and value else value
        if not isinstance(first, Tensor) and hasattr(type(first), "__torch_function__"):
            from adjit.overrides import first_met

            return first_met(function, args, kwargs)
    return None


def _given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    name = function.__name__
    places = (out,) if isinstance(out, Tensor) else out
    if not isinstance(places, (tuple, list)) or not all(isinstance(place, Tensor) for place in places):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if name == "nonzero" and kwargs.get("as_tuple"):
        raise RuntimeError("nonzero does not support the out kwarg when as_tuple is True")
    operands = _tensors((args, kwargs))
    _refuse_recording(name, places)
    for place in places:
        if name == "multinomial":  # refused before anything is drawn
            check_cast(name, I64, place._dtype)
        _check_overlap(name, place, operands)
    found = _present(function, args)(*args, **kwargs)
    results: Sequence[Tensor] = (found,) if isinstance(found, Tensor) else found
    if any(result._dtype.is_continuous for result in results):
        _refuse_recording(name, operands)
    if len(results) != len(places):
        raise TypeError(f"{name}(): argument 'out' must hold {len(results)} tensors, not {len(places)}")
    # Of everything, or of two tensors, these cast.
    checked = {"max": "maximum", "min": "minimum"}.get(name, name) if len(results) == 1 else name
    for place, result in zip(places, results, strict=True):
        check_cast(checked, result._dtype, place._dtype)
        if name in _APART and shape_of(place) != shape_of(result) and any(x._memory is place._memory for x in operands):
            raise RuntimeError(SHARED)  # grown, it would reach over them
    for place, result in zip(places, results, strict=True):
        store_in(place, result)
    if isinstance(found, Tensor):
        return places[0]
    return type(found)(*places) if hasattr(found, "_fields") else tuple(places)


def _refuse_recording(name: str, tensors: Sequence[Tensor]) -> None:
    """RuntimeError where a derivative would be needed."""
    if STATE.recording and any(tensor.requires_grad for tensor in tensors):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )


def _present(function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[..., Any]:
    """What stands for a function on `Tensor` or in its module: perhaps a native entry."""
    if args and isinstance(args[0], Tensor) and function in native_methods:
        return native_methods[function]
    found = vars(sys.modules[function.__module__]).get(function.__name__)
    return function if found is None else found


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [found for item in value for found in _tensors(item)]


def _check_overlap(name: str, place: Tensor, operands: Sequence[Tensor]) -> None:
    """RuntimeError where reading and writing would meet."""
    check_overlap(place)
    for operand in operands:
        check_partial_overlap(place, operand)
        if name in _APART and operand._memory is place._memory and _touch(operand, place):
            raise RuntimeError(SHARED)


def _touch(a: Tensor, b: Tensor) -> bool:
    import numpy as np

    return a is b or (a._array is not None and b._array is not None and np.may_share_memory(a._array, b._array))


def check_cast(name: str, found: DType, wanted: DType) -> None:
    """RuntimeError where a result cannot be stored in `out`'s dtype."""
    from adjit.promotion import category_of

    if found is wanted:
        return
    if name in ("amax", "amin"):
        raise RuntimeError(
            f"Expected the dtype for input and out to match, but got {title_of(found)} for input's dtype and "
            f"{title_of(wanted)} for out's dtype."
        )
    if name in ("all", "any"):
        if wanted in (BOOL, U8):
            return
        raise RuntimeError(f"{name} only supports bool tensor for result, got: {title_of(wanted)}")
    if name == "float_power":
        raise RuntimeError(
            f"the output given to float_power has dtype {title_of(wanted)} but the operation's result requires dtype "
            f"{title_of(found)}"
        )
    if name == "multinomial":
        raise RuntimeError(f"multinomial expects {title_of(found)} tensor out, got: {title_of(wanted)}")
    if name in ("complex", "polar"):
        raise RuntimeError(
            f"Expected object of scalar type {title_of(found)} but got scalar type {title_of(wanted)} for argument "
            "'out'"
        )
    if name in _EXACT:
        raise RuntimeError(f"Expected out tensor to have dtype {c_name(found)}, but got {c_name(wanted)} instead")
    if name in _SAME:
        raise RuntimeError(f"Found dtype {title_of(wanted)} but expected {title_of(found)}")
    if category_of(found) > category_of(wanted):
        if name in ("cat", "concat", "concatenate"):
            raise TypeError(f"torch.cat(): input types can't be cast to the desired output type {title_of(wanted)}")
        raise RuntimeError(f"result type {title_of(found)} can't be cast to the desired output type {title_of(wanted)}")


def store_in(place: Tensor, result: Tensor, *, quietly: bool = False) -> Tensor:
    """Write a result to `place`, which takes its shape; a warning where it was not empty, unless `quietly`."""
    from adjit.inplace import copy_
    from adjit.resizing import resize_

    own, shape = tuple(shape_of(place)), tuple(shape_of(result))
    if own != shape:
        if numel_of(own) != 0 and not quietly:
            warn(
                f"An output with one or more elements was resized since it had shape {list(own)}, which does not match "
                f"the required output shape {list(shape)}. This behavior is deprecated, and in a future PyTorch "
                "release outputs will not be resized unless they have zero elements. You can explicitly reuse an out "
                "tensor t by resizing it, inplace, to zero elements with t.resize_(0).",
                UserWarning,
                stacklevel=4,
            )
        resize_(place, shape)
    copy = copy_ if STATE.tracer is not None else native_methods.get(copy_, copy_)
    return copy(place, result)
