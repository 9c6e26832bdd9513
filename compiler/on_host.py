"""What the host does for compiled programs: algorithms on matrices, transforms of awkward lengths.

LAPACK's functions are called by the program itself, where NumPy's library has them (`lapack`); for the rest it calls
back into Python (`host_call`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adjit.ir.builder import Builder
from adjit.ir.graph import Attribute, Node, Value
from adjit.ir.primitive import Primitive, primitive_named, register
from adjit.ir.types import F32, F64, I32, I64, TensorType
from adjit.runtime.host import CHECK_PREFIX, call_host

# Of LAPACK and BLAS, by op, without the letter of the dtype.
FUNCTIONS = {
    "cholesky": ("potrf",), "eigh": ("syevd",), "lu": ("getrf",), "lu_solve": ("trsm",), "qr": ("geqrf", "orgqr"),
    "svd": ("gesdd",), "triangular_solve": ("trsm",),
}  # fmt: skip
# Ops whose kernel tells of algorithms that come to no end: a further result, which is looked at.
_MAY_FAIL = ("eigh", "svd")


def _lapack(*operands: Any, routine: str, types: tuple[TensorType, ...], **attributes: Any) -> Any:
    """An op on matrices by LAPACK; its results, and for some LAPACK's info of each matrix."""
    from adjit.runtime.linear_algebra import ALONE, ALONE_SUFFIX, host_name

    alone = routine in ALONE and len(types) == 2
    found = call_host(host_name(primitive_named(routine), attributes) + ALONE_SUFFIX * alone, *operands)
    if routine not in _MAY_FAIL:
        return found
    import numpy as np

    return *found, np.zeros(operands[0].shape[:-2], np.int32)


LAPACK = register(Primitive("lapack", "loop", _lapack, exact=False))
LAPACK.infer_rule = lambda *operands, types, **attributes: types


def has_functions(op: Primitive, operands: Sequence[Value]) -> bool:
    """Whether a program can call LAPACK for an op: on real matrices of known sizes, where there is a LAPACK."""
    from adjit.runtime.lapack import address

    dtype, sides = operands[0].dtype, [side for value in operands for side in value.dims[operands[0].type.ndim - 2 :]]
    if dtype not in (F32, F64) or not all(isinstance(side, int) and side > 0 for side in sides):
        return False
    letter = "s" if dtype is F32 else "d"
    steps = FUNCTIONS.get(op.name, ())
    return bool(steps) and all(address(letter + step) is not None for step in steps)


def on_matrices(
    builder: Builder, node: Node, operands: Sequence[Value], read: Callable[[], frozenset[Value]]
) -> Sequence[Value]:
    """An op on matrices by LAPACK or the host's function; by one for a single result where only that is read."""
    from adjit.runtime.linear_algebra import ALONE, ALONE_SUFFIX, host_name

    name, outputs = node.op.name, node.outputs
    place = ALONE[name][0] if name in ALONE and not operands[0].dtype.is_complex else None
    alone = place is not None and read().isdisjoint({*outputs} - {outputs[place]})
    wanted = [outputs[place]] if place is not None and alone else [*outputs]
    types = tuple(value.type for value in wanted)
    attributes: dict[str, Attribute]
    if has_functions(node.op, operands):
        if name in _MAY_FAIL:
            types = (*types, TensorType(I32, operands[0].dims[:-2]))
        attributes = {**node.attributes, "routine": name, "types": types}
        found = builder.emit(LAPACK, operands, attributes).outputs
        if name in _MAY_FAIL:
            check: dict[str, Attribute] = {"function": f"{CHECK_PREFIX}linalg.{name}", "types": ()}
            builder.emit(primitive_named("host_call"), found[-1:], check)
    else:
        function = host_name(node.op, node.attributes) + ALONE_SUFFIX * alone
        attributes = {"function": function, "types": types}
        found = builder.emit(primitive_named("host_call"), operands, attributes).outputs
    by_output = dict(zip(wanted, found, strict=False))
    return [by_output[v] if v in by_output else _anything(builder, v.type) for v in outputs]


def _anything(builder: Builder, type: TensorType) -> Value:
    """A value of a type, that nothing reads."""
    return builder.emit(primitive_named("expand"), (builder.constant(0, type.dtype),), {"shape": type.dims}).output


def transformed_by_host(builder: Builder, node: Node, operand: Value, attributes: Mapping[str, Attribute]) -> Value:
    """A Fourier transform by the host's function."""
    from adjit.runtime.fourier import host_name

    inputs = [operand]
    if "size" in attributes:
        inputs.append(builder.constant(attributes["size"], I64))  # type: ignore[arg-type]
    call: dict[str, Attribute] = {"function": host_name(node.op, attributes), "types": (node.output.type,)}
    return builder.emit(primitive_named("host_call"), inputs, call).output
