"""Complex numbers and their parts.

Every op of the tensor level that is linear takes complex numbers as it takes real ones; the scalar functions that do,
and their meaning in real parts, stand in `adjit.ir.ops.complex_parts`.

The cotangent of a complex value is dL/dRe + i*dL/dIm, as in PyTorch: a holomorphic f sends g to g*conj(f').
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjit.ir.errors import DTypeError
from adjit.ir.ops.arrays import Array, dtype_of
from adjit.ir.ops.chain import fitted
from adjit.ir.ops.checks import require
from adjit.ir.ops.define import common_dims, scalar_op
from adjit.ir.primitive import primitive
from adjit.ir.types import F32, F64, TensorType, complex_of, dtype_of_storage


def _take_complex(op: str, x: TensorType) -> None:
    if not x.dtype.is_complex:
        raise DTypeError(f"{op}: an operand is {x}; it takes complex")


@scalar_op("float", name="complex")
def make_complex(re: Any, im: Any) -> Any:
    """re + i*im."""
    part = np.result_type(re, im)
    found = np.empty(np.broadcast_shapes(np.shape(re), np.shape(im)), np.result_type(part, np.complex64))
    found.real, found.imag = re, im
    return found


@make_complex.infers
def _(re: TensorType, im: TensorType) -> TensorType:
    for type in (re, im):
        if type.dtype not in (F32, F64):
            raise DTypeError(f"complex: an operand is {type}; it takes f32, f64")
    if re.dtype is not im.dtype:
        raise DTypeError(f"complex: operands of {re.dtype} and {im.dtype}; they must have one dtype")
    return TensorType(complex_of(re.dtype), common_dims("complex", (re, im)))


@make_complex.transposes
def _(g: Any, re: Any, im: Any) -> Any:
    return fitted(lambda: real(g), re), fitted(lambda: imag(g), im)


@scalar_op("float")
def real(x: Any) -> Any:
    """The real part."""
    return np.real(x)


@scalar_op("float")
def imag(x: Any) -> Any:
    """The imaginary part."""
    return np.imag(x)


@scalar_op("float")
def conj(x: Any) -> Any:
    """re - i*im."""
    return np.conjugate(x)


@real.infers
def _(x: TensorType) -> TensorType:
    _take_complex("real", x)
    return x.with_dtype(x.dtype.part)


@imag.infers
def _(x: TensorType) -> TensorType:
    _take_complex("imag", x)
    return x.with_dtype(x.dtype.part)


@conj.infers
def _(x: TensorType) -> TensorType:
    _take_complex("conj", x)
    return x


@real.transposes
def _(g: Any, x: Any) -> Any:
    return fitted(lambda: make_complex(g, 0), x)


@imag.transposes
def _(g: Any, x: Any) -> Any:
    return fitted(lambda: make_complex(0, g), x)


@conj.transposes
def _(g: Any, x: Any) -> Any:
    return fitted(lambda: conj(g), x)


@primitive("structure")
def view_as_real(x: Array) -> Array:
    """out[i..., 0] = Re x[i...], out[i..., 1] = Im x[i...]: the same memory.

    Shapes: c64[*dims] -> f32[*dims, 2], and c128 -> f64.
    """
    x = np.asarray(x)
    return x[..., None].view(x.real.dtype)


@view_as_real.infers
def _(x: TensorType) -> TensorType:
    _take_complex("view_as_real", x)
    return TensorType(x.dtype.part, (*x.dims, 2))


@view_as_real.transposes
def _(g: Array, x: Array) -> Array:
    return view_as_complex(g)


@view_as_real.batches
def _(batched: Sequence[bool], x: Array) -> Array:
    return view_as_real(x)


@primitive("structure")
def view_as_complex(x: Array) -> Array:
    """out[i...] = x[i..., 0] + i*x[i..., 1]: the same memory.

    Shapes: f32[*dims, 2] -> c64[*dims], and f64 -> c128.
    """
    x = np.asarray(x)
    pairs = x if x.strides[-1] == x.itemsize else np.ascontiguousarray(x)
    found = dtype_of_storage(x.dtype)
    assert found is not None
    return pairs.view(complex_of(found).storage)[..., 0]


@view_as_complex.infers
def _(x: TensorType) -> TensorType:
    if x.dtype not in (F32, F64):
        raise DTypeError(f"view_as_complex: an operand is {x}; it takes f32 and f64")
    require(x.ndim > 0 and x.dims[-1] == 2, f"view_as_complex: the last axis of {x} is not of size 2")
    return TensorType(complex_of(x.dtype), x.dims[:-1])


@view_as_complex.transposes
def _(g: Array, x: Array) -> Array:
    return view_as_real(g)


@view_as_complex.batches
def _(batched: Sequence[bool], x: Array) -> Array:
    return view_as_complex(x)


def conjugate(x: Array) -> Array:
    """conj(x); a real x, and the conjugate of the conjugate, as they are."""
    if not dtype_of(x).is_complex:
        return x
    value = getattr(x, "value", None)
    if value is not None and value.constant is not None:  # literals are real
        return x
    if value is not None and value.node is not None and value.node.op is conj:
        return x.emitter.expr(value.node.inputs[0])
    return conj(x)
